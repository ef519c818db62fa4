# SPDX-License-Identifier: LGPL-2.1-or-later
"""Making the processes of a session go away, and telling when they have.

Signals go to pidfds and cgroups only, so that no number in use again is ever hit. When to send which, and for how
long, is decided in ``core.timing``.
"""

import asyncio
import signal
from typing import Final

from .. import procfs
from ..core.model import Extent
from ..core.span import MSEC, SEC, Usec
from ..members import Handle, concerned, leader, user_slice

_FIRST_CHECK: Final[Usec] = 20 * MSEC
_SLOWEST_CHECK: Final[Usec] = 250 * MSEC


def hang_up(handle: Handle, extent: Extent) -> None:
    """SIGHUP to everything that goes, and SIGCONT, so that what is stopped can take it."""
    for process in concerned(handle, extent):
        procfs.send(process, signal.SIGHUP, signal.SIGCONT)


def kill(handle: Handle, extent: Extent) -> tuple[str, ...]:
    """SIGKILL to everything that is left; what that was, as ``name[pid]``."""
    left = concerned(handle, extent)
    folder = user_slice(handle) if extent is Extent.USER else handle.cgroup
    if extent is Extent.CONNECTION or folder is None or not procfs.cgroup_kill(folder):
        for process in left:
            procfs.send(process, signal.SIGKILL)
    elif (first := leader(handle.session)) is not None:  # it may be outside of the cgroup
        procfs.send(first, signal.SIGKILL)
    return tuple(f"{process.comm}[{process.pid}]" for process in left)


def gone(handle: Handle, extent: Extent) -> bool:
    """Whether nothing that was to go is left."""
    folder = user_slice(handle) if extent is Extent.USER else handle.cgroup
    if extent is not Extent.CONNECTION and folder is not None and procfs.cgroup_populated(folder):
        return False
    return not concerned(handle, extent)


async def until_gone(handle: Handle, extent: Extent) -> None:
    """Wait until nothing is left: soon after it happens when that is soon, four times a second later."""
    pause = _FIRST_CHECK
    while not gone(handle, extent):
        await asyncio.sleep(pause / SEC)
        pause = min(pause * 2, _SLOWEST_CHECK)
