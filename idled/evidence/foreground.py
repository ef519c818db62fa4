# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a program that the policy names runs in the foreground of one of a session's terminals.

Judged by the file it runs (`procfs.program`), never by a name that the process gives itself. A program that was
replaced while it runs (an upgrade of apt by apt) is still itself. Of what does not even bear the name of one that is
wanted the file is not asked for: it may lie on a file server that does not answer. Needs CAP_SYS_PTRACE for the
processes of others.
"""

import os
from collections.abc import Iterable

from ..members import Handle, members
from ..procfs import executable, program


def holder(handle: Handle, programs: Iterable[str]) -> str:
    """The path of a program among these that is in the foreground just now; empty when there is none."""
    wanted = {os.path.realpath(path) for path in programs}
    named = (process.pid for process in members(handle) if process.foreground and _names(process.pid) & wanted)
    return next((path for path in map(program, named) if path and path in wanted), "")


def _names(pid: int) -> set[str]:
    """What `program` may find: the kernel's link, which is read without a look at the file."""
    link = executable(pid) or ""
    return {link, link.removesuffix(" (deleted)")}
