# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which TCP connections a process holds.

The kernel lists those of the whole machine only. So that thousands of sessions can be found at once, a list is used
for a second. Who began after it was read came with a connection that may not be in it: there a new one is read.
"""

from typing import Final

from . import clock, procfs
from .core.span import SEC, Usec

_FRESH: Final[Usec] = SEC


class Links:
    """The machine's established TCP connections, each as in SSH_CONNECTION of its server's side."""

    def __init__(self) -> None:
        self._listed: dict[int, procfs.TcpConnection] = {}
        self._read_at: Usec = -_FRESH

    def forget(self) -> None:
        """Keep no list: one of thousands is as large as what else is known of a session."""
        self._read_at, self._listed = -_FRESH, {}

    def of(self, process: procfs.Process) -> list[str]:
        """Those that a process began with and holds; needs CAP_SYS_PTRACE where it is somebody else's."""
        held = procfs.sockets_held(process.pid)
        began = (process.start + 1) * procfs.TICK
        if held and self._read_at < max(began, clock.now() - _FRESH):
            self._read_at, self._listed = clock.now(), procfs.tcp_connections()
        return [str(self._listed[inode]) for inode in sorted(held) if inode in self._listed]
