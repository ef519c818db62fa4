# SPDX-License-Identifier: LGPL-2.1-or-later
"""The methods of the control service, each in a few lines: who asks, may they, what is to be told or done.

What the methods take and give stands in ``control/interface.py``, how to write one in ``control/service.py``, who may
do what in ``access.py``. A method that is a story of its own is a file of its own, and named in `Desk.service`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from . import __version__, clock, explanation, programs, words
from .access import Access, Deed
from .config.store import Store
from .control import interface
from .control.peer import Peer
from .control.service import Answer, Call, Interface, Method, Service
from .control.wire import VarlinkError
from .core import events, timing
from .core.events import Kind, Record
from .core.model import Session, SessionId
from .core.span import SEC, Usec
from .extending import Extending
from .hands import Hands
from .health import Health
from .journal import Journal, Written
from .reauthenticate import Reauthentication
from .slices import in_slices

#: Seconds in which sessions are looked at for one list; of thousands the rest is shown as it was seen last.
_PATIENCE: Final = 2.0
#: A session that was looked at for a caller less than so long ago is shown as it was then.
_FRESH: Final[Usec] = SEC
_NONE: Final = SessionId("", 0, 0)
#: Letters of a reason, which is read on terminals and in the journal.
_REASON: Final = 200


class Desk:
    """Answers callers out of what the engine knows, and hands it what they want."""

    def __init__(
        self,
        *,
        hands: Hands,
        journal: Journal,
        store: Store,
        access: Access,
        health: Health,
        reload: Callable[[], Awaitable[None]],
        refuse: Callable[[str], None],
    ) -> None:
        self._hands = hands
        self._engine = hands.engine
        self._journal = journal
        self._store = store
        self._access = access
        self._health = health
        self._began_at = clock.now()
        self._shown: dict[SessionId, Usec] = {}  # when each session was last looked at for a caller
        self._reload = reload
        self._refuse = refuse
        self._extending = Extending(
            hands=hands, access=access, reauthentication=Reauthentication(self._trouble), view=self.view
        )

    def service(self) -> Service:
        """The control service."""
        own = Interface(name=interface.NAME, description=interface.DESCRIPTION, methods=self.methods())
        info = {"vendor": "idled", "product": "idled", "version": __version__, "url": "man:idled(8)"}
        return Service(info, (own,), interface.SERVICE_DESCRIPTION)

    def methods(self) -> dict[str, Method]:
        """What does each of the methods."""
        return {
            "ListSessions": self.list_sessions,
            "GetSession": self.get_session,
            "Extend": self._extending.extend,
            "Explain": self.explain,
            "ExplainLogin": self.explain_login,
            "End": self.end,
            "Monitor": self.monitor,
            "Reload": self.reload,
            "GetStatus": self.get_status,
        }

    async def list_sessions(self, call: Call) -> Answer:
        """All that the caller may see, looked at anew in slices: enforcement goes on meanwhile."""
        call.take()
        shown = [session for session in self._engine.sessions() if self._access.may(call.peer, Deed.VIEW, session)]
        patience = time.monotonic() + _PATIENCE
        async for session in in_slices(sorted(shown, key=self._looked_at)):
            if time.monotonic() > patience:
                break
            self.look(session)
        now, views = clock.now(), []
        async for session in in_slices(shown):
            if (status := self._engine.status(session.id, now)) is not None:
                in_time = time.monotonic() <= patience
                views.append(interface.session_view(status, now, self._programs(session) if in_time else None))
        return {"mode": self._engine.policy.mode.value, "sessions": views}

    async def get_session(self, call: Call) -> Answer:
        """One session."""
        return {"session": self.view(self.asked(call.peer, call.take(session=str | None)["session"], Deed.VIEW))}

    async def explain(self, call: Call) -> Answer:
        """How a session comes to its limits, and what is known of its activity."""
        session = self.asked(call.peer, call.take(session=str | None)["session"], Deed.VIEW)
        view, watch, handle = self.view(session), self._engine.watch(session.id), self._hands.registry.get(session.id)
        if watch is None or handle is None:
            raise VarlinkError("io.idled.NoSuchSession", session=session.name)
        now, trace = clock.now(), watch.memory.trace
        connection = explanation.connection(trace, handle.connection, now)
        return {
            "session": view,
            "rules": explanation.rules(self._engine.policy, watch.session, watch.terminals),
            "activity": explanation.activity(watch),
            "terminals": explanation.terminals(trace, now),
            "notes": explanation.notes(watch),
            "moments": explanation.moments(watch, self._engine.policy.mode, now),
        } | ({} if connection is None else {"connection": connection})

    async def explain_login(self, call: Call) -> Answer:
        """Which rules a login would match that has not happened."""
        given = call.take(user=str, service=str | None, remote=str | None, tty=str | None)
        self._access.demand(call.peer, Deed.OVERSEE)
        groups = await self._hands.registry.groups_of(given["user"])
        tty = (given["tty"] or "").removeprefix("/dev/")
        session = Session(
            id=_NONE,
            user=given["user"],
            uid=-1,  # no rule asks for it
            opened_at=clock.now(),
            groups=groups or frozenset(),
            service=given["service"] or "",
            tty=tty,
            remote=given["remote"] or "",
        )
        return {"rules": explanation.rules(self._engine.policy, session, (tty,) if tty else ())}

    async def end(self, call: Call) -> Answer:
        """End a session since somebody wants it, in observe mode too."""
        given = call.take(session=str, reason=str | None)
        session = self.asked(call.peer, given["session"], Deed.END)
        by = await self._access.who(call.peer)
        if session.id not in self._engine:  # it went meanwhile
            raise VarlinkError("io.idled.NoSuchSession", session=given["session"])
        self._hands.handle(events.EndAsked(id=session.id, by=by, note=words.clean(given["reason"] or "", _REASON)))
        return {}

    async def monitor(self, call: Call) -> AsyncGenerator[Answer, None]:
        """What is written to the journal, as far as the caller may see it."""
        call.take()

        def overrun() -> None:
            call.hang_up()
            self._refuse(f"Monitor: process {call.peer.pid} of uid {call.peer.uid} does not keep up, and was dropped")

        with self._journal.followed(lambda record: self._sees(call.peer, record), overrun) as queue:
            while True:
                yield {"event": _event(await queue.get())}

    async def reload(self, call: Call) -> Answer:
        """Read the policy anew."""
        call.take()
        self._access.demand(call.peer, Deed.RELOAD)
        await asyncio.shield(self._reload())
        if self._store.problems:
            raise VarlinkError("io.idled.PolicyRejected", problems=list(self._store.problems))
        await self._access.refresh()
        return {"warnings": list(self._store.warnings)}

    async def get_status(self, call: Call) -> Answer:
        """How the daemon does. Sessions are counted and troubles are told as far as the caller may see them."""
        call.take()
        oversees = self._access.may(call.peer, Deed.OVERSEE)
        why = self._health.why_not(whole=oversees)
        watches = [
            watch
            for session in self._engine.sessions()
            if self._access.may(call.peer, Deed.VIEW, session) and (watch := self._engine.watch(session.id))
        ]
        troubles = [trouble for trouble in self._journal.troubles() if self._sees(call.peer, trouble.record)]
        return {
            "version": __version__,
            "mode": self._engine.policy.mode.value,
            "effective": not why,
            "why": why,
            "sessions": len(watches),
            "limited": sum(any(watch.limits.timeout(reason) for reason in timing.LIMITED) for watch in watches),
            "unobserved": sum(not watch.observed for watch in watches),
            "upUSec": clock.now() - self._began_at,
            "files": list(self._store.files),
            "sources": self._health.sources(whole=oversees),
            "troubles": [_event(trouble) for trouble in troubles],
        }

    # What several methods need

    def asked(self, peer: Peer, name: str | None, deed: Deed) -> Session:
        """The session that is meant; or an error, also where the peer may not do that with it."""
        session = self._access.meant(peer, name)
        self._access.demand(peer, deed, session)
        return session

    def look(self, session: Session) -> None:
        """See how it is now, unless that was done just now: looks are evidence, of which no caller makes many."""
        now = clock.now()
        if now - self._shown.get(session.id, -_FRESH) < _FRESH or session.id not in self._engine:
            return
        if session.id not in self._shown and len(self._shown) >= 2 * len(self._engine.sessions()):
            self._shown = {id: at for id, at in self._shown.items() if id in self._engine}
        self._shown[session.id] = now
        self._hands.look_again(session.id)

    def _looked_at(self, session: Session) -> Usec:
        watch = self._engine.watch(session.id)
        return 0 if watch is None else watch.memory.trace.at

    def view(self, session: Session) -> Answer:
        """The session as the interface shows it, as it is now."""
        self.look(session)
        now = clock.now()
        status = self._engine.status(session.id, now)
        if status is None:
            raise VarlinkError("io.idled.NoSuchSession", session=session.name)
        return interface.session_view(status, now, self._programs(session))

    def _programs(self, session: Session) -> list[str] | None:
        handle = self._hands.registry.get(session.id)
        return None if handle is None else programs.beside_terminals(handle)

    def _trouble(self, what: str) -> None:
        self._journal.write(Record(kind=Kind.TROUBLE, note=what))

    def _sees(self, peer: Peer, record: Record) -> bool:
        deed = Deed.OVERSEE if record.session is None else Deed.VIEW
        return self._access.may(peer, deed, record.session)


def _event(written: Written) -> Answer:
    record = written.record
    view = {
        "event": record.kind.value,
        "text": written.text,
        "priority": written.priority,
        "realtimeUSec": written.wall_at,
    }
    if record.session is None:
        return view
    return view | {"session": str(record.session.id), "name": record.session.name, "user": record.session.user}
