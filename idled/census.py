# SPDX-License-Identifier: LGPL-2.1-or-later
"""All processes of the machine by a number that each has, for what no cgroup tells.

To read all of /proc for each of many sessions that end at once would take longer than they may, so they share counts,
and counts take no more than a fifth of the time. Whoever has to know how things were after a moment says so, and may be
told to ask again.
"""

from collections.abc import Callable, Iterator
from typing import Final

from . import clock, procfs
from .core.span import Usec
from .procfs import Process

#: After a count none is begun for so many times longer than it took.
_PAUSE: Final = 4


class Census:
    """Which processes have which number; `number` tells that of a pid."""

    def __init__(self, number: Callable[[int], int | None]) -> None:
        self._number = number
        self._found: dict[int | None, list[Process]] = {}
        self._began: Usec = -1
        self._pause_until: Usec = 0

    def counted_since(self, moment: Usec) -> bool:
        """Whether there is a count that began at that moment or later; counts for it, but in the pause after one."""
        if self._began < moment and clock.now() >= self._pause_until:
            self._count()
        return self._began >= moment

    def had(self, number: int) -> bool:
        """Whether the last count found any with that number, or one that went before it was read.

        What has gone may have started another first, which no list had.
        """
        return not self._found.keys().isdisjoint((number, None))

    def of(self, number: int) -> Iterator[Process]:
        """Those of them that are still there."""
        for counted in self._found.get(number, ()):
            now = procfs.process(counted.pid)
            if now is not None and now.start == counted.start:
                yield now

    def _count(self) -> None:
        self._began, self._found = clock.now(), {}
        for process in filter(lambda found: found.alive, self._all()):
            self._found.setdefault(self._number(process.pid), []).append(process)
        ended = clock.now()
        self._pause_until = ended + _PAUSE * (ended - self._began)

    def _all(self) -> Iterator[Process]:
        if (yield from procfs.processes()):
            self._found[None] = []  # whatever it was, it was gone before it was read
