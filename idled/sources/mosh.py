# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions in which the person is there by mosh, whose packets no connection of sshd's carries.

mosh logs in by SSH, starts mosh-server, and lets the connection go, and the leader with it. The server stays in the
session's scope and holds the terminal on which the person types: so it leads the session from then on. Where the
connection stays (one that is shared, or a server started by hand), it says nothing of what is typed beside it.

A server is told by the file it runs (`procfs.program`), and whose session it is in by the cgroup; a user can pretend
neither. Without logind there is no such cgroup, and what outlives its leader is not seen.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from .. import procfs
from ..core.model import SessionId
from ..members import Handle
from ..procfs import Cgroup

#: Stands in place of the PAM service that opened the session.
SERVICE: Final = "mosh"

_FILES: Final = {"/usr/bin/mosh-server", "/usr/local/bin/mosh-server"}


def heir(handle: Handle) -> Handle | None:
    """The same session led by its mosh-server, now that its leader is gone; None when it is over."""
    cgroup = handle.cgroup or _cgroup(handle.session.uid, handle.scope)
    server = None if cgroup is None else _server(cgroup)
    if cgroup is None or server is None:
        return None
    id = SessionId(handle.session.id.boot, server.pid, server.start)
    session = replace(handle.session, id=id, service=SERVICE, tty="")
    return Handle(session=session, folder=cgroup.path, inode=cgroup.inode)


def server_of(uid: int, scope: str) -> procfs.Process | None:
    """The mosh-server in the scope that logind made for a session."""
    cgroup = _cgroup(uid, scope)
    return None if cgroup is None else _server(cgroup)


def serves(processes: Iterable[procfs.Process]) -> bool:
    """Whether a mosh-server is among a session's, so that what is typed need not come by its connection."""
    return any(_is_server(process.pid) for process in processes)


def _cgroup(uid: int, scope: str) -> Cgroup | None:
    """Where logind puts its scopes; once the leader is gone no process need tell."""
    folder = procfs.cgroup_path(f"/user.slice/user-{uid}.slice/{scope}") if scope else None
    return None if folder is None else Cgroup.at(folder)


def _server(cgroup: Cgroup) -> procfs.Process | None:
    """The one that holds a terminal, the oldest if there are several.

    While a server starts, what it was forked from and what it forks look like it; that holds no terminal, and goes.
    """
    found = [process for process in cgroup.members() if process.alive and _is_server(process.pid)]
    return min(found, key=lambda one: (not procfs.ptys_held(one.pid), one.start, one.pid), default=None)


def _is_server(pid: int) -> bool:
    link = procfs.executable(pid) or ""  # cheap, and right of all but those that pretend
    return link.removesuffix(" (deleted)") in _FILES and procfs.program(pid) in _FILES
