# SPDX-License-Identifier: LGPL-2.1-or-later
"""The calling end of varlink. Plain blocking sockets: a command that asks one question needs no event loop."""

import socket
from typing import Any, Final

from .wire import Malformed, VarlinkError, decode, encode

_PATIENCE: Final = 10.0


class Unreachable(Exception):
    """The service cannot be asked; the message says why."""


def call(path: str, method: str, /, **parameters: Any) -> dict[str, Any]:
    """The answer's parameters. Raises Unreachable, or VarlinkError where the service answers with one."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(_PATIENCE)
            link.connect(path)
            link.sendall(encode({"method": method, "parameters": parameters}))
            answer = decode(_receive(link))
    except TimeoutError:
        raise Unreachable(f"{path}: no answer within {_PATIENCE:.0f} s") from None
    except (OSError, Malformed) as error:
        raise Unreachable(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if "error" in answer:
        raise VarlinkError(str(answer["error"]), **(answer.get("parameters") or {}))
    return dict(answer.get("parameters") or {})


def _receive(link: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\0"):
        part = link.recv(1 << 16)
        if not part:
            raise Malformed("the service closed the connection without an answer")
        data += part
    return bytes(data[:-1])
