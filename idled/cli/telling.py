# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a session, as the control service shows it, is put in words. Nothing here asks or prints."""

import time
from typing import Any, Final, TypeAlias

from ..core.span import DAY, SEC, Usec, format_span
from ..words import clock

Session: TypeAlias = dict[str, Any]

#: PAM services that most sessions are of.
_SSH, _CONSOLE = "sshd", "login"
LIMITED: Final = ("idle", "absolute")
#: What people call the far ends of transfers.
_PROGRAMS: Final = {"sftp-server": "sftp", "internal-sftp": "sftp", "scp": "scp", "rsync": "rsync", "git": "git"}


def wall(span: Usec = 0) -> Usec:
    """The wall clock moment that is so far from now."""
    return time.time_ns() // 1000 + span


def at(span: Usec) -> str:
    """The same in words."""
    return clock(wall(span))


def short(span: Usec, units: int = 2) -> str:
    """A span in six cells or so: its largest units, and seconds only below ten minutes. `parse_span` takes it too."""
    seconds = span // SEC
    if seconds >= 600:
        seconds -= seconds % 60
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts[:units]) or "0s"


def ago(span: Usec) -> str:
    """How long ago that was."""
    return f"{format_span(span)} ago" if span >= SEC else "just now"


def who(session: Session) -> str:
    """Which session that is, as the journal says it."""
    origin = f" from {session['remote']}" if session["remote"] else ""
    return f"session {session['name']} of {session['user']}{origin}"


def origin(session: Session) -> str:
    """Where its person is."""
    return session["remote"] or ("console" if session["service"] == _CONSOLE else "-")


def what(session: Session) -> str:
    """What kind of session it is, as far as its origin does not tell, its terminals, and what runs beside them."""
    kind = {_SSH: "ssh", _CONSOLE: ""}.get(session["service"], session["service"])
    terminals, running = session["terminals"], programs(session)
    if len(terminals) == 1:
        return ", ".join([f"{kind} {terminals[0]}".strip(), *running])
    if session["service"] == _SSH and not terminals and "programs" in session:
        return ", ".join(running) or "ssh -N"
    many = f"{len(terminals)} terminals" if terminals else "" if running else "no terminal"
    return ", ".join(filter(None, ["" if session["service"] == _SSH else kind, many, *running]))


def programs(session: Session) -> list[str]:
    """What runs beside its terminals, each thing once, in words of people's."""
    return list(dict.fromkeys(_program(name) for name in session.get("programs", [])))


def _program(name: str) -> str:
    """A name that the person may have chosen: only what is known stands alone."""
    known = "git" if name.startswith("git-") else _PROGRAMS.get(name, "")
    return known or f"runs {name}"


def since(session: Session) -> str:
    """When it was opened, in at most six cells."""
    opened, today = time.localtime(wall(-session["ageUSec"]) // SEC), time.localtime()
    if opened[:3] == today[:3]:
        return time.strftime("%H:%M", opened)
    return time.strftime("%d %b" if session["ageUSec"] < 300 * DAY else "%Y", opened)


def idle(session: Session) -> str:
    """How long it was idle, as far as that can be told."""
    return short(session["idleUSec"]) if session["observed"] else "?"


def left(session: Session) -> str:
    """How long it has if nothing changes."""
    if session["state"] == "ending":
        return "now"
    if "endsInUSec" not in session:
        return "never"
    return short(session["endsInUSec"]) if session["endsInUSec"] else "overdue"


def share(session: Session) -> float | None:
    """How much of its time is left, 1 when the limit that ends it begins to run; None without one."""
    if "reason" not in session or "endsInUSec" not in session:
        return None
    limit = full(session, session["reason"])
    return min(1.0, session["endsInUSec"] / limit) if limit else 0.0


def full(session: Session, limit: str) -> Usec:
    """A limit with what extensions added to it; 0 without one."""
    return int(session.get(f"{limit}TimeoutUSec", 0)) + int(session.get(f"{limit}ExtraUSec", 0))


def upcoming(session: Session) -> str:
    """What happens to it next, and when that is not told by the time left."""
    if session["state"] == "ending":
        return "ending"
    if session.get("warnsInUSec") is not None:
        return f"warn {short(session['warnsInUSec'], 1)}"
    return "end" if "endsInUSec" in session else "-"


def why(session: Session, *, brief: bool = False) -> str:
    """What ends it: the limit (in brief without its span), the rule that set it, and what holds that up."""
    reason = session.get("reason")
    if reason is None:
        return "no limit"
    extended = "+" if session.get(f"{reason}ExtraUSec") else ""
    span = "" if brief else f" {short(full(session, reason))}"
    held = f", waits for {program(session)}" if reason == "idle" and "heldBy" in session else ""
    return f"{reason}{span}{extended}, {session[f'{reason}Rule']}{held}"


def program(session: Session) -> str:
    """The program for which its idle timeout waits."""
    return str(session["heldBy"].rpartition("/")[2])


def limit(session: Session, name: str) -> str:
    """One of its limits, with where it comes from."""
    if f"{name}TimeoutUSec" not in session:
        return "off"
    text = f"{format_span(session[f'{name}TimeoutUSec'])} (rule {session.get(f'{name}Rule') or 'unknown'})"
    extra = session.get(f"{name}ExtraUSec")
    return f"{text}, extended by {format_span(extra)}" if extra else text


def allowance(session: Session) -> str:
    """How its person may extend it; empty where that is not allowed, or used up."""
    allowed = session.get("extend")
    if not allowed:
        return ""
    times = allowed["timesLeft"]
    password = ", with the password" if allowed["reauthenticate"] else ""
    span = format_span(allowed["byAtMostUSec"])
    return f"the {allowed['limit']} timeout, by {span} at most, {times} more time{'' if times == 1 else 's'}{password}"
