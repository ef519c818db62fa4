# SPDX-License-Identifier: LGPL-2.1-or-later
"""All processes of the machine by something that each has, for what no cgroup tells.

To read all of /proc for each of many sessions that end at once would take longer than they may, so one count serves
several. A process that began since is found in the next count only, and whoever has gone since is left out.
"""

from collections.abc import Callable, Iterator
from typing import Final

from . import clock, procfs
from .core.span import Usec
from .procfs import Process

#: A count is used for so many times longer than it took.
_SHARE: Final = 4


class Census:
    """Which processes have which value; `value` tells that of a pid."""

    def __init__(self, value: Callable[[int], int | None]) -> None:
        self._value = value
        self._found: dict[int | None, list[Process]] = {}
        self._good_until: Usec = 0

    def of(self, value: int) -> Iterator[Process]:
        """The living processes with that value."""
        if clock.now() >= self._good_until:
            self._count()
        for counted in self._found.get(value, ()):
            now = procfs.process(counted.pid)
            if now is not None and now.start == counted.start:
                yield now

    def _count(self) -> None:
        began, self._found = clock.now(), {}
        for process in procfs.processes():
            self._found.setdefault(self._value(process.pid), []).append(process)
        ended = clock.now()
        self._good_until = ended + _SHARE * (ended - began)
