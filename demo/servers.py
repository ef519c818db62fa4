# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two servers of the play: the daemon, with the records it writes, and sshd."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from idled import procfs
from idled.control.client import Unreachable, call
from idled.control.wire import SOCKET

from .stage import ENVIRONMENT, HERE, SSHD

#: A record of the daemon: the fields it has in the journal.
Record: TypeAlias = dict[str, Any]


class NotStarted(Exception):
    """A server did not come up; the message says what it said."""


class Daemon:
    """The real daemon. `tell` is given each record that it writes."""

    def __init__(self, tell: Callable[[Record], None]) -> None:
        self.records: list[Record] = []
        self._tell = tell
        self._started = asyncio.Event()

    async def start(self, *, observe: bool) -> None:
        """Run it, and wait until it is ready."""
        options = ["--observe"] if observe else []
        command = (sys.executable, "-B", "-m", "idled", "--config", str(HERE / "idled.toml"), *options)
        self._process = await asyncio.create_subprocess_exec(
            *command, stderr=asyncio.subprocess.PIPE, env=ENVIRONMENT, start_new_session=True
        )
        self._reader = asyncio.create_task(self._read(self._process.stderr))
        try:
            await asyncio.wait_for(self._started.wait(), 10)
        except TimeoutError:
            raise NotStarted("the daemon does not start:\n" + "\n".join(map(message, self.records))) from None

    async def _read(self, stderr: asyncio.StreamReader | None) -> None:
        while stderr is not None and (line := await stderr.readline()):
            record = _parse(line.decode(errors="replace"))
            self.records.append(record)
            if record.get("IDLED_EVENT") == "started":
                self._started.set()
            self._tell(record)

    async def sessions(self) -> list[dict[str, Any]]:
        """The sessions as the daemon sees them now; none when it does not answer."""
        try:
            answer = await asyncio.to_thread(call, SOCKET, "io.idled.ListSessions")
        except Unreachable:
            return []
        found: list[dict[str, Any]] = answer["sessions"]
        return found

    async def stop(self) -> int:
        """Tell it to stop; its exit code."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        await self._reader
        return await self._process.wait()

    def of(self, user: str, event: str) -> Iterator[Record]:
        """The records of one kind about one person."""
        for record in self.records:
            if record.get("IDLED_USER") == user and record.get("IDLED_EVENT") == event:
                yield record


def _parse(line: str) -> Record:
    with suppress(ValueError):
        record = json.loads(line)
        if isinstance(record, dict):
            return record
    return {"MESSAGE": line.rstrip(), "IDLED_EVENT": "trouble"}


def message(record: Record) -> str:
    """The line of a record that is for people."""
    return str(record.get("MESSAGE", ""))


async def start_sshd() -> None:
    """Run sshd, and wait until it listens. It goes when the stage goes."""
    with open(HERE / "sshd.log", "w") as log:
        await asyncio.create_subprocess_exec(
            SSHD, "-D", "-e", "-f", str(HERE / "sshd_config"), stderr=log, env=ENVIRONMENT, start_new_session=True
        )
    said = ""
    for _ in range(100):
        said = (HERE / "sshd.log").read_text()
        if "Server listening" in said:
            return
        await asyncio.sleep(0.05)
    raise NotStarted(f"sshd does not start:\n{said}")


def left_of(uid: int) -> list[str]:
    """The processes of a person that have not ended, by uid: whoever started them, wherever they went."""
    alive = (process for process in procfs.processes() if process.alive)
    return [f"{process.comm}[{process.pid}]" for process in alive if procfs.real_uid(process.pid) == uid]


def sshd_log() -> str:
    """What sshd had to say, for the one who asks why."""
    return Path(HERE / "sshd.log").read_text()
