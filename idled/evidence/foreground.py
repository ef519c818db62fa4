# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a program that the policy names runs in the foreground of one of a session's terminals.

Judged by the kernel's link to the executable, never by a name that the process gives itself. The link is a path in the
process's own mount namespace, in which a user can be root and mount what he likes; so only what runs in the leader's
counts, and only a file that nobody but root can write. A program that was replaced while it runs (an upgrade of apt by
apt) is still itself. Needs CAP_SYS_PTRACE for the processes of others.
"""

import os
from collections.abc import Iterable
from typing import Final

from ..members import Handle, members
from ..procfs import executable

_REPLACED: Final = " (deleted)"


def holder(handle: Handle, programs: Iterable[str]) -> str:
    """The path of a program among these that is in the foreground just now; empty when there is none."""
    wanted = {os.path.realpath(program) for program in programs}
    place = _mounts(handle.session.id.pid)
    for process in members(handle) if place else ():
        file = (executable(process.pid) or "").removesuffix(_REPLACED) if process.foreground else ""
        if file in wanted and _mounts(process.pid) == place and _is_roots(process.pid):
            return file
    return ""


def _mounts(pid: int) -> tuple[int, int] | None:
    """Its mount namespace."""
    try:
        found = os.stat(f"/proc/{pid}/ns/mnt")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_roots(pid: int) -> bool:
    """Whether the file it runs is root's, and nobody else may write it."""
    try:
        found = os.stat(f"/proc/{pid}/exe")
    except OSError:
        return False
    return found.st_uid == 0 and not found.st_mode & 0o022
