# SPDX-License-Identifier: LGPL-2.1-or-later
"""Explain and ExplainLogin: how a session comes to its limits, and what is known of its activity, as views and words.

Nothing is decided here: which rule gives what is asked of ``core/policy``, what comes next of ``core/timing``.
"""

from collections.abc import Iterator
from typing import Any, Final

from .config import describe
from .core import timing
from .core.activity import Trace
from .core.extension import AT_LOGIN
from .core.model import Activity, Mode, Reason, Session, Unobserved
from .core.policy import Condition, Policy, Terminals
from .core.span import Usec, format_span
from .core.watch import Watch

View = dict[str, Any]

_KINDS: Final = {
    Activity.INPUT: "input",
    Activity.OUTPUT: "output of the session",
    Activity.TRAFFIC: "whatever goes into the session or comes out of it",
}


def rules(policy: Policy, session: Session, terminals: Terminals) -> list[View]:
    """Each rule as it answers for this session, in order."""
    return [
        {
            "name": asked.rule.name,
            "whyNot": "" if asked.missed is None else _why_not(asked.missed, session, terminals),
            "gives": [describe.setting(key, asked.rule.values[key]) for key in asked.gives],
            "overruled": [describe.setting(key, asked.rule.values[key]) for key in asked.overruled],
        }
        for asked in policy.ask(session, terminals)
    ]


def _why_not(missed: Condition, session: Session, terminals: Terminals) -> str:
    is_so = {
        "user": session.user,
        "group": ", ".join(sorted(session.groups)),
        "service": session.service,
        "remote": session.remote,
        "tty": ", ".join(terminals),
        "terminal": "true" if terminals else "false",
    }
    return f"{describe.condition(missed)}; here it is {is_so[missed.key] or 'none'}"


def terminals(trace: Trace, now: Usec) -> list[View]:
    """Each terminal as it was seen last."""
    return [
        {
            "name": terminal.name,
            "stampedUSec": max(0, now + (trace.offset or 0) - terminal.atime),
            "queued": terminal.queued,
            "believed": not terminal.doubted,
        }
        for terminal in trace.terminals
    ]


def connection(trace: Trace, address: str, now: Usec) -> View | None:
    """The SSH connection as it was seen last, if there is one."""
    seen = trace.connection
    if seen is None:
        return None
    view = {
        "address": address,
        "receivedUSec": max(0, now - seen.received_at),
        "sentUSec": max(0, now - seen.sent_at),
        "delivered": seen.delivered,
        "issued": seen.issued,
    }
    return {key: value for key, value in view.items() if value is not None}


def moments(watch: Watch, mode: Mode, now: Usec) -> list[View]:
    """What is to come if nothing changes."""
    return [
        {"what": "warn" if moment.lead else "end", "limit": moment.reason.value, "inUSec": moment.at - now}
        for moment in timing.moments(watch.memory, watch.limits, mode, watch.observed, now)
    ]


def activity(watch: Watch) -> list[str]:
    """What counts as activity in this session, and what that is told by."""
    return list(_activity(watch))


def _activity(watch: Watch) -> Iterator[str]:
    trace, limits = watch.memory.trace, watch.limits
    if not watch.observed:
        since_start = limits.unobserved is Unobserved.IDLE_FROM_START
        yield "nothing can be observed: " + (
            "it counts as idle since it was opened" if since_start else "no idle timeout"
        )
        return
    kinds = limits.activity or {Activity.INPUT if trace.terminals else Activity.TRAFFIC}
    yield "counts: " + ", ".join(text for kind, text in _KINDS.items() if kind in kinds)
    seen = trace.connection
    if seen is None:
        yield "told by the time stamps of its terminals, to 8 seconds"
    elif seen.delivered is None:
        yield "told by the time stamps of its terminals and by when its connection received the last packet"
    elif trace.terminals:
        yield "told by the bytes that its client delivers, where a terminal agrees"
    else:
        yield "told by the bytes that go in and out"
    for program in limits.hold_while:
        yield f"the idle timeout waits for {program} in the foreground"


def notes(watch: Watch) -> list[str]:
    """What was not believed, and what else should be known."""
    return list(_notes(watch))


def _notes(watch: Watch) -> Iterator[str]:
    trace, memory = watch.memory.trace, watch.memory
    if trace.forged:
        yield "activity was forged in it, and not counted: a time stamp that was set, or input that nobody sent"
    if trace.doubts:
        times = f"{trace.doubts} time{'' if trace.doubts == 1 else 's'}"
        yield f"time stamps that a program such as mesg can have set were seen {times}; it is watched closely"
    if trace.chatty:
        yield "its client sends more than it delivers (keepalives, hidden keystrokes); it is watched closely"
    if trace.coarse or (trace.connection is not None and trace.connection.delivered is None):
        yield "the bytes of its connection cannot be counted: its sshd is not OpenSSH, or /proc/PID/io cannot be read"
    if trace.holder:
        yield f"the idle timeout waits: {trace.holder} is in the foreground"
    if trace.told:
        yield "a line was written on its terminals, which does not count as output"
    if watch.limits.rule(Reason.ABSOLUTE) == AT_LOGIN:
        yield "logind was told at its login when to end it at the latest; no later policy moves that"
    for reason in timing.LIMITED:
        track = memory.track(reason)
        if track.extra:
            times = f"{track.grants} time{'' if track.grants == 1 else 's'} by its person"
            yield f"its {reason.value} timeout was extended by {format_span(track.extra)} in all, {times}"
        if track.not_before > trace.at:
            yield f"the {reason.value} limit is new to it, so there is time left to warn"
    if memory.ending is not None:
        yield "it is being ended"
