# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which processes and terminals belong to a session: the one answer for looking, warning and ending.

With logind a session is its scope's cgroup, which nobody leaves unprivileged but into the own user manager
(``systemd-run --user``): what goes there is of the session no more, and ends with ``end = "user"``. Without logind it
is the leader, all that descends from it, and its strays, which carry its audit session; what forks twice, calls
setsid() and has no audit session is lost there.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from . import procfs
from .census import Census
from .core.model import Extent, Session
from .links import Links
from .procfs import Cgroup, Process
from .shortage import tolerant

_BY_AUDIT_SESSION: Final = Census(procfs.audit_session)
_BY_UID: Final = Census(procfs.real_uid)
#: PAM services of sshd.
SSH: Final = ("sshd", "ssh")
_SCOPES: Final = "session-*.scope"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A session and where its processes are.

    Names of logind's are no identity: one that is restarted gives them again, and with them the paths of cgroups.
    """

    session: Session
    scope: str = ""  # the unit that logind made for it, until the leader was seen in it
    folder: str = ""  # path of that unit's cgroup, once the leader was seen in it
    inode: int = 0  # of that cgroup
    connection: str = ""  # SSH_CONNECTION: client address and port, server address and port
    audit: int = 0  # its own audit session, as it was seen first; 0: none was seen
    of_user: tuple[int, ...] = ()  # once all of the user is ended: inodes of the slice and of the scopes in it by then

    @property
    def cgroup(self) -> Cgroup | None:
        """Its cgroup, once the leader was seen in it; it may be gone by now."""
        return Cgroup(self.folder, self.inode) if self.folder else None


def located(handle: Handle) -> Handle:
    """The handle with its cgroup, if the leader has arrived there; logind tells of a session before it has."""
    if handle.folder or not handle.scope:
        return handle
    name = procfs.cgroup(handle.session.id.pid) or ""
    inside = name.endswith(f"/{handle.scope}") and leader(handle.session) is not None
    folder = procfs.cgroup_path(name) if inside else None
    inode = procfs.inode(folder) if folder else 0
    return replace(handle, scope="", folder=str(folder), inode=inode) if inode else handle


def connected(handle: Handle, links: Links) -> Handle:
    """The handle of an SSH session with its connection: the one TCP connection that its leader holds.

    For sessions that were open before pam_idled was there; forwarded connections are held by another process.
    """
    first = leader(handle.session) if handle.session.service in SSH and not handle.connection else None
    if first is None:
        return handle
    found = links.of(first)
    return replace(handle, connection=found[0]) if len(found) == 1 else handle


def audited(handle: Handle) -> Handle:
    """The handle with its audit session: when the leader has gone, only that leads to what it left behind."""
    return replace(handle, audit=_own_audit_session(handle) or 0)


def with_user(handle: Handle) -> Handle:
    """The handle with all that there is of the user, as the end of that begins: who logs in from then on is to stay."""
    above = user_slice(handle)
    if above is None or handle.of_user:
        return handle
    found = (above.inode, *(scope.inode for scope in _scopes(above)))
    inside = handle.cgroup is not None and handle.cgroup.stands()  # asked last, so that the slice is the one it is in
    return replace(handle, of_user=found) if inside else handle


def leader(session: Session) -> Process | None:
    """The leader, while it lives."""
    found = procfs.process(session.id.pid)
    return found if found and found.start == session.id.start and found.alive else None


def leader_among(session: Session, processes: Iterable[Process]) -> Process | None:
    """The leader, where it is one of those."""
    return next((one for one in processes if (one.pid, one.start) == (session.id.pid, session.id.start)), None)


def members(handle: Handle) -> list[Process]:
    """The living processes of the session, without strays; the leader alone may be outside of the cgroup."""
    first = leader(handle.session)
    if handle.cgroup is not None:
        return living((*((first,) if first else ()), *handle.cgroup.members()))
    return living((first, *procfs.descendants(first.pid))) if first else []


def of_leader(handle: Handle) -> list[Process]:
    """The leader and its own sshd, wherever they are: a user can have the user manager take the latter."""
    first = leader(handle.session)
    if first is None:
        return []
    file = procfs.executable(first.pid)
    own = (child for child in procfs.children(first.pid) if file and procfs.executable(child.pid) == file)
    return living((first, *own))


def living(processes: Iterable[Process]) -> list[Process]:
    """Those that have not ended, each once, in that order."""
    found = {process.pid: process for process in processes}
    return [process for process in found.values() if process.alive]


def concerned(handle: Handle, extent: Extent) -> list[Process]:
    """The living processes that go when the session is ended to that extent, without strays; see `whole` first."""
    return _of_connection(handle) if extent is Extent.CONNECTION else members(handle)


class OfUser(NamedTuple):
    """All that is in a user's slice, but for sessions that are not among some scopes: who logs in anew is to stay."""

    slice: Cgroup
    scopes: frozenset[int]  # inodes

    def stands(self) -> bool:
        """Whether the slice is there still."""
        return self.slice.stands()

    def members(self) -> list[Process]:
        """Every process in it."""
        return [process for part in self._parts() for process in part.members()]

    def populated(self) -> bool:
        """Whether any process that has not ended is in it."""
        return self.slice.populated() and any(part.populated() for part in self._parts())

    def kill(self) -> None:
        """SIGKILL to all of it, where the kernel can."""
        for part in self._parts():
            part.kill()

    def joined(self) -> bool:
        """Whether the user has logged in anew."""
        return any(scope.inode not in self.scopes for scope in _scopes(self.slice))

    def _parts(self) -> list[Cgroup]:
        """From one list: a scope that came between two would be taken for something else of the user's."""
        found = [Cgroup.at(path) for path in procfs.cgroups(self.slice.path, "*")]
        own = [part for part in found if part.inode in self.scopes or not Path(part.path).match(_SCOPES)]
        return own if self.slice.stands() else []


