# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether it is the person who asks: the password is given to PAM, in a process of its own (`ask_pam`).

Passwords are never logged or kept. Wrong ones are counted, also those whose caller did not wait to hear it; after some
of them none is tried for a while. A check holds up nothing but who asked for it, and is killed when that one hangs up.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import clock, procfs
from .core.span import MIN, Usec, format_span

_PROGRAM: Final = Path(__file__).with_name("ask_pam.py")
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
#: Seconds for PAM to answer; its modules may ask a server, and wait a while after a wrong password.
_PATIENCE: Final = 30.0
#: So many wrong passwords in that time, and no more.
_MOST: Final = 3
_WITHIN: Final[Usec] = 10 * MIN
#: Bytes; PAM takes no more (PAM_MAX_RESP_SIZE).
_LONGEST: Final = 512

#: Exit statuses of `ask_pam`, and what is said.
_WRONG: Final = 10
_SAID: Final = {0: "", _WRONG: "wrong password", 11: "the account or its password has expired"}
_BROKEN: Final = 12
_HINT: Final = "a module failed; they run within the bounds of idled.service (see idled(8), reauthenticate)"


class Reauthentication:
    """Checks passwords, for one who sees to it that each user has one check at a time."""

    def __init__(self, trouble: Callable[[str], None]) -> None:
        self._trouble = trouble
        self._wrong: dict[str, list[Usec]] = {}  # moments, by user

    def closed(self, user: str) -> str:
        """Why no password of the user is tried now; empty when one is."""
        now = clock.now()
        recent = {name: [at for at in moments if now < at + _WITHIN] for name, moments in self._wrong.items()}
        self._wrong = {name: moments for name, moments in recent.items() if moments}
        moments = self._wrong.get(user, [])
        if len(moments) < _MOST:
            return ""
        return f"too many wrong passwords; try again in {format_span(moments[-_MOST] + _WITHIN - now)}"

    async def check(self, user: str, password: bytearray) -> str:
        """Why the password does not do; empty when it is the user's. Once handed on it is overwritten."""
        if why := self.closed(user):
            return why
        # Counted before it is known: who hangs up meanwhile has had a try, too.
        self._wrong.setdefault(user, []).append(clock.now())
        status = await self._ask(user, password) if 0 < len(password) <= _LONGEST else _WRONG
        if status is None:
            self._wrong[user].pop()
        elif status != _WRONG:
            del self._wrong[user]
        return "the password cannot be checked now" if status is None else _SAID[status]

    async def _ask(self, user: str, password: bytearray) -> int | None:
        """The exit status of `ask_pam`; None, and a record, where it says nothing of the password."""
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await _ask_pam(user, password)
            why = _HINT if status == _BROKEN else f"exit status {status}"
        except TimeoutError:
            status, why = None, f"no answer within {_PATIENCE:.0f} s"
        except OSError as error:
            status, why = None, str(error)
        if status in _SAID:
            return status
        self._trouble(f"PAM could not be asked for the password of {user}: {why}")
        return None


async def _ask_pam(user: str, password: bytearray) -> int:
    """The exit status of `ask_pam`, negative if a signal ended it. However this ends, none is left running."""
    read, write = os.pipe()
    try:
        os.writev(write, (user.encode(), b"\0", password))  # a pipe holds more than the longest
        password[:] = bytes(len(password))
        command = (sys.executable, "-I", _PROGRAM)
        process = subprocess.Popen(command, stdin=read, stdout=subprocess.DEVNULL, env=_ENVIRONMENT, cwd="/")
    finally:
        os.close(read)
        os.close(write)
    return await _exit_of(process)


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    pidfd, gone = os.pidfd_open(process.pid), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, gone.set)
    try:
        await gone.wait()
    finally:
        if not gone.is_set():
            _kill(process.pid)
            await gone.wait()
        loop.remove_reader(pidfd)
        os.close(pidfd)
        process.wait()
    return process.returncode


def _kill(pid: int) -> None:
    """End it with all that PAM's modules have started. Each is stopped before its children are looked for."""
    family = []
    if (first := procfs.process(pid)) is not None:
        procfs.send(first, signal.SIGSTOP)
        family.append(first)
    for process in procfs.descendants(pid):
        procfs.send(process, signal.SIGSTOP)
        family.append(process)
    for process in family:
        procfs.send(process, signal.SIGKILL)
