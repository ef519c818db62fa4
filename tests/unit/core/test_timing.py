# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each rule of time (T1 to T12) by itself. Moments and spans are seconds."""

from dataclasses import replace
from typing import Final

import pytest

from idled.core import timing
from idled.core.activity import first_trace
from idled.core.events import Ending, Memory, Track
from idled.core.model import Limits, Mode, Reason, Session, SessionId
from idled.core.span import SEC, Usec

OPENED: Final = 1000
IDLE, ABSOLUTE = Reason.IDLE, Reason.ABSOLUTE


def usec(seconds: float | None) -> Usec | None:
    return None if seconds is None else round(seconds * SEC)


def at(seconds: float) -> Usec:
    return round(seconds * SEC)


def memory(
    *, active: float = OPENED, looked: float = 1100, idle: Track | None = None, absolute: Track | None = None
) -> Memory:
    session = Session(id=SessionId("boot", 100, 1), user="alice", uid=1000, opened_at=at(OPENED))
    trace = replace(first_trace(session.opened_at), active_until=at(active), at=at(looked))
    return Memory(session=session, trace=trace, idle=idle or Track(), absolute=absolute or Track())


def limits(idle: float | None = 900, absolute: float | None = None, leads: tuple[float, ...] = (120, 30)) -> Limits:
    return Limits(
        idle_timeout=usec(idle), absolute_timeout=usec(absolute), warn_before=tuple(at(lead) for lead in leads)
    )


def track(
    *, timeout: float | None = None, warned: float | None = None, not_before: float = 0, noted: bool = False
) -> Track:
    return Track(timeout=usec(timeout), warned=usec(warned), not_before=at(not_before), noted=noted)


@pytest.mark.parametrize(
    ("reason", "given", "observed", "due"),
    [
        (IDLE, limits(900), True, 1950),
        (IDLE, limits(900), False, None),  # T2
        (IDLE, limits(None), True, None),
        (ABSOLUTE, limits(absolute=3600), True, 4600),
        (ABSOLUTE, limits(absolute=3600), False, 4600),
        (ABSOLUTE, limits(absolute=None), True, None),
    ],
)
def test_due(reason: Reason, given: Limits, observed: bool, due: float | None) -> None:
    assert timing.due_at(memory(active=1050), given, reason, observed) == usec(due)


@pytest.mark.parametrize(("not_before", "due"), [(1949, 1950), (2000, 2000)])
def test_due_after_a_respite(not_before: float, due: float) -> None:
    held = memory(active=1050, idle=track(not_before=not_before))
    assert timing.due_at(held, limits(), IDLE, True) == at(due)
    held = memory(absolute=track(not_before=5000))
    assert timing.due_at(held, limits(absolute=3600), ABSOLUTE, True) == at(5000)


@pytest.mark.parametrize(("warned", "pending"), [(None, 120), (120, 30), (60, 30), (30, None), (10, None)])
def test_pending_lead(warned: float | None, pending: float | None) -> None:
    assert timing.pending_lead(track(warned=warned), (at(120), at(30))) == usec(pending)


@pytest.mark.parametrize(
    ("warned", "now", "lead"),
    [
        (None, 1829.9, None),
        (None, 1830, 120),
        (None, 1919.9, 120),
        (None, 1920, 30),  # one stands for both
        (None, 1949, 30),
        (120, 1830, None),
        (120, 1919.9, None),
        (120, 1920, 30),
        (30, 1949, None),
    ],
)
def test_lead_reached(warned: float | None, now: float, lead: float | None) -> None:
    reached = timing.lead_reached(track(warned=warned), (at(120), at(30)), at(1950), at(now))
    assert reached == usec(lead)


@pytest.mark.parametrize(
    ("idle", "leads", "left"), [(900, (120, 30), [120, 30]), (120, (120, 30), [30]), (30, (30,), []), (None, (30,), [])]
)
def test_leads_that_are_not_shorter_than_the_limit(
    idle: float | None, leads: tuple[float, ...], left: list[float]
) -> None:
    assert limits(idle, leads=leads).leads(IDLE) == tuple(at(lead) for lead in left)


@pytest.mark.parametrize(
    ("warned", "due", "void"),
    [
        (None, 1950, False),
        (120, 1950, False),
        (120, 1970, False),
        (120, 1970.1, True),
        (120, None, True),
        (None, None, False),
    ],
)
def test_warning_is_void(warned: float | None, due: float | None, void: bool) -> None:
    assert timing.warning_is_void(track(warned=warned), usec(due), at(1850)) is void


NO_LIMITS: Final = limits(None)


