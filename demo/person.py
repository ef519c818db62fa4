# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody at a terminal of their own who logs in with the real ssh client. All moments are CLOCK_BOOTTIME, in seconds.

What is measured here is what the person could measure: when the login was let in, when the last key was pressed, when
the terminal was closed. The daemon is not asked.
"""

import asyncio
import os
import re
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from typing import Final

from idled import clock

from .plan import Role
from .stage import ENVIRONMENT, HERE

_SSH: Final = (
    *("ssh", "-F", "none", "-i", str(HERE / "key")),
    *("-o", f"UserKnownHostsFile={HERE}/known_hosts", "-o", "GlobalKnownHostsFile=/dev/null"),
    *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "EscapeChar=none"),
    *("-o", "LogLevel=VERBOSE"),  # to be told of the moment of "Authenticated"
)
_SAID: Final = re.compile(r"^(idled: .*|This session .*)\r\n", re.MULTILINE)


def now() -> float:
    """Seconds on CLOCK_BOOTTIME."""
    return clock.now() / 1_000_000


class Person:
    """One login. `tell` is told what the person does and what is written on the terminal."""

    def __init__(self, role: Role, tell: Callable[[str, str], None]) -> None:
        self.role = role
        self.text = ""
        self.let_in_at: float | None = None
        self.last_key_at: float | None = None
        self.closed_at: float | None = None
        self.exit_code: int | None = None
        self._tell = tell
        self._told = 0
        self._master = -1
        self._changed = asyncio.Event()

    async def log_in(self, *options: str) -> None:
        """Start the client and wait for the shell to ask."""
        self._master, slave = os.openpty()
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        ssh = await asyncio.create_subprocess_exec(
            *_SSH, *options, f"{self.role.name}@127.0.0.1",
            stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._waiter = asyncio.create_task(self._wait(ssh))
        await self.sees(f"{self.role.name}$ ", 10)

    async def _wait(self, ssh: asyncio.subprocess.Process) -> None:
        self.exit_code = await ssh.wait()

    def says(self, what: str) -> None:
        """Let the audience know what the person does."""
        self._tell(self.role.name, what)

    def type(self, text: str) -> None:
        """Press keys; after the end of the session nobody can."""
        if self.closed_at is None:
            with suppress(OSError):
                os.write(self._master, text.encode())
                self.last_key_at = now()

    async def type_on(self, keys: str, every: float, until: float) -> None:
        """Press one key after the other, again from the first, until that moment or the end of the session."""
        for key in cycle(keys):
            if self.closed_at is not None or now() >= until:
                return
            self.type(key)
            await self.rest(every)

    async def sees(self, text: str, within: float) -> bool:
        """Wait for text on the terminal; False when it does not come in time or at all."""
        return await self._until(lambda: text in self.text, within)

    async def rest(self, seconds: float) -> None:
        """Do nothing for a while, or until the terminal is closed."""
        await self._until(lambda: self.closed_at is not None, seconds)

    async def leave(self) -> None:
        """Log out, if there is still something to log out of."""
        if self.closed_at is not None:
            return
        self.says("logs out")
        self.type("exit\r")
        await self.rest(5)
        if self.closed_at is not None:
            await self._waiter

    async def _until(self, reached: Callable[[], bool], within: float) -> bool:
        until = now() + within
        while not reached() and self.closed_at is None:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), until - now())
            except TimeoutError:
                break
        return reached()

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: the client has gone
            data = b""
        moment = now()
        if data:
            self.text += data.decode(errors="replace")
            self._take_note(moment)
        else:
            self.closed_at = moment
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
        self._changed.set()

    def _take_note(self, moment: float) -> None:
        if self.let_in_at is None and "Authenticated to" in self.text:
            self.let_in_at = moment
        for said in _SAID.finditer(self.text, self._told):
            self._told = said.end()
            self._tell(f"{self.role.name} sees", said[1])
