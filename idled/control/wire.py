# SPDX-License-Identifier: LGPL-2.1-or-later
"""The varlink protocol on the wire: JSON objects, each ended by a NUL byte.

Ours, since no varlink library is packaged for Debian 12. What may be said, and who may say it, is not here.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

SOCKET: Final = "/run/idled/io.idled"
#: No call is longer; an answer may be.
MAX_CALL: Final = 64 * 1024


class VarlinkError(Exception):
    """An error as varlink names them, with its parameters."""

    def __init__(self, name: str, /, **parameters: Any) -> None:
        super().__init__(name)
        self.name = name
        self.parameters = parameters


class Malformed(ValueError):
    """These bytes are no varlink message; the connection cannot go on."""


def encode(message: dict[str, Any]) -> bytes:
    """A message as it goes over the socket."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\0"


def decode(data: bytes) -> dict[str, Any]:
    """A message without its NUL."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("parameters"), dict | None):
        raise Malformed("not a JSON object with an object as parameters")
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMessage:
    """What a caller wants: which method, with what, and whether all answers of a stream, or none."""

    method: str
    parameters: dict[str, Any]
    oneway: bool
    more: bool


def call_of(message: dict[str, Any]) -> CallMessage:
    """The message as a call."""
    method = message.get("method")
    if not isinstance(method, str) or "." not in method:
        raise Malformed("a call without a method")
    return CallMessage(
        method=method,
        parameters=message.get("parameters") or {},
        oneway=message.get("oneway") is True,
        more=message.get("more") is True,
    )
