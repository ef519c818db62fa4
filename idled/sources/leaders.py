# SPDX-License-Identifier: LGPL-2.1-or-later
"""Being told when the leaders of sessions have gone: a pidfd for each, and one epoll for all.

What the event loop keeps for each file that it reads would be a good part of what a session costs.
"""

import asyncio
import os
import select
from collections.abc import Callable
from typing import Final

from .. import procfs
from ..core.model import SessionId

#: So many are told of in one turn of the loop.
_AT_ONCE: Final = 16


class Leaders:
    """The leaders that live; `gone` is called with the session of one that does no more, which is then watched no more.

    It is called by the loop that runs at the time of `watch`.
    """

    def __init__(self, gone: Callable[[SessionId], None]) -> None:
        self._gone = gone
        self._epoll = select.epoll()
        self._pidfds: dict[SessionId, int] = {}
        self._sessions: dict[int, SessionId] = {}  # by pidfd

    def watch(self, session: SessionId) -> bool:
        """False when the leader has gone already; one that is watched is fine, and told of when it goes."""
        if session in self._pidfds:
            return True
        pidfd = procfs.open_process(session.pid, session.start)
        if pidfd is None:
            return False
        if not self._pidfds:
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._some_gone)
        self._epoll.register(pidfd, select.EPOLLIN)
        self._pidfds[session], self._sessions[pidfd] = pidfd, session
        return True

    def unwatch(self, session: SessionId) -> None:
        """Not to be told of it any more; one that is not watched is fine."""
        pidfd = self._pidfds.pop(session, None)
        if pidfd is None:
            return
        del self._sessions[pidfd]
        os.close(pidfd)  # which takes it out of the epoll, too
        if not self._pidfds:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())

    def _some_gone(self) -> None:
        for pidfd, _ in self._epoll.poll(0, _AT_ONCE):
            session = self._sessions[pidfd]
            self.unwatch(session)
            self._gone(session)
