# SPDX-License-Identifier: LGPL-2.1-or-later
"""People for the soak: each logs in in some way, types at random, walks away, and writes down what really happened."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .installed import CONSOLE_LATE, LATE, SEC
from .machine import Machine
from .terminal import PROMPT, Terminal, Unseen, boottime

INJECT = "import fcntl,termios,time\nwhile True:\n    time.sleep(1)\n    fcntl.ioctl(0, termios.TIOCSTI, b'#')\n"


@dataclass(frozen=True)
class Kind:
    """A way of being logged in, and how late its end may be."""

    name: str
    options: tuple[str, ...] = ()
    command: str | None = None
    first: str = ""  # what is typed first
    console: bool = False
    keys: tuple[str, ...] = ("x", "y", "\n", "z")
    late: int = LATE


KINDS = (
    Kind("ssh"),
    Kind("ssh, keepalives", ("-o", "ServerAliveInterval=2")),
    Kind("ssh, touch loop", first="while sleep 2; do touch -a $(tty); done &\n"),
    Kind("ssh, injected input", first="python3 /tmp/inject.py &\n"),
    Kind("ssh, output", first="(while sleep 1; do date; done) &\n"),
    Kind("ssh, agent loop", ("-A",), first="while sleep 1; do ssh-add -l >/dev/null 2>&1; done &\n"),
    Kind("ssh, tmux", first="tmux -L $$ new-session\n"),
    Kind("ssh, cat", first="cat >/dev/null\n"),
    Kind("ssh, job that reads nothing", first="sleep 1000\n"),
    # Without a terminal there, the one here sends whole lines.
    Kind("no terminal", ("-T",), "cat >/dev/null", keys=("x\n",)),
    Kind("no terminal, keepalives", ("-T", "-o", "ServerAliveInterval=2"), "cat >/dev/null", keys=("x\n",)),
    Kind("console", console=True, late=CONSOLE_LATE),
)


@dataclass
class Visit:
    """One session from login to end, as its person lived it."""

    kind: Kind
    last_input: int
    closed: int

    def late(self, limit: int) -> int:
        """How long after the limit it ended; negative: too early."""
        return self.closed - self.last_input - limit


@dataclass
class Person:
    """Somebody who logs in again and again until the time is over."""

    machine: Machine
    user: str
    kind: Kind
    limit: int
    until: int
    chance: random.Random
    visits: list[Visit] = field(default_factory=list)
    trouble: str = ""

    def live(self) -> None:
        """Visit after visit, on a thread of its own."""
        try:
            while boottime() < self.until:
                time.sleep(self.chance.uniform(0, 2))
                self.visits.append(self._visit())
        except Exception as error:  # noqa: BLE001, told by the test
            self.trouble = f"{self.kind.name} of {self.user}: {error!r}"

    def _visit(self) -> Visit:
        with self._login() as terminal:
            last = terminal.type(self.kind.first or "\n")
            for _ in range(self.chance.randrange(0, 12)):
                pause = (
                    self.chance.uniform(0.05, 1)
                    if self.chance.random() < 0.5
                    else self.chance.uniform(1, 0.9 * self.limit / SEC)
                )
                try:
                    terminal.wait_closed(pause)
                    break  # early: the visit tells
                except Unseen:
                    last = terminal.type(self.chance.choice(self.kind.keys))
            return Visit(self.kind, last, terminal.wait_closed(self.limit / SEC + 30))

    def _login(self) -> Terminal:
        if self.kind.console:
            terminal = self.machine.console(self.user)
            terminal.expect(PROMPT, timeout=30)
            return terminal
        terminal = self.machine.login(self.user, self.kind.command, options=self.kind.options)
        if self.kind.command is None:
            terminal.expect(PROMPT, timeout=30)
        else:
            time.sleep(1)  # nothing tells when such a session is up; input before that waits for it
        return terminal


def crowd(make: Callable[[int], Person], size: int) -> list[Person]:
    """So many people at once; back when all have gone."""
    people = [make(number) for number in range(size)]
    threads = [threading.Thread(target=person.live) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return people
