# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service against peers that are right, wrong, slow, many, or somebody else."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import varlink  # type: ignore[import-untyped]

from idled.control import interface
from idled.control.wire import MAX_CALL

from ..peer import NOBODY, exchange_as_nobody, needs_root
from .conftest import INFO

WHO = {"method": "org.trial.WhoAmI"}
GET_INFO = "org.varlink.service.GetInfo"
GET_DESCRIPTION = "org.varlink.service.GetInterfaceDescription"
ERROR = "org.varlink.service."


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


def test_it_says_what_it_is(service: Path) -> None:
    with linked(service) as link:
        expected = INFO | {"interfaces": ["org.varlink.service", "io.idled", "org.trial"]}
        assert link.ask({"method": GET_INFO}) == {"parameters": expected}
        for name, text in (("io.idled", interface.DESCRIPTION), ("org.varlink.service", interface.SERVICE_DESCRIPTION)):
            answer = link.ask({"method": GET_DESCRIPTION, "parameters": {"interface": name}})
            assert answer == {"parameters": {"description": text}}


@pytest.mark.parametrize(
    ("method", "parameters", "error", "about"),
    [
        ("org.trial.Nothing", {}, "MethodNotFound", {"method": "org.trial.Nothing"}),
        ("org.trial.", {}, "MethodNotFound", {"method": "org.trial."}),
        ("org.nowhere.WhoAmI", {}, "InterfaceNotFound", {"interface": "org.nowhere"}),
        (".", {}, "InterfaceNotFound", {"interface": ""}),
        (GET_DESCRIPTION, {}, "InvalidParameter", {"parameter": "interface"}),
        (GET_DESCRIPTION, {"interface": 1}, "InvalidParameter", {"parameter": "interface"}),
        (GET_DESCRIPTION, {"interface": "io.idled", "x": 1}, "InvalidParameter", {"parameter": "interface"}),
        (GET_DESCRIPTION, {"interface": "no.such"}, "InterfaceNotFound", {"interface": "no.such"}),
        (GET_INFO, {"x": 1}, "InvalidParameter", {"parameter": "x"}),
        ("org.trial.WhoAmI", {"y": None}, "InvalidParameter", {"parameter": "y"}),
    ],
)
def test_a_wrong_call_is_answered_and_the_connection_goes_on(
    service: Path, method: str, parameters: dict[str, Any], error: str, about: dict[str, str]
) -> None:
    with linked(service) as link:
        assert link.ask({"method": method, "parameters": parameters}) == {"error": ERROR + error, "parameters": about}
        assert link.ask({"method": GET_INFO, "parameters": None}) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"{\0",
        b"7\0",
        b"[]\0",
        b"null\0",
        b"{}\0",
        b'{"method": 7}\0',
        b'{"method": "WhoAmI"}\0',
        b'{"method": "org.trial.WhoAmI", "parameters": []}\0',
        b'{"method": "org.trial.WhoAmI", "parameters": 0}\0',
        b'{"method": "\xff."}\0',
        b"[" * 30_000 + b"\0",
        b'{"method": ' + b"9" * 5000 + b"}\0",
        b" " * (MAX_CALL + 1) + b"\0",
        b"x" * (4 * MAX_CALL),
    ],
)
def test_what_is_no_call_is_hung_up_on_and_others_are_served(service: Path, data: bytes) -> None:
    with linked(service) as bad, linked(service) as good:
        try:
            bad.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert bad.read() is None
        assert good.ask(WHO) is not None


def test_calls_in_a_row_are_answered_in_a_row(service: Path) -> None:
    calls = [{"method": f"org.trial.M{number}"} for number in range(100)]
    with linked(service) as link:
        link.socket.sendall(packed(*calls))
        answers = [link.read() or {} for _ in calls]
    assert [answer["parameters"]["method"] for answer in answers] == [call["method"] for call in calls]


def test_a_call_in_pieces_is_one_call(service: Path) -> None:
    with linked(service) as link:
        for byte in packed(WHO):
            link.socket.send(bytes([byte]))
        assert (link.read() or {})["parameters"]["uid"] == os.getuid()


def test_text_of_any_kind_gets_through(service: Path) -> None:
    with linked(service) as link:
        assert (link.ask(WHO) or {})["parameters"]["text"] == "naïve \x1b[31m ?"


@pytest.mark.parametrize("bad", ["org.trial.WhoAmI", "org.nowhere.X"])
def test_a_oneway_call_gets_no_answer(service: Path, bad: str) -> None:
    with linked(service) as link:
        link.socket.sendall(packed({"method": bad, "oneway": True}))
        assert link.ask({"method": "org.trial.Two"}) == {
            "error": ERROR + "MethodNotFound",
            "parameters": {"method": "org.trial.Two"},
        }


def test_peers_that_say_nothing_or_take_nothing_hold_nobody_up(service: Path) -> None:
    with linked(service) as silent, linked(service) as half, linked(service) as deaf:
        half.socket.sendall(packed(WHO)[:-1])
        deaf.socket.setblocking(False)
        flood = packed({"method": GET_DESCRIPTION, "parameters": {"interface": "io.idled"}}) * 100
        try:
            while True:
                deaf.socket.send(flood)
        except BlockingIOError:
            pass
        with linked(service) as good:
            assert good.ask(WHO) is not None
        assert silent.ask(WHO) is not None


def test_one_who_takes_no_answers_is_hung_up_on(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._ANSWER_PATIENCE", 0.05)
    call = packed({"method": GET_DESCRIPTION, "parameters": {"interface": "io.idled"}})
    with linked(service) as deaf, pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            deaf.socket.sendall(call)


def test_one_who_says_nothing_for_long_is_hung_up_on(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._IDLE_PATIENCE", 0.05)
    with linked(service) as silent:
        assert silent.read() is None


def test_connections_of_one_uid_are_bounded_and_free_again(service: Path) -> None:
    with ExitStack() as many:
        links = [many.enter_context(linked(service)) for _ in range(40)]
        answered = [link.ask(WHO) is not None for link in links]
    assert sum(answered) == 32
    for _ in range(100):  # the service sees the hang-ups at its next turns
        with linked(service) as link:
            if link.ask(WHO) is not None:
                return
    pytest.fail("a uid that hung up all its connections gets no new one")


@needs_root
def test_too_many_of_others_do_not_keep_root_out(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._MOST", 1)
    with linked(service) as first, linked(service) as second:
        assert first.ask(WHO) is not None
        assert exchange_as_nobody(service, packed(WHO)) == b""
        assert second.ask(WHO) is not None


@needs_root
def test_who_calls_is_who_the_kernel_says(service: Path) -> None:
    answer = json.loads(exchange_as_nobody(service, packed(WHO | {"parameters": {}}))[:-1])
    assert answer["parameters"]["uid"] == NOBODY
    with linked(service) as link:
        mine = (link.ask(WHO) or {})["parameters"]
    assert (mine["uid"], mine["pid"]) == (0, os.getpid())


def test_a_client_that_is_not_ours_understands_it(service: Path) -> None:
    with varlink.Client(address=f"unix:{service}") as client:
        assert client.get_interface("org.varlink.service").name == "org.varlink.service"
        with client.open("org.varlink.service", namespaced=True) as link:
            info = link.GetInfo()
            assert (info.product, info.interfaces[1]) == ("idled", "io.idled")
        assert {"Session", "ListSessions", "Monitor", "NotPermitted"} <= client.get_interface("io.idled").members.keys()
        with client.open("io.idled") as link, pytest.raises(varlink.VarlinkError, match="MethodNotFound"):
            link.ListSessions()  # described, but here nobody does it
