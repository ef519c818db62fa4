# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records on their way to the journal, which may hang or be away for a while: nothing waits for it, and none is lost.

Its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL) is spoken here, since systemd-python's sendv() waits until the
journal takes a record, and the whole daemon with it. Few records fit into the journal's socket while nobody reads.
Those that wait go with the process: a daemon that stops gives the journal a last moment to take them, and a session is
remembered until the record of its end is taken.
"""

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

SOCKET: Final = Path("/run/systemd/journal/socket")
#: Records that may wait, less than a kB each; of more the oldest are lost.
_WAITING: Final = 32_768
_AGAIN_AFTER: Final = 0.05
#: Seconds for which a journal that is busy may take nothing: few records fill its socket.
_BUSY: Final = 1.0


class Native:
    """The way to the journal. `lost` is told how many records were lost, as soon as the journal takes some again."""

    def __init__(self, lost: Callable[[int], None]) -> None:
        self._tell_lost, self._lost = lost, 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        # What the kernel lets through as one, see unix_dgram_sendmsg().
        self._largest = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) - 32
        self._records = deque[bytes](maxlen=_WAITING)
        self._again: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()  # so that thousands can wait for it
        self._took_at = time.monotonic()  # a record, or there was none to take

    @property
    def waiting(self) -> bool:
        """Whether there are records that the journal has not taken yet."""
        return bool(self._records)

    @property
    def stuck(self) -> int:
        """How many records wait for a journal that has taken none for longer than a busy one; 0: it takes them."""
        return len(self._records) if time.monotonic() - self._took_at > _BUSY else 0

    def send(self, fields: Mapping[str, str]) -> None:
        """Send a record, after those that wait; of one that is too large, what fits of its longest values."""
        while len(record := b"".join(_field(name, value) for name, value in fields.items())) > self._largest:
            fields = _shorter(fields)
        if not self._records:
            self._took_at = time.monotonic()
        self._lost += len(self._records) == _WAITING
        self._records.append(record)
        self._emptied.clear()
        if self._again is None:
            self._send_all()

    async def taken(self) -> None:
        """Wait until no record waits any more."""
        while self._records:
            await self._emptied.wait()

    def _send_all(self) -> None:
        self._again = None
        while self._records:
            try:
                self._socket.sendto(self._records[0], str(SOCKET))
            except OSError:  # it hangs, nobody listens, its socket is being made anew, memory is short
                with suppress(RuntimeError):  # no loop runs: they go with the next one
                    self._again = asyncio.get_running_loop().call_later(_AGAIN_AFTER, self._send_all)
                return
            self._records.popleft()
            self._took_at = time.monotonic()
        self._emptied.set()
        if self._lost:
            lost, self._lost = self._lost, 0
            self._tell_lost(lost)


def _shorter(fields: Mapping[str, str]) -> dict[str, str]:
    """The longest values cut in half."""
    longest = max(map(len, fields.values()))
    return {name: value[: longest // 2] for name, value in fields.items()}


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return f"{name}=".encode() + data + b"\n"
