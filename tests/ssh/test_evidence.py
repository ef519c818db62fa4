# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bytes that a client delivers into its session, exactly: keys count one by one, and nothing else counts."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from idled import procfs
from idled.core.activity import ConnectionLook
from idled.core.rekeys import apart
from idled.evidence import connections
from idled.evidence.connections import Connections, parse
from tests.guest.terminal import Terminal, boottime
from tests.terminal.bench import until

from .server import Login, Server, offered

MSEC = 1000
RUN_CAT = ("echo rea''dy; exec cat",)


class Moved(NamedTuple):
    """What happened between two looks."""

    delivered: int
    issued: int
    wire_in: int
    wire_out: int


def moved(was: ConnectionLook, now: ConnectionLook) -> Moved:
    assert None not in (was.delivered, was.issued, now.delivered, now.issued)
    assert was.counted == now.counted
    delivered, issued = apart(
        (now.delivered or 0) - (was.delivered or 0),
        (now.issued or 0) - (was.issued or 0),
        now.asked - was.asked,
        now.answered - was.answered,
    )
    return Moved(
        delivered,
        issued,
        now.wire_in - was.wire_in,
        now.wire_out - was.wire_out,
    )


class Since:
    """What happened since it was made."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._first = login.look()

    def now(self) -> Moved:
        return moved(self._first, self._login.look())


def cat(server: Server, user: str, *options: str) -> Login:
    """A session with a terminal on which everything typed comes back once."""
    return server.login(user, "-tt", *options, run=RUN_CAT, expect="ready")


@pytest.fixture
def login(server: Server, user: str) -> Iterator[Login]:
    with cat(server, user) as login:
        settle(login)
        yield login


def settle(login: Login) -> None:
    """Have everything of the login behind it: a key goes there and back, alone."""
    type_and_see(login, "!")


def type_and_see(login: Login, keys: str) -> None:
    """Type, each key alone, and see it come back before the next."""
    for key in keys:
        login.client.type(key)
        login.client.expect(f"[{key}]")
    acknowledged(login)


def acknowledged(login: Login) -> None:
    """Wait until nothing is on its way."""

    def quiet() -> bool:
        first = login.look()
        return all(moved(first, login.look()) == Moved(0, 0, 0, 0) for _ in range(10))

    until(quiet)


# Keys


@pytest.mark.parametrize("keys", ["a", "ab", "abcdefghij"])
def test_each_key_is_one_byte(login: Login, keys: str) -> None:
    since = Since(login)
    type_and_see(login, keys)
    assert since.now()[:2] == (len(keys), len(keys))


def test_keys_typed_in_one_go(login: Login) -> None:
    since = Since(login)
    login.client.type("x" * 500 + "\n")
    until(lambda: since.now().delivered == 501)
    login.client.expect("x{500}\\s+!x{500}")
    assert since.now().delivered == 501


def test_keys_that_no_program_reads_and_that_do_not_echo(server: Server, user: str) -> None:
    with server.login(user, "-tt", run=("stty -echo; echo rea''dy; exec sleep 1000",), expect="ready") as login:
        since = Since(login)
        login.client.type("typed\n")
        until(lambda: since.now().delivered == 6)
        assert since.now().issued == 0


def test_interrupt(server: Server, user: str) -> None:
    script = "trap 'echo caught' INT; echo rea''dy; while :; do sleep 0.1; done"
    with server.login(user, "-tt", run=(script,), expect="ready") as login:
        since = Since(login)
        login.client.type("\x03")
        login.client.expect("caught")
        assert since.now().delivered == 1


def test_over_ipv6(possible: None, user: str) -> None:
    try:
        server = Server(address="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    with server, cat(server, user) as login:
        settle(login)
        since = Since(login)
        type_and_see(login, "abc")
        assert since.now()[:2] == (3, 3)


def test_with_every_cipher_mac_and_compression(server: Server) -> None:
    ways = [("Ciphers", cipher) for cipher in offered("cipher")] + [("MACs", mac) for mac in offered("mac")]
    plain = ("-o", "Ciphers=aes128-ctr")  # a cipher that brings no MAC of its own
    options = {f"{name}={value}": ("-o", f"{name}={value}", *(plain if name == "MACs" else ())) for name, value in ways}
    options |= {f"Compression={value}": ("-o", f"Compression={value}") for value in ("yes", "no")}
    wrong = {}
    for user in ("nobody", "root"):
        for batch in batches(sorted(options), 10):
            with ExitStack() as stack:
                logins = [(way, stack.enter_context(cat(server, user, *options[way]))) for way in batch]
                for way, login in logins:
                    settle(login)
                    since = Since(login)
                    type_and_see(login, "abcde")
                    if (found := since.now())[:2] != (5, 5):
                        wrong[user, way] = found
    assert not wrong


def batches(what: list[str], size: int) -> list[list[str]]:
    return [what[begin : begin + size] for begin in range(0, len(what), size)]


# What is no key


def test_keepalives_of_the_client(server: Server, user: str) -> None:
    with cat(server, user, "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=100") as login:
        settle(login)
        since = Since(login)
        until(lambda: since.now().wire_in >= 2 * 52)
        assert since.now()[:2] == (0, 0)


def test_keepalives_of_the_server(possible: None) -> None:
    with Server(more="ClientAliveInterval 1\nClientAliveCountMax 100") as server:
        for user in ("nobody", "root"):
            with cat(server, user) as login, server.login(user, "-N") as bare:
                settle(login)
                terminal, forward = Since(login), Since(bare)
                until(lambda: terminal.now().wire_in >= 2 * 28 and forward.now().wire_in >= 2 * 28)  # noqa: B023
                assert terminal.now()[:2] == (0, 0)
                assert forward.now()[:2] == (0, 0)


def test_obscured_keystrokes(server: Server, user: str) -> None:
    option = ("-o", "ObscureKeystrokeTiming=interval:20")
    if subprocess.run(["ssh", *option, "-G", "x"], capture_output=True, check=False).returncode:
        pytest.skip("this client cannot obscure keystrokes (OpenSSH 9.5)")
    with cat(server, user, *option) as login:
        settle(login)
        since = Since(login)
        type_and_see(login, "abc")
        until(lambda: since.now().wire_in > 1000)
        until(lambda: since.now()[:2] == (3, 3))  # one look may fall into sshd's reading


def test_a_window_of_another_size(server: Server, user: str) -> None:
    script = "trap 'stty size' WINCH; echo rea''dy; while :; do sleep 0.05; done"
    with server.login(user, "-tt", run=(script,), expect="ready") as login:
        since = Since(login)
        login.client.resize(33, 77)
        login.client.expect("33 77")
        assert since.now().delivered == 0
        assert since.now().wire_in > 0


def test_a_flood_of_output(server: Server, user: str) -> None:
    """Looks all the time, while counters and queues move: none sees more than was delivered, few see less."""
    size = 3_000_000
    script = f"stty -onlcr; echo rea''dy; read line; yes | head -c {size}; echo do''ne; exec cat"
    with server.login(user, "-tt", run=(script,), expect="ready") as login:
        acknowledged(login)
        first = login.look()
        login.client.type("\n")
        looks = [login.look()]
        while "done" not in login.client.text[-200:]:
            looks.append(login.look())
        acknowledged(login)
        last = moved(first, login.look())
    assert last.delivered == 1
    assert last.issued == len("\n") + size + len("done\n")
    delivered = [moved(first, look).delivered for look in looks]
    assert max(delivered) == 1
    behind = [now < 0 <= before for before, now in zip(delivered, delivered[1:], strict=False)]  # of some in a row, one
    assert sum(behind) <= 2 + len(looks) // 20, f"{sum(behind)} of {len(looks)} looks saw less than was delivered"


def test_nothing_happens(login: Login) -> None:
    since = Since(login)
    assert {since.now()[:3] for _ in range(200)} == {(0, 0, 0)}


# What lies in the queues


def test_what_has_arrived_and_was_not_read_is_not_delivered(login: Login) -> None:
    since = Since(login)
    login.freeze()
    login.client.type("abc")
    until(lambda: login.look().stopped)
    assert login.look().unread > 0
    assert since.now()[:2] == (0, 0)
    login.freeze(thaw=True)
    login.client.expect("abc")
    until(lambda: since.now().delivered == 3)
    assert not login.look().stopped


def test_an_sshd_that_its_user_took_elsewhere_counts_as_stopped(login: Login) -> None:
    """A frozen one shows no other state than one that sleeps. Where it was only root freezes it.

    An sshd that is its own leader, as root's may be, has nobody to be compared with.
    """
    sshd, home = login.look().counted, login.server.cgroup.path
    away = home / "away"
    away.mkdir(exist_ok=True)
    for where in (home, away):
        (where / "cgroup.procs").write_text(str(sshd))
        (where / "cgroup.freeze").write_text("1")
        try:
            login.client.type("a")
            until(lambda: login.look().unread > 0)
            assert login.look().stopped == (where == away and sshd != login.leader.pid)
        finally:
            (where / "cgroup.freeze").write_text("0")
        until(lambda: login.look().unread == 0)


def test_output_that_the_client_does_not_take(server: Server, user: str) -> None:
    with server.login(user, "-tt", run=("echo rea''dy; read line; exec yes",), expect="ready") as login:
        acknowledged(login)
        since = Since(login)
        login.client.type("\n")
        until(lambda: since.now().issued > 500_000)
        login.client.stop()
        try:
            until(lambda: since.now() == since.now() and since.now().delivered == 1)
        finally:
            login.client.cont()


# Moments


def dated(login: Login) -> tuple[ConnectionLook, int]:
    """A look, and how long it took: the clock is read after the kernel was asked."""
    began = boottime()
    return login.look(), boottime() - began


def test_received_at_is_when_the_key_came(login: Login) -> None:
    for key in "abcdefgh":
        typed_at = boottime()
        login.client.type(key)
        came_back_at = login.client.moment(login.client.expect(f"[{key}]"))
        look, took = dated(login)
        assert typed_at - 10 * MSEC <= look.received_at <= came_back_at + 10 * MSEC + took
        time.sleep(0.02)


def test_output_moves_sent_at_and_not_received_at(server: Server, user: str) -> None:
    script = "echo rea''dy; while :; do echo tick; sleep 0.02; done"
    with server.login(user, "-tt", run=(script,), expect="ready") as login:
        once, took = dated(login)
        login.client.expect("(tick\\s+){5}")
        until(lambda: login.look().sent_at > once.sent_at + 50 * MSEC)
        now, took_too = dated(login)
        assert abs(now.received_at - once.received_at) <= 10 * MSEC + took + took_too


# Other shapes of a session


def test_a_second_terminal_on_the_same_connection(server: Server, user: str, tmp_path: Path) -> None:
    control = ("-o", f"ControlPath={tmp_path}/s")
    with cat(server, user, "-M", *control) as login:
        settle(login)
        since = Since(login)
        with Terminal([*server.command(user, "-tt", *control), *RUN_CAT]) as second:
            second.expect("ready")
            acknowledged(login)
            before = since.now()
            second.type("k")
            second.expect("k")
            until(lambda: since.now().delivered - before.delivered == 1)
            type_and_see(login, "z")
            assert since.now().delivered - before.delivered == 2
        until(lambda: since.now() == since.now())


def test_sftp_idle_and_transferring(server: Server, user: str, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"x" * 100_000)
    with server.login(user, program="sftp", expect="sftp> ") as login:
        acknowledged(login)
        since = Since(login)
        assert {since.now()[:2] for _ in range(50)} == {(0, 0)}
        login.client.type(f"put {tmp_path}/up /dev/null\n")
        login.client.expect("sftp> ")
        up = until(lambda: now if (now := since.now()).delivered >= 100_000 else None)
        assert up.delivered < 110_000
        login.client.type(f"get {server.folder}/host_rsa.pub /dev/null\n")
        login.client.expect("sftp> ")
        size = (server.folder / "host_rsa.pub").stat().st_size
        until(lambda: since.now().issued >= up.issued + size)


def test_a_forward_with_and_without_bytes(server: Server, user: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        with server.login(user, "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{target.getsockname()[1]}") as login:
            near = until(lambda: connected(port))
            far, _ = target.accept()
            with near, far:
                acknowledged(login)
                since = Since(login)
                assert {since.now()[:2] for _ in range(50)} == {(0, 0)}
                for _ in range(3):
                    near.sendall(b"x" * 40)
                    assert far.recv(100) == b"x" * 40
                until(lambda: since.now()[:2] == (120, 0))
                far.sendall(b"y" * 70)
                assert near.recv(100) == b"y" * 70
                until(lambda: since.now()[:2] == (120, 70))


def connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=10)
    except ConnectionRefusedError:
        return None


def test_a_command_without_terminal(server: Server, user: str) -> None:
    with server.login(user, "-T", run=("echo rea''dy; exec cat",), expect="ready") as login:
        since = Since(login)
        assert {since.now()[:2] for _ in range(50)} == {(0, 0)}


# The question itself


@pytest.fixture
def looks() -> Iterator[Connections]:
    looks = Connections()
    yield looks
    looks._netlink.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with near, far:
            yield near, far


@contextmanager
def bound(address: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of which the far one is bound to an interface, as what listened was."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as near:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        listener.bind((address, 0))
        listener.listen()
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        with far:
            yield near, far


def name_of(near: socket.socket, far: socket.socket) -> str:
    """As SSH_CONNECTION of the far side."""
    client, server = near.getsockname(), far.getsockname()
    return f"{client[0]} {client[1]} {server[0]} {server[1]}"


def test_bytes_on_the_wire_of_a_plain_connection(looks: Connections, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    near.sendall(b"12345")
    assert far.recv(5) == b"12345"
    far.sendall(b"123")
    assert near.recv(3) == b"123"
    found = looks.look(name_of(near, far), None, 0)
    assert found is not None
    assert (found.wire_in, found.delivered, found.issued, found.counted) == (5, None, None, None)
    until(lambda: (look := looks.look(name_of(near, far), None, 0)) is not None and look.wire_out == 3)


def test_a_listener_for_both_families_has_ipv4_mapped(looks: Connections) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        near = socket.create_connection(("127.0.0.1", port))
        far, _ = listener.accept()
        with near, far:
            near.sendall(b"1234")
            assert far.recv(4) == b"1234"
            mine = near.getsockname()
            found = looks.look(f"{mine[0]} {mine[1]} 127.0.0.1 {port}", None, 0)
            assert found is not None
            assert found.wire_in == 4


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_connection_that_is_bound_to_an_interface(looks: Connections, address: str) -> None:
    """As that of an sshd in a VRF is: what listens is bound, and so is what it accepts."""
    with bound(address) as (near, far):
        near.sendall(b"1234")
        assert far.recv(4) == b"1234"
        found = looks.look(name_of(near, far), None, 0)
        assert found is not None
        assert found.wire_in == 4


def test_ipv4_that_is_bound_on_a_listener_for_both_families(looks: Connections) -> None:
    with bound("::ffff:127.0.0.1") as (near, far):
        near.sendall(b"1234")
        assert far.recv(4) == b"1234"
        found = looks.look(name_of(near, far).replace("::ffff:", ""), None, 0)
        assert found is not None
        assert found.wire_in == 4


def test_a_bound_connection_that_its_client_has_closed(looks: Connections) -> None:
    with bound("127.0.0.1") as (near, far):
        near.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""
        assert looks.look(name_of(near, far), None, 0) is not None


def test_an_interface_to_which_nothing_was_bound_before(
    looks: Connections, pair: tuple[socket.socket, socket.socket]
) -> None:
    """What has no connection is not searched for again and again, and who came since is searched for."""
    old = procfs.process(os.getpid())
    with patch.object(connections, "_bound_to", wraps=connections._bound_to) as searched:
        assert looks.look(name_of(*pair), old, 0) is not None
        assert not searched.called
        for _ in range(10):
            assert looks.look("127.0.0.1 1 127.0.0.1 2", old, 0) is None
        assert searched.call_count == 2  # once for each family
    with bound("127.0.0.1") as (near, far), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as leader:
        assert looks.look(name_of(near, far), procfs.process(leader.pid), 0) is not None
        leader.communicate()


LINK_LOCAL = """
import socket
from idled.evidence.connections import Connections
with socket.create_server(("::", 0), family=socket.AF_INET6) as listener:
    port = listener.getsockname()[1]
    names = []
    held = []
    for interface, address in ("lo", "fe80::1"), ("here", "fe80::2"):
        near = socket.socket(socket.AF_INET6)
        near.connect((address, port, 0, socket.if_nametoindex(interface)))
        near.sendall(b"1234")
        held += near, listener.accept()[0]
        held[-1].recv(4, socket.MSG_WAITALL)
        for shown in (address, f"{address}%{interface}"):
            names.append(f"{shown} {near.getsockname()[1]} {shown} {port}")
    print(*(Connections().look(name, None, 0).wire_in for name in names))
