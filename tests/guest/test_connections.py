# SPDX-License-Identifier: LGPL-2.1-or-later
"""SSH sessions whose connection is busy, chatty, lossy, dead or shared: ended on time, and not while bytes flow.

Clients and servers that talk by themselves (keepalives, rekeys, chaff) make a connection busy and nobody present; a
network that loses packets must neither end nor spare anybody. Transfers are in test_transfers.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise

import pytest

from .installed import LATE, SEC, Installed
from .machine import CLIENT_ALIVE, SSHD_ANEW, Machine, cut, received_at
from .terminal import Terminal, Unseen, boottime
from .test_ends import type_until

IDLE = 6
FORWARD = ("-N", "-L", "2222:127.0.0.1:7777")

# When each key arrived.
ARRIVALS = """
import os, time, tty
tty.setcbreak(0)
print("up", flush=True)
with open("/tmp/arrivals", "w") as file:
    while os.read(0, 1):
        print(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, file=file, flush=True)
"""

# Both ends of a forward: of each piece that came through the moment it was sent is printed; then it is held open.
FLOW = """
import socket, sys, time
size, pause, seconds, way = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
server = socket.create_server(("127.0.0.1", 7777))
while (near := socket.socket()).connect_ex(("127.0.0.1", 2222)):
    time.sleep(0.05)
far, _ = server.accept()
source, sink = (near, far) if way == "there" else (far, near)
until = time.monotonic() + seconds
while time.monotonic() < until:
    moment = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    source.sendall(bytes(size))
    if not sink.recv(size, socket.MSG_WAITALL):
        break
    print(moment, flush=True)
    time.sleep(pause)
