# SPDX-License-Identifier: LGPL-2.1-or-later
"""The booted guests that tests share: one at a time, each release in turn, and nobody logged in between two tests.

Where no guest can boot, the tests are skipped with the reason.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import cycle, groupby

import pytest

from .image import RELEASES, ImageError
from .installed import Installed
from .machine import BootError, Machine, why_not

LONGEST = ("test_soak.py", "test_campaign.py", "test_engine_machine.py")
#: More than a minute of CPU in each release; there is more to spare once a campaign or soak has run.
HEAVY = "test_built_elsewhere_with_their_tests_they_are_the_same"
#: Of the files with many tests those that wait most.
WAITING = ("test_connections.py", "test_time.py")


@pytest.fixture(scope="session")
def guests() -> None:
    """Say that a test boots guests of its own."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    """Name each release in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def machine(guests: None, release: str) -> Iterator[Machine]:
    """Boot a guest of each release, with the project in it, for all tests that ask for one."""
    try:
        booted = Machine(release)
    except (BootError, ImageError) as error:
        pytest.skip(str(error))
    with booted:
        yield booted


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, and with what waits, each on a worker of its own.

    Workers start with even shares of all tests, and others can take from a share all but the test that runs and the
    next one; so next comes what is heavy and, where there is no more of that, the last test of all, a quick one. What
    waits is in the way of nothing that needs the CPU now, and at the end it would be all that is left.
    """
    longest = [item for item in items if item.path.name in LONGEST]
    waiting = [item for item in items if item.path.name in WAITING]
    rest = [item for item in items if item not in longest and item not in waiting]
    rest.sort(key=lambda item: getattr(item, "originalname", None) == HEAVY)
    firsts = [[one, *([rest.pop()] if rest else [])] for one in longest]
    firsts += [list(those) for _, those in groupby(waiting, lambda item: (item.path, _release(item)))]
    for first, start in zip(firsts, cycle(_shares(config, len(items))), strict=False):
        rest[start:start] = first
    items[:] = rest


def _release(item: pytest.Item) -> object:
    return item.callspec.params.get("release") if hasattr(item, "callspec") else None


def _shares(config: pytest.Config, size: int) -> list[int]:
    """Where each worker's share begins, as pytest-xdist divides them."""
    workers, starts = getattr(config, "workerinput", {}).get("workercount", 1), [0]
    for left in range(workers, 1, -1):
        starts.append(starts[-1] + (size - starts[-1]) // left)
    return starts


@pytest.fixture(autouse=True)
def nobody_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """End what a test left in the shared guest, so that the next one finds it empty."""
    yield
    if "machine" in request.fixturenames:
        shared: Machine = request.getfixturevalue("machine")
        shared.logout_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the journal of the guest that a failed test used."""
    report = yield
    shared = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(shared, Machine) and shared.alive:
        with suppress(Exception):  # a guest that cannot tell must not hide the failure
            report.sections.append((f"journal of {shared.release}", shared.journal_tail()))
    return report


@pytest.fixture
def idled(machine: Machine) -> Iterator[Installed]:
    """The project in the shared guest; the policy is put back to one without limits afterwards."""
    installed = Installed(machine)
    yield installed
    machine.sh("systemctl start idled.socket idled-varlink.socket idled")
    machine.logout_all()
    installed.limits()
