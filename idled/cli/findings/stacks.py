# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the PAM stacks by which people log in load pam_idled, and early enough.

A stack is what PAM makes of a service's file and all that it includes. What `pam_idled` is to logind's own module
decides how much a gap matters: sessions that pam_systemd tells logind of are found through logind all the same.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from .host import Finding, Host, error, listed, ok, warning

_OURS: Final = "pam_idled.so"
_LOGIND: Final = "pam_systemd.so"
_FOLDERS: Final = ("/etc/pam.d", "/usr/lib/pam.d")
#: What pam-auth-update makes, and of what it takes our line.
_COMMON: Final = "common-session"
_PROFILE: Final = "/usr/share/pam-configs/idled"
_MODULES: Final = ("usr/lib/*/security", "usr/lib/security", "usr/lib64/security", "lib/*/security", "lib/security")
#: By which sessions are opened, and the program without which a missing file is nobody's loss.
_LOGINS: Final = {"sshd": "/usr/sbin/sshd", "login": "/bin/login", "remote": "/usr/sbin/in.telnetd"}
#: Within a session, and part of it.
_WITHIN: Final = ("su", "su-l", "sudo", "sudo-i")
_DEEPEST: Final = 16
_LINE: Final = re.compile(r"-?(?P<kind>\w+)\s+(?P<control>\[[^]]*\]|\S+)\s+(?P<module>\S+)")
_BLIND_TO: Final = (
    "Sessions are then found through logind alone: nobody is told the limits at login, and no last resort ends a "
    "session while idled is down."
)


class Entry(NamedTuple):
    """One module of a stack, and the file that names it."""

    control: str
    module: str
    file: str


def stacks(host: Host) -> Iterator[Finding]:
    """What was found about the PAM stacks."""
    found = {service: stack for service in _LOGINS if (stack := _stack_of_login(host, service)) is not None}
    if not found:
        yield warning("pam", what="No PAM stack of sshd or login was found below /etc/pam.d.")
    registering = [name for name, stack in found.items() if _loads(stack, _OURS)]
    if registering:
        yield from _module(host, found)
    yield from _lacking(host, found)
    for service, stack in found.items():
        yield from _order(service, stack)
    if registering:
        yield ok("pam", what=f"pam_idled is in the PAM stack of {listed(registering)}.")
    within = {name: stack for name in _WITHIN if (stack := session_stack(host, name)) is not None}
    without = [name for name, stack in within.items() if not _loads(stack, _OURS)]
    if without:
        what = f"Without pam_idled, and rightly so: {listed(without)}. What is called within a session is part of it."
        yield ok("pam", what=what)


def session_stack(host: Host, service: str) -> list[Entry] | None:
    """The session part of a service's stack; None where the service has no file."""
    return list(_entries(host, service, 0)) if _is(host, service) else None


def _is(host: Host, service: str) -> bool:
    return _file(host, service) is not None


def _file(host: Host, name: str) -> str | None:
    if name.startswith("/"):
        return name
    return next((path for folder in _FOLDERS if host.has(path := f"{folder}/{name}")), None)


def _stack_of_login(host: Host, service: str) -> list[Entry] | None:
    """PAM takes the service ``other`` for one without a file."""
    if not _is(host, service) and host.has(_LOGINS[service]):
        return session_stack(host, "other")
    return session_stack(host, service)


def _entries(host: Host, name: str, depth: int) -> Iterator[Entry]:
    file = _file(host, name)
    if file is None or depth > _DEEPEST:
        return
    for line in (host.text(file) or "").replace("\\\n", " ").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("@include"):
            yield from _entries(host, line.removeprefix("@include").strip(), depth + 1)
            continue
        entry = _LINE.match(line)
        if entry is None or entry["kind"].lower() != "session":
            continue
        if entry["control"] in ("include", "substack"):
            yield from _entries(host, entry["module"], depth + 1)
        else:
            yield Entry(entry["control"], entry["module"].rpartition("/")[2], file)


def _place(stack: list[Entry], module: str) -> int | None:
    return next((at for at, entry in enumerate(stack) if entry.module == module), None)


def _loads(stack: list[Entry], module: str) -> bool:
    return _place(stack, module) is not None


def _module(host: Host, found: dict[str, list[Entry]]) -> Iterator[Finding]:
    """Whether what the stacks name is there."""
    if any(host.names(f"{folder}/{_OURS}") for folder in _MODULES):
        return
    mend = "Install idled again; or take it out of the stacks: pam-auth-update --remove idled"
    strict = [
        name
        for name, stack in found.items()
        if any(entry.module == _OURS and entry.control in ("required", "requisite") for entry in stack)
    ]
    if strict:
        what, why = f"{listed(strict)}: {_OURS} is required, and there is no such module.", "Nobody can log in there."
        yield error("pam", what=what, why=why, mend=mend)
    else:
        what = f"PAM is told to load {_OURS}, and there is no such module."
        yield warning("pam", what=what, why=_BLIND_TO, mend=mend)


def _lacking(host: Host, found: dict[str, list[Entry]]) -> Iterator[Finding]:
    lacking = [name for name, stack in found.items() if not _loads(stack, _OURS)]
    blind = [name for name in lacking if not _loads(found[name], _LOGIND)]
    seen = [name for name in lacking if name not in blind]
    if seen:
        what = f"pam_idled is not in the PAM stack of {listed(seen)}."
        yield warning("pam", what=what, why=_BLIND_TO, mend=_put_in(host, seen))
    if blind:
        what = f"Neither pam_idled nor pam_systemd is in the PAM stack of {listed(blind)}."
        why = "Nobody tells idled of sessions there. Those of sshd it finds within a minute, others never."
        yield error("pam", what=what, why=why, mend=_put_in(host, blind))


def _put_in(host: Host, services: list[str]) -> str:
    if host.has(_PROFILE) and not _loads(session_stack(host, _COMMON) or [], _OURS):
        return f"pam-auth-update --enable idled (which changes /etc/pam.d/{_COMMON}; the stack must include that)"
    files = listed([f"/etc/pam.d/{name}" for name in services])
    return f'Write the line "session optional pam_idled.so" into {files}, before pam_systemd.so where that is loaded.'


def _order(service: str, stack: list[Entry]) -> Iterator[Finding]:
    ours, logind = _place(stack, _OURS), _place(stack, _LOGIND)
    if ours is None:
        return
    if logind is not None and logind < ours:
        yield warning(
            "pam",
            what=f"{service}: pam_idled comes after pam_systemd.",
            why="When it can say which limits a session has, logind has already opened it without the last resort that "
            "ends it if idled is down.",
            mend=f"Move the line with pam_idled.so in {stack[ours].file} above the one with pam_systemd.so.",
        )
    skips = next((entry for at, entry in enumerate(stack[:ours]) if _may_skip(entry.control, ours - at)), None)
    if skips is not None:
        yield warning(
            "pam",
            what=f"{service}: pam_idled can be skipped: {skips.module} ({skips.control}) before it jumps over it.",
            why=_BLIND_TO,
            mend=f"Move the line with pam_idled.so in {skips.file} above that one.",
        )


def _may_skip(control: str, distance: int) -> bool:
    """Whether a module with this control may keep PAM from the one that stands so far below."""
    jumps = (int(jump) for jump in re.findall(r"=\s*(\d+)", control))
    return control == "sufficient" or re.search(r"=\s*done\b", control) is not None or max(jumps, default=0) >= distance
