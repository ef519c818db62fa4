# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a session stands, as `idlectl list` and `idlectl me` tell it."""

import pytest

from idled.core.events import EndAsked
from idled.core.extension import Request
from idled.core.model import Allowance, Mode, Reason, SessionId
from idled.core.policy import Policy
from idled.core.span import HOUR, MIN

from .driver import Driver, policy

TWICE = Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR, times=2)
RULES = policy(absolute_timeout=10 * HOUR, extend=TWICE)


def extend(run: Driver, id: SessionId, *, privileged: bool = False) -> None:
    run.extend(id, Request(limit=Reason.ABSOLUTE, by=MIN, who="alice", uid=1000, privileged=privileged))


def test_how_often_a_person_may_still_extend_the_session() -> None:
    run = Driver(RULES)
    id = run.open(gone=False)
    left = [run.status(id).times_left]
    extend(run, id, privileged=True)
    for _ in range(3):
        left.append(run.status(id).times_left)
        extend(run, id)
    assert left == [2, 2, 1, 0]
    run.reload(policy(absolute_timeout=10 * HOUR, extend=Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR, times=1)))
    assert run.status(id).times_left == 0


@pytest.mark.parametrize("rules", [policy(extend=TWICE), policy(absolute_timeout=HOUR)])
def test_where_there_is_nothing_to_extend_it_cannot_be(rules: Policy) -> None:
    run = Driver(rules)
    assert run.status(run.open()).times_left == 0


def test_what_is_being_ended_cannot_be_extended() -> None:
    run = Driver(RULES)
    id = run.open(gone=False)
    run.tell(EndAsked(id=id, by="root"))
    assert run.status(id).times_left == 0


def test_who_types_just_now_is_not_idle() -> None:
    run = Driver(policy(idle_timeout=15 * MIN))
    id = run.open()
    assert run.status(id).idle == 0
    run.until(30)
    assert run.status(id).idle == 30_000_000


@pytest.mark.parametrize("mode", Mode)
def test_a_session_without_limits_is_never_warned_of_any(mode: Mode) -> None:
    run = Driver(policy(mode))
    status = run.status(run.open())
    assert (status.due_at, status.reason, status.warn_at, status.warned) == (None, None, None, False)
