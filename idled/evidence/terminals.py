# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is to be seen of a session's terminals: their stamps, and what was typed and not yet read.

Only terminals that belong to the session's user count. A pty of another owner inside the session (sudo makes one)
is fed from one of the user's, so nothing is lost; and a terminal of somebody else is not looked at.
"""

import fcntl
import os
import stat
import struct
import termios
from collections.abc import Collection
from contextlib import suppress

from ..core.stamps import TerminalLook
from ..shortage import tolerant


def look(terminals: dict[int, str], uid: int, outer: Collection[int] | None = None) -> tuple[TerminalLook, ...]:
    """One look at each of the terminals (name by device number) that are the user's own.

    `outer`: those that sshd holds the other side of; the rest are inner ones. None where that cannot be told.
    """
    found = (
        _look_at(device, name, uid, inner=outer is not None and device not in outer)
        for device, name in sorted(terminals.items())
    )
    return tuple(terminal for terminal in found if terminal is not None)


def _look_at(device: int, name: str, uid: int, *, inner: bool) -> TerminalLook | None:
    status = None
    with tolerant:
        status = os.stat(f"/dev/{name}", follow_symlinks=False)
    if status is None or not stat.S_ISCHR(status.st_mode) or status.st_rdev != device or status.st_uid != uid:
        return None
    queued, canonical = _input(name, device)
    return TerminalLook(
        name=name,
        device=device,
        atime=status.st_atime_ns // 1000,
        ctime=status.st_ctime_ns // 1000,
        mtime=status.st_mtime_ns // 1000,
        queued=queued,
        canonical=canonical,
        inner=inner,
    )


def _input(name: str, device: int) -> tuple[int, bool]:
    """Bytes waiting to be read (TIOCINQ), and whether input goes line by line; reads nothing and never blocks.

    Where that cannot be told: none, and no.
    """
    with tolerant, suppress(termios.error):
        fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.fstat(fd).st_rdev == device:
                answer = fcntl.ioctl(fd, termios.TIOCINQ, b"\0\0\0\0")
                canonical = bool(termios.tcgetattr(fd)[3] & termios.ICANON)
                return max(0, int(struct.unpack("i", answer)[0])), canonical
        finally:
            os.close(fd)
    return 0, False
