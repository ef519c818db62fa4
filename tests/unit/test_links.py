# SPDX-License-Identifier: LGPL-2.1-or-later
"""The TCP connections that a process holds, with real ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from idled import clock, procfs
from idled.links import Links
from tests.terminal.bench import Child, python, until

SERVER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
link, _ = listener.accept()
print("accepted", flush=True)
time.sleep(1000)
"""
WAITS = 'print("up", flush=True)\ntime.sleep(1000)\n'


@dataclass
class Pair:
    """Both ends of a connection; `name` is what SSH_CONNECTION would be on the server's side."""

    client: socket.socket
    server: socket.socket

    @property
    def name(self) -> str:
        (remote, remote_port, *_), (local, local_port, *_) = self.client.getsockname(), self.client.getpeername()
        return f"{remote} {remote_port} {local} {local_port}"


@contextmanager
def connection(address: str = "127.0.0.1") -> Iterator[Pair]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    with client, server:
        yield Pair(client, server)


@contextmanager
def served() -> Iterator[tuple[procfs.Process, str]]:
    """A process that holds the server's side of a connection, and the connection's name."""
    with Child(python(SERVER)) as server, socket.create_connection(("127.0.0.1", int(server.said))) as client:
        assert server.line() == "accepted"
        yield process(server.pid), Pair(client, client).name


def process(pid: int) -> procfs.Process:
    found = procfs.process(pid)
    assert found is not None
    return found


def own(links: Links, pair: Pair) -> list[str]:
    """Those of this process among both ends of a connection."""
    both = {pair.name, " ".join([*pair.name.split()[2:], *pair.name.split()[:2]])}
    return [name for name in links.of(process(os.getpid())) if name in both]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1"])
def test_a_connection_has_the_name_of_its_servers_side(address: str) -> None:
    with connection(address) as pair:
        inode = os.fstat(pair.server.fileno()).st_ino
        assert str(procfs.tcp_connections()[inode]) == pair.name
        assert inode in procfs.sockets_held(os.getpid())
        assert pair.name in own(Links(), pair)


def test_what_only_listens_or_is_closed_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, connection() as pair:
        pair.client.close()
        listed = procfs.tcp_connections()
        assert os.fstat(listener.fileno()).st_ino not in listed
        assert os.fstat(pair.server.fileno()).st_ino not in listed


def test_who_came_after_the_list_was_read_is_found_all_the_same() -> None:
    links = Links()
    with served() as (first, first_name):
        assert links.of(first) == [first_name]
        with served() as (later, later_name):
            assert links.of(later) == [later_name]


def test_of_a_process_that_is_gone_there_are_none() -> None:
    with served() as (server, _):
        pass
    assert Links().of(server) == []


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[dict[int, procfs.TcpConnection]]:
    """Every list of the kernel's that was read."""
    read, procfs_list = list[dict[int, procfs.TcpConnection]](), procfs.tcp_connections

    def listed() -> dict[int, procfs.TcpConnection]:
        read.append(procfs_list())
        return read[-1]

    monkeypatch.setattr(procfs, "tcp_connections", listed)
    return read


def wait_out(processes: Iterable[procfs.Process]) -> None:
    """Until the tick is over in which the last of them began: only then a list is surely of later."""
    began = max(process.start for process in processes)
    until(lambda: clock.now() >= (began + 1) * procfs.TICK)


def test_many_that_are_found_at_once_cost_one_list(lists: list[dict[int, str]]) -> None:
    links = Links()
    with ExitStack() as stack:
        servers = [stack.enter_context(served()) for _ in range(5)]
        wait_out(server for server, _ in servers)
        assert [links.of(server) for server, _ in servers] == [[name] for _, name in servers]
    assert len(lists) == 1


def test_many_that_have_none_cost_one_list(lists: list[dict[int, str]]) -> None:
    links = Links()
    with ExitStack() as stack:
        others = [
            stack.enter_context(Child(python("import socket\nhas = socket.socket()\n" + WAITS))) for _ in range(5)
        ]
        wait_out(other.process for other in others)
        assert [links.of(other.process) for other in others] == [[]] * 5
    assert len(lists) == 1