def _scopes(slice: Cgroup) -> list[Cgroup]:
    return [Cgroup.at(path) for path in procfs.cgroups(slice.path, _SCOPES)]


def whole(handle: Handle, extent: Extent) -> Cgroup | OfUser | None:
    """What holds all that goes, if there is such a cgroup; the leader and its own sshd may be outside."""
    if extent is Extent.CONNECTION or handle.cgroup is None:
        return None
    found: Cgroup | OfUser | None = handle.cgroup
    if extent is Extent.USER:
        known = with_user(handle).of_user
        found = OfUser(Cgroup(str(Path(handle.folder).parent), known[0]), frozenset(known[1:])) if known else None
    return found if found is not None and found.stands() else None


class Strays(NamedTuple):
    """What goes with a session, and nothing leads to but a number that it carries and cannot shed."""

    census: Census
    number: int

    def left(self) -> Iterator[Process]:
        """Those that live, by the last count."""
        return (process for process in self.census.of(self.number) if process.alive)


def strays_of(handle: Handle, extent: Extent) -> tuple[Strays, ...]:
    """How to find them."""
    found: list[Strays] = []
    if extent is Extent.CONNECTION or whole(handle, extent) is not None or _is_gone(handle):
        return ()
    if extent is Extent.USER and handle.session.uid != 0:  # everything of root would be the machine itself
        found.append(Strays(_BY_UID, handle.session.uid))
    if audit := handle.audit or _own_audit_session(handle):
        found.append(Strays(_BY_AUDIT_SESSION, audit))
    return tuple(found)


def _is_gone(handle: Handle) -> bool:
    """Whether nothing of it can be left: whoever is there of the user, or by the name, came later."""
    return handle.cgroup is not None and not handle.cgroup.stands() and leader(handle.session) is None


def _own_audit_session(handle: Handle) -> int | None:
    """The leader's, if it is not inherited from who started sshd, who has it in common with every connection."""
    first = leader(handle.session)
    audit = None if first is None else procfs.audit_session(first.pid)
    return None if first is None or audit in (procfs.UNSET, procfs.audit_session(first.ppid)) else audit


def _of_connection(handle: Handle) -> list[Process]:
    """The leader, its own sshd, and what has one of the connection's terminals."""
    own = of_leader(handle)
    terminals = {device for device in (device_of(handle.session.tty),) if device}
    for process in own:
        terminals |= procfs.ptys_held(process.pid) or set()
    pids = {handle.session.id.pid, *(process.pid for process in own)}
    others = (one for one in members(handle) if one.pid in pids or one.tty in terminals)
    return living((*own, *others))


def user_slice(handle: Handle) -> Cgroup | None:
    """The cgroup of everything of the user, where systemd keeps one."""
    above = Path(handle.folder).parent
    return Cgroup.at(above) if above.name == f"user-{handle.session.uid}.slice" else None


def device_of(tty: str) -> int:
    """Device number of a terminal named without /dev/; 0 when there is none of that name."""
    if not tty or ".." in tty.split("/"):
        return 0
    with tolerant:
        found = os.stat(f"/dev/{tty}", follow_symlinks=False)
        return found.st_rdev if found.st_mode & 0o170000 == 0o020000 else 0
    return 0


def terminal_name(device: int) -> str | None:
    """Name of a terminal without /dev/: pts/N, ttyN, ttySN and so on."""
    major, minor = os.major(device), os.minor(device)
    if 136 <= major <= 143:
        return f"pts/{(major - 136 << 20) + minor}"
    with tolerant:
        lines = Path(f"/sys/dev/char/{major}:{minor}/uevent").read_text().splitlines()
        return next((line[8:] for line in lines if line.startswith("DEVNAME=")), None)
    return None


def outer_terminals(handle: Handle, processes: Iterable[Process]) -> set[int] | None:
    """Device numbers of the terminals that sshd made for the session of those; None where that cannot be told."""
    first = leader_among(handle.session, processes) if handle.connection else None
    return None if first is None else procfs.ptys_held(first.pid)


def terminals(handle: Handle) -> dict[int, str]:
    """Name by device number of all terminals of the session."""
    processes = members(handle)
    return terminals_among(handle, processes, outer_terminals(handle, processes) or ())


def terminals_among(handle: Handle, processes: Iterable[Process], outer: Iterable[int]) -> dict[int, str]:
    """Name by device number of every terminal that one of the session's `processes` has, owned by its person or not.

    And of the `outer` ones: a user may have all of what runs on one of them moved to the own user manager.
    """
    devices = {process.tty for process in processes if process.tty} | set(outer)
    named = {device: terminal_name(device) for device in devices}
    found = {device: name for device, name in named.items() if name}
    login = device_of(handle.session.tty)
    return found | ({login: handle.session.tty} if login else {})