source.recv(1)
"""

# What happens to packets that arrive, of every ssh connection and both ways. Where they are sent, sshd would be told.
LINE = """
table inet line {{
    chain arrived {{
        type filter hook input priority 0
        tcp dport 22 {what}
        tcp sport 22 {what}
    }}
}}
"""
CUT = "drop"
LOSSY = "numgen random mod 100 < 15 drop"


@contextmanager
def line(machine: Machine, what: str) -> Iterator[None]:
    """Every ssh connection goes over such a line meanwhile."""
    machine.run("nft", "-f", "-", input=LINE.format(what=what))
    try:
        yield
    finally:
        machine.run("nft", "delete", "table", "inet", "line")


@contextmanager
def flowing(machine: Machine, size: int, pause: float, seconds: float, way: str) -> Iterator[subprocess.Popen[str]]:
    """Bytes flow through the forward for so long, and then do not; at the end both of its ends are closed."""
    with machine.popen("python3", "-c", FLOW, str(size), str(pause), str(seconds), way) as flow:
        try:
            yield flow
        finally:
            cut(flow)


def assert_on_time(ended: int, last: int, idle: int = IDLE, allowed: int = LATE) -> None:
    """Neither early nor late; what is seen is printed."""
    late = ended - last - idle * SEC
    print(f"ended {late / SEC:.2f} s after the limit")
    assert 0 <= late <= allowed


def assert_opened_and_ended(idled: Installed, client: Terminal, before: int) -> None:
    """It was opened some time after `before`, was never used, and ends on time."""
    idled.session("alice", timeout=20)
    opened = boottime()
    ended = client.wait_closed(IDLE + 20)
    assert ended - before >= IDLE * SEC
    assert_on_time(ended, min(opened, ended - IDLE * SEC))


def type_now_and_then(terminal: Terminal, keys: str, pause: float) -> int:
    """Type key after key; when the last one was typed."""
    last = 0
    for key in keys:
        last = terminal.type(key)
        with suppress(Unseen):
            terminal.wait_closed(pause)
    assert terminal.closed_at is None, terminal.text
    return last


@pytest.fixture
def server_alive(idled: Installed) -> Iterator[None]:
    """Sshd asks its clients each second whether they are there."""
    drop_in = "/etc/ssh/sshd_config.d/alive.conf"
    idled.machine.write(drop_in, "ClientAliveInterval 1\nClientAliveCountMax 1000\n")
    idled.machine.sh(SSHD_ANEW)
    yield
    idled.machine.run("rm", drop_in)
    idled.machine.sh(SSHD_ANEW)


# Nobody there, but the connection is busy


@pytest.mark.parametrize("options", [(), CLIENT_ALIVE], ids=["server asks", "both ask"])
def test_unused_forward_with_keepalives_is_ended(
    idled: Installed, server_alive: None, options: tuple[str, ...]
) -> None:
    idled.limits(idle=f"{IDLE}s")
    before = boottime()
    with idled.machine.login("alice", options=(*FORWARD, *options)) as client:
        assert_opened_and_ended(idled, client, before)


def test_terminal_with_server_keepalives_is_ended(idled: Installed, server_alive: None) -> None:
    idled.limits(idle=f"{IDLE}s", warn='["3s"]')
    with idled.login("alice") as terminal:
        last = type_now_and_then(terminal, "abcdef", pause=2)
        assert_on_time(terminal.wait_closed(20), last)
    assert idled.events("activity-forged") == []


@pytest.mark.parametrize(("command", "options"), [(None, ()), ("cat", ("-T",))], ids=["one key", "no terminal"])
def test_keepalives_that_show_once_the_person_has_gone(
    idled: Installed, command: str | None, options: tuple[str, ...]
) -> None:
    """While somebody is there none is sent, so nothing tells that there will be."""
    idled.limits(idle="60s")
    with idled.machine.login("alice", command, options=("-o", "ServerAliveInterval=40", *options)) as client:
        idled.session("alice", timeout=20)
        last = type_now_and_then(client, "\n" * 8, pause=9)
        assert_on_time(client.wait_closed(130), last, idle=60)


@pytest.mark.parametrize("options", [(), CLIENT_ALIVE], ids=["quiet", "keepalives"])
def test_rekeyed_session_without_terminal_is_ended(idled: Installed, options: tuple[str, ...]) -> None:
    idled.limits(idle=f"{IDLE}s")
    rekeyed = ("-o", "RekeyLimit=default 2s", *options)
    before = boottime()
    with idled.machine.login("alice", options=(*FORWARD, *rekeyed)) as client:
        assert_opened_and_ended(idled, client, before)


@pytest.mark.parametrize("command", ["", "sleep 1000", "while sleep 1; do date; done"], ids=["prompt", "job", "output"])
def test_everything_talks_but_nobody_types(idled: Installed, server_alive: None, command: str) -> None:
    """Keepalives both ways, a rekey every 12 s, and a window that changes by itself."""
    idle = 28
    idled.limits(idle=f"{idle}s", warn='["3s"]')
    with idled.login("alice", *CLIENT_ALIVE, "-o", "RekeyLimit=default 12s") as terminal:
        last = terminal.type(f"{command}\n")
        for columns in range(60, 74):
            if terminal.closed_at is None:
                terminal.resize(24, columns)
            with suppress(Unseen):
                terminal.wait_closed(idle / 14)
        assert_on_time(terminal.wait_closed(60), last, idle)
    assert idled.events("activity-forged") == []


# Bytes flow through a forward


@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("options", [(), CLIENT_ALIVE], ids=["quiet", "keepalives"])
@pytest.mark.parametrize(("size", "pause"), [(1000, 0.2), (40, 4.0)], ids=["1 kB often", "40 B now and then"])
def test_forward_stays_while_bytes_flow(
    idled: Installed, size: int, pause: float, options: tuple[str, ...], way: str
) -> None:
    idled.limits(idle=f"{IDLE}s")
    with (
        idled.machine.login("alice", options=(*FORWARD, *options)) as client,
        flowing(idled.machine, size, pause, 16, way) as flow,
    ):
        seen, _ = flow.communicate(timeout=60)
        first, *_, last = map(int, seen.splitlines())
        assert last - first >= 12 * SEC - 1
        assert_on_time(client.wait_closed(20), last)


# The keys that a client makes up


def test_last_real_key_counts_and_none_that_the_client_made_up(idled: Installed) -> None:
    """Newer clients hide when somebody types: for some time after it they go on as if it went on."""
    idled.limits(idle="5s")
    with idled.login("alice") as terminal:
        type_until(terminal, boottime() + 12 * SEC, pause=0.1)
        before = wire_in(idled.machine)
        last = type_now_and_then(terminal, "x", pause=2.5)
        made_up = idled.machine.run("ssh", "-G", "localhost").stdout.count("obscurekeystroketiming yes")
        assert (wire_in(idled.machine) - before > 300) == bool(made_up)
        assert made_up == (idled.machine.release == "trixie")
        assert_on_time(terminal.wait_closed(20), last, 5)
    assert idled.events("activity-forged") == []


def wire_in(machine: Machine) -> int:
    """What the one ssh connection's server received on the wire so far, in bytes."""
    return int(machine.sh("ss -tinHO state established 'sport = 22' | grep -o 'bytes_received:[0-9]*' | cut -d: -f2"))


