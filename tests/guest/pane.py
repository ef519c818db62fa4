# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a command looks like on a terminal of 80 columns: tmux in a guest shows it, and tells what it had to wrap."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from .machine import Machine
from .terminal import PROMPT, Terminal


class Pane:
    """A terminal of 80 columns in which commands are called one after the other."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._socket = f"/tmp/pane-{uuid.uuid4().hex}"
        self._calls = 0

    def start(self) -> None:
        """Start it as root, outside of all sessions."""
        self._tmux("new-session", "-d", "-x", "80", "-y", "60", "bash --norc")

    def start_in(self, terminal: Terminal) -> None:
        """Start it in the session of that terminal."""
        terminal.type(f"tmux -S {self._socket} new-session -d -x 80 -y 60 'bash --norc'; echo $((40+2))\n")
        terminal.expect("42")
        terminal.expect(PROMPT)

    def look(self, command: str, timeout: float = 15) -> list[str]:
        """What stands there after a command, which no terminal had to wrap; its exit code is the last line."""
        self._calls += 1
        self._tmux("send-keys", f"clear; {command}; echo code $? of {self._calls}", "Enter")
        deadline = time.monotonic() + timeout
        while not re.search(rf"^code \d+ of {self._calls}$", shown := self._tmux("capture-pane", "-p"), re.MULTILINE):
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        lines, joined = shown.splitlines(), self._tmux("capture-pane", "-p", "-J").splitlines()
        end = next(at for at, line in enumerate(lines) if line.endswith(f" of {self._calls}"))
        # Below it the prompt may have come meanwhile.
        assert lines[: end + 1] == joined[: end + 1], f"a line was wrapped: {command}"
        return [*lines[:end], lines[end].removesuffix(f" of {self._calls}")]

    def close(self) -> None:
        """End it."""
        self._machine.run("tmux", "-S", self._socket, "kill-server", check=False)

    def _tmux(self, *arguments: str) -> str:
        said = self._machine.run("tmux", "-S", self._socket, *arguments).stdout
        return "\n".join(line.rstrip() for line in said.splitlines()) + "\n"


@contextmanager
def pane(machine: Machine, terminal: Terminal | None = None) -> Iterator[Pane]:
    """A pane, in the session of that terminal, or without one as root outside of all sessions."""
    found = Pane(machine)
    if terminal is None:
        found.start()
    else:
        found.start_in(terminal)
    try:
        yield found
    finally:
        found.close()
