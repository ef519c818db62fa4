# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answering the PAM module at a login. Callers of the control service are answered in ``desk``."""

import asyncio
from collections.abc import Callable
from typing import Final

from . import clock, procfs, words
from .core.extension import last_resort
from .core.model import Mode, Session, SessionId
from .core.span import SEC, Usec
from .hands import Hands
from .members import device_of
from .sources.registrations import Answer, Registration
from .sources.sighting import Sighting

NOBODY: Final = -1
_SOME_PTY: Final = "pts/0"
#: Seconds between two questions to an NSS that does not answer, or does not know whom PAM has let in.
_ASK_AGAIN: Final = 5.0


class Reception:
    """Answers registrations out of what the engine knows."""

    def __init__(self, hands: Hands, refuse: Callable[[str], None]) -> None:
        self._hands = hands
        self._refuse = refuse
        self.registered = 0  # sessions since the start

    async def register(self, registration: Registration) -> Answer:
        """A session is being opened: say what its limits are, and take it in once that is said.

        The login waits for the answer, so nothing is done before it that the answer does not need.
        """
        registry = self._hands.registry
        if not registration.is_ssh and (
            not device_of(registration.tty)  # a service, a graphical login: nobody sits at a terminal of it
            or registry.around(registration.pid) is not None  # su, sudo and the like: part of the session they run in
        ):
            return Answer()
        opened_at, answer = clock.now(), Answer()
        if self._hands.engine.policy.mode is Mode.ENFORCE:
            groups = await registry.groups_of(registration.user) if registry.wants_groups else None
            answer = self._answer(registration, groups or frozenset(), opened_at)
        self._hands.start(self._take_in(registration, opened_at, answer.runtime_max_sec))
        return answer

    async def _take_in(self, registration: Registration, opened_at: Usec, runtime_max_sec: int | None) -> None:
        self.registered += 1
        registry = self._hands.registry
        uid = await self._uid_of(registration)
        if uid is None:
            return
        sighting = Sighting(
            pid=registration.pid,
            start=registration.start,
            user=registration.user,
            uid=uid,
            opened_at=opened_at,
            service=registration.service,
            tty=registration.tty,
            remote=registration.rhost,
            connection=registration.connection,
            last_resort=None if runtime_max_sec is None else runtime_max_sec * SEC,
        )
        await registry.see(sighting)

    async def _uid_of(self, registration: Registration) -> int | None:
        """By NSS, however late it knows, while who logs in is there: no other source may ever tell of the session."""
        registry, told = self._hands.registry, False
        while (uid := await registry.uid_of(registration.user)) is None:
            leader = procfs.process(registration.pid)
            if leader is None or leader.start != registration.start or not leader.alive:
                return None
            if not told:
                self._refuse(f"PAM packet: NSS knows no user {registration.user} yet, asking again")
                registry.missed.set()  # others may know
                told = True
            await asyncio.sleep(_ASK_AGAIN)
        return uid

    def _answer(self, registration: Registration, groups: frozenset[str], opened_at: Usec) -> Answer:
        session = Session(
            id=SessionId(procfs.boot_id(), registration.pid, registration.start),
            user=registration.user,
            uid=NOBODY,  # no rule asks for it
            opened_at=opened_at,
            groups=groups,
            service=registration.service,
            tty=registration.tty,
            remote=registration.rhost,
        )
        # A connection gets terminals later, or none: whoever reads the greeting has one, and logind must wait for the
        # longer of the two limits.
        states = [(session.tty,)] if session.tty else [(), (_SOME_PTY,)]
        *others, limits = [self._hands.engine.policy.limits(session, terminals) for terminals in states]
        ends_at = None if limits.absolute_timeout is None else opened_at + limits.absolute_timeout + clock.offset()
        last = last_resort(limits, *others)
        return Answer(
            text=words.greeting(limits, ends_at),
            runtime_max_sec=None if last is None else -(-last // SEC),
        )
