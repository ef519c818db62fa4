# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records for the journal: one event, one record, with its fields and a line that people can read.

To the journal where there is one (see ``native``); the same as JSON lines on stderr where there is none.
"""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from . import clock
from .core.events import Kind, Record
from .core.model import Reason
from .core.span import Usec, format_span
from .native import SOCKET, Native
from .words import clean

#: One for each kind; the catalog explains them. Made once with systemd-id128 new, never changed.
MESSAGE_IDS: Final[Mapping[Kind, str]] = {
    Kind.SESSION_OPENED: "d5ebb4c1113644158589fd53e852d8ab",
    Kind.LIMITS_SET: "ce4872658a0d4444987e6e4844f77b0b",
    Kind.ACTIVITY_FORGED: "e3c574f1df144bc1b5f314e17664c412",
    Kind.WARNED: "1ce4334d3f664ea6bcde7a7a76c6942e",
    Kind.WARNING_CLEARED: "f1c1850e64da42448079e311a82245ed",
    Kind.EXTENDED: "f57b224ee0e1483486b80a05e1b55e64",
    Kind.EXTENSION_REFUSED: "7ef38a88cd12497d95f8498d9f993f5b",
    Kind.WOULD_END: "32c53f35dc8e48cca249f9b398525417",
    Kind.ENDED: "cc9d5507484245b2ae23a85c662463fc",
    Kind.END_ESCALATED: "8e86f0fa52d7421fbbba3a9ede847c26",
    Kind.END_FAILED: "b272d2307f59446abd903d0f2d2cf3e2",
    Kind.SESSION_CLOSED: "cf46098a0ea048838f9e79facf4578c9",
    Kind.CLOCK_STEPPED: "9116e25ceb2b4af0b5367418451e0c4e",
    Kind.CONFIG_LOADED: "e9982cfa98204af4839e242276bf88af",
    Kind.CONFIG_REJECTED: "cfb579d445524aa6b074f2b4c57ed784",
    Kind.INPUT_REFUSED: "043b21a7d8b94117a7d85396478230c3",
    Kind.TROUBLE: "1ea6075ec62f41ab8dd9f55e3a834c4d",
    Kind.STARTED: "62056b62387a45d0b10a32651d6a2dbe",
    Kind.STOPPING: "6a626525814f4129926cf8ac94b3b79f",
}

_ERROR, _WARNING, _NOTICE, _INFO = 3, 4, 5, 6
_PRIORITY: Final = {
    Kind.END_FAILED: _ERROR,
    Kind.CONFIG_REJECTED: _ERROR,
    Kind.TROUBLE: _WARNING,
    Kind.INPUT_REFUSED: _WARNING,
    Kind.ACTIVITY_FORGED: _WARNING,
    Kind.END_ESCALATED: _WARNING,
    Kind.EXTENDED: _NOTICE,
    Kind.EXTENSION_REFUSED: _NOTICE,
    Kind.ENDED: _NOTICE,
    Kind.WOULD_END: _NOTICE,
    Kind.CLOCK_STEPPED: _NOTICE,
}


#: Of each kind of trouble so many are kept, so that one kind, which perhaps a user brings about, drives out no other.
_KEPT: Final = 5
_TROUBLES: Final = (Kind.END_FAILED, Kind.CONFIG_REJECTED, Kind.TROUBLE, Kind.INPUT_REFUSED)
#: Records that may wait for a follower.
_WAITING: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A record as it was written."""

    record: Record
    text: str
    priority: int
    wall_at: Usec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Follower:
    wants: Callable[[Record], bool]
    overrun: Callable[[], None]
    queue: asyncio.Queue[Written]


