# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counting the processes of the machine by what each has: how often, and who is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from idled import clock, procfs
from idled.census import Census
from idled.core.model import Extent
from idled.members import concerned
from tests.terminal.bench import Child, handle_of, until

SHELL = ["sh", "-c", "echo $$; read line"]


class Counted:
    """A census of which it is known how often it counts, with a clock that stands still but while it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times, self.now = 0, 1_000_000
        monkeypatch.setattr(clock, "now", lambda: self.now)
        self._processes = procfs.processes
        monkeypatch.setattr(procfs, "processes", self._count)
        self.census = Census(lambda pid: pid)

    def _count(self) -> Iterator[procfs.Process]:
        self.times += 1
        self.now += 1_000
        return self._processes()

    def has(self, pid: int) -> bool:
        return [process.pid for process in self.census.of(pid)] == [pid]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_one_count_serves_for_four_times_as_long_as_it_took(counted: Counted) -> None:
    with Child(SHELL) as one:
        assert counted.has(one.pid)
        with Child(SHELL) as two:
            counted.now += 3_999
            assert counted.has(one.pid) and not counted.has(two.pid)
            assert counted.times == 1
            counted.now += 1
            assert counted.has(one.pid) and counted.has(two.pid)
            assert counted.times == 2


def test_who_has_gone_since_is_not_found(counted: Counted) -> None:
    with Child(SHELL) as child:
        assert counted.has(child.pid)
    until(lambda: procfs.process(child.pid) is None)
    assert not counted.has(child.pid)
    assert counted.times == 1


def test_many_sessions_without_a_cgroup_share_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.members._BY_UID", Census(procfs.real_uid))
    times, processes = [], procfs.processes

    def count() -> Iterator[procfs.Process]:
        times.append(1)
        return processes()

    monkeypatch.setattr(procfs, "processes", count)
    with Child(SHELL) as child:
        for _ in range(20):
            assert child.pid in {found.pid for found in concerned(handle_of(child.process, uid=1), Extent.USER)}
    assert len(times) < 10
