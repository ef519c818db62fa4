# SPDX-License-Identifier: LGPL-2.1-or-later
"""What follows where activity could not be seen for a while, or not at all; each is a case that looks show rarely."""

from dataclasses import replace

import pytest

from idled.core.activity import follow
from idled.core.events import Kind
from idled.core.model import Unobserved
from idled.core.span import MIN

from .driver import Driver, policy
from .test_activity import BLOCK_END, Seen, told, touch, usec


def test_who_cannot_be_seen_is_idle_from_the_start_where_a_rule_says_so() -> None:
    run = Driver(policy(idle_timeout=15 * MIN, unobserved=Unobserved.IDLE_FROM_START))
    run.open(blind=True)
    run.until(900)
    assert run.told() == [
        "780 warn idle 120",
        "870 warn idle 30",
        "900 hang-up idle",
        "900 release",
        "900 ended idle",
    ]


def test_what_was_typed_while_the_connection_could_not_be_read_may_be_read_later() -> None:
    seen = Seen()
    seen.connected = False
    seen.look(1150)
    seen.connected = True
    seen.read(1200)
    assert seen.active(1250) == 1150


def test_what_was_typed_before_another_process_is_counted_was_perhaps_typed() -> None:
    seen = Seen()
    seen.read(1100)
    seen.wire = replace(seen.wire, counted=900, delivered=0, issued=0, received_at=usec(1100))
    assert seen.active(1150) == told(1100)


def test_the_traffic_of_a_time_in_which_another_process_came_to_be_counted() -> None:
    seen = Seen(ptys=0)
    seen.connected = False
    seen.look(1150)
    seen.connected = True
    seen.wire = replace(seen.wire, counted=900, delivered=0, issued=0)
    assert seen.active(1200) == 1150


@pytest.mark.parametrize("exact", [True, False])
def test_activity_elsewhere_without_a_sign_here_is_none(exact: bool) -> None:
    seen = Seen(ptys=2, exact=exact)
    seen.change(1, inner=True)
    trace = follow(seen.trace, seen.shows(1200), elsewhere_until=usec(1150))
    assert trace.active_until <= usec(1008 + BLOCK_END)


def test_two_doubtful_stamps_on_a_console_are_not_called_forged_later() -> None:
    seen = Seen(wire=False)
    for at in (1100.0, 1200.0):
        seen.change(atime=seen.wall(at), ctime=seen.wall(at))
        seen.look(at + 50)
    seen.read(1300)
    assert not seen.look(1350).forged
    touch(seen)
    assert seen.look(1400).forged


@pytest.mark.parametrize(("before", "forged"), [(1.0, False), (1.01, True)])
def test_a_sign_is_fed_from_elsewhere_within_a_second_of_its_block(before: float, forged: bool) -> None:
    seen = Seen(ptys=2)
    seen.change(1, inner=True)
    for block in (1104.0, 1208.0):
        seen.read(block, 1)
        seen.trace = follow(seen.trace, seen.shows(block + 1), elsewhere_until=usec(block - before))
    assert seen.trace.forged is forged


@pytest.mark.parametrize(("size", "counts"), [(1, True), (4, True), (5, False)])
def test_keys_that_leave_no_sign_are_fewer_bytes_than_an_agent_ever_answers(size: int, counts: bool) -> None:
    seen = Seen()
    seen.net(1100, into=size)
    assert (seen.active(1900) == told(1100)) is counts


def test_a_connection_whose_bytes_cannot_be_counted_is_told_of_once_it_has_settled() -> None:
    run = Driver(policy(idle_timeout=15 * MIN))
    run.open(connection=Seen(exact=False).wire)
    run.until(9.9)
    assert Kind.TROUBLE not in run.kinds()
    run.until(10)
    assert run.records[-1].kind is Kind.TROUBLE
    assert run.records[-1].note.startswith("what its client sends cannot be counted (its sshd is not OpenSSH")
    run.until(100)
    assert run.kinds().count(Kind.TROUBLE) == 1
