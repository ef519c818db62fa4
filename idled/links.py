# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which TCP connections a process holds.

The kernel lists those of the whole machine only. So that thousands of sessions can be found at once, a list is used
for a second; who holds none of those in it came later, and a new one is read.
"""

from typing import Final

from . import clock, procfs
from .core.span import SEC, Usec

_FRESH: Final[Usec] = SEC


class Links:
    """The machine's established TCP connections, each as in SSH_CONNECTION of its server's side."""

    def __init__(self) -> None:
        self._listed: dict[int, str] = {}
        self._read_at: Usec = -_FRESH

    def of(self, pid: int) -> list[str]:
        """Those that a process holds; needs CAP_SYS_PTRACE where it is somebody else's."""
        held = procfs.sockets_held(pid)
        found = self._among(held) if clock.now() - self._read_at < _FRESH else []
        if held and not found:
            self._listed, self._read_at = procfs.tcp_connections(), clock.now()
            found = self._among(held)
        return found

    def _among(self, held: set[int]) -> list[str]:
        return [self._listed[inode] for inode in sorted(held) if inode in self._listed]
