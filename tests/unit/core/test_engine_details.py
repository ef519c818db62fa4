# SPDX-License-Identifier: LGPL-2.1-or-later
"""The engine in small: what it records, remembers and says at each step, and what it makes of what it does not know."""

from dataclasses import replace

import pytest

from idled.core.activity import ConnectionLook
from idled.core.events import EndAsked, ExtensionAsked, Kind, LookAt, Remember, Warn, Withdraw
from idled.core.extension import Request
from idled.core.model import Activity, Extent, Limits, Mode, Reason, SessionId
from idled.core.policy import Policy
from idled.core.span import MIN, SEC

from .driver import T0, Driver, policy, terminal

UNKNOWN = SessionId("boot", 9, 9)
IDLE = {"idle_timeout": 15 * MIN}


#: By root, of ten minutes.
EXTENSION = Request(limit=Reason.IDLE, by=10 * MIN, who="root", uid=0, privileged=True, note="a long build")


def test_the_limits_that_are_told() -> None:
    run = Driver(policy(**IDLE))
    limits = run.engine.limits(run.open())
    assert limits is not None and limits.idle_timeout == 15 * MIN
    assert run.engine.limits(UNKNOWN) is None


def test_a_session_that_no_rule_limits_is_recorded_so() -> None:
    run = Driver(Policy(mode=Mode.ENFORCE))
    id = run.open()
    assert run.kinds() == [Kind.SESSION_OPENED, Kind.LIMITS_SET]
    assert (run.records[-1].session, run.records[-1].limits) == (run.engine.sessions()[0], Limits())
    assert run.engine.limits(id) == Limits()


def test_a_warning_is_recorded_with_its_reason() -> None:
    run = Driver(policy(**IDLE, absolute_timeout=16 * MIN))
    run.open()
    run.until(870)
    warned = [(record.reason, record.ends_in) for record in run.records if record.kind is Kind.WARNED]
    assert warned == [(Reason.IDLE, 120 * SEC), (Reason.ABSOLUTE, 120 * SEC), (Reason.IDLE, 30 * SEC)]


# What is said when a warning no longer stands


@pytest.mark.parametrize(("absolute", "ends_at"), [(None, None), (60 * MIN, None), (16 * MIN, T0 + 960 * SEC)])
def test_who_came_back_is_told_of_the_end_that_was_announced_all_the_same(
    absolute: int | None, ends_at: int | None
) -> None:
    run = Driver(policy(**IDLE, absolute_timeout=absolute))
    id = run.open()
    run.until(850.5)
    run.active(id)
    run.until(852)
    assert run.actions.count(Withdraw(id=id, reason=Reason.IDLE, ends_at=ends_at)) == 1


@pytest.mark.parametrize("later", [20 * MIN, None])
def test_whose_absolute_timeout_grew_is_told_when_it_comes(later: int | None) -> None:
    run = Driver(policy(absolute_timeout=10 * MIN))
    id = run.open()
    run.until(500)
    run.reload(policy(absolute_timeout=later))
    ends_at = None if later is None else T0 + later
    assert run.actions.count(Withdraw(id=id, reason=Reason.ABSOLUTE, ends_at=ends_at)) == 1


def test_a_warning_is_no_output_of_the_session() -> None:
    run = Driver(policy(**IDLE, activity=frozenset({Activity.OUTPUT})))
    silent = ConnectionLook(
        received_at=T0, sent_at=T0, wire_in=3_000, wire_out=3_000, counted=811, delivered=0, issued=0
    )
    id = run.open(connection=silent, terminals=(terminal("pts/0", T0),))
    run.until(780)
    assert any(isinstance(action, Warn) for action in run.actions)
    run.shown[id].connection = replace(silent, sent_at=run.now, wire_out=3_200, issued=90)
    run.until(800)
    assert run.told() == ["780 warn idle 120"]


# What is asked for


def test_an_end_that_is_asked_for_and_not_heeded() -> None:
    run = Driver(policy(kill_after=3 * SEC))
    id = run.open(gone=False)
    run.until(100)
    run.tell(EndAsked(id=id, by="root", note="enough"))
    run.until(103)
    assert run.told() == ["100 hang-up request", "103 kill", "103 end-escalated request"]
    run.gone(id)
    ended = run.records[-1]
    assert (ended.kind, ended.by, ended.note) == (Kind.ENDED, "root", "enough")


def test_the_other_sessions_of_a_user_are_ended_as_thoroughly() -> None:
    run = Driver(policy(**IDLE, end=Extent.USER, kill_after=3 * SEC, warn_before=()))
    run.open()
    other = run.open(gone=False)
    run.until(890)
    run.active(other)
    run.until(903)
    assert run.told()[-3:] == ["900 ended idle", "903 kill", "903 end-escalated user"]


def test_what_is_asked_for_a_session_that_nobody_knows_does_nothing() -> None:
    run = Driver(policy(**IDLE))
    run.tell(EndAsked(id=UNKNOWN, by="root"))
    assert run.actions == []
    assert run.engine.refusal(UNKNOWN, EXTENSION, run.now) == "the session is over"


def test_an_extension_that_comes_after_the_session_is_refused_and_that_is_recorded() -> None:
    run = Driver(policy(**IDLE))
    id = run.open()
    run.closed(id)
    run.extend(id, EXTENSION)
    run.extend(id, EXTENSION, "wrong password")
    told = run.records[-2:]
    assert [record.kind for record in told] == [Kind.EXTENSION_REFUSED] * 2
    assert [record.note for record in told] == ["the session is over", "wrong password"]
    assert {(record.session.name, record.asked, record.by) for record in told if record.session} == {
        (run.sessions[id].name, 10 * MIN, "root")
    }
    assert id not in run.engine and id not in run.disk


def test_a_session_that_is_being_ended_cannot_be_extended() -> None:
    run = Driver(policy(**IDLE))
    id = run.open(gone=False)
    run.until(901)
    run.extend(id, EXTENSION)
    assert run.records[-1].kind is Kind.EXTENSION_REFUSED
    assert run.records[-1].note == "the session is being ended"


def test_an_extension_is_recorded_and_remembered_before_anything_else_happens() -> None:
    run = Driver(policy(**IDLE))
    id = run.open()
    record, remember, look = run.engine.handle(ExtensionAsked(session=run.sessions[id], request=EXTENSION), run.now)
    assert getattr(record, "kind", None) is Kind.EXTENDED
    assert (getattr(record, "by", None), getattr(record, "note", None)) == ("root", "a long build")
    assert isinstance(remember, Remember) and remember.memory.idle.extra == 10 * MIN
    assert look == LookAt(id=id)


def test_what_would_have_ended_is_noted_again_when_its_limit_was_extended() -> None:
    run = Driver(policy(Mode.OBSERVE, **IDLE))
    id = run.open()
    run.until(1000)
    run.extend(id, EXTENSION)
    run.until(2000)
    assert run.told() == ["900 would-end idle", "1500 would-end idle"]


# Reloads


def test_a_reload_changes_what_comes_after_a_session_that_is_being_ended() -> None:
    run = Driver(policy(**IDLE))
    run.open(gone=False)
    run.until(600)
    other = run.open()
    run.until(901)
    run.reload(policy(idle_timeout=5 * MIN))
    assert run.status(other).limits.idle_timeout == 5 * MIN


def test_what_a_reload_changed_is_remembered_though_the_look_is_put_off() -> None:
    run = Driver(policy(**IDLE))
    id = run.open()
    run.until(600)
    run.shown[id].amid = 1
    run.reload(policy(idle_timeout=5 * MIN))
    assert run.disk[id].idle.timeout == 5 * MIN
