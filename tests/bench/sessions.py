# SPDX-License-Identifier: LGPL-2.1-or-later
"""Thousands of sessions in a guest, without as many key exchanges: `stand_in.c` for sshd, `clients.py` for the people.

Real are: the TCP connection of each, the processes and what belongs to whom as sshd has them, the pty, the PAM session
with pam_idled and pam_systemd, logind's session and its scope, the entry in utmp where there is one, the keys.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ..guest.machine import LOGOUT, Machine

HERE = Path(__file__).parent
PORT, USERS = 2299, 32
STAND_IN, FOLDER = "/usr/local/sbin/sshd", "/etc/stand_in"
PAM = "session optional pam_loginuid.so\nsession optional pam_idled.so\nsession optional pam_systemd.so\n"
ADD_USERS = """
for number in $(seq 0 $(($1 - 1))); do
    useradd --no-create-home --shell /bin/sh "$(printf 'u%02d' "$number")"
done
"""
MOST_PTYS = Path("/proc/sys/kernel/pty/max")


@contextmanager
def enough_ptys(more: int) -> Iterator[None]:
    """Let the machine have so many ptys more for as long as it takes: the bound is the kernel's, for all guests."""
    before = int(MOST_PTYS.read_text())
    MOST_PTYS.write_text(f"{before + more}\n")
    try:
        yield
    finally:
        MOST_PTYS.write_text(f"{before}\n")


class Crowd:
    """People who are logged in to a guest."""

    def __init__(self, machine: Machine, seed: int) -> None:
        self._machine = machine
        self._install()
        self._server = machine.popen(STAND_IN, str(PORT), FOLDER, stderr=None)
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "up\n"
        source = (HERE / "clients.py").read_text()
        words = ("python3", "-c", source, str(PORT), str(USERS), str(seed))
        self._clients = machine.popen(*words, stdin=subprocess.PIPE, stderr=None)

    def _install(self) -> None:
        self._machine.sh(ADD_USERS, str(USERS), timeout=120)
        for service in ("sshd", "other"):
            self._machine.write(f"{FOLDER}/{service}", PAM)
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "stand_in"
            subprocess.run(["cc", "-O2", "-Wall", "-o", made, HERE / "stand_in.c", "-lpam", "-lutil"], check=True)
            there = Path(f"/proc/{self._machine.pid}/root{STAND_IN}")
            there.write_bytes(made.read_bytes())
            there.chmod(0o755)

    def open(self, count: int) -> float:
        """Until so many are there; seconds for each that came."""
        came, took = self._tell("open", count)
        return float(took / came) if came else 0.0

    def keep_typing(self, pause: float) -> None:
        """Everybody types at random, with such pauses in the mean; 0: nobody does."""
        self._tell("type", pause)

    def key(self) -> None:
        """Everybody types one key at the same time."""
        self._tell("key")

    def seen(self) -> list[tuple[int, int | None]]:
        """Of each person, the moments of the last key and of the session's end."""
        return [(typed, closed) for typed, closed in self._tell("tell")]

    def leave(self) -> None:
        """All go, by whatever means."""
        self._tell("leave")
        self._machine.sh(LOGOUT, ",".join(f"u{number:02}" for number in range(USERS)), check=False, timeout=120)

    def _tell(self, *command: Any) -> Any:
        assert self._clients.stdin is not None and self._clients.stdout is not None
        self._clients.stdin.write(json.dumps(command) + "\n")
        self._clients.stdin.flush()
        return json.loads(self._clients.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._clients.stdin is not None
        self._clients.stdin.close()
        for process in (self._clients, self._server):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
