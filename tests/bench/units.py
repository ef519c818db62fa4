# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a service of a guest spends, as the kernel counts it for its cgroup: seen from outside, so it costs nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..guest.machine import Machine

HOUR = 3600


@dataclass(frozen=True)
class Spent:
    """In one window of time: seconds of CPU and wakeups, both for each hour of it."""

    cpu: float
    wakeups: float


class Unit:
    """A service that runs."""

    def __init__(self, machine: Machine, name: str) -> None:
        self._folder = machine.root / "system.slice" / f"{name}.service"

    def cpu(self) -> float:
        """Seconds since it was started, those of its children too."""
        return _number(self._folder / "cpu.stat", "usage_usec") / 1e6

    def wakeups(self) -> int:
        """How often it has gone to sleep by itself."""
        tasks = (task for pid in self._pids() for task in Path(f"/proc/{pid}/task").iterdir())
        return sum(_number(task / "status", "voluntary_ctxt_switches:") for task in tasks)

    def rss(self) -> int:
        """kB in memory."""
        return sum(_number(Path(f"/proc/{pid}/status"), "VmRSS:") for pid in self._pids())

    def windows(self, count: int, seconds: float) -> Iterator[Spent]:
        """What it spends in so many windows, one after the other."""
        for _ in range(count):
            cpu, wakeups, began = self.cpu(), self.wakeups(), time.monotonic()
            time.sleep(seconds)
            share = HOUR / (time.monotonic() - began)
            yield Spent((self.cpu() - cpu) * share, (self.wakeups() - wakeups) * share)

    def _pids(self) -> list[str]:
        return (self._folder / "cgroup.procs").read_text().split()


def _number(path: Path, name: str) -> int:
    words = path.read_text().split()
    return int(words[words.index(name) + 1])
