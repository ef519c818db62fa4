# SPDX-License-Identifier: LGPL-2.1-or-later
"""Messages to the control service: each is either Malformed, or a call whose parts are what they claim to be."""

from typing import Any

from idled.control.peer import Peer
from idled.control.service import Call
from idled.control.wire import VarlinkError, call_of, decode, encode

#: What the methods of io.idled take, all at once.
PARAMETERS: dict[str, Any] = {
    "session": str | None,
    "reason": str | None,
    "user": str | None,
    "byUSec": int | None,
}


def control(data: bytes) -> None:
    asked = call_of(decode(data))
    assert isinstance(asked.method, str) and isinstance(asked.parameters, dict)
    assert isinstance(asked.more, bool) and isinstance(asked.oneway, bool)
    again = encode({"method": asked.method, "parameters": asked.parameters})
    assert again.count(b"\0") == 1 and again.endswith(b"\0")
    decode(again[:-1])
    try:
        given = Call(peer=Peer(pid=1, uid=1), parameters=asked.parameters).take(**PARAMETERS)
    except VarlinkError as error:
        assert error.name == "org.varlink.service.InvalidParameter"
        encode({"error": error.name, "parameters": error.parameters})
        return
    assert given.keys() == PARAMETERS.keys()
    assert all(isinstance(value, PARAMETERS[name]) and not isinstance(value, bool) for name, value in given.items())
