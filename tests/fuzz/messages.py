# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parser of control messages as a target of atheris: `python -m tests.fuzz.messages tests/fuzz/corpus`.

Whatever comes is either refused as Malformed, or a call whose parts are what they claim to be.
"""

import sys
from typing import Any

from idled.control.peer import Peer
from idled.control.service import Call
from idled.control.wire import Malformed, VarlinkError, call_of, decode, encode

#: What the methods of io.idled take, all at once.
PARAMETERS: dict[str, Any] = {
    "session": str | None,
    "reason": str | None,
    "user": str | None,
    "byUSec": int | None,
}


def look_at(data: bytes) -> bool:
    """Whether the data is a call; AssertionError, or whatever it is, where it is treated wrongly."""
    try:
        asked = call_of(decode(data))
    except Malformed:
        return False
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
        return True
    assert given.keys() == PARAMETERS.keys()
    assert all(isinstance(value, PARAMETERS[name]) and not isinstance(value, bool) for name, value in given.items())
    return True


if __name__ == "__main__":
    import atheris

    decode, call_of = atheris.instrument_func(decode), atheris.instrument_func(call_of)
    Call.take = atheris.instrument_func(Call.take)  # type: ignore[method-assign]
    atheris.Setup(sys.argv, look_at)
    atheris.Fuzz()
