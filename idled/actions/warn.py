# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writing a line on a person's terminals, without ever waiting for one.

A terminal that was stopped with Ctrl-S, whose other side does not read, or that has gone, gets no line, or not all of
it; the caller is told which. Output is not activity, so a warning never keeps a session open.
"""

import os
import stat
from collections.abc import Mapping

from ..shortage import tolerant


def write_line(terminals: Mapping[int, str], uid: int, text: str) -> list[str]:
    """Write a line on each terminal (name by device number) that is the user's; those that did not take it."""
    data = f"\r\n{text}\r\n".encode()
    return [name for device, name in sorted(terminals.items()) if not _write(device, name, uid, data)]


def _write(device: int, name: str, uid: int, data: bytes) -> bool:
    with tolerant:  # EAGAIN: stopped or full; EIO: hung up
        fd = os.open(f"/dev/{name}", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(fd)
            mine = stat.S_ISCHR(status.st_mode) and status.st_rdev == device and status.st_uid == uid
            return mine and os.write(fd, data) == len(data)
        finally:
            os.close(fd)
    return False
