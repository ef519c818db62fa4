# SPDX-License-Identifier: LGPL-2.1-or-later
"""A terminal that is fed from another session of the same user: a tmux started here and attached to from there."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from idled.core.events import Kind
from idled.core.model import SessionId
from idled.core.span import MIN, SEC

from .driver import T0, Driver, policy, terminal

RULES = policy(idle_timeout=15 * MIN, warn_before=())


class Desk(Driver):
    """Two sessions, of which the first has a tmux in its terminal, which is used from the second."""

    def __init__(self, *, other: str = "alice", inner: bool = True) -> None:
        super().__init__(RULES)
        self.inner = inner
        self.here, self.there = self.open(), self.open(other)
        self.type(self.here, "pts/1")
        self.type(self.there, "pts/2")

    def type(self, id: SessionId, name: str) -> None:
        self.active(id)
        self.shown[id].terminals = (terminal("pts/0" if name == "pts/1" else name, self.now),)
        if name == "pts/1":
            self.stamp()

    def feed(self) -> None:
        """A key in the second that the first's tmux reads."""
        self.type(self.there, "pts/2")
        self.stamp()

    def stamp(self) -> None:
        own, *_ = self.shown[self.here].terminals
        self.shown[self.here].terminals = (own, replace(terminal("pts/1", self.now), inner=self.inner))

    def ended(self) -> list[float]:
        return [float(line.split()[0]) for line in self.told() if "hang-up" in line]


@pytest.mark.parametrize("pause", [20, 200, 800])
def test_who_types_there_is_here(pause: int) -> None:
    desk = Desk()
    for moment in range(pause, 7200, pause):
        desk.until(moment)
        desk.feed()
    desk.until(7200)
    assert desk.told() == []
    assert Kind.ACTIVITY_FORGED not in desk.kinds()
    desk.until(9000)
    last = 7200 - (7200 % pause or pause)
    here, there = sorted(desk.ended())
    assert last + 900 <= here <= there <= last + 900 + 9


def test_what_is_typed_there_while_the_stamp_here_cannot_move_counts() -> None:
    """The kernel moves it in steps of 8 s, and this one began at 800."""
    desk = Desk()
    desk.until(800)
    desk.type(desk.here, "pts/1")
    desk.until(804)
    desk.type(desk.there, "pts/2")
    desk.until(2000)
    assert all(804 + 900 <= moment <= 808 + 900 + 1 for moment in desk.ended())


def test_a_stamp_is_needed_all_the_same() -> None:
    desk = Desk()
    for moment in range(20, 2000, 20):
        desk.until(moment)
        desk.type(desk.there, "pts/2")
    (here,) = desk.ended()
    assert here <= 900 + 9


@pytest.mark.parametrize(
    ("desk", "does"),
    [
        pytest.param(Desk(), Desk.stamp, id="nobody types there"),
        pytest.param(Desk(other="bob"), Desk.feed, id="another user does"),
        pytest.param(Desk(inner=False), Desk.feed, id="it is the connection's own terminal"),
    ],
)
def test_a_stamp_that_nothing_there_explains_is_forged(desk: Desk, does: Callable[[Desk], None]) -> None:
    for moment in range(20, 2000, 20):
        desk.until(moment)
        does(desk)
    assert desk.ended()[0] <= 900 + 9
    assert desk.kinds().count(Kind.ACTIVITY_FORGED) == 1


def test_two_that_forge_do_not_hold_each_other() -> None:
    desk = Desk()
    for moment in range(20, 2000, 20):
        desk.until(moment)
        desk.stamp()
        desk.shown[desk.there].terminals = (terminal("pts/2", desk.now),)
    assert max(desk.ended()) <= 900 + 9
    assert desk.kinds().count(Kind.ACTIVITY_FORGED) == 2


def test_the_state_of_the_other_is_what_it_is_now() -> None:
    """Its last look may be long ago: it is looked at before this one is judged."""
    desk = Desk()
    desk.until(600)
    desk.shown[desk.there] = replace(desk.shown[desk.there], active_at=T0 + 595 * SEC, sent=9)
    desk.shown[desk.there].terminals = (terminal("pts/2", T0 + 595 * SEC),)
    own, _ = desk.shown[desk.here].terminals
    desk.shown[desk.here].terminals = (own, replace(terminal("pts/1", T0 + 595 * SEC), inner=True))
    desk.until(1400)
    assert desk.ended() == []
    desk.until(1600)
    assert all(595 + 900 <= moment <= 595 + 909 for moment in desk.ended())


def test_who_types_there_just_when_it_is_in_the_midst_of_something_is_here() -> None:
    desk = Desk()
    for moment in range(20, 400, 20):
        desk.until(moment)
        desk.feed()
    desk.until(1275)
    desk.feed()
    desk.shown[desk.there].amid = 3
    desk.until(2100)
    assert desk.ended() == []
    assert Kind.ACTIVITY_FORGED not in desk.kinds()
