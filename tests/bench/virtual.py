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

from ..unit.core.driver import Driver, Shown, policy

LIMIT = 15 * MIN
QUIET = 3 * MIN  # before anybody types: how long silence can last is known then
WARM = 20 * 60  # by then all are past their first looks, and due at moments of their own
HOUR = 3600
PARTS = 5  # of it, each a sample
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
    for number in range(size):
        driver.until(number / size * LIMIT / SEC)
        driver.open(f"user{number % 32}")
    _live(driver, WARM)
    parts = range(WARM + HOUR // PARTS, WARM + HOUR + 1, HOUR // PARTS)
    hour = [PARTS * _took(_live, driver, at) for at in parts]
    some = list(driver.shown)[:: max(1, size // 50)][:50]
    one = [_end_one(driver, id) for id in some]
    driver.typing = False  # nobody is warned, which is looked after in the guests
    for shown in driver.shown.values():
        shown.active_at, shown.sent = driver.now, shown.sent + 1
    driver.reload(policy(idle_timeout=LIMIT, warn_before=()))
    left = len(driver.engine.sessions())
    all_of_them = _took(_live, driver, WARM + HOUR + 2 * LIMIT // SEC)
    assert left == size and not driver.engine.sessions()
    return {"hour": hour, "one": one, "all": [all_of_them]}


def _end_one(driver: Driver, id: SessionId) -> float:
    """And have another come, so that there are as many as before."""
    took = _took(driver.tell, EndAsked(id=id, by="root"))
    driver.open(driver.sessions[id].user)
    return took


def _live(driver: Driver, until: float) -> None:
    at = (driver.now - 50_000 * SEC) / SEC
    while at < until:
        at = min(at + STEP, until)
        driver.until(at)
        for kept in (driver.actions, driver.records, driver.looks, driver.story):
            kept.clear()  # or the garbage collector would count the driver's memories again and again


def _took(act: Callable[..., None], *arguments: Any) -> float:
    began = time.process_time()
    act(*arguments)
    return time.process_time() - began
