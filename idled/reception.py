# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answering those who come to us: the PAM module at a login, and callers of the control service."""

from collections.abc import Callable
from typing import Any, Final

from . import __version__, clock, procfs, words
from .control import interface
from .control.service import Interface, Peer, Service, no_parameters
from .core.model import Mode, Session, SessionId
from .core.span import SEC, Usec
from .hands import Hands
from .sources.registrations import Answer, Registration
from .sources.sighting import Sighting

#: What logind's last-resort limit adds to the absolute timeout, so that it never comes before the real end.
MARGIN: Final[Usec] = 120 * SEC
NOBODY: Final = -1


class Reception:
    """Answers registrations and control calls out of what the engine knows."""

    def __init__(self, hands: Hands, refuse: Callable[[str], None]) -> None:
        self._hands = hands
        self._refuse = refuse

    async def register(self, registration: Registration) -> Answer:
        """A session is being opened: say what its limits are, and take it in once that is said.

        The login waits for the answer, so nothing is done before it that the answer does not need.
        """
        registry = self._hands.registry
        if not registration.is_ssh and registry.around(registration.pid) is not None:
            return Answer()  # su, sudo and the like: part of the session they run in
        opened_at = clock.now()
        self._hands.start(self._take_in(registration, opened_at))
        if self._hands.engine.policy.mode is Mode.OBSERVE:
            return Answer()
        groups = await registry.groups_of(registration.user) if registry.wants_groups else None
        return self._answer(registration, groups or frozenset(), opened_at)

    async def _take_in(self, registration: Registration, opened_at: Usec) -> None:
        registry = self._hands.registry
        uid = await registry.uid_of(registration.user)
        if uid is None:
            self._refuse(f"PAM packet: no user {registration.user}")
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
        )
        await registry.see(sighting)

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
        limits = self._hands.engine.policy.limits(session, (session.tty,) if session.tty else ())
        if limits.absolute_timeout is None:
            return Answer(text=words.greeting(limits, None))
        ends_at = opened_at + limits.absolute_timeout + clock.offset()
        last_resort = -(-(limits.absolute_timeout + MARGIN) // SEC)
        return Answer(text=words.greeting(limits, ends_at), runtime_max_sec=last_resort)

    def service(self) -> Service:
        """The control service."""
        own = Interface(
            name=interface.NAME,
            description=interface.DESCRIPTION,
            methods={"ListSessions": self._list_sessions},
        )
        info = {"vendor": "idled", "product": "idled", "version": __version__, "url": "man:idled(8)"}
        return Service(info, (own,), interface.SERVICE_DESCRIPTION)

    def _list_sessions(self, peer: Peer, parameters: dict[str, Any]) -> dict[str, Any]:
        no_parameters(parameters)
        engine = self._hands.engine
        shown = [session.id for session in engine.sessions() if peer.uid in (0, session.uid)]
        for session in shown:
            self._hands.look_again(session)
        now = clock.now()
        statuses = [engine.status(session, now) for session in shown]
        return {
            "mode": engine.policy.mode.value,
            "sessions": [interface.session_view(status, now) for status in statuses if status is not None],
        }