class Journal:
    """Where records go."""

    def __init__(self) -> None:
        self._native = Native(self._lost) if SOCKET.exists() else None
        self._troubles = {kind: deque[Written](maxlen=_KEPT) for kind in _TROUBLES}
        self._followers: list[_Follower] = []

    @property
    def health(self) -> tuple[bool, str]:
        """Whether records get to the journal, in words too."""
        if self._native is None:
            return False, "there is none; records go to stderr"
        stuck = self._native.stuck
        return not stuck, f"it takes nothing just now; records that wait: {stuck}" if stuck else "ok"

    def _lost(self, records: int) -> None:
        note = f"the journal took nothing for so long that the oldest records were lost: {records}"
        self.write(Record(kind=Kind.TROUBLE, note=note))

    @property
    def waiting(self) -> bool:
        """Whether there are records that the journal does not have yet."""
        return self._native is not None and self._native.waiting

    async def taken(self) -> None:
        """Wait until the journal has all records that were written."""
        if self._native is not None:
            await self._native.taken()

    def write(self, record: Record) -> None:
        """Write one record; a journal that cannot take it must not keep anyone from being ended."""
        written = Written(
            record=record, text=render(record), priority=_PRIORITY.get(record.kind, _INFO), wall_at=clock.wall()
        )
        fields = fields_of(record)
        try:
            if self._native is not None:
                known = {
                    "MESSAGE": written.text,
                    "MESSAGE_ID": MESSAGE_IDS[record.kind],
                    "PRIORITY": str(written.priority),
                    "SYSLOG_IDENTIFIER": "idled",
                }
                self._native.send(known | fields)
            else:
                line = {"REALTIME_USEC": written.wall_at, "MESSAGE": written.text, "PRIORITY": written.priority}
                print(json.dumps(line | fields), file=sys.stderr, flush=True)
        except (OSError, ValueError):
            pass
        if record.kind in self._troubles:
            self._troubles[record.kind].append(written)
        for follower in list(self._followers):
            self._pass_on(follower, written)

    def troubles(self) -> list[Written]:
        """What went wrong last, newest first."""
        found = [written for kept in self._troubles.values() for written in kept]
        return sorted(found, key=lambda written: written.wall_at, reverse=True)

    @contextmanager
    def followed(
        self, wants: Callable[[Record], bool], overrun: Callable[[], None]
    ) -> Iterator[asyncio.Queue[Written]]:
        """What is written from now on and wanted. Who leaves too much of it lying gets no more: `overrun` is called."""
        follower = _Follower(wants=wants, overrun=overrun, queue=asyncio.Queue(_WAITING))
        self._followers.append(follower)
        try:
            yield follower.queue
        finally:
            if follower in self._followers:
                self._followers.remove(follower)

    def _pass_on(self, follower: _Follower, written: Written) -> None:
        if not follower.wants(written.record):
            return
        try:
            follower.queue.put_nowait(written)
        except asyncio.QueueFull:
            self._followers.remove(follower)
            follower.overrun()


def fields_of(record: Record) -> dict[str, str]:
    """The structured fields of a record."""
    session, reason = record.session, record.reason
    limit = record.limits.timeout(reason) if record.limits and reason else None
    limit = None if limit is None else limit + (record.extra or 0)
    rule = record.limits.rule(reason) if record.limits and reason else None
    values = {
        "EVENT": record.kind.value,
        "SESSION": session and session.id,
        "LOGIND": session and session.logind,
        "USER": session and session.user,
        "UID": session and session.uid,
        "SERVICE": session and session.service,
        "TTY": " ".join(record.terminals) or (session and session.tty),
        "REMOTE": session and session.remote,
        "RULE": rule,
        "REASON": reason and reason.value,
        "LIMIT_USEC": limit,
        "IDLE_USEC": record.idle,
        "AGE_USEC": record.age,
        "ASKED_USEC": record.asked,
        "EXTRA_USEC": record.extra or None,
        "BY": record.by,
        "BY_UID": record.by_uid,
        "LATE_USEC": record.late,
        "TOOK_USEC": record.took,
        "SURVIVORS": None if record.survivors is None else len(record.survivors),
    }
    return {f"IDLED_{key}": str(value) for key, value in values.items() if value not in (None, "")}


def render(record: Record) -> str:
    """The record as one line for people."""
    text = _TEXT[record.kind](record)
    return f"{text}: {record.note}" if record.note else text


