# SPDX-License-Identifier: LGPL-2.1-or-later
"""SSH sessions as /proc shows them: of hosts without logind, of an sshd without PAM, and what logind has forgotten.

A logged-in connection is a root process that runs sshd's binary, with a child that runs the same binary as the user.
Before authentication that child is sshd's own account (or none), so nothing is seen too early. A connection of root
has no such child; there the title tells: ``[priv]`` goes when root is in. Titles are used only of processes that a user
cannot have started.
"""

import os
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from .. import clock, procfs
from ..core.span import Usec
from ..shortage import tolerant
from .sighting import Sighting

_NAMES: Final = {"sshd", "sshd-session"}
_USERS: Final = "user.slice"
_SCOPE: Final = re.compile(r"/user-\d+\.slice/(?P<scope>session-[^/]+\.scope)$")
#: Where no sshd is apart the terminals follow an @; before ``[priv]`` it is part of the name, as of user@domain.
_TITLE: Final = re.compile(
    r"^sshd(?:-session)?: (?:(?P<guarded>[^ @\[][^ \[]*) \[priv\]|(?P<unguarded>[^ @\[]+)(?:@\S+)?)$"
)


class Candidate(NamedTuple):
    """A connection in which there may be a session, and whose its title says that it is."""

    leader: procfs.Process
    user: str
    guarded: bool  # a privileged sshd is apart from the user's


def folders(known: Mapping[str, int]) -> list[str]:
    """The cgroups in which there may be a connection that logind was not told of, or does not tell of. It may block.

    The former stay in the cgroup of what started sshd. The latter are in a scope of a session, in its user.slice, that
    is not among the `known` ones (inodes by path): a logind that is started again among hundreds of sessions forgets
    some. Nothing where there is no tree of cgroups.
    """
    if (root := procfs.cgroup_root()) is None:
        return []
    scopes = procfs.cgroups(f"{root}/{_USERS}", "user-*.slice/session-*.scope")
    unknown = (scope for scope in scopes if procfs.inode(scope) != known.get(scope))
    return [*procfs.cgroup_tree(root, but=_USERS), *chain.from_iterable(map(procfs.cgroup_tree, unknown))]


def candidate(process: procfs.Process) -> Candidate | None:
    """The connection that the process leads, if it does."""
    if process.comm not in _NAMES or not process.alive or not _is_sshd_of_root(process.pid):
        return None
    title = _TITLE.match(procfs.title(process.pid))
    if title is None:
        return None
    return Candidate(process, title["guarded"] or title["unguarded"], bool(title["guarded"]))


def _is_sshd_of_root(pid: int) -> bool:
    executable = procfs.executable(pid)
    if executable is None or Path(executable).name not in _NAMES or procfs.real_uid(pid) != 0:
        return False
    with tolerant:
        return os.stat(f"/proc/{pid}/exe").st_uid == 0
    return False


def sighting(candidate: Candidate, uid: int) -> Sighting | None:
    """The session there, of the user with that uid; None while nobody is in."""
    leader = candidate.leader
    if not candidate.guarded and uid != 0:
        return None
    opened_at = _opened_by(leader, uid) if candidate.guarded else _opened_by_root(leader)
    if opened_at is None:
        return None
    return Sighting(
        pid=leader.pid,
        start=leader.start,
        user=candidate.user,
        uid=uid,
        opened_at=opened_at,  # the leader began with the connection, before authentication
        service="sshd",
        scope=_scope_of(leader),
        found=True,
    )


def _scope_of(leader: procfs.Process) -> str:
    """The unit that logind made for it, told by where it is: logind may not know it any more."""
    found = _SCOPE.search(procfs.cgroup(leader.pid) or "")
    return found["scope"] if found else ""


def _opened_by(leader: procfs.Process, uid: int) -> Usec | None:
    """When the sshd that runs as the user was started; None before."""
    of_user = procfs.twin(leader, uid)
    return None if of_user is None else of_user.start * procfs.TICK


def _opened_by_root(leader: procfs.Process) -> Usec | None:
    """When the oldest thing that root has there began, or else now; None when it is itself what a session began.

    Also where that cannot be told just now: no scan may take such a one for a session.
    """
    above = procfs.title(leader.ppid)
    if _TITLE.match(above) or (leader.ppid and not above):
        return None  # internal-sftp, or a child on its way to be a shell
    return min((child.start * procfs.TICK for child in procfs.children(leader.pid)), default=clock.now())
