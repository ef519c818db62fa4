# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs in a session beside its terminals: sftp, rsync, git, a command. For people to read, and for nothing else.

Seen anew each time somebody asks. The names are those that processes give themselves, so nothing is decided by them.
"""

from typing import Final

from . import procfs, words
from .evidence.connections import user_side
from .members import SSH, Handle, leader

#: Of sshd's own file server, which is sshd still: only its title tells.
_INTERNAL: Final = "internal-sftp"
#: A shell that waits for one program says nothing; that program does.
_SHELLS: Final = frozenset({"ash", "bash", "csh", "dash", "fish", "ksh", "mksh", "sh", "tcsh", "zsh"})


def beside_terminals(handle: Handle) -> list[str] | None:
    """Names of what was started in the session and has no terminal; None where that cannot be told."""
    first = leader(handle.session)
    if first is None:
        return None
    is_ssh = bool(handle.connection) or handle.session.service in SSH
    starter = user_side(first, handle.session.uid) if is_ssh else first.pid
    if starter is None:
        return None
    names = (_name(child) for child in procfs.children(starter) if child.alive and not child.tty)
    return list(dict.fromkeys(words.clean(name) for name in names))


def _name(process: procfs.Process) -> str:
    if process.comm.startswith("sshd"):
        return _INTERNAL if procfs.title(process.pid).endswith(f"@{_INTERNAL}") else process.comm
    while process.comm in _SHELLS:
        below = list(procfs.children(process.pid))
        if len(below) != 1:
            break
        process = below[0]
    return process.comm
