# SPDX-License-Identifier: LGPL-2.1-or-later
"""All sessions under watch: by identity, by user, and by the moment at which each must be looked at.

Whatever is asked costs the same for one session as for thousands.
"""

import heapq
from collections.abc import Iterator
from typing import Final

from .model import SessionId
from .span import Usec
from .watch import Watch

#: Of other sessions of a user, those of the latest activity; more cannot be looked at each time.
_MOST_OTHERS: Final = 16


class Watches:
    """The sessions that are not over."""

    def __init__(self) -> None:
        self._all: dict[SessionId, Watch] = {}
        self._of_user: dict[int, dict[SessionId, Watch]] = {}
        self._queue: list[tuple[Usec, SessionId]] = []  # a heap; entries that no longer hold are skipped

    def __iter__(self) -> Iterator[Watch]:
        return iter(list(self._all.values()))

    def __contains__(self, session: SessionId) -> bool:
        return session in self._all

    def get(self, session: SessionId) -> Watch | None:
        """The watch of a session; None when it is over or was never there."""
        return self._all.get(session)

    def add(self, watch: Watch) -> None:
        """Take one in."""
        id = watch.session.id
        self._all[id] = watch
        self._of_user.setdefault(watch.session.uid, {})[id] = watch

    def remove(self, watch: Watch) -> None:
        """It is over."""
        id, uid = watch.session.id, watch.session.uid
        del self._all[id]
        del self._of_user[uid][id]
        if not self._of_user[uid]:
            del self._of_user[uid]

    def others(self, watch: Watch) -> list[Watch]:
        """The user's other sessions that are not being ended."""
        own = self._of_user[watch.session.uid].values()
        return [other for other in own if other is not watch and other.memory.ending is None]

    def liveliest_others(self, watch: Watch) -> list[Watch]:
        """Those of the latest activity among the user's other sessions."""
        return heapq.nlargest(_MOST_OTHERS, self.others(watch), key=lambda other: other.memory.trace.active_until)

    # When each is due

    @property
    def deadline(self) -> Usec | None:
        """The earliest moment of all."""
        self._drop_stale()
        return self._queue[0][0] if self._queue else None

    def schedule(self, watch: Watch, at: Usec | None) -> None:
        """Set the moment of one; None: none."""
        if at != watch.next_at:
            watch.next_at = at
            if at is not None:
                heapq.heappush(self._queue, (at, watch.session.id))

    def due(self, now: Usec) -> Iterator[Watch]:
        """Each whose moment has come; it has none then until it is set again."""
        while (at := self.deadline) is not None and at <= now:
            watch = self._all[heapq.heappop(self._queue)[1]]
            watch.next_at = None
            yield watch

    def _drop_stale(self) -> None:
        while self._queue:
            at, session = self._queue[0]
            watch = self._all.get(session)
            if watch is not None and watch.next_at == at:
                return
            heapq.heappop(self._queue)
