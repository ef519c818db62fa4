# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be seen of an SSH session's connection: when it last received, and what went into and out of the session.

The bytes that the client delivered into the session are exact: what the connection's user-side sshd wrote in all
(``wchar`` of /proc/PID/io) less what it wrote on its connection. What came out is ``rchar`` less what it read there.
Keepalives, chaff and window changes are read and written by sshd alone and cancel out. What it says to the privileged
sshd does not: a rekey is signed there. That is what the privileged sshd, the leader, reads and writes in its turn.

On the connection's side count bytes_acked plus what still waits in the write queue (bytes_sent would count
retransmissions), and bytes_received less what waits in the read queue. Both come from the kernel's socket diagnostics
(sock_diag(7), struct tcp_info in linux/tcp.h), asked for one socket by its four-tuple. Ours, since no packaged
library speaks it. Needs no privilege; /proc/PID/io needs CAP_SYS_PTRACE.

A socket that is bound to an interface (as those of an sshd in a VRF are, and those of link-local clients) is found only
with the number of that interface. Where no connection is found the kernel answers with the socket that listens for it,
if there is one. Its counters stand still: nothing more is delivered where sshd is stopped and its connection was reset.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import Final, NamedTuple

from .. import procfs
from ..clock import now
from ..core.activity import ConnectionLook, most
from ..core.span import MSEC, Usec
from ..shortage import tolerant

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_INET_DIAG_INFO: Final = 2
_INET_DIAG_REQ_BYTECODE: Final = 1
_ESTABLISHED, _CLOSE_WAIT, _LISTEN = 1, 8, 10
#: A filter for the kernel (struct inet_diag_bc_op): what has interface 0 comes to a jump behind the end, which is a no.
_BOUND: Final = struct.pack("BBHI", 9, 8, 12, 0) + struct.pack("BBH", 1, 4, 8)
_NO_COOKIE: Final = b"\xff" * 8
#: Offsets in struct tcp_info, and of the attributes behind struct inet_diag_msg.
_LAST_DATA_SENT, _LAST_DATA_RECEIVED, _LAST_ACK_RECEIVED = 44, 52, 56
_BYTES_ACKED, _BYTES_RECEIVED = 120, 128
_ATTRIBUTES: Final = 16 + 72
_TRIES: Final = 16


class Tuple4(NamedTuple):
    """A TCP connection as its server sees it."""

    local: bytes
    local_port: int
    remote: bytes
    remote_port: int


class _Socket(NamedTuple):
    state: int
    at: Usec
    received_ago: Usec
    sent_ago: Usec
    heard_ago: Usec
    read: int
    written: int
    wire_in: int
    wire_out: int


class _Counters(NamedTuple):
    sshd: procfs.Io
    leader: procfs.Io


def parse(connection: str) -> Tuple4 | None:
    """SSH_CONNECTION (client address and port, server address and port) as a four-tuple; None when it is none."""
    with suppress(ValueError):
        client, client_port, server, server_port = connection.split(" ")
        remote, local = (ip_address(text.partition("%")[0]).packed for text in (client, server))
        if len(remote) == len(local):
            return Tuple4(local, int(server_port), remote, int(client_port))
    return None


