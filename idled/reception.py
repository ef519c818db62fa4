# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answering those who come to us: the PAM module at a login, and callers of the control service."""

from collections.abc import Callable
from typing import Any

from . import __version__, clock, words
from .control import interface
from .control.service import Interface, Peer, Service, no_parameters
from .core.model import Mode, Session
from .core.span import SEC, Usec
from .hands import Hands
from .sources.registrations import Answer, Registration
from .sources.sighting import Sighting

#: What logind's last-resort limit adds to the absolute timeout, so that it never comes before the real end.
MARGIN: Usec = 120 * SEC


class Reception:
    """Answers registrations and control calls out of what the engine knows."""

    def __init__(self, hands: Hands, refuse: Callable[[str], None]) -> None:
        self._hands = hands
        self._refuse = refuse

    async def register(self, registration: Registration) -> Answer:
        """A session is being opened: take it in, and say what its limits are."""
        registry = self._hands.registry
        if not registration.is_ssh and registry.around(registration.pid) is not None:
            return Answer()  # su, sudo and the like: part of the session they run in
        uid = await registry.uid_of(registration.user)
        if uid is None:
            self._refuse(f"PAM packet: no user {registration.user}")
            return Answer()
        sighting = Sighting(
            pid=registration.pid,
            start=registration.start,
            user=registration.user,
            uid=uid,
            opened_at=clock.now(),
            service=registration.service,
            tty=registration.tty,
            remote=registration.rhost,
            connection=registration.connection,
        )
        session = await registry.see(sighting)
        return self._answer(session) if session else Answer()

    def _answer(self, session: Session) -> Answer:
        engine = self._hands.engine
        status = engine.status(session.id, clock.now())
        if status is None or engine.policy.mode is Mode.OBSERVE:
            return Answer()
        absolute = status.limits.absolute_timeout
        if absolute is None:
            return Answer(text=words.greeting(status.limits, None))
        ends_at = session.opened_at + absolute + clock.offset()
        last_resort = -(-(absolute + MARGIN) // SEC)
        return Answer(text=words.greeting(status.limits, ends_at), runtime_max_sec=last_resort)

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
