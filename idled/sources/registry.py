# SPDX-License-Identifier: LGPL-2.1-or-later
"""One session of what several sources see, and the news that its leader is gone.

Sightings with the same leader (pid and start time) are one session. Its end is the leader's exit, told by the kernel
through a pidfd, whoever saw it first; so no source needs to tell of ends, and none can tell of a wrong one. Where
somebody stays by mosh when the leader goes, a session led by mosh-server follows.
"""

import asyncio
import grp
import pwd
from collections.abc import Callable, Iterable
from dataclasses import replace
from sys import intern
from typing import Final

from .. import procfs
from ..core.model import Session, SessionId
from ..links import Links
from ..members import Handle, audited, connected, with_user
from ..slices import in_slices
from ..words import clean
from . import mosh, nss
from .handles import Handles
from .leaders import Leaders
from .sighting import Sighting

_ASKED_AT_ONCE: Final = 32


class Registry:
    """All sessions that any source sees.

    `opened` is called with each new or changed session and what a source saw of it, if one did; `closed` when its
    leader has gone.
    """

    def __init__(self, opened: Callable[[Session, Sighting | None], None], closed: Callable[[SessionId], None]) -> None:
        self._opened = opened
        self._handles = Handles()
        self._links = Links()
        self._leaders = Leaders(closed)
        self._nss = nss.Nss()
        self.wants_groups = False
        #: Set where somebody may have come who was not taken in; whoever sees it looks at all there are, and clears it.
        self.missed = asyncio.Event()
        self._groupless: set[SessionId] = set()

    def get(self, session: SessionId) -> Handle | None:
        """Where its processes are; None when it is over."""
        return self._handles.get(session)

    def with_user(self, session: SessionId) -> Handle | None:
        """The same, and from now on with what there is of its user: all of that is ended."""
        handle = self._handles.get(session)
        if handle is not None:
            self._handles.put(with_user(handle))
        return self._handles.get(session)

    async def see(self, sighting: Sighting) -> Session | None:
        """Take in what a source saw; the session it is of, or None when its leader is gone already."""
        id = SessionId(procfs.boot_id(), sighting.pid, sighting.start)
        known = self._handles.known(id)
        handle = _merge(known, sighting, id)
        if self.wants_groups and (known is None or id in self._groupless):
            handle = await self._with_groups(handle)
            known = self._handles.known(id)  # as another source may have made it meanwhile
            handle = handle if known is None else _merge(known, sighting, id, groups=handle.session.groups)
        if known is None:
            if not self._leaders.watch(id):
                return self._pass_on(handle)
            handle = audited(connected(handle, self._links))
        self._handles.put(handle)
        if known is None or known.session != handle.session:
            self._opened(handle.session, sighting)
        return handle.session

    @property
    def folders(self) -> dict[str, int]:
        """The cgroups of all sessions: their inodes by path."""
        return {handle.folder: handle.inode for handle in self._handles}

    @property
    def groupless(self) -> int:
        """Of how many sessions the groups are not known, since NSS has not answered yet."""
        return len(self._groupless)

    def want_groups(self, wanted: bool) -> None:
        """From now on sessions are to have their groups, or need not; `groups_again` asks for what is missing."""
        self.wants_groups = wanted
        if wanted:
            self._groupless |= {handle.session.id for handle in self._handles if not handle.session.groups}

    def adopt(self, handle: Handle) -> bool:
        """Take a session over from the daemon before this one; False when its leader is gone."""
        alive = self._leaders.watch(handle.session.id)
        if self.wants_groups and not handle.session.groups:
            self._groupless.add(handle.session.id)
        self._handles.put(handle)
        return alive

    def drop(self, session: SessionId) -> None:
        """It is over, unless somebody stays in it by mosh."""
        handle = self._handles.pop(session)
        self._leaders.unwatch(session)
        if handle is not None:
            self._pass_on(handle)
        self._groupless.discard(session)

    def around(self, pid: int) -> Session | None:
        """The session in which a process runs or which it leads, by its ancestors and its cgroup."""
        process = procfs.process(pid)
        while process is not None:
            handle = self._handles.known(SessionId(procfs.boot_id(), process.pid, process.start))
            if handle is not None:
                return handle.session
            process = procfs.process(process.ppid) if process.ppid else None
        name = procfs.cgroup(pid)
        folder = procfs.cgroup_path(name) if name else None
        if folder is None:
            return None
        found = self._handles.inside((folder, *folder.parents))
        return None if found is None else found.session

    async def uid_of(self, user: str) -> int | None:
        """The uid of a user by NSS; None when there is none, or NSS does not answer in time."""
        found = await self._nss.ask(nss.uids, user)
        return found[0] if found else None

    async def gid_of(self, group: str) -> int | None:
        """The gid of a group by NSS; None as above."""
        found = await self._nss.ask(grp.getgrnam, group)
        return None if found is None else found.gr_gid

    async def name_of(self, uid: int) -> str | None:
        """The name of a user by NSS; None as above."""
        found = await self._nss.ask(pwd.getpwuid, uid)
        return None if found is None else clean(found.pw_name)

    async def uids_of(self, users: Iterable[str]) -> dict[str, int | None]:
        """The uid of each, None where there is no such user; those are left out of which NSS says nothing in time."""
        names, answers = sorted(set(users)), []
        for first in range(0, len(names), _ASKED_AT_ONCE):
            some = names[first : first + _ASKED_AT_ONCE]
            answers += await asyncio.gather(*(self._nss.ask(nss.uids, name) for name in some))
        return {name: next(iter(uids), None) for name, uids in zip(names, answers, strict=True) if uids is not None}

    async def groups_again(self) -> None:
        """Ask NSS for the groups of the sessions that lack them; of some at a time, so that none waits for a thread."""
        ids = list(self._groupless)
        for first in range(0, len(ids), _ASKED_AT_ONCE):
            await asyncio.gather(*map(self._groups_again, ids[first : first + _ASKED_AT_ONCE]))

    async def _groups_again(self, id: SessionId) -> None:
        handle = self._handles.known(id)
        groups = None if handle is None else await self.groups_of(handle.session.user)
        handle = self._handles.known(id)  # as it is by now
        if handle is not None and groups is not None:
            self._groupless.discard(id)
            self._handles.put(replace(handle, session=replace(handle.session, groups=groups)))
            self._opened(replace(handle.session, groups=groups), None)

    async def connections_again(self) -> None:
        """Look again for the connections of SSH sessions where none was found."""
        async for id in in_slices([handle.session.id for handle in self._handles]):
            handle = self._handles.known(id)  # as it is by now
            if handle is not None and (again := connected(handle, self._links)) is not handle:
                self._handles.put(again)
        self._links.forget()

    async def groups_of(self, user: str) -> frozenset[str] | None:
        """All groups of a user by NSS; None when there is no such user, or NSS does not answer in time."""
        return await self._nss.ask(nss.groups, user)

    async def _with_groups(self, handle: Handle) -> Handle:
        session = handle.session
        groups = await self.groups_of(session.user)
        if groups is None:
            self._groupless.add(session.id)
            return handle
        self._groupless.discard(session.id)
        return replace(handle, session=replace(session, groups=groups))

    def _pass_on(self, handle: Handle) -> Session | None:
        """Go on with the session that follows one whose leader is gone, if there is one."""
        while (heir := mosh.heir(handle)) is not None:
            if (known := self._handles.known(heir.session.id)) is not None:  # as from the daemon before this one
                self._handles.put(known)  # by their cgroup the one before may have been found last
                return known.session
            if self._leaders.watch(heir.session.id):
                self._handles.put(heir)
                if handle.session.id in self._groupless:
                    self._groupless.add(heir.session.id)
                self._opened(heir.session, None)
                return heir.session
        return None


def _merge(known: Handle | None, new: Sighting, id: SessionId, *, groups: frozenset[str] = frozenset()) -> Handle:
    """What is known of a session with what a source adds; of two moments of opening the earlier is the true one."""
    if known is None:
        opened_at = id.start * procfs.TICK if new.opened_at is None else new.opened_at
        session = Session(id=id, user=_shared(new.user), uid=new.uid, opened_at=opened_at)
        known = Handle(session=session)
    session = known.session
    session = replace(
        session,
        opened_at=min(session.opened_at, new.opened_at or session.opened_at),
        service=session.service or _shared(new.service),
        tty=session.tty or clean(new.tty),
        remote=session.remote or _shared(new.remote),
        logind=session.logind or clean(new.logind),
        last_resort=new.last_resort if session.last_resort is None else session.last_resort,
        groups=groups or session.groups,
    )
    scope = "" if known.folder else known.scope or clean(new.scope)
    return replace(known, session=session, scope=scope, connection=known.connection or new.connection)


def _shared(text: str) -> str:
    """Safe to show; thousands of sessions have such texts in common, and share them."""
    return intern(clean(text))
