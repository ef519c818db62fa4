# SPDX-License-Identifier: LGPL-2.1-or-later
"""The core alone with a virtual clock: hours of thousands of sessions in seconds, and what they cost the real CPU.

No kernel and no daemon: what is looked at is made up, by the driver of the core's tests, whose own work counts, too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from idled.core.activity import Look
from idled.core.events import EndAsked
from idled.core.model import SessionId
from idled.core.span import MIN, SEC

from ..unit.core.driver import T0, Driver, Shown, policy

LIMIT = 15 * MIN
QUIET = 3 * MIN  # before anybody types: how long silence can last is known then
WARM = 20 * 60  # by then all are past their first looks, and due at moments of their own
HOUR = 3600
PARTS = 5  # of it, each a sample
ENDS = 5  # of all at once, each a sample
STEP = 5  # seconds of virtual time at once


class Typing(Driver):
    """Everybody is silent for a while, and then typed last some seconds before anybody looks."""

    chance: random.Random
    typing = True

    def _look(self, shown: Shown) -> Look | None:
        if self.typing and (shown.sent or self.now > shown.active_at + QUIET):
            shown.active_at = max(shown.active_at, self.now - self.chance.randrange(10 * SEC))
            shown.sent += 1
        return super()._look(shown)


def core(size: int, seed: int) -> dict[str, list[float]]:
    """Seconds of CPU: for an hour of typing, for one end, and for all ends when everybody has gone."""
    driver = Typing(policy(idle_timeout=LIMIT))
    driver.chance = random.Random(seed)
    _fill(driver, size)
    hour = [PARTS * _took(_live, driver, HOUR / PARTS) for _ in range(PARTS)]
    some = list(driver.shown)[:: max(1, size // 50)][:50]
    one = [_end_one(driver, id) for id in some]
    driver.reload(policy(idle_timeout=LIMIT, warn_before=()))  # nobody is warned, which is looked after in the guests
    all_of_them = [_end_all(driver, size)]
    while len(all_of_them) < ENDS:
        _fill(driver, size)
        all_of_them.append(_end_all(driver, size))
    return {"hour": hour, "one": one, "all": all_of_them}


def _fill(driver: Typing, size: int) -> None:
    """So many come, and type."""
    driver.typing = True
    for number in range(size):
        _live(driver, LIMIT / SEC / size)
        driver.open(f"user{number % 32}")
    _live(driver, WARM - LIMIT / SEC)


def _end_one(driver: Driver, id: SessionId) -> float:
    """And have another come, so that there are as many as before."""
    took = _took(driver.tell, EndAsked(id=id, by="root"))
    driver.open(driver.sessions[id].user)
    return took


def _end_all(driver: Typing, size: int) -> float:
    """Everybody goes at the same moment."""
    assert len(driver.engine.sessions()) == size
    driver.typing = False
    for shown in driver.shown.values():
        shown.active_at, shown.sent = driver.now, shown.sent + 1
    took = _took(_live, driver, 2 * LIMIT / SEC)
    assert not driver.engine.sessions()
    driver.shown.clear()
    return took


def _live(driver: Driver, seconds: float) -> None:
    at = (driver.now - T0) / SEC
    until = at + seconds
    while at < until:
        at = min(at + STEP, until)
        driver.until(at)
        for kept in (driver.actions, driver.records, driver.looks, driver.story):
            kept.clear()  # or the garbage collector would count the driver's memories again and again


def _took(act: Callable[..., None], *arguments: Any) -> float:
    began = time.process_time()
    act(*arguments)
    return time.process_time() - began
