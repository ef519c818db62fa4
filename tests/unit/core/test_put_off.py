# SPDX-License-Identifier: LGPL-2.1-or-later
"""A look that is not clear is taken again (timing, T13).

It fell in the midst of what the two sshd of a connection say to each other, or it lacks what the one before showed.
"""

from itertools import pairwise
from typing import Any

import pytest

from idled.core.events import Stepped
from idled.core.model import SessionId
from idled.core.span import MIN

from .driver import T0, Driver, policy, terminal

RULES = policy(idle_timeout=15 * MIN, warn_before=())
FOR_EVER = 1_000_000


def rekeying(driver: Driver, looks: int) -> SessionId:
    """One that rekeys a moment before it will be ended; so many looks find it amid."""
    session = driver.open()
    driver.until(899.5)
    driver.shown[session].chatter_at = driver.now
    driver.shown[session].amid = looks
    return session


@pytest.mark.parametrize(("looks", "ended"), [(0, "900"), (1, "900.01"), (3, "900.07"), (5, "900.31")])
def test_a_rekey_at_the_end_neither_spares_nor_delays_for_long(looks: int, ended: str) -> None:
    driver = Driver(RULES)
    rekeying(driver, looks)
    driver.until(1000)
    assert driver.told()[0] == f"{ended} hang-up idle"


def test_who_types_meanwhile_stays() -> None:
    driver = Driver(RULES)
    session = rekeying(driver, 5)
    driver.until(900.2)
    assert driver.told() == []
    driver.active(session)
    driver.until(1800)
    assert driver.told() == []
    driver.until(1801)
    assert driver.told()[0].startswith("1800.2")


def test_the_first_look_is_taken_as_it_is() -> None:
    driver = Driver(RULES)
    driver.open(amid=2)
    driver.until(1.5)
    assert driver.looks == [0, 1, 1.01]


@pytest.mark.parametrize("unclear", [{"amid": 1}, {"instead": [{"terminals": ()}]}], ids=["amid", "lacking"])
def test_the_first_look_after_a_restart_is_put_off_as_any(unclear: dict[str, Any]) -> None:
    driver = Driver(RULES)
    session = driver.open(terminals=(terminal("pts/0", T0),))
    driver.until(500)
    driver.restart(RULES)
    for name, value in unclear.items():
        setattr(driver.shown[session], name, value)
    driver.looks.clear()
    driver.until(501)
    assert driver.looks == [500, 500.01]


def test_what_never_rests_is_taken_as_it_is() -> None:
    driver = Driver(RULES)
    session = driver.open()
    driver.shown[session].amid = FOR_EVER
    driver.until(1000)
    assert driver.told()[0] == "900.31 hang-up idle"


@pytest.mark.parametrize("looked_at", [899.7, 899.995, 900])
def test_the_absolute_timeout_waits_for_nothing(looked_at: float) -> None:
    driver = Driver(policy(absolute_timeout=15 * MIN, warn_before=()))
    driver.open(amid=FOR_EVER)
    driver.until(looked_at)
    driver.tell(Stepped(by=0))
    driver.until(1000)
    assert driver.told()[0] == "900 hang-up absolute"


# What a look lacks

NO_TERMINAL: dict[str, Any] = {"terminals": ()}
NO_CONNECTION: dict[str, Any] = {"connection": None}


@pytest.mark.parametrize(("looks", "ended"), [(0, "908.01"), (1, "908.02"), (3, "908.08"), (5, "908.32")])
def test_a_terminal_that_is_not_found_at_the_end_neither_spares_nor_delays_for_long(looks: int, ended: str) -> None:
    driver = Driver(RULES)
    session = driver.open(exact=False, terminals=(terminal("pts/1", T0),))
    driver.until(907)
    driver.shown[session].instead = [NO_TERMINAL] * looks
    driver.until(1000)
    assert driver.told()[0] == f"{ended} hang-up idle"


def test_one_that_is_not_found_for_longer_was_perhaps_closed_by_a_person() -> None:
    driver = Driver(RULES)
    session = driver.open(exact=False, terminals=(terminal("pts/1", T0),))
    driver.until(907)
    driver.shown[session].instead = [NO_TERMINAL] * 6
    driver.until(2000)
    assert driver.told()[0] == "1808.32 hang-up idle"


@pytest.mark.parametrize(("looks", "ended"), [(1, "900.01"), (5, "900.31")])
@pytest.mark.parametrize("lacks", [NO_TERMINAL, NO_CONNECTION, NO_TERMINAL | NO_CONNECTION])
def test_what_is_not_found_at_the_end_of_an_ssh_session(lacks: dict[str, Any], looks: int, ended: str) -> None:
    driver = Driver(RULES)
    session = driver.open(terminals=(terminal("pts/1", T0),))
    driver.until(899)
    driver.shown[session].instead = [lacks] * looks
    driver.until(1000)
    assert driver.told()[0] == f"{ended} hang-up idle"


@pytest.mark.parametrize(("since", "ended"), [(0.5, "900"), (899, "900.31")])
def test_terminals_that_come_and_go_from_look_to_look_win_no_more(since: float, ended: str) -> None:
    driver = Driver(RULES)
    session = driver.open(terminals=(terminal("pts/0", T0),))
    driver.until(since)
    driver.shown[session].instead = [{"terminals": (terminal(f"pts/{n}", T0),)} for n in range(1, 10_000)]
    driver.until(1000)
    assert driver.told()[0] == f"{ended} hang-up idle"


def test_what_is_gone_for_good_is_looked_for_once() -> None:
    """As where a mosh-server runs in an SSH session: its connection tells nothing any more."""
    driver = Driver(RULES)
    session = driver.open(terminals=(terminal("pts/1", T0),))
    driver.until(100)
    driver.shown[session].exact = False
    driver.looks.clear()
    driver.until(1000)
    assert driver.looks[:6] == [122, 122.01, 122.03, 122.07, 122.15, 122.31]
    assert all(later - look >= 8 for look, later in pairwise(driver.looks[5:]))
    assert driver.told()[0] == "908.01 hang-up idle"


def test_what_is_found_again_may_be_looked_for_again() -> None:
    driver = Driver(RULES)
    session = driver.open(terminals=(terminal("pts/1", T0),))
    driver.until(100)
    driver.shown[session].instead = [NO_CONNECTION] * 6
    driver.until(900.4)
    driver.shown[session].instead = [{}, NO_CONNECTION]
    driver.looks.clear()
    driver.tell(Stepped(by=0))
    driver.tell(Stepped(by=0))
    driver.until(900.5)
    assert driver.looks == [900.4, 900.4, 900.41]
