# SPDX-License-Identifier: LGPL-2.1-or-later
"""The client against services that are not there, go away, talk nonsense or say nothing."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from idled.control.client import Unreachable, call
from idled.control.wire import VarlinkError

Answerer = Callable[[socket.socket], None]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as found:
        found.bind(str(tmp_path / "socket"))
        found.listen()
        yield found


def ask(listener: socket.socket, answer: Answerer) -> dict[str, object]:
    """What the client makes of a service that does this to its first caller."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            answer(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        return call(listener.getsockname(), "a.B")
    finally:
        thread.join(10)


def says(data: bytes) -> Answerer:
    def answer(peer: socket.socket) -> None:
        peer.recv(1 << 16)
        peer.sendall(data)

    return answer


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="gone: No such file or directory"):
        call(str(tmp_path / "gone"), "a.B")


def test_nobody_listens(listener: socket.socket) -> None:
    path = listener.getsockname()
    listener.close()
    with pytest.raises(Unreachable, match="socket: Connection refused"):
        call(path, "a.B")


@pytest.mark.parametrize("length", [108, 5000])
def test_a_path_that_is_too_long(length: int) -> None:
    with pytest.raises(Unreachable, match="path too long"):
        call("/" * length, "a.B")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection without an answer"),
        (b'{"parameters": {}', "closed the connection without an answer"),
        (b"\x1b[31mgarbage\0", "not JSON"),
        (b"[]\0", "not a JSON object"),
        (b'{"parameters": 7}\0', "not a JSON object"),
        (b"{}\0{}\0", "more than one answer"),
    ],
)
def test_no_answer_or_none_that_is_one(listener: socket.socket, answer: bytes, said: str) -> None:
    with pytest.raises(Unreachable, match=said) as caught:
        ask(listener, says(answer))
    assert str(caught.value).startswith(f"{listener.getsockname()}: ")
    assert str(caught.value).isprintable()


def test_a_service_that_says_nothing_is_not_waited_for_longer(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idled.control.client._PATIENCE", 0.05)
    with pytest.raises(Unreachable, match="no answer within"):
        call(listener.getsockname(), "a.B")


def crowd(listener: socket.socket, stack: ExitStack) -> None:
    """So many who want to be let in that nobody else gets a place."""
    listener.listen(0)
    while True:
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        other.setblocking(False)
        try:
            other.connect(listener.getsockname())
        except BlockingIOError:
            return


def test_where_there_is_no_place_yet_one_is_waited_for(listener: socket.socket) -> None:
    def serve() -> None:
        time.sleep(0.2)  # for the client to find no place; if it has not come yet, it finds one
        while True:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(0.05)  # those of the crowd say nothing
                try:
                    peer.recv(1 << 16)
                except TimeoutError:
                    continue
                peer.sendall(b"{}\0")
                return

    with ExitStack() as stack:
        crowd(listener, stack)
        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join, 10)
        assert call(listener.getsockname(), "a.B") == {}


def test_where_there_is_no_place_for_long_that_is_said(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idled.control.client._PATIENCE", 0.05)
    with ExitStack() as stack:
        crowd(listener, stack)
        with pytest.raises(Unreachable, match="no answer within"):
            call(listener.getsockname(), "a.B")


@pytest.mark.parametrize(
    ("answer", "parameters"),
    [(b"{}\0", {}), (b'{"parameters": null}\0', {}), (b'{"parameters": {"a": [1]}}\0', {"a": [1]})],
)
def test_an_answer(listener: socket.socket, answer: bytes, parameters: dict[str, object]) -> None:
    assert ask(listener, says(answer)) == parameters


@pytest.mark.parametrize(
    ("answer", "parameters"),
    [
        (b'{"error": "a.E"}\0', {}),
        (b'{"error": "a.E", "parameters": null}\0', {}),
        (b'{"error": "a.E", "parameters": {"name": "n", "self": 1}}\0', {"name": "n", "self": 1}),
    ],
)
def test_an_error(listener: socket.socket, answer: bytes, parameters: dict[str, object]) -> None:
    with pytest.raises(VarlinkError, match="a.E") as caught:
        ask(listener, says(answer))
    assert (caught.value.name, caught.value.parameters) == ("a.E", parameters)


def test_a_long_answer_in_many_pieces(listener: socket.socket) -> None:
    text = "x" * 1_000_000
    assert ask(listener, says(b'{"parameters": {"text": "' + text.encode() + b'"}}\0')) == {"text": text}


def test_a_call_has_what_it_is_given(service: Path) -> None:
    description = call(str(service), "org.varlink.service.GetInterfaceDescription", interface="io.idled")
    assert description["description"].startswith("# Ends terminal")
    with pytest.raises(VarlinkError, match="InvalidParameter"):
        call(str(service), "org.varlink.service.GetInfo", path="p", method="m")