class Connections:
    """Looks at connections through one netlink socket, which never blocks."""

    def __init__(self) -> None:
        self._netlink = _netlink()
        self._interfaces: frozenset[int] = frozenset()
        self._read_at: Usec = -1

    def look(
        self, connection: str, leader: procfs.Process | None, uid: int, counted: int | None = None
    ) -> ConnectionLook | None:
        """One look at the connection of a user; None when it is not there any more or cannot be asked for.

        `counted`: the sshd whose counters the look before took; that it still is the one costs less to see.
        """
        pair = parse(connection)
        if pair is None:
            return None
        with tolerant, suppress(struct.error, IndexError):
            sshd = None if leader is None else user_side(leader, uid, counted)
            self._learn(pair, leader)
            return self._look(pair, sshd, None if leader is None or leader.pid == sshd else leader.pid)
        return None

    def _learn(self, pair: Tuple4, leader: procfs.Process | None) -> None:
        """Read anew which interfaces connections are bound to, unless that could bring nothing new.

        The kernel goes through all connections for it, and a session may have none any more at each look. A leader that
        began before the last reading came with a connection that was in it.
        """
        began = 0 if leader is None else (leader.start + 1) * procfs.TICK
        if self._read_at >= began or _is_connected(self._find(pair)):
            return
        read_at = now()
        self._interfaces = frozenset((*_bound_to(socket.AF_INET), *_bound_to(socket.AF_INET6)))
        self._read_at = read_at

    def _look(self, pair: Tuple4, sshd: int | None, leader: int | None) -> ConnectionLook | None:
        """All is tried again until nothing moved meanwhile.

        The counters are not moved at one moment: while sshd is in the midst of a write its socket has the bytes and
        wchar has not. It is in none where it sleeps. Where it never does (a flood of output) each try can show less
        than was delivered, by one write; never more. So the most that any of them showed is nearest.
        While the two sshd talk to each other, one has written what the other has yet to read: one of them is awake
        then. That is over in a moment; but nobody here waits for it: the look says that all was `moving`.
        """
        look: ConnectionLook | None = None
        for _ in range(_TRIES):
            now, still = self._try(pair, sshd, leader)
            if now is None or now.counted is None:
                return now
            look = now if look is None else most(look, now)
            if still:
                return look
        return look and replace(look, moving=True)

    def _try(self, pair: Tuple4, sshd: int | None, leader: int | None) -> tuple[ConnectionLook | None, bool]:
        """One look, and whether nothing moved meanwhile."""
        counters, found, states = _counters(sshd, leader), self._find(pair), (_state(sshd), _state(leader))
        still = "R" not in states and counters == _counters(sshd, leader)
        if found is None:
            return None, still
        unread = found.wire_in - found.read
        look = ConnectionLook(
            received_at=found.at - found.received_ago,
            sent_at=found.at - found.sent_ago,
            wire_in=found.wire_in,
            wire_out=found.wire_out,
            unread=unread,
            stopped=unread > 0 and (states[0] == "T" or _is_elsewhere(sshd, leader)),
            unheard=found.written - found.wire_out,
            heard_at=found.at - found.heard_ago,
        )
        if counters is None:
            return look, still
        exact = replace(
            look,
            counted=sshd,
            delivered=counters.sshd.written - found.written,
            issued=counters.sshd.read - found.read,
            asked=counters.leader.read,
            answered=counters.leader.written,
        )
        return exact, still

    def _find(self, pair: Tuple4) -> _Socket | None:
        """The connection, or else what listens for it. By 0 the kernel finds what is bound to no interface."""
        found = None
        for interface in (0, *self._interfaces):
            found = self._ask(pair, interface) or found
            if _is_connected(found):
                break
        return found

    def _ask(self, pair: Tuple4, interface: int) -> _Socket | None:
        """The kernel finds IPv4 on a socket that listens for both families, too."""
        family = socket.AF_INET if len(pair.local) == 4 else socket.AF_INET6
        numbers = struct.pack(">HH", pair.local_port, pair.remote_port)
        addresses = pair.local.ljust(16, b"\0") + pair.remote.ljust(16, b"\0")
        identity = numbers + addresses + struct.pack("I", interface) + _NO_COOKIE
        self._netlink.send(_question(family, 0, 1 << (_INET_DIAG_INFO - 1), 0xFFFFFFFF, identity))
        return _parse_answer(self._netlink.recv(65536))


def _is_connected(found: _Socket | None) -> bool:
    return found is not None and found.state != _LISTEN


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG)


