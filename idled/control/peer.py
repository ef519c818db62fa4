# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who is on the other end of a UNIX socket, by the kernel's word at the moment of its connect().

Nothing here is read from what the peer says or, as /proc would be, from a process that may be another by now.
"""

import ctypes
import os
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Final

from ..core.span import Usec

#: Of <asm-generic/socket.h>, not in the module socket. The second came with Linux 6.5.
_SO_PEERGROUPS: Final = 59
_SO_PEERPIDFD: Final = 77
_libc: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process that connected, and what it might do then."""

    pid: int  # 0: in a pid namespace that cannot be seen from here
    uid: int
    gids: frozenset[int] = frozenset()  # its group and the supplementary ones
    seen_at: Usec = 0  # on CLOCK_BOOTTIME; what started later is not the peer
    pidfd: int | None = None  # None where the kernel gives none

    @property
    def lives(self) -> bool:
        """Whether it has not ended, so that its number is no other's; taken for granted without a pidfd."""
        if self.pidfd is None:
            return True
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Let go of the pidfd."""
        if self.pidfd is not None:
            os.close(self.pidfd)


def uid_of(link: socket.socket) -> int:
    """The uid of a connection's peer: all that is needed to turn it away."""
    return _credentials(link)[1]


def peer_of(link: socket.socket) -> Peer:
    """The peer of a connection; to be closed."""
    pid, uid, gid = _credentials(link)
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    return Peer(pid=pid, uid=uid, gids=_groups(link) | {gid}, seen_at=now, pidfd=_pidfd(link))


def _credentials(link: socket.socket) -> tuple[int, int, int]:
    pid, uid, gid = struct.unpack("iII", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid, gid


def _groups(link: socket.socket) -> frozenset[int]:
    """Not by socket.getsockopt(), which takes no more than 256 groups."""
    size = ctypes.c_uint(0)
    while True:
        groups = (ctypes.c_uint32 * (size.value // 4))()
        if _libc.getsockopt(link.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, groups, ctypes.byref(size)) == 0:
            return frozenset(groups[: size.value // 4])
        if size.value <= ctypes.sizeof(groups):  # not for want of room: none are known, none are granted
            return frozenset()


def _pidfd(link: socket.socket) -> int | None:
    try:
        return link.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None
