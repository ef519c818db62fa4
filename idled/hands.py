# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carrying out what the engine decides: one method for each action, each short, none that waits.

What an action finds out goes back to the engine as an event. When to do what is decided in ``core``; how a terminal is
written on or a process killed stands in ``actions`` and ``evidence``.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from . import clock, words
from .actions import end, warn
from .core import events
from .core.activity import ConnectionLook, Look
from .core.engine import Engine
from .core.events import Action, Event, Kind, Record
from .core.model import Extent, Session, SessionId
from .evidence import foreground
from .evidence import terminals as evidence
from .evidence.connections import Connections
from .journal import Journal
from .members import Handle, leader_among, members, outer_terminals, terminals, terminals_among
from .procfs import Process
from .shortage import is_shortage
from .sources import mosh
from .sources.logind import Logind
from .sources.registry import Registry
from .sources.sighting import Sighting
from .state import State
from .threads import Threads

#: Seconds for the last line to get through sshd and to the person before SIGHUP takes sshd away.
_LAST_WORDS: Final = 0.15


class Hands:
    """Gives events to the engine, and does what it answers. `start` runs a coroutine beside."""

    def __init__(
        self, *, engine: Engine, journal: Journal, state: State, start: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        self.engine = engine
        self._journal = journal
        self._state = state
        self.start = start
        self._alarm = clock.Alarm()
        self._connections = Connections()
        self._state_failed = False  # and that was said
        self._ends: dict[SessionId, end.End] = {}
        self._killer = Threads(1)
        self._seen: dict[SessionId, dict[int, str]] = {}  # terminals of those that were looked at for what is done now
        self.registry = Registry(self._opened, self._closed)
        self.logind = Logind(self.registry.see, self._trouble, self.registry.missed.set)

    def fileno(self) -> int:
        """Readable when `wake` is to be called."""
        return self._alarm.fileno()

    def get_ready(self) -> None:
        """Have there what may be hard to get when it is needed."""
        self._killer.begin()

    def wake(self) -> None:
        """The engine's deadline has come."""
        self._alarm.clear()
        self.handle(events.Woken())

    def handle(self, event: Event) -> None:
        """Give the engine an event, do what it says and what follows from that, until it is content.

        Whoever caused it, a failure leaves things half done: the loop is told, which has the daemon start anew.
        """
        try:
            self._handle(event)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler({"message": "half done", "exception": error})
            raise

    def _handle(self, event: Event) -> None:
        queue = deque([event])
        while queue:
            for action in self.engine.handle(queue.popleft(), clock.now()):
                answer = _PERFORM[type(action)](self, action)
                if answer is not None:
                    queue.append(answer)
        self._seen.clear()
        self._alarm.set(self.engine.deadline)

    @property
    def remembers(self) -> bool:
        """Whether what is known of sessions can be kept for a restart."""
        return not self._state_failed

    def look_again(self, session: SessionId) -> None:
        """Take a look out of turn, for whoever wants to know now."""
        self.handle(self._look(events.LookAt(id=session)))

    def recall(self, boot: str) -> None:
        """Go on where the daemon before this one stopped."""
        for recalled in self._state.recall(boot):
            if isinstance(recalled, str):
                self._trouble(recalled)
                continue
            memory, handle = recalled
            alive = self.registry.adopt(handle)
            if alive:
                self.logind.need_not_ask(handle.session.logind)
            self.handle(events.Restored(memory=memory))
            if not alive:
                self._closed(handle.session.id)

    def _opened(self, session: Session, seen: Sighting | None) -> None:
        found, offset = (seen.found, seen.offset) if seen is not None else (False, None)
        self.handle(events.Opened(session=session, found=found, offset=offset))

    def _closed(self, session: SessionId) -> None:
        self.handle(events.Closed(id=session))

    def _trouble(self, what: str) -> None:
        self._journal.write(Record(kind=Kind.TROUBLE, note=what))

    # One method for each action

    def _look(self, action: events.LookAt) -> Event:
        handle = self.registry.get(action.id)
        return events.Looked(id=action.id, look=None if handle is None else self._look_at(handle))

    def _look_at(self, handle: Handle) -> Look:
        limits = self.engine.limits(handle.session.id)
        processes = members(handle)
        outer = outer_terminals(handle, processes)
        named = self._seen[handle.session.id] = terminals_among(handle, processes, outer or ())
        return Look(
            terminals=evidence.look(named, handle.session.uid, outer),
            connection=None if mosh.serves(processes) else self._connection(handle, processes),
            holder=foreground.holder(handle, limits.hold_while) if limits and limits.hold_while else "",
            at=clock.now(),
            offset=clock.offset(),
        )

    def _connection(self, handle: Handle, processes: list[Process]) -> ConnectionLook | None:
        watch = self.engine.watch(handle.session.id)
        before = watch.memory.trace.connection if watch else None
        counted = before.counted if before else None
        return self._connections.look(
            handle.connection, leader_among(handle.session, processes), handle.session.uid, counted
        )

    def _warn(self, action: events.Warn) -> None:
        ends_in = action.ends_at - clock.now()
        text = words.warning(action.reason, action.limit, ends_in, action.ends_at + clock.offset())
        self._tell(action.id, text)

    def _withdraw(self, action: events.Withdraw) -> None:
        wall_ends_at = None if action.ends_at is None else action.ends_at + clock.offset()
        self._tell(action.id, words.withdrawn(action.reason, wall_ends_at))

    def _tell(self, id: SessionId, text: str) -> None:
        handle = self.registry.get(id)
        if handle is not None:
            shown = self._seen.get(id) or terminals(handle)
            missed = warn.write_line(shown, handle.session.uid, text)
            if missed:
                self._trouble(f"session {handle.session.name}: no line could be written on {', '.join(missed)}")

    def _hang_up(self, action: events.HangUp) -> None:
        handle = self.registry.get(action.id)
        if handle is not None:
            self._tell(action.id, words.farewell(action.reason, action.limit, action.by, action.note))
            self._ends[action.id] = end.End(handle, action.extent)
            self.start(self._end(handle.session, self._ends[action.id]))

    async def _end(self, session: Session, ending: end.End) -> None:
        await asyncio.sleep(_LAST_WORDS)
        ending.hang_up()
        if ending.forbidden:
            confined = words.clean(", ".join(sorted(ending.forbidden)))
            self._trouble(f"session {session.name}: the kernel forbids to signal {confined}; killing what is left")
        await ending.until_gone()
        if ending.freed_from:
            debuggers = words.clean(", ".join(sorted(ending.freed_from)))
            self._trouble(f"session {session.name}: killed to end it, since they held processes of it: {debuggers}")
        self.handle(events.Gone(id=session.id))

    def _kill(self, action: events.Kill) -> Event | None:
        ending = self._ends.get(action.id)
        left = ending.kill(self._killer) if ending else ()
        return events.Survived(id=action.id, processes=left) if left else None

    def _release(self, action: events.Release) -> None:
        """Of what stands of the session; without, logind finds out by itself, and may call another by its name."""
        handle, ending = self.registry.get(action.id), self._ends.get(action.id)
        if handle is None or not handle.session.logind or ending is None or not ending.stands():
            return
        if action.extent is Extent.USER:
            if not ending.joined():
                self.start(self.logind.terminate_user(handle.session.uid))
        elif action.extent is Extent.SESSION:
            self.start(self.logind.terminate(handle.session.logind))

    def _remember(self, action: events.Remember) -> None:
        id = action.memory.session.id
        limits = self.engine.limits(id)
        of_user = action.memory.ending is not None and limits is not None and limits.end is Extent.USER
        handle = self.registry.with_user(id) if of_user else self.registry.get(id)
        if handle is None:
            return
        try:
            self._state.remember(action.memory, handle)
        except OSError as error:  # a full /run must not keep anybody from being ended
            if is_shortage(error):
                raise  # before anything is done that the next daemon would not know of
            self._state_trouble(error)
        else:
            self._state_failed = False

    def _forget(self, action: events.Forget) -> None:
        self._ends.pop(action.id, None)
        if (handle := self.registry.get(action.id)) is not None:
            self.logind.ask_again(handle.session.logind)
        self.registry.drop(action.id)
        if self._journal.waiting:
            self.start(self._forget_once_told(action.id))
        else:
            self._forget_now(action.id)

    async def _forget_once_told(self, id: SessionId) -> None:
        """Should the daemon be killed before the journal has taken how it ended, the next one tells it."""
        await self._journal.taken()
        self._forget_now(id)

    def _forget_now(self, id: SessionId) -> None:
        try:
            self._state.forget(id)
        except OSError as error:
            self._state_trouble(error)

    def _state_trouble(self, error: OSError) -> None:
        if not self._state_failed:
            self._trouble(f"what is known of sessions cannot be kept for a restart: {error}; they stay under watch")
        self._state_failed = True

    def _record(self, record: Record) -> None:
        self._journal.write(record)


_PERFORM: Final[dict[type[Action], Callable[[Hands, Any], Event | None]]] = {
    events.LookAt: Hands._look,
    events.Warn: Hands._warn,
    events.Withdraw: Hands._withdraw,
    events.HangUp: Hands._hang_up,
    events.Kill: Hands._kill,
    events.Release: Hands._release,
    events.Remember: Hands._remember,
    events.Forget: Hands._forget,
    events.Record: Hands._record,
}
