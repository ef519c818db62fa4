# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be seen of an SSH session's connection: when it last received, and what went into and out of the session.

The bytes that the client delivered into the session are exact: what the connection's user-side sshd wrote in all
(``wchar`` of /proc/PID/io) less what it wrote on its connection. What came out is ``rchar`` less what it read there.
Keepalives, chaff and window changes are read and written by sshd alone and cancel out.

On the connection's side count bytes_acked plus what still waits in the write queue (bytes_sent would count
retransmissions), and bytes_received less what waits in the read queue. Both come from the kernel's socket diagnostics
(sock_diag(7), struct tcp_info in linux/tcp.h), asked for one socket by its four-tuple. Ours, since no packaged
library speaks it. Needs no privilege; /proc/PID/io needs CAP_SYS_PTRACE.
"""

import socket
import struct
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, NamedTuple

from .. import procfs
from ..clock import now
from ..core.activity import ConnectionLook
from ..core.span import MSEC, Usec

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_INET_DIAG_INFO: Final = 2
_NO_COOKIE: Final = b"\xff" * 8
#: Offsets in struct tcp_info, and of the attributes behind struct inet_diag_msg.
_LAST_DATA_SENT, _LAST_DATA_RECEIVED = 44, 52
_BYTES_ACKED, _BYTES_RECEIVED = 120, 128
_ATTRIBUTES: Final = 16 + 72
_TRIES: Final = 8


class Tuple4(NamedTuple):
    """A TCP connection as its server sees it."""

    local: bytes
    local_port: int
    remote: bytes
    remote_port: int


class _Socket(NamedTuple):
    at: Usec
    received_ago: Usec
    sent_ago: Usec
    read: int
    written: int
    wire_in: int
    wire_out: int


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
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG)

    def look(self, connection: str, leader: procfs.Process | None, uid: int) -> ConnectionLook | None:
        """One look at the connection of a user; None when it is not there any more or cannot be asked for."""
        pair = parse(connection)
        if pair is None:
            return None
        try:
            return self._look(pair, None if leader is None else user_side(leader, uid))
        except (OSError, struct.error, IndexError):
            return None

    def _look(self, pair: Tuple4, sshd: int | None) -> ConnectionLook | None:
        """The two counters are not read at one moment, so all is read again until the first has not moved.

        Nor are they moved at one moment: while sshd is in the midst of a write its socket has the bytes and wchar has
        not. It is in none where it sleeps. One that never does (a flood of output) may seem to have delivered less
        than it has, by one write; never more.
        """
        after = _io(sshd)
        for _ in range(_TRIES):
            counters, found, asleep = after, self._ask(pair), _asleep(sshd)
            after = _io(sshd)
            if after == counters and asleep:
                break
        if found is None:
            return None
        return ConnectionLook(
            received_at=found.at - found.received_ago,
            sent_at=found.at - found.sent_ago,
            wire_in=found.wire_in,
            wire_out=found.wire_out,
            counted=None if counters is None else sshd,
            delivered=None if counters is None else counters.written - found.written,
            issued=None if counters is None else counters.read - found.read,
        )

    def _ask(self, pair: Tuple4) -> _Socket | None:
        """The kernel finds IPv4 on a socket that listens for both families, too."""
        family = socket.AF_INET if len(pair.local) == 4 else socket.AF_INET6
        numbers = struct.pack(">HH", pair.local_port, pair.remote_port)
        identity = numbers + pair.local.ljust(16, b"\0") + pair.remote.ljust(16, b"\0") + b"\0" * 4 + _NO_COOKIE
        body = struct.pack("BBBxI", family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), 0xFFFFFFFF) + identity
        header = struct.pack("IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
        self._netlink.send(header + body)
        return _parse_answer(self._netlink.recv(65536))


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
    acked, received = struct.unpack_from("QQ", info, _BYTES_ACKED)
    return _Socket(
        at=now(),
        received_ago=received_ago * MSEC,
        sent_ago=sent_ago * MSEC,
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


def _io(sshd: int | None) -> procfs.Io | None:
    return None if sshd is None else procfs.io(sshd)


def _asleep(sshd: int | None) -> bool:
    process = None if sshd is None else procfs.process(sshd)
    return process is None or process.state != "R"


def user_side(leader: procfs.Process, uid: int) -> int | None:
    """The sshd that moves a connection's bytes: the leader's child that runs as the user; root's have none.

    None while there is none yet.
    """
    found = leader if uid == 0 else procfs.twin(leader, uid)
    return found.pid if found else None