# One connection, three terminals


def test_shared_connection_is_one_session(idled: Installed) -> None:
    """Whichever of the terminals is used, all stay; when none is, all go."""
    idled.limits(idle=f"{IDLE}s", warn='["2s"]')
    path = ("-S", "/tmp/shared-%r")
    with ExitStack() as stack:
        people = [stack.enter_context(idled.login("alice", *more, *path)) for more in (("-M",), (), ())]
        assert len(idled.session("alice", terminals=3)["terminals"]) == 3
        for person in (*people, people[1]):
            last = type_until(person, boottime() + 5 * SEC, pause=1.0)
        assert [person.closed_at for person in people] == [None] * 3
        assert len(idled.session("alice", terminals=3)["terminals"]) == 3
        closed = [person.wait_closed(20) for person in people]
    for moment in closed:
        assert_on_time(moment, last)
    for person in people:
        assert "session ended after 6s without input" in person.text
    idled.wait_ended("alice")
    assert len(idled.events("ended")) == 1
    assert idled.processes("alice") == []


# A network that fails


@pytest.mark.parametrize("options", [(), CLIENT_ALIVE], ids=["quiet", "keepalives"])
def test_terminal_whose_network_is_gone_is_ended(idled: Installed, options: tuple[str, ...]) -> None:
    idled.limits(idle=f"{IDLE}s", warn='["3s"]')
    with idled.login("alice", *options) as terminal:
        typed = terminal.type("while sleep 0.2; do date; done\n")
        terminal.expect(r"\d:\d\d ")  # or it would be cut off before it is sent
        with line(idled.machine, CUT):
            terminal.type("nobody will get this")
            assert_gone(idled, typed, typed)


@pytest.mark.parametrize("way", ["there", "back"])
def test_forward_whose_network_is_gone_is_ended(idled: Installed, way: str) -> None:
    idled.limits(idle=f"{IDLE}s")
    with idled.machine.login("alice", options=FORWARD), flowing(idled.machine, 1000, 0.2, 1000, way) as flow:
        assert flow.stdout
        before = int([flow.stdout.readline() for _ in range(20)][-1])
        with line(idled.machine, CUT):
            assert_gone(idled, before, boottime())


def assert_gone(idled: Installed, not_before: int, last: int) -> None:
    """Ended on time, as the daemon tells, and nothing is left of it; the last bytes moved between two moments."""
    ended = received_at(idled.event("ended", 30, IDLED_USER="alice"))
    assert ended - not_before >= IDLE * SEC
    assert_on_time(ended, min(last, ended - IDLE * SEC))
    assert idled.processes("alice") == []


def test_lossy_line_neither_ends_nor_spares(idled: Installed) -> None:
    """A key counts when it arrives; what is lost is sent again later and later, and may come too late."""
    idled.limits(idle=f"{IDLE}s", warn='["2s"]')
    idled.machine.write("/tmp/arrivals.py", ARRIVALS)
    with idled.machine.login("alice", "python3 /tmp/arrivals.py", options=("-tt",)) as terminal:
        terminal.expect("up")
        with line(idled.machine, LOSSY), suppress(Unseen):
            for key in "typing " * 4:
                terminal.type(key)
                with suppress(Unseen):
                    terminal.wait_closed(1)
            terminal.wait_closed(30)
        ended = received_at(idled.event("ended", 30, IDLED_USER="alice"))
    arrived = [int(moment) for moment in idled.machine.run("cat", "/tmp/arrivals").stdout.split()]
    assert_on_time(ended, arrived[-1])
    assert all(later - earlier < IDLE * SEC + LATE for earlier, later in pairwise(arrived))
    assert idled.events("activity-forged") == []