@pytest.mark.parametrize(
    ("held", "given", "mode", "observed", "next_at"),
    [
        (memory(), NO_LIMITS, Mode.ENFORCE, True, None),
        (memory(active=1050), limits(), Mode.ENFORCE, True, 1830),
        (memory(active=1050, idle=track(warned=120)), limits(), Mode.ENFORCE, True, 1101),  # T6
        (memory(active=1050), limits(leads=()), Mode.ENFORCE, True, 1950),
        (memory(active=1050), limits(), Mode.OBSERVE, True, 1950),  # T9
        (memory(active=1050, idle=track(noted=True)), limits(), Mode.OBSERVE, True, None),
        (memory(active=1050), limits(absolute=600), Mode.ENFORCE, True, 1480),
        (memory(absolute=track(warned=120)), limits(None, 600), Mode.ENFORCE, True, 1570),
        (memory(absolute=track(warned=30)), limits(None, 600), Mode.ENFORCE, True, 1600),
        (memory(absolute=track(noted=True)), limits(None, 600), Mode.OBSERVE, True, None),
        (memory(), limits(), Mode.ENFORCE, False, 1160),  # T10: each minute
        (memory(), limits(150), Mode.ENFORCE, False, 1130),  # before the first warning could be due
        (memory(), limits(20, leads=()), Mode.ENFORCE, False, 1120),  # before the end could be
        (memory(), limits(None, 600), Mode.ENFORCE, False, 1480),
        (memory(looked=1000), limits(), Mode.ENFORCE, True, 1001),  # T11: young
        (memory(looked=1000.5), limits(), Mode.ENFORCE, True, 1001.5),
        (memory(looked=1002), limits(), Mode.ENFORCE, True, 1004),
        (memory(looked=1010), limits(), Mode.ENFORCE, True, 1013),
        (memory(looked=1059.9), limits(), Mode.ENFORCE, True, 1062.9),
        (memory(looked=1060), limits(), Mode.ENFORCE, True, 1780),
        (memory(looked=1010), limits(None), Mode.ENFORCE, True, None),
    ],
)
def test_next_look(held: Memory, given: Limits, mode: Mode, observed: bool, next_at: float | None) -> None:
    assert timing.next_at(held, given, mode, observed) == usec(next_at)


@pytest.mark.parametrize("evidence", [{"chatty": 1}, {"doubts": 1}])
def test_what_is_blurred_is_looked_at_often(evidence: dict[str, int]) -> None:
    held = memory()
    held = replace(held, trace=replace(held.trace, **evidence))  # type: ignore[arg-type]
    assert timing.next_at(held, limits(), Mode.ENFORCE, True) == at(1103)
    assert timing.next_at(held, NO_LIMITS, Mode.ENFORCE, True) is None


@pytest.mark.parametrize(
    ("old", "enforce", "due", "now", "not_before"),
    [
        (None, True, 1950, 1940, 2060),  # set: as if enforced only now
        (1800, True, 1950, 1940, 2060),  # shortened
        (1800, True, 1950, 2500, 2620),  # shortened, and over long since
        (1800, True, 2060, 1940, 0),  # time enough is left
        (1800, True, 2059, 1940, 2060),
        (900, True, 1950, 1940, 0),  # as before
        (600, True, 1950, 1940, 0),  # longer than before
        (1800, False, 1950, 1940, 0),  # not enforced
        (1800, True, 1950, None, 0),  # by what a user did
        (1800, True, None, 1940, 0),  # never due
    ],
)
def test_respite(old: float | None, enforce: bool, due: float | None, now: float | None, not_before: float) -> None:
    new = timing.put_in_force(track(timeout=old), limits(900), IDLE, enforce=enforce, due=usec(due), now=usec(now))
    assert new == track(timeout=900 if enforce else None, not_before=not_before)


def test_no_respite_where_nobody_is_warned() -> None:
    new = timing.put_in_force(track(), limits(900, leads=()), IDLE, enforce=True, due=at(1000), now=at(1940))
    assert new.not_before in (0, at(1940))


def test_a_limit_that_is_lifted() -> None:
    new = timing.put_in_force(track(timeout=900, warned=30), limits(None), IDLE, enforce=True, due=None, now=at(1940))
    assert new == track(timeout=None, warned=30)


@pytest.mark.parametrize(
    ("killed", "failed", "next_at"),
    [(None, False, 2005), (2005, False, 3001), (2005, True, 3005)],
)
def test_next_kill(killed: float | None, failed: bool, next_at: float) -> None:
    ending = Ending(reason=IDLE, due_at=at(2000), started_at=at(2000), killed_at=usec(killed), failed=failed)
    assert timing.next_kill_at(ending, Limits(kill_after=at(5)), at(3000)) == at(next_at)


def test_a_session_without_evidence_is_looked_at_each_second_at_most() -> None:
    held, given = memory(), limits()
    given = replace(given, idle_timeout=max(given.warn_before) + 1)
    assert timing.next_at(held, given, Mode.OBSERVE, False) == held.trace.at + SEC
