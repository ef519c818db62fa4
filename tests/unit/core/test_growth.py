# SPDX-License-Identifier: LGPL-2.1-or-later
"""What something costs does not grow with how many sessions there are: counted in lines of the core, not in time."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import idled.core
from idled.core.events import EndAsked, Looked, Scanned, Stepped
from idled.core.extension import Request
from idled.core.model import Reason, SessionId
from idled.core.span import MIN

from .driver import T0, Driver, policy, terminal

CORE = str(Path(idled.core.__file__).parent)
RULES = policy(idle_timeout=15 * MIN)
FEW, MANY = 10, 100


def lines(does: Callable[[], object]) -> int:
    """How many lines of the core are run."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename.startswith(CORE) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        does()
    finally:
        sys.settrace(before)
    return count


def crowd(size: int) -> tuple[Driver, list[SessionId]]:
    """Sessions of as many people, opened together, that are due together at 900 s."""
    driver = Driver(RULES)
    sessions = [driver.open(f"user{n}", terminals=(terminal("pts/0", T0),)) for n in range(size)]
    driver.until(100)
    return driver, sessions


TO_ONE: dict[str, Callable[[Driver, SessionId], object]] = {
    "one is opened": lambda driver, _: driver.open("new"),
    "one is looked at": lambda driver, id: driver.tell(Looked(id=id, look=driver._look(driver.shown[id]))),
    "one is asked for": lambda driver, id: driver.status(id),
    "one is extended": lambda driver, id: driver.extend(
        id, Request(limit=Reason.IDLE, by=MIN, uid=0, who="root", privileged=True)
    ),
    "one is closed": lambda driver, id: driver.closed(id),
    "one is ended": lambda driver, id: driver.tell(EndAsked(id=id, by="root", note="")),
}
TO_ALL: dict[str, Callable[[Driver], object]] = {
    "all are looked at": lambda driver: driver.tell(Stepped(by=0)),
    "those are looked at of which nothing is seen": lambda driver: driver.tell(Scanned()),
    "all get new limits": lambda driver: driver.reload(policy(idle_timeout=10 * MIN)),
    "all go on after a restart": lambda driver: driver.restart(RULES),
    "all are ended": lambda driver: driver.until(1000),
}


@pytest.mark.parametrize("what", TO_ONE)
def test_what_happens_to_one_costs_the_same_among_any_number(what: str) -> None:
    def cost(size: int) -> int:
        driver, sessions = crowd(size)
        return lines(lambda: TO_ONE[what](driver, sessions[size // 2]))

    assert 0 < cost(MANY) <= cost(FEW)


@pytest.mark.parametrize("what", TO_ALL)
def test_what_happens_to_all_costs_each_the_same_among_any_number(what: str) -> None:
    def cost(size: int) -> float:
        driver, _ = crowd(size)
        return lines(lambda: TO_ALL[what](driver)) / size

    assert 0 < cost(MANY) <= cost(FEW)
