# SPDX-License-Identifier: LGPL-2.1-or-later
"""Packets of the PAM module: good ones are answered, all others refused, and nothing else happens."""

import asyncio
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idled import procfs
from idled.sources.registrations import MAX_PACKET, Answer, RefusedPacket, Registration, Registrations, parse
from tests.terminal.bench import descriptors_left, until

from .peer import exchange_as_nobody, needs_root, public_folder

T = TypeVar("T")
GOOD = {
    "VERSION": "1",
    "USER": "alice",
    "SERVICE": "sshd",
    "TTY": "ssh",
    "RHOST": "10.0.0.1",
    "PID": "7",
    "START": "70",
}


def packet(**changes: str | None) -> bytes:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return b"".join(f"{name}={value}\0".encode() for name, value in fields.items())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"tty": "", "rhost": "10.0.0.1"}),
        ({"TTY": "/dev/tty1", "RHOST": None}, {"tty": "tty1", "rhost": ""}),
        ({"TTY": "tty1"}, {"tty": "tty1"}),
        ({"TTY": None}, {"tty": ""}),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, {"connection": "10.0.0.1 1 10.0.0.2 22", "is_ssh": True}),
        ({"SSH_CONNECTION": None}, {"connection": "", "is_ssh": True}),
        ({"SSH_CONNECTION": None, "TTY": "/dev/tty1"}, {"is_ssh": False}),
        ({"SSH_CONNECTION": None, "TTY": None}, {"is_ssh": False}),
        ({"USER": "a=b", "NEW": "keys are for later versions"}, {"user": "a=b"}),
    ],
)
def test_a_good_packet(changes: dict[str, str | None], expected: dict[str, object]) -> None:
    found = parse(packet(**changes), 7, 0)
    assert (found.pid, found.start, found.service) == (7, 70, "sshd")
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes that are not whole strings"),
        (b"\0", "not KEY=VALUE"),
        (packet()[:-1], "not whole strings"),  # cut short
        (packet(RHOST="x" * MAX_PACKET), "not whole strings"),
        (packet() + b"\0", "not KEY=VALUE"),
        (packet() + b"USER\0", "not KEY=VALUE"),
        (b"\xff=1\0", "not KEY=VALUE in UTF-8"),
        (packet(VERSION="2"), "no VERSION=1"),
        (packet(VERSION=None), "no VERSION=1"),
        (packet(USER=""), "no VERSION=1, USER"),
        (packet(USER=None), "no VERSION=1, USER"),
        (packet(SERVICE=None), "USER and SERVICE"),
        (packet(PID=None), "not numbers"),
        (packet(PID="-7"), "not numbers"),
        (packet(PID="7 "), "not numbers"),
        (packet(PID="\u0667"), "not numbers"),
        (packet(START="0x46"), "not numbers"),
        (packet(PID="8"), "names process 8, comes from 7"),
        (packet(PID="9" * 4000), "names process 999999999999, comes from 7"),
    ],
)
def test_a_bad_packet_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(RefusedPacket, match=said) as caught:
        parse(data, 7, 0)
    assert len(str(caught.value)) < 100


def test_only_root_may_register() -> None:
    with pytest.raises(RefusedPacket, match="from uid 1000, which is not root"):
        parse(packet(), 7, 1000)


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([*packet().split(b"\0"), b"=", b"PID=", b"TTY=\xff"])).map(b"\0".join)
)
def test_any_bytes_are_a_registration_or_refused(data: bytes) -> None:
    try:
        assert parse(data, 7, 0).pid == 7
    except RefusedPacket:
        pass


def test_the_answer_is_as_the_module_reads_it() -> None:
    assert Answer().packet() == b"VERSION=1\0"
    assert Answer(text="Hi.", runtime_max_sec=60).packet() == b"VERSION=1\0TEXT=Hi.\0RUNTIME_MAX_SEC=60\0"


