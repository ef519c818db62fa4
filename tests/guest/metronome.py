# SPDX-License-Identifier: LGPL-2.1-or-later
"""How late the machine itself is: what a busy one takes to run and end a program on a terminal in a guest.

A bound of seconds holds on a machine that gives its programs their turn. Where dozens of guests, builds and tests
share two cores it does not always, and what it withheld is measured beside, in the same way in which ends are.
"""

from __future__ import annotations

import threading
from typing import Self

from .machine import Machine
from .terminal import boottime

BEAT = 500_000  # microseconds


class Metronome:
    """A program that sleeps for a moment, again and again, and how much longer each took from start to end."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._beats: list[tuple[int, int]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="metronome")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def lates(self) -> list[int]:
        """Of all beats, in microseconds."""
        return [to - since - BEAT for since, to in self._beats]

    def late(self, start: int, end: int) -> int:
        """The worst between two moments: microseconds, of CLOCK_BOOTTIME as these are."""
        return max((to - since - BEAT for since, to in self._beats if since < end and to > start), default=0)

    def _beat(self) -> None:
        while not self._over.is_set():
            began = boottime()
            with self._machine.terminal("sleep", f"{BEAT / 1e6}") as terminal:
                self._beats.append((began, terminal.wait_closed(60)))
