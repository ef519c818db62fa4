# SPDX-License-Identifier: LGPL-2.1-or-later
"""A look in the midst of what the two sshd of a connection say to each other is taken again (timing, T13)."""

import pytest

from idled.core.model import SessionId
from idled.core.span import MIN

from .driver import Driver, policy

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


def test_what_never_rests_is_taken_as_it_is() -> None:
    driver = Driver(RULES)
    session = driver.open()
    driver.shown[session].amid = FOR_EVER
    driver.until(1000)
    assert driver.told()[0] == "900.31 hang-up idle"


def test_the_absolute_timeout_waits_for_nothing() -> None:
    driver = Driver(policy(absolute_timeout=15 * MIN, warn_before=()))
    driver.open(amid=FOR_EVER)
    driver.until(1000)
    assert driver.told()[0] == "900 hang-up absolute"