class Office:
    """The listening end on a real socket, with notes of what it took in and what it refused."""

    def __init__(self, path: Path) -> None:
        self.taken: list[Registration] = []
        self.refused: list[str] = []
        self.missed = 0  # so often it said that somebody may have been
        self.failures: list[dict[str, Any]] = []  # what the loop was told
        self.path = path

    async def register(self, registration: Registration) -> Answer:
        self.taken.append(registration)
        return Answer(text="Hello.")

    def miss(self) -> None:
        self.missed += 1

    def during(self, visit: Callable[[], T]) -> T:
        """What a visit in another thread finds out while it is open."""
        return asyncio.run(self._during(visit))

    async def _during(self, visit: Callable[[], T]) -> T:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.failures.append(context))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self.path))
            self.path.chmod(0o666)
            listener.listen(64)
            desk = asyncio.create_task(Registrations(listener, self.register, self.refused.append, self.miss).run())
            found = await asyncio.to_thread(visit)
            await self._settled(listener, desk, asyncio.current_task())
            desk.cancel()
            await asyncio.gather(desk, return_exceptions=True)
        return found

    async def _settled(self, listener: socket.socket, *standing: asyncio.Task[Any] | None) -> None:
        """All who came are taken care of."""
        quiet = 0
        while quiet < 5:  # turns of the loop: from a connection to its task it takes some
            await asyncio.sleep(0)
            busy = select.select([listener], [], [], 0)[0] or asyncio.all_tasks() - set(standing)
            quiet = 0 if busy else quiet + 1

    def send(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(10)
            link.connect(str(self.path))
            if data:
                link.send(data)
            else:
                link.shutdown(socket.SHUT_WR)
            return link.recv(1024)


def of_this_process(**changes: str) -> bytes:
    me = procfs.process(os.getpid())
    assert me is not None
    return packet(**{"PID": str(me.pid), "START": str(me.start)} | changes)


@needs_root
def test_a_registration_is_answered_and_a_replay_is_the_same_one(tmp_path: Path) -> None:
    office = Office(tmp_path / "pam")
    answers = office.during(lambda: [office.send(of_this_process()) for _ in range(2)])
    assert answers == [b"VERSION=1\0TEXT=Hello.\0"] * 2
    assert office.taken[0] == office.taken[1]
    assert not office.refused
    assert not office.missed


@needs_root
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: of_this_process(START="1"), "names process {me} as of 1, which is gone"),
        (lambda: of_this_process(PID="1"), "names process 1, comes from {me}"),
        (lambda: b"", "0 bytes that are not whole strings"),
        (lambda: b"x" * 100_000, f"{MAX_PACKET + 1} bytes that are not whole strings"),
    ],
)
def test_a_refused_packet_gets_no_answer_and_the_next_is_served(
    tmp_path: Path, data: Callable[[], bytes], said: str
) -> None:
    office = Office(tmp_path / "pam")
    answers = office.during(lambda: (office.send(data()), office.send(of_this_process())))
    assert answers == (b"", b"VERSION=1\0TEXT=Hello.\0")
    assert office.refused == ["PAM packet: " + said.format(me=os.getpid())]
    assert len(office.taken) == 1
    assert not office.missed


@needs_root
def test_a_packet_of_another_user_is_refused_by_the_word_of_the_kernel() -> None:
    with public_folder() as folder:
        office = Office(folder / "pam")
        answer = office.during(lambda: exchange_as_nobody(folder / "pam", packet(), "SOCK_SEQPACKET"))
    assert (answer, office.taken) == (b"", [])
    assert office.refused == ["PAM packet: from uid 65534, which is not root"]


@needs_root
@pytest.mark.parametrize("turns", range(12))
def test_a_stop_loses_nobody_who_was_let_in(tmp_path: Path, turns: int) -> None:
    """Whoever is not answered waits at the door for the next daemon, at whatever turn of the loop this one stops."""
    office, came = Office(tmp_path / "pam"), 5

    async def register(registration: Registration) -> Answer:
        await asyncio.sleep(0.01)  # it asks NSS
        return await office.register(registration)

    async def come_and_stop(listener: socket.socket, stack: ExitStack) -> None:
        desk = asyncio.create_task(Registrations(listener, register, office.refused.append, office.miss).run())
        await asyncio.sleep(0.01)
        for _ in range(came):
            link = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            link.connect(str(office.path))
            link.send(of_this_process())
        for _ in range(turns):
            await asyncio.sleep(0)
        desk.cancel()
        await asyncio.gather(desk, return_exceptions=True)

    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(str(office.path))
        listener.listen(64)
        asyncio.run(come_and_stop(listener, stack))
        waiting = 0
        while select.select([listener], [], [], 0)[0]:
            stack.enter_context(listener.accept()[0])
            waiting += 1
    assert len(office.taken) + waiting == came
    assert not office.refused


_SEND_AND_DIE = """
import os, socket, sys
pid, start = os.getpid(), open("/proc/self/stat").read().rsplit(") ", 1)[1].split()[19]
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.connect(sys.argv[1])
if os.fork():
    os._exit(0)
sys.stdin.read()
link.send(f"VERSION=1\\0USER=u\\0SERVICE=s\\0PID={pid}\\0START={start}\\0".encode())
link.recv(1024)
"""


