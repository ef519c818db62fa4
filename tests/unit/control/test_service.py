# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service against peers that are right, wrong, slow, many, or somebody else."""

import asyncio
import json
import os
import re
import select
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import varlink  # type: ignore[import-untyped]

from idled.control import interface
from idled.control.peer import Peer, peer_of
from idled.control.service import Call, Service
from idled.control.wire import MAX_CALL, VarlinkError

from ..peer import NOBODY, exchange_as_nobody, needs_root, public_folder
from .conftest import INFO
from .link import WHO, linked, packed, somebody

GET_INFO = "org.varlink.service.GetInfo"
GET_DESCRIPTION = "org.varlink.service.GetInterfaceDescription"
ERROR = "org.varlink.service."


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
        (GET_DESCRIPTION, {"interface": "io.idled", "x": 1}, "InvalidParameter", {"parameter": "x"}),
        ("org.trial.ToCome", {}, "MethodNotImplemented", {"method": "org.trial.ToCome"}),
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
def test_where_too_many_are_connected_who_has_most_and_is_silent_makes_room(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idled.control.service._MOST", 3)
    with ExitStack() as many:
        root = many.enter_context(linked(service))
        other, one, two = [many.enter_context(somebody(service, uid)) for uid in (1001, 1000, 1000)]
        assert one.ask(WHO) is not None  # of the uid that has most, two is now silent for longest
        late = many.enter_context(somebody(service, 1002))
        assert late.ask(WHO) is not None
        assert two.read() is None
        again = many.enter_context(somebody(service, 1000))
        assert again.read() is None, "who has as many as anybody gets no more"
        for link in (root, one, other, late):
            assert link.ask(WHO) is not None


def test_nothing_is_left_of_those_who_are_gone(service: Path) -> None:
    def held() -> int:
        return len(os.listdir("/proc/self/fd"))

    before, deadline = held(), time.monotonic() + 10
    for _ in range(50):
        with linked(service) as link:
            link.ask(WHO)
    while held() > before:
        assert time.monotonic() < deadline, "descriptors are left"
        time.sleep(0.01)


@needs_root
def test_of_many_that_come_at_once_no_more_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._MOST", 3)

    async def story() -> None:
        with ExitStack() as many, socket.socket(socket.AF_UNIX) as listener, public_folder() as folder:
            listener.bind(str(folder / "socket"))
            (folder / "socket").chmod(0o666)
            listener.listen()
            links = [many.enter_context(somebody(folder / "socket", uid)) for uid in range(1000, 1010)]
            service = Service(INFO, (), "")
            service.listen(listener)
            closed = 0
            async with asyncio.timeout(10):
                while closed < 7:
                    await asyncio.sleep(0.01)
                    closed = sum(bool(select.select([link.socket], [], [], 0)[0]) for link in links)
            await asyncio.sleep(0.05)
            assert sum(bool(select.select([link.socket], [], [], 0)[0]) for link in links) == 7
            service.close()
            await asyncio.sleep(0)

    asyncio.run(story())


@needs_root
def test_who_calls_too_fast_waits_and_nobody_else(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._BURST", 5)
    monkeypatch.setattr("idled.control.service._PACE", 0.5)
    with somebody(service, 1000) as fast, somebody(service, 1001) as other:
        began = time.monotonic()
        fast.socket.sendall(packed(*[WHO] * 20))
        assert fast.read() is not None
        assert other.ask(WHO) is not None
        with linked(service) as root:
            assert all(root.ask(WHO) is not None for _ in range(50))
        assert time.monotonic() - began < 5
        assert all(fast.read() is not None for _ in range(19))
        assert 6.5 < time.monotonic() - began < 30


@needs_root
def test_who_hangs_up_and_comes_again_is_not_faster(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._BURST", 5)
    monkeypatch.setattr("idled.control.service._PACE", 0.1)
    began = time.monotonic()
    for _ in range(15):
        with somebody(service, 1000) as link:
            assert link.ask(WHO) is not None
    assert time.monotonic() - began > 0.9


@needs_root
def test_who_is_gone_when_its_turn_comes_harms_nobody(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with an answer unread, which the kernel tells at once, so its socket is closed before the turn comes."""
    monkeypatch.setattr("idled.control.service._BURST", 1)
    monkeypatch.setattr("idled.control.service._PACE", 0.2)
    with somebody(service, 1001) as other:
        for _ in range(5):
            with somebody(service, 1000) as hasty:
                hasty.socket.sendall(packed(*[WHO] * 3))
                assert select.select([hasty.socket], [], [], 5)[0]
        assert other.ask(WHO) is not None
        time.sleep(1)  # more than the turns of all
        assert other.ask(WHO) is not None


@needs_root
def test_all_but_root_together_are_slowed_too(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._BURST", 5)
    monkeypatch.setattr("idled.control.service._PACE_OF_ALL", 0.1)
    began = time.monotonic()
    with ExitStack() as many:
        for uid in range(1000, 1015):
            assert many.enter_context(somebody(service, uid)).ask(WHO) is not None
    assert time.monotonic() - began > 0.9


def test_one_who_is_gone_is_not_forgotten_too_soon() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("")
            listener.listen()
            service = Service(INFO, (), "")
            service.listen(listener)
            waits = [service._due(1000, 10.0) for _ in range(102)]
            service._forget_turns()  # as when another one goes
            assert waits[99] == 0 < waits[101] < service._due(1000, 10.0)
            service.close()

    asyncio.run(story())


def test_a_call_that_does_not_come_to_its_end_is_not_waited_for(service: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.control.service._CALL_PATIENCE", 0.05)
    with linked(service) as slow, linked(service) as silent:
        slow.socket.sendall(packed(WHO)[:-1])
        assert slow.read() is None
        assert silent.ask(WHO) is not None


@needs_root
def test_who_calls_is_who_the_kernel_says(service: Path) -> None:
    answer = json.loads(exchange_as_nobody(service, packed(WHO | {"parameters": {}}))[:-1])
    assert answer["parameters"]["uid"] == NOBODY
    with linked(service) as link:
        mine = (link.ask(WHO) or {})["parameters"]
    assert (mine["uid"], mine["pid"]) == (0, os.getpid())


GROUPS = """
import os, socket, sys
os.setgroups(range(5000, 5000 + int(sys.argv[2])))
os.setgid(77)
os.setuid(65534)
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
link.sendall(sys.argv[3].encode() + b"\\0")
data = b""
while not data.endswith(b"\\0"):
    data += link.recv(1 << 16)
sys.stdout.buffer.write(data[:-1])
"""


@needs_root
@pytest.mark.parametrize("number", [0, 1, 256, 1000])
def test_groups_are_those_of_the_process_however_many(service: Path, number: int) -> None:
    command = ["/usr/bin/python3", "-I", "-c", GROUPS, str(service), str(number), json.dumps(WHO)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=20).stdout)["parameters"]
    assert (said["uid"], said["gids"]) == (NOBODY, [77, *range(5000, 5000 + number)])


def test_a_process_that_is_gone_is_told_from_one_that_lives() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # the kernel gives it a name that no file has
        listener.listen()
        code = f"import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect({listener.getsockname()!r}); input()"
        with subprocess.Popen(["/usr/bin/python3", "-I", "-c", code], stdin=subprocess.PIPE) as child:
            link, _ = listener.accept()
            with link:
                peer = peer_of(link)
                assert (peer.pid, peer.lives) == (child.pid, True)
                child.communicate(b"\n", timeout=20)
                release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
                assert (peer.pidfd is not None) is (release >= (6, 5))
                assert peer.pidfd is None or not peer.lives
                peer.close()


@pytest.mark.parametrize(
    ("given", "kinds", "wrong"),
    [
        ({"a": "x"}, {"a": str}, None),
        ({}, {"a": str | None}, None),
        ({"a": None}, {"a": str | None}, None),
        ({"a": 7}, {"a": int | None}, None),
        ({}, {"a": str}, "a"),
        ({"a": None}, {"a": str}, "a"),
        ({"a": 7}, {"a": str | None}, "a"),
        ({"a": True}, {"a": int}, "a"),
        ({"a": 1.0}, {"a": int}, "a"),
        ({"a": "x", "b": None}, {"a": str}, "b"),
    ],
)
def test_parameters_are_of_their_kind(given: dict[str, Any], kinds: dict[str, Any], wrong: str | None) -> None:
    call = Call(peer=Peer(pid=1, uid=1), parameters=given)
    if wrong is None:
        assert call.take(**kinds) == {"a": given.get("a")}
        return
    with pytest.raises(VarlinkError, match="InvalidParameter") as caught:
        call.take(**kinds)
    assert caught.value.parameters == {"parameter": wrong}


def test_a_client_that_is_not_ours_understands_it(service: Path) -> None:
    with varlink.Client(address=f"unix:{service}") as client:
        assert client.get_interface("org.varlink.service").name == "org.varlink.service"
        with client.open("org.varlink.service", namespaced=True) as link:
            info = link.GetInfo()
            assert (info.product, info.interfaces[1]) == ("idled", "io.idled")
        assert {"Session", "ListSessions", "Monitor", "NotPermitted"} <= client.get_interface("io.idled").members.keys()
        with client.open("io.idled") as link, pytest.raises(varlink.VarlinkError, match="MethodNotImplemented"):
            link.ListSessions()  # described, but here nobody does it