def _question(family: int, flags: int, extensions: int, states: int, rest: bytes) -> bytes:
    """A message with struct inet_diag_req_v2; its end, the identity, and what follows it are `rest`."""
    body = struct.pack("BBBxI", family, socket.IPPROTO_TCP, extensions, states) + rest
    return struct.pack("IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | flags, 0, 0) + body


def _bound_to(family: int) -> Iterator[int]:
    """The interfaces that open connections are bound to, one for each connection.

    With a socket of its own: what is left of an answer that fails half-way is never taken for one to another question.
    """
    states = 1 << _ESTABLISHED | 1 << _CLOSE_WAIT
    only = struct.pack("HH", 4 + len(_BOUND), _INET_DIAG_REQ_BYTECODE) + _BOUND
    with _netlink() as netlink:
        netlink.send(_question(family, _NLM_F_DUMP, 0, states, b"\0" * 48 + only))
        while True:
            data = netlink.recv(65536)
            at = 0
            while at < len(data):
                length, kind = struct.unpack_from("IH", data, at)
                if kind != _SOCK_DIAG_BY_FAMILY:
                    return
                yield struct.unpack_from("I", data, at + 16 + 4 + 36)[0]
                at += length + 3 & ~3


def _parse_answer(data: bytes) -> _Socket | None:
    (kind,) = struct.unpack_from("H", data, 4)
    if kind == _NLMSG_ERROR:
        return None
    read_queue, write_queue = struct.unpack_from("II", data, 16 + 4 + 48 + 4)
    info = _attribute(data, _INET_DIAG_INFO)
    if info is None:
        return None
    (sent_ago,) = struct.unpack_from("I", info, _LAST_DATA_SENT)
    (received_ago,) = struct.unpack_from("I", info, _LAST_DATA_RECEIVED)
    (heard_ago,) = struct.unpack_from("I", info, _LAST_ACK_RECEIVED)
    acked, received = struct.unpack_from("QQ", info, _BYTES_ACKED)
    return _Socket(
        state=data[16 + 1],
        at=now(),
        received_ago=received_ago * MSEC,
        sent_ago=sent_ago * MSEC,
        heard_ago=heard_ago * MSEC,
        read=received - read_queue,
        written=acked + write_queue,
        wire_in=received,
        wire_out=acked,
    )


def _attribute(data: bytes, wanted: int) -> bytes | None:
    at = _ATTRIBUTES
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("HH", data, at)
        if kind == wanted:
            return data[at + 4 : at + length]
        at += max(4, length + 3 & ~3)
    return None


def _counters(sshd: int | None, leader: int | None) -> _Counters | None:
    """Of both processes; a leader that moves the bytes itself has nobody to talk to."""
    other = procfs.Io(0, 0) if leader is None else procfs.io(leader)
    own = None if sshd is None else procfs.io(sshd)
    return None if own is None or other is None else _Counters(own, other)


def _state(pid: int | None) -> str:
    process = None if pid is None else procfs.process(pid)
    return "" if process is None else process.state


def _is_elsewhere(sshd: int | None, leader: int | None) -> bool:
    """Whether the user manager took it out of the session, to where its user can freeze it, which its state hides."""
    return sshd is not None and leader is not None and procfs.cgroup(sshd) != procfs.cgroup(leader)


def user_side(leader: procfs.Process, uid: int, before: int | None = None) -> int | None:
    """The sshd that moves a connection's bytes: the leader's child that runs as the user; None while there is none yet.

    Root's is the leader itself before OpenSSH 9.8; its children are what it runs, and may be of the same file (sftp).
    `before`: the one that it was.
    """
    if before is not None and before != leader.pid and _is_child(before, leader):
        return before
    guards = uid != 0 or "[priv]" in procfs.title(leader.pid)
    found = procfs.twin(leader, uid) if guards else leader
    return found.pid if found else None


def _is_child(pid: int, leader: procfs.Process) -> bool:
    """Whether it still is that child of the leader, and runs its file: no other that does can be of its number."""
    found, file = procfs.process(pid), procfs.executable(leader.pid)
    return found is not None and found.ppid == leader.pid and file is not None and procfs.executable(pid) == file