"""
INTERFACES = """
ip link set lo up
ip address add fe80::1/64 dev lo nodad
ip link add here type veth peer name there
ip link set here up
ip link set there up
ip address add fe80::2/64 dev here nodad
"""


def test_clients_with_link_local_addresses(possible: None) -> None:
    """The kernel binds what is accepted from them, even where the listener is bound to nothing."""
    asked = ["unshare", "--net", "sh", "-ec", f'{INTERFACES} exec "$0" -c "$1"', sys.executable, LINK_LOCAL]
    assert subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout.split() == [b"4"] * 4


def test_nothing_more_is_delivered_where_the_connection_was_reset(
    looks: Connections, pair: tuple[socket.socket, socket.socket]
) -> None:
    """And sshd is stopped, or it would have ended."""
    name = name_of(*pair)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
    with bound("127.0.0.1"), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as sshd:
        until(lambda: (found := procfs.process(sshd.pid)) is not None and found.state == "S")
        first, second = (looks.look(name, procfs.process(sshd.pid), 0) for _ in range(2))
        sshd.communicate()
    assert first is not None and second is not None
    assert first.delivered is not None
    assert second.delivered == first.delivered


def test_a_connection_that_is_not_there(looks: Connections, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    name = name_of(near, far)
    assert looks.look("127.0.0.1 1 127.0.0.1 2", None, 0) is None
    assert looks.look(name, None, 0) is not None
    near.close()
    far.close()
    until(lambda: (look := looks.look(name, None, 0)) is None or look.delivered is None)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1.2.3.4 5 6.7.8.9", "1.2.3.4 5 ::1 6", "1.2.3.4 a 6.7.8.9 7", "1.2.3.4 5 6.7.8.9 7 8", "\0 \0 \0 \0"]
    + ["1.2.3.4 70000 6.7.8.9 7", "1.2.3.4 -1 6.7.8.9 7"],
)
def test_what_is_no_connection(looks: Connections, text: str) -> None:
    assert looks.look(text, None, 0) is None


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("1.2.3.4 5 6.7.8.9 22", b"\1\2\3\4"),
        ("fe80::1%eth0 5 fe80::2%eth0 22", b"\xfe\x80" + b"\0" * 13 + b"\1"),
    ],
)
def test_what_is_a_connection(text: str, remote: bytes) -> None:
    found = parse(text)
    assert found is not None
    assert (found.remote, found.remote_port, found.local_port) == (remote, 5, 22)


def test_answers_stay_with_their_questions(looks: Connections, pair: tuple[socket.socket, socket.socket]) -> None:
    """Questions about what is not there leave nothing behind that would be taken for the next answer."""
    near, far = pair
    near.sendall(b"123")
    assert far.recv(3) == b"123"
    for _ in range(200):
        assert looks.look("127.0.0.1 1 127.0.0.1 2", None, 0) is None
        found = looks.look(name_of(near, far), None, 0)
        assert found is not None
        assert found.wire_in == 3
