# SPDX-License-Identifier: LGPL-2.1-or-later
"""Calls with many answers: all of them, one, or as many as the caller stays for."""

import os
import time
from pathlib import Path

import pytest
import varlink  # type: ignore[import-untyped]

from idled.control.client import Unreachable, stream
from idled.control.wire import VarlinkError

from .link import WHO, linked, packed

COUNT = "org.trial.Count"


def test_a_stream_is_all_answers_and_its_error_the_last(service: Path) -> None:
    with linked(service) as link:
        link.socket.sendall(packed({"method": COUNT, "more": True, "parameters": {"upto": 3}}))
        for number in range(3):
            assert link.read() == {"parameters": {"number": number}, "continues": True}
        assert link.read() == {"error": "org.trial.Over", "parameters": {"at": 3}}
        assert link.ask(WHO) is not None


def test_without_more_a_stream_is_one_answer(service: Path) -> None:
    with linked(service) as link:
        assert link.ask({"method": COUNT}) == {"parameters": {"number": 0}}
        assert link.ask({"method": COUNT, "more": False}) == {"parameters": {"number": 0}}
        link.socket.sendall(packed({"method": COUNT, "oneway": True, "more": True}))
        assert "uid" in (link.ask(WHO) or {})["parameters"]


def test_what_is_said_while_one_answer_is_waited_for_is_the_next_call(service: Path) -> None:
    with linked(service) as link:
        for _ in range(20):
            link.socket.sendall(packed({"method": COUNT}, WHO))
            assert link.read() == {"parameters": {"number": 0}}
            assert (link.read() or {})["parameters"]["uid"] == os.getuid()


def test_more_of_what_is_no_stream_is_one_answer(service: Path) -> None:
    with linked(service) as link:
        assert "continues" not in (link.ask(WHO | {"more": True}) or {"continues": 1})


def test_a_stream_ends_when_its_caller_says_more_or_goes(service: Path) -> None:
    for _ in range(40):  # more than there may be at once
        with linked(service) as link:
            assert link.ask({"method": "org.trial.Wait", "more": True}) is not None
    with linked(service) as link:
        assert link.ask({"method": "org.trial.Wait", "more": True}) is not None
        assert link.ask(WHO) is None


def test_one_answer_is_not_waited_for_when_its_caller_has_gone(service: Path) -> None:
    for _ in range(40):
        with linked(service) as link:
            link.socket.sendall(packed({"method": "org.trial.Never"}))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # the service sees the hang-ups at its next turns
        with linked(service) as link:
            if link.ask(WHO) is not None:
                return
    pytest.fail("those who are gone keep others out")


def test_a_stream_that_nobody_takes_holds_nobody_up(service: Path) -> None:
    with linked(service) as deaf, linked(service) as good:
        deaf.socket.sendall(packed({"method": COUNT, "more": True}))
        for _ in range(100):
            assert good.ask(WHO) is not None


def test_the_clients_stream(service: Path) -> None:
    with stream(str(service), COUNT, upto=3) as answers:
        assert [answers.next()["number"] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(VarlinkError, match="Over"):
            answers.next()
    with stream(str(service), "org.trial.Wait") as answers:
        assert answers.next(10) == {"number": 0}
        assert not answers.more
        with pytest.raises(Unreachable, match="no answer within"):
            answers.next(0.05)


def test_a_stream_in_a_client_that_is_not_ours(service: Path) -> None:
    with varlink.Client(address=f"unix:{service}") as client, client.open("org.trial") as link:
        numbers = link.Count(upto=3, _more=True)
        assert [next(numbers)["number"] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(varlink.VarlinkError, match="Over"):
            next(numbers)


@pytest.mark.parametrize("method", ["Fail", "FailLate", "FailStream"])
def test_an_error_while_the_caller_goes_is_nobody_elses(service: Path, method: str) -> None:
    with linked(service) as link:
        link.socket.sendall(packed({"method": f"org.trial.{method}", "more": True}))
        while link.read() is not None:
            pass
    with linked(service) as link:
        assert link.ask(WHO) is not None
