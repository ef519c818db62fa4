# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the processes of all sessions are: by identity and by cgroup, each found at once however many there are."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..core.model import SessionId
from ..members import Handle, located


class Handles:
    """The handle of each session that is not over."""

    def __init__(self) -> None:
        self._all: dict[SessionId, Handle] = {}
        self._inside: dict[str, SessionId] = {}  # by path of the cgroup
        self._arriving: set[SessionId] = set()  # those that have a scope, and were not seen in its cgroup yet

    def __contains__(self, session: SessionId) -> bool:
        return session in self._all

    def __iter__(self) -> Iterator[Handle]:
        return iter(list(self._all.values()))

    def known(self, session: SessionId) -> Handle | None:
        """What is known of it; None when it is over."""
        return self._all.get(session)

    def get(self, session: SessionId) -> Handle | None:
        """The same, with its cgroup if the leader has arrived there."""
        if session in self._arriving:
            self.put(located(self._all[session]))
        return self._all.get(session)

    def put(self, handle: Handle) -> None:
        """Take one in, in place of what was known."""
        id = handle.session.id
        self._all[id] = handle
        self._arriving.discard(id)
        if handle.folder:
            if not self._is_anothers(handle):
                self._inside[handle.folder] = id
        elif handle.scope:
            self._arriving.add(id)

    def _is_anothers(self, handle: Handle) -> bool:
        """Whether its path is by now that of another session's cgroup, and its own cgroup is gone."""
        id = self._inside.get(handle.folder, handle.session.id)
        return id != handle.session.id and not _stands(handle) and _stands(self._all[id])

    def pop(self, session: SessionId) -> Handle | None:
        """Take one out."""
        handle = self._all.pop(session, None)
        self._arriving.discard(session)
        if handle is not None and self._inside.get(handle.folder) == session:
            del self._inside[handle.folder]
        return handle

    def inside(self, folders: Iterable[Path]) -> Handle | None:
        """That of the session to which one of these cgroups belongs, the first if there are several."""
        for id in list(self._arriving):
            self.get(id)
        found = (self._all[self._inside[path]] for path in map(str, folders) if path in self._inside)
        return next(filter(_stands, found), None)


def _stands(handle: Handle) -> bool:
    return handle.cgroup is not None and handle.cgroup.stands()