@needs_root
def test_a_packet_that_names_a_process_that_is_gone_is_refused(tmp_path: Path) -> None:
    """The sender connected and ended; it is dead but not waited for, and a child of it sends what it had said."""
    office = Office(tmp_path / "pam")

    def visit() -> None:
        call = [sys.executable, "-c", _SEND_AND_DIE, str(office.path)]
        with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sender:
            assert sender.stdin and sender.stdout
            os.waitid(os.P_PID, sender.pid, os.WEXITED | os.WNOWAIT)
            sender.stdin.close()
            sender.stdout.read()  # until the child that has it too was hung up on

    office.during(visit)
    assert not office.taken
    (said,) = office.refused
    assert said.endswith("which is gone")


def test_who_says_nothing_is_dropped_and_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.sources.registrations._PATIENCE", 0.05)
    office = Office(tmp_path / "pam")

    def visit() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
            silent.settimeout(10)
            silent.connect(str(office.path))
            office.send(b"\0")
            return silent.recv(10)

    assert office.during(visit) == b""
    assert "PAM packet: none came" in office.refused
    assert office.missed == 1


@needs_root
def test_of_two_packets_on_one_connection_the_first_is_the_registration(tmp_path: Path) -> None:
    office = Office(tmp_path / "pam")

    def visit() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(10)
            link.connect(str(office.path))
            link.send(of_this_process())
            with suppress(BrokenPipeError):
                link.send(of_this_process(USER="root"))
            answers = b""
            for _ in range(3):
                with suppress(ConnectionResetError):  # once, before the answer, where the second is unread at the end
                    answers += link.recv(1024)
            assert answers == b"VERSION=1\0TEXT=Hello.\0"

    office.during(visit)
    assert [registration.user for registration in office.taken] == ["alice"]
    assert office.refused == []


@needs_root
def test_an_answer_that_nobody_waits_for_is_no_trouble(tmp_path: Path) -> None:
    office = Office(tmp_path / "pam")

    def visit() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.connect(str(office.path))
            link.send(of_this_process())

    office.during(visit)
    assert (len(office.taken), office.refused) == (1, [])


@needs_root
def test_a_registration_that_fails_is_hung_up_on_and_the_next_is_served(tmp_path: Path) -> None:
    class Broken(Office):
        async def register(self, registration: Registration) -> Answer:
            if registration.user == "nobody foresaw":
                raise LookupError(registration.user)
            return await super().register(registration)

    office = Broken(tmp_path / "pam")
    answers = office.during(
        lambda: (office.send(of_this_process(USER="nobody foresaw")), office.send(of_this_process()))
    )
    assert answers == (b"", b"VERSION=1\0TEXT=Hello.\0")
    assert [told["peer"] for told in office.failures] == [f"process {os.getpid()} of uid 0"]
    assert office.refused == []
    assert office.missed == 1


@needs_root
@pytest.mark.parametrize("spare", [0, 1])
def test_who_comes_while_descriptors_are_short_may_have_been_missed(tmp_path: Path, spare: int) -> None:
    """None is left to accept with, and who came waits; or one is, and none to look at the process with."""
    office, said = Office(tmp_path / "pam"), of_this_process()

    def visit() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(10)
            with descriptors_left(spare):
                link.connect(str(office.path))
                link.send(said)
                until(lambda: office.missed)
            return link.recv(1024)

    assert office.during(visit) == (b"" if spare else b"VERSION=1\0TEXT=Hello.\0")
    assert "Too many open files" in office.refused[0]


@needs_root
def test_many_at_once_are_bounded_and_all_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("idled.sources.registrations._MOST_PEERS", 3)
    present: list[int] = []

    class Slow(Office):
        async def register(self, registration: Registration) -> Answer:
            self.taken.append(registration)
            for _ in range(20):  # turns, in which as many others come in as may
                await asyncio.sleep(0)
            present.append(len(self.taken))
            self.taken.pop()
            return Answer()

    office = Slow(tmp_path / "pam")

    def visit() -> list[bytes]:
        with ExitStack() as all_links:
            links = [all_links.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(50)]
            for link in links:
                link.settimeout(10)
                link.connect(str(office.path))
                link.send(of_this_process())
            return [link.recv(1024) for link in links]

    assert office.during(visit) == [b"VERSION=1\0"] * 50
    assert max(present) == 3
