# SPDX-License-Identifier: LGPL-2.1-or-later
"""Methods that fail as nobody foresaw: whoever called them is hung up on, the loop is told who that was, and all else
goes on."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from idled.control.service import Answer, Call, Interface, Method

from ..peer import public_folder
from .conftest import serving, whoami
from .link import WHO, linked, packed


class Unforeseen(Exception):
    pass


async def breaks(call: Call) -> Answer:
    raise Unforeseen(call.parameters)


async def breaks_midway(call: Call) -> AsyncGenerator[Answer, None]:
    yield {}
    raise Unforeseen(call.parameters)


async def gives_what_is_no_answer(call: Call) -> Answer:
    return {"what": {1, 2}}


METHODS: dict[str, Method] = {
    "WhoAmI": whoami,
    "Break": breaks,
    "BreakMidway": breaks_midway,
    "GiveNoAnswer": gives_what_is_no_answer,
}


@pytest.mark.parametrize("call", [{"method": "Break"}, {"method": "Break", "oneway": True}, {"method": "GiveNoAnswer"}])
def test_who_calls_what_fails_is_hung_up_on_and_nobody_else(call: dict[str, Any]) -> None:
    (told,) = told_of(call, answers=0)
    assert told["peer"] == f"process {os.getpid()} of uid {os.getuid()}"
    assert told["message"] == f"the call of org.trial.{call['method']}"
    assert isinstance(told["exception"], Unforeseen | TypeError)


def test_a_stream_that_fails_is_the_end_of_its_connection() -> None:
    (told,) = told_of({"method": "BreakMidway", "more": True}, answers=1)
    assert isinstance(told["exception"], Unforeseen)


def told_of(call: dict[str, Any], answers: int) -> list[dict[str, Any]]:
    """What the loop is told when somebody makes a call that gives so many answers and then fails."""
    trial = Interface(name="org.trial", description="interface org.trial", methods=METHODS)
    with public_folder() as folder:
        service = serving(folder / "socket", trial, fails=True)
        with service as path, linked(path) as caller, linked(path) as other:
            caller.socket.sendall(packed(call | {"method": f"org.trial.{call['method']}"}))
            assert all(caller.read() is not None for _ in range(answers))
            assert caller.read() is None
            assert other.ask(WHO) is not None
            with linked(path) as late:
                assert late.ask(WHO) is not None
    return service.failures
