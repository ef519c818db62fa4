# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calling end of varlink. Plain blocking sockets: a command that asks one question needs no event loop."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from .wire import Malformed, VarlinkError, decode, encode

_PATIENCE: Final = 10.0


class Unreachable(Exception):
    """The service cannot be asked; the message says why."""


def call(path: str, method: str, /, **parameters: Any) -> dict[str, Any]:
    """The answer's parameters. Raises Unreachable, or VarlinkError where the service answers with one."""
    with Stream(path, {"method": method, "parameters": parameters}) as answers:
        answer = answers.next(_PATIENCE)
        if answers.more:
            raise Unreachable(f"{path}: more than one answer")
        return answer


def stream(path: str, method: str, /, **parameters: Any) -> "Stream":
    """All answers, one after the other, for as long as both ends live. Raises as `call` does, when one is taken."""
    return Stream(path, {"method": method, "parameters": parameters, "more": True})


class Stream:
    """The answers to one call. To wait for other things too: readable when `fileno` is, or while `more` is true."""

    def __init__(self, path: str, message: dict[str, Any]) -> None:
        self._path = path
        self._data = bytearray()
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with self._told(None):
                self._connect()
            with self._told(_PATIENCE):
                self._link.sendall(encode(message))
        except Unreachable:
            self.close()
            raise

    def fileno(self) -> int:
        """The connection's descriptor."""
        return self._link.fileno()

    @property
    def more(self) -> bool:
        """Whether an answer, or a part of it, is here already."""
        return bool(self._data)

    def next(self, patience: float | None = None) -> dict[str, Any]:
        """The next answer; Unreachable when none comes in so many seconds, for ever by default."""
        with self._told(patience):
            answer = decode(self._receive())
        if "error" in answer:
            raise VarlinkError(str(answer["error"]), **(answer.get("parameters") or {}))
        return dict(answer.get("parameters") or {})

    def close(self) -> None:
        """Hang up."""
        self._link.close()

    def _connect(self) -> None:
        """Where many others want to be let in too, wait for a place; only a blocking connect() does."""
        seconds, rest = divmod(_PATIENCE, 1)
        wait = struct.pack("@ll", int(seconds), int(rest * 1_000_000))
        self._link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        self._link.connect(self._path)

    def _receive(self) -> bytes:
        while (end := self._data.find(0)) < 0:
            part = self._link.recv(1 << 16)
            if not part:
                raise Malformed("the service closed the connection without an answer")
            self._data += part
        found = bytes(self._data[:end])
        del self._data[: end + 1]
        return found

    @contextmanager
    def _told(self, patience: float | None) -> Iterator[None]:
        """Whatever fails within is told as Unreachable."""
        self._link.settimeout(patience)
        try:
            yield
        except (TimeoutError, BlockingIOError):
            raise Unreachable(f"{self._path}: no answer within {patience or _PATIENCE:.0f} s") from None
        except (OSError, Malformed) as error:
            raise Unreachable(f"{self._path}: {getattr(error, 'strerror', None) or error}") from None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        return self.next()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
