# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counting the processes of the machine by what each has: how often, and who is found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from idled import clock, procfs
from idled.census import Census
from tests.terminal.bench import Child, until

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


def test_one_count_serves_all_that_asked_before(counted: Counted) -> None:
    asked_at = counted.now
    with Child(SHELL) as child:
        assert not counted.has(child.pid)
        assert counted.census.counted_since(asked_at)
        assert counted.census.counted_since(asked_at - 1)
        assert counted.has(child.pid)
    assert counted.times == 1


def test_who_asks_of_later_has_to_wait_four_times_as_long_as_a_count_takes(counted: Counted) -> None:
    with Child(SHELL) as one:
        assert counted.census.counted_since(counted.now)
        counted.now += 3_999
        with Child(SHELL) as two:
            asked_at = counted.now
            assert not counted.census.counted_since(asked_at)
            assert counted.has(one.pid) and not counted.has(two.pid), "what was counted is kept"
            counted.now += 1
            assert counted.census.counted_since(asked_at)
            assert counted.has(one.pid) and counted.has(two.pid)
    assert counted.times == 2


def test_who_has_gone_since_is_not_found(counted: Counted) -> None:
    with Child(SHELL) as child:
        assert counted.census.counted_since(0)
        assert counted.has(child.pid)
    until(lambda: procfs.process(child.pid) is None)
    assert not counted.has(child.pid)
    assert counted.times == 1


def test_what_forks_faster_than_it_is_read_may_be_anybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each list the newest has ended before it is read; seldom so (5 of 4,965 counts), and made to be so always."""
    one, pids = procfs.process(os.getpid()), count(1)
    assert one is not None
    monkeypatch.setattr(os, "listdir", lambda _: [str(next(pids))])
    monkeypatch.setattr(procfs, "process", lambda pid: one._replace(pid=pid, state="Z", threads=1))
    census = Census(lambda pid: pid)
    assert census.counted_since(clock.now())
    assert census.had(54_322)
