# SPDX-License-Identifier: LGPL-2.1-or-later
"""A peer of the service that knows nothing but the wire."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WHO = {"method": "org.trial.WhoAmI"}


def packed(*messages: Any) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\0" for message in messages)


class Link:
    """One connection of a peer that knows nothing but the wire."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self._data = b""

    def read(self) -> dict[str, Any] | None:
        """The next message; None when the service hung up."""
        while b"\0" not in self._data:
            try:
                part = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not part:
                return None
            self._data += part
        message, self._data = self._data.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found

    def ask(self, message: Any) -> dict[str, Any] | None:
        try:
            self.socket.sendall(packed(message))
        except (BrokenPipeError, ConnectionResetError):
            return None
        return self.read()


@contextmanager
def linked(path: Path) -> Iterator[Link]:
    link = Link(path)
    with link.socket:
        yield link


@contextmanager
def somebody(path: Path, uid: int) -> Iterator[Link]:
    """A connection that was made by another uid: credentials are those at the time of connect()."""
    os.seteuid(uid)
    try:
        link = Link(path)
    finally:
        os.seteuid(0)
    with link.socket:
        yield link
