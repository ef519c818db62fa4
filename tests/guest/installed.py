# SPDX-License-Identifier: LGPL-2.1-or-later
"""The project as it runs in a guest: its policy, what idlectl says, and what the journal tells since a test began."""

from __future__ import annotations

import json
import time
from typing import Any

from .machine import Entry, Machine
from .terminal import PROMPT, Terminal

SEC = 1_000_000
#: Of the design: how late an SSH session may be ended by its idle timeout, how long an end may take.
LATE = 4 * SEC
CONSOLE_LATE = 9 * SEC
ABSOLUTE_LATE = 1 * SEC
#: A moment as people are told it; on another day (a test may run before midnight) with its date.
MOMENT = r"(\w{3} \d\d \w{3} )?\d\d:\d\d:\d\d"
END = 6 * SEC


class Installed:
    """idled in a guest."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.since = machine.cursor()

    def policy(self, text: str) -> None:
        """Put a policy in force as an administrator does, and wait until it is."""
        cursor = self.machine.cursor()
        self.machine.write("/etc/idled/idled.toml", text)
        self.machine.run("systemctl", "reload", "idled")
        self.machine.wait_journal(20, since=cursor, IDLED_EVENT="config-loaded")

    def limits(self, idle: str = "off", absolute: str = "off", warn: str = "[]", more: str = "") -> None:
        """Enforce these limits for everybody."""
        spans = f'idle_timeout = "{idle}"\nabsolute_timeout = "{absolute}"\nwarn_before = {warn}'
        self.policy(f'mode = "enforce"\n[defaults]\n{spans}\n{more}')

    def sessions(self) -> list[dict[str, Any]]:
        """What idlectl shows."""
        shown: list[dict[str, Any]] = json.loads(self.machine.run("idlectl", "list", "--json").stdout)["sessions"]
        return shown

    def session(self, user: str, terminals: int | None = None, timeout: float = 20) -> dict[str, Any]:
        """The session of a user, once it is there (with so many terminals)."""
        deadline = time.monotonic() + timeout
        while True:
            found = [session for session in self.sessions() if session["user"] == user]
            if found and terminals in (None, len(found[0]["terminals"])):
                return found[0]
            assert time.monotonic() < deadline, f"no session of {user} with {terminals} terminals: {found}"
            time.sleep(0.05)

    def event(self, kind: str, timeout: float = 20, **matches: str) -> Entry:
        """The first record of that kind since the test began, waiting for it."""
        return self.machine.wait_journal(timeout, since=self.since, IDLED_EVENT=kind, **matches)

    def events(self, kind: str, **matches: str) -> list[Entry]:
        """All records of that kind since the test began."""
        return self.machine.journal(self.since, IDLED_EVENT=kind, **matches)

    def wait_ended(self, *users: str) -> None:
        """Wait for the record that a session of each has ended; it is written a little after the client has gone."""
        for user in users:
            self.event("ended", IDLED_USER=user)

    def processes(self, user: str) -> list[str]:
        """The processes that run as a user; not the user manager, nor what has ended and is not yet waited for."""
        listed = self.machine.run("ps", "-o", "args=", "-u", user, check=False).stdout.splitlines()
        return [line for line in listed if not any(left in line for left in ("systemd", "(sd-pam)", "<defunct>"))]

    def login(self, user: str, *options: str) -> Terminal:
        """Log in by ssh and wait for the prompt."""
        terminal = self.machine.login(user, options=options)
        terminal.expect(PROMPT, timeout=20)
        return terminal


def number(entry: Entry, field: str) -> int:
    """A number in a record."""
    return int(entry[f"IDLED_{field}"])
