# SPDX-License-Identifier: LGPL-2.1-or-later
"""A look that is not clear is taken again (timing, T13).

It fell in the midst of what the two sshd of a connection say to each other, or it lacks what the one before showed, or
bytes waited to be read when the session was due.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from idled.core.events import Kind, Looked, Stepped
from idled.core.model import Mode, SessionId
from idled.core.span import MIN, SEC

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


def test_what_never_rests_is_taken_as_it_is_after_a_restart_too() -> None:
    driver = Driver(RULES)
    session = driver.open()
    driver.until(890)
    driver.restart(RULES)
    driver.shown[session].amid = FOR_EVER
    driver.looks.clear()
    driver.until(895)
    assert driver.looks[:6] == [890, 890.01, 890.03, 890.07, 890.15, 890.31]
    assert all(later - look > 1 for look, later in pairwise(driver.looks[5:]))


@pytest.mark.parametrize("looked_at", [899.7, 899.995, 900])
def test_the_absolute_timeout_waits_for_nothing(looked_at: float) -> None:
    driver = Driver(policy(absolute_timeout=15 * MIN, warn_before=()))
    driver.open(amid=FOR_EVER)
    driver.until(looked_at)
    driver.tell(Stepped(by=0))
    driver.until(1000)
    assert driver.told()[0] == "900 hang-up absolute"


# What waits to be read


def chatty(driver: Driver, **shown: Any) -> SessionId:
    """One whose client sends keepalives, at 899 s; what waits to be read there is no input yet (activity, 13)."""
    session = driver.open(**shown)
    keep_alive(driver, session)
    return session


def keep_alive(driver: Driver, session: SessionId) -> None:
    driver.until(890)
    driver.shown[session].chatter_at = driver.now
    driver.tell(Stepped(by=0))
    driver.until(899)


def arrive(driver: Driver, session: SessionId) -> None:
    """Some bytes."""
    driver.shown[session].chatter_at = driver.now
    driver.shown[session].unread = 36


@pytest.mark.parametrize(
    ("read_at", "ended"), [(899.9, "900"), (900.1, "900.15"), (900.5, "900.63"), (902, "902.55"), (1000, "902.55")]
)
def test_an_end_waits_for_what_is_not_read_yet_and_not_for_long(read_at: float, ended: str) -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    arrive(driver, session)
    driver.until(read_at)
    driver.shown[session].unread = 0
    driver.until(1000)
    assert driver.told()[0] == f"{ended} hang-up idle"


@pytest.mark.parametrize(("stopped_at", "ended"), [(899.9, "900"), (900.1, "900.15"), (900.7, "901.27")])
def test_an_end_does_not_wait_for_an_sshd_that_is_stopped(stopped_at: float, ended: str) -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    arrive(driver, session)
    driver.until(stopped_at)
    driver.shown[session].stopped = True
    driver.until(1000)
    assert driver.told()[0] == f"{ended} hang-up idle"


@pytest.mark.parametrize("read_at", [900.005, 900.2, 902.5])
def test_who_typed_what_is_read_then_stays(read_at: float) -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    driver.until(899.9)
    arrive(driver, session)
    driver.until(read_at)
    driver.shown[session].unread = 0
    driver.shown[session].sent += 1
    driver.until(1790)
    assert driver.told() == []
    driver.until(1803)
    assert driver.told()[0].startswith("1799.9")


@pytest.mark.parametrize(("read_at", "shows_at"), [(900.2, 900.4), (900.8, 901.5)])
def test_an_sshd_amid_what_it_has_just_read_is_waited_for_as_long(read_at: float, shows_at: float) -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    driver.until(899.9)
    arrive(driver, session)
    driver.until(read_at)
    shown = driver.shown[session]
    shown.unread = 0
    look = driver._look(shown)
    assert look is not None
    assert look.connection is not None
    shown.instead = [{"connection": replace(look.connection, moving=True)}]
    driver.until(shows_at)
    assert shown.instead == []
    shown.sent += 1
    driver.until(1790)
    assert driver.told() == []


@pytest.mark.parametrize("asked_every", [0.03, 0.1, 0.7])
def test_who_asks_meanwhile_shortens_nothing(asked_every: float) -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    arrive(driver, session)
    driver.until(900)
    asked_at = 900 + asked_every
    while asked_at < 902.5:
        driver.until(asked_at)
        driver.tell(Looked(id=session, look=driver._look(driver.shown[session])))
        asked_at += asked_every
    driver.until(1000)
    assert driver.told()[0] == "902.55 hang-up idle"


def test_who_asks_when_it_is_clear_need_not_wait() -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    arrive(driver, session)
    driver.until(901.5)
    driver.shown[session].unread = 0
    driver.tell(Looked(id=session, look=driver._look(driver.shown[session])))
    assert driver.told()[0] == "901.5 hang-up idle"


def test_after_a_restart_too() -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    driver.active(session)
    driver.until(1798)
    arrive(driver, session)
    driver.jump(1801)
    driver.restart(RULES)
    driver.until(1803)
    assert driver.told() == []
    driver.until(2000)
    assert driver.told()[0] == "1803.55 hang-up idle"


def test_what_waits_while_nothing_is_due_is_looked_at_as_ever() -> None:
    driver = Driver(RULES)
    session = chatty(driver)
    driver.active(session)
    driver.until(900)
    arrive(driver, session)
    driver.looks.clear()
    driver.until(1000)
    assert all(later - look >= 3 for look, later in pairwise(driver.looks))


def test_what_waits_where_nothing_can_be_due_is_no_matter() -> None:
    driver = Driver(policy(absolute_timeout=15 * MIN, warn_before=()))
    session = driver.open()
    arrive(driver, session)
    driver.tell(Looked(id=session, look=driver._look(driver.shown[session])))
    driver.until(1000)
    assert driver.told()[0] == "900 hang-up absolute"


def test_what_would_end_is_noted_once_whatever_waits() -> None:
    driver = Driver(policy(Mode.OBSERVE, idle_timeout=15 * MIN))
    session = chatty(driver)
    arrive(driver, session)
    driver.until(900)
    driver.looks.clear()
    driver.until(1000)
    assert [kind for kind in driver.kinds() if kind is Kind.WOULD_END] == [Kind.WOULD_END]
    assert driver.looks[:8] == [900.01, 900.03, 900.07, 900.15, 900.31, 900.63, 901.27, 902.55]
    assert all(later - look >= 3 for look, later in pairwise(driver.looks[7:]))


def test_the_absolute_timeout_does_not_wait_for_it() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN, absolute_timeout=15 * MIN + SEC, warn_before=()))
    session = chatty(driver)
    arrive(driver, session)
    driver.until(1000)
    assert driver.told()[0] == "901 hang-up idle"  # the earlier one


@pytest.mark.parametrize(("read_at", "ended"), [(908.1, "908.16"), (1000, "910.56")])
def test_a_terminal_that_is_fed_from_elsewhere_waits_for_what_is_not_read_there(read_at: float, ended: str) -> None:
    driver = Driver(RULES)
    driver.open(terminals=(replace(terminal("pts/0", T0), inner=True),))
    there = driver.open()
    driver.until(100)
    driver.active(there)  # it is not due itself
    keep_alive(driver, there)
    arrive(driver, there)
    driver.until(read_at)
    driver.shown[there].unread = 0
    driver.until(990)
    assert driver.told()[0] == f"{ended} hang-up idle"


@pytest.mark.parametrize("number", [2, 3, 5])
def test_sessions_that_may_feed_each_other_do_not_put_each_other_off_for_ever(number: int) -> None:
    driver = Driver(RULES)
    inner = (replace(terminal("pts/0", T0), inner=True),)
    first, *_ = [driver.open(terminals=inner) for _ in range(number)]
    driver.until(100)
    driver.shown[first].amid = 1
    driver.looks.clear()
    driver.tell(Stepped(by=0))
    driver.until(101)
    assert len(driver.looks) <= number * 2 * number


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