def _up(text: str) -> str:
    return text[0].upper() + text[1:]


def _who(record: Record) -> str:
    session = record.session
    if session is None:
        return "no session"
    origin = f" from {session.remote}" if session.remote else f" on {session.tty}" if session.tty else ""
    return f"session {session.name} of {session.user}{origin}"


def _why(record: Record) -> str:
    """The limit in words, with how far it was passed."""
    if record.reason is Reason.REQUEST:
        return f"by {record.by}"
    if record.limits is None or record.reason is None or record.reason is Reason.USER:
        return "with another session of the user"
    limit, rule = record.limits.timeout(record.reason), record.limits.rule(record.reason)
    extended = f", extended by {format_span(record.extra)}" if record.extra else ""
    said = f"{record.reason.value} limit {format_span(limit or 0)}, rule {rule!r}{extended}"
    if record.reason is Reason.IDLE and record.idle is not None:
        return f"idle for {format_span(record.idle)} ({said})"
    return f"open for {format_span(record.age or 0)} ({said})"


def _asked(record: Record) -> str:
    limit = record.reason.value if record.reason else "no"
    return f"the {limit} timeout of {_who(record)} by {format_span(record.asked or 0)} for {record.by}"


def _limits(record: Record) -> str:
    limits = record.limits
    if limits is None:
        return "none"
    spans = (("idle", limits.idle_timeout), ("absolute", limits.absolute_timeout))
    said = [f"{name} {'off' if span is None else format_span(span)}" for name, span in spans]
    rules = [rule for rule in (limits.rule(Reason.IDLE), limits.rule(Reason.ABSOLUTE)) if rule]
    return ", ".join(said) + (f" (rules {', '.join(dict.fromkeys(rules))})" if rules else "")


def _left(record: Record) -> str:
    left = record.survivors or ()
    shown = ", ".join(clean(name) for name in left[:8])
    return f"{len(left)} process{'' if len(left) == 1 else 'es'} left ({shown})"


_TEXT: Final[Mapping[Kind, Callable[[Record], str]]] = {
    Kind.SESSION_OPENED: lambda r: f"{_up(_who(r))} opened",
    Kind.LIMITS_SET: lambda r: f"Limits of {_who(r)}: {_limits(r)}",
    Kind.ACTIVITY_FORGED: lambda r: f"Forged activity in {_who(r)}",
    Kind.WARNED: lambda r: f"Warned {_who(r)}, ends in {format_span(r.ends_in or 0)}: {_why(r)}",
    Kind.WARNING_CLEARED: lambda r: f"Warning withdrawn from {_who(r)}",
    Kind.EXTENDED: lambda r: f"Extended {_asked(r)}",
    Kind.EXTENSION_REFUSED: lambda r: f"Refused to extend {_asked(r)}",
    Kind.WOULD_END: lambda r: f"Would end {_who(r)}: {_why(r)}",
    Kind.ENDED: lambda r: f"Ended {_who(r)}: {_why(r)}, took {format_span(r.took or 0)}",
    Kind.END_ESCALATED: lambda r: f"SIGKILL for {_who(r)}: {_left(r)}",
    Kind.END_FAILED: lambda r: f"Could not end {_who(r)}, trying again: {_left(r)}",
    Kind.SESSION_CLOSED: lambda r: f"{_up(_who(r))} closed after {format_span(r.age or 0)}",
    Kind.CLOCK_STEPPED: lambda r: f"The wall clock moved by {format_span(r.late or 0)}; no session is affected",
    Kind.CONFIG_LOADED: lambda r: "Policy loaded",
    Kind.CONFIG_REJECTED: lambda r: "Policy rejected",
    Kind.INPUT_REFUSED: lambda r: "Refused input",
    Kind.TROUBLE: lambda r: f"Trouble with {_who(r)}" if r.session else "Trouble",
    Kind.STARTED: lambda r: "Started",
    Kind.STOPPING: lambda r: "Stopping; sessions are left as they are",
}
