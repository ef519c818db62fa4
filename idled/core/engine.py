# SPDX-License-Identifier: LGPL-2.1-or-later
"""The engine: events and the present moment in, actions and the next deadline out.

It keeps the sessions, asks `timing` what is due, and turns that into actions; it does nothing itself. Whoever drives
it calls `handle` with each event, carries out what comes back, and calls again with `Woken` when `deadline` has come.
A look (`LookAt`) is answered with `Looked` before the session is decided on: nobody is ended unseen.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from . import timing
from .activity import Look, follow, lacks
from .events import (
    Action,
    Closed,
    EndAsked,
    Ending,
    Event,
    ExtensionAsked,
    Forget,
    Gone,
    HangUp,
    Kill,
    Kind,
    LookAt,
    Looked,
    Memory,
    Opened,
    Record,
    Release,
    Reloaded,
    Remember,
    Restored,
    Scanned,
    Stepped,
    Survived,
    Track,
    Warn,
    Withdraw,
    Woken,
)
from .extension import Request, before_last_resort, refusal, room_left
from .model import Extent, Limits, Mode, Reason, Session, SessionId
from .policy import Policy
from .span import Usec
from .watch import Status, Watch, Written, status
from .watches import Watches

#: Sessions that are looked at in one call. A look is as old as the call when it is decided on, and whoever drives the
#: engine has others to answer, however many sessions are due.
_AT_ONCE: Final = 16


class Engine:
    """All sessions and what is due for them."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._watches = Watches()
        self._actions: list[Action] = []

    @property
    def deadline(self) -> Usec | None:
        """The next moment at which to call with `Woken`."""
        return self._watches.deadline

    def __contains__(self, session: SessionId) -> bool:
        return session in self._watches

    def sessions(self) -> list[Session]:
        """All sessions that are not over."""
        return [watch.session for watch in self._watches]

    def handle(self, event: Event, now: Usec) -> list[Action]:
        """What is to be done, in this order, now that the event has happened."""
        self._actions = []
        _HANDLERS[type(event)](self, event, now)
        return self._actions

    def watch(self, session: SessionId) -> Watch | None:
        """All that is known of it, to be read only; None when it is not, or no longer, under watch."""
        return self._watches.get(session)

    def limits(self, session: SessionId) -> Limits | None:
        """Its limits; None when it is not, or no longer, under watch."""
        watch = self._watches.get(session)
        return None if watch is None else watch.limits

    def status(self, session: SessionId, now: Usec) -> Status | None:
        """How it stands; None when it is not, or no longer, under watch."""
        watch = self._watches.get(session)
        return None if watch is None else status(watch, self.policy.mode, now)

    # How sessions come and go

    def _opened(self, event: Opened, now: Usec) -> None:
        watch = self._watches.get(event.session.id)
        if watch is not None:
            watch.memory = replace(watch.memory, session=event.session)
            if watch.memory.ending is not None:
                return  # it ends as it began to
            self._set_limits(watch, None)
        else:
            watch = self._take_in(Memory.of_new(event.session, event.offset))
            self._record(Kind.SESSION_OPENED, watch, now)
            self._set_limits(watch, now if event.found else None, first=True)
        self._look(watch)

    def _restored(self, event: Restored, now: Usec) -> None:
        watch = self._take_in(event.memory)
        watch.written = Written.of(event.memory)
        self._set_limits(watch, now)
        if watch.memory.ending is None:
            self._watches.schedule(watch, now)
            return
        self._hang_up(watch, watch.memory.ending)
        self._schedule(watch, now)

    def _closed(self, event: Closed, now: Usec) -> None:
        watch = self._watches.get(event.id)
        if watch is not None and watch.memory.ending is None:
            self._record(Kind.SESSION_CLOSED, watch, now)
            self._drop(watch)

    def _take_in(self, memory: Memory) -> Watch:
        watch = Watch(memory=memory, limits=Limits())
        connection = memory.trace.connection
        counted = connection is not None and connection.delivered is not None
        watch.observed = bool(memory.trace.terminals) or counted  # until it is looked at
        self._watches.add(watch)
        return watch

    def _drop(self, watch: Watch) -> None:
        self._watches.remove(watch)
        self._do(Forget(id=watch.session.id))

    # What is seen, and what follows from it

    def _looked(self, event: Looked, now: Usec) -> None:
        watch = self._watches.get(event.id)
        if watch is None:
            return
        watch.looking = False
        if watch.memory.ending is not None:
            return  # what is seen now is only how it goes, and its next SIGKILL has its moment
        if self._put_off(watch, event.look, now):
            return
        terminals = watch.terminals
        if event.look is None:
            watch.observed = False
            watch.memory = replace(watch.memory, trace=replace(watch.memory.trace, at=now))
        else:
            active_until = watch.memory.trace.active_until
            was_forged = watch.memory.trace.forged
            elsewhere_until = self._active_elsewhere(watch) if watch.memory.trace.inner else None
            trace = follow(watch.memory.trace, event.look, watch.limits.activity, elsewhere_until)
            watch.memory = replace(watch.memory, trace=trace)
            watch.observed = event.look.observed
            if watch.memory.trace.active_until > active_until:
                self._track(watch, Reason.IDLE, noted=False)
            if watch.memory.trace.forged and not was_forged:
                self._record(Kind.ACTIVITY_FORGED, watch, now)
            if event.look.coarse and now - watch.session.opened_at >= timing.SETTLED:
                self._note_coarse(watch, now)
        if watch.terminals != terminals:
            self._set_limits(watch, None)
        self._decide(watch, now)
        self._schedule(watch)

    def _put_off(self, watch: Watch, look: Look | None, now: Usec) -> bool:
        """Whether the look is to be taken again because it, or that at where it may be fed from, was not clear (T13).

        The first one that shows something never is: there is nothing to compare it with.
        """
        lacking = look is not None and lacks(watch.memory.trace, look)
        connection = look.connection if look is not None else None
        watch.unread = connection is not None and connection.unread > 0 and not connection.stopped
        watch.unclear = (connection is not None and connection.moving) or (lacking and not watch.lacking)
        shown = watch.memory.trace.connection is not None or watch.memory.trace.terminals != ()
        pauses = self._pauses(watch, now) if shown and not self._is_over(watch, now) else ()
        if pauses and watch.put_off and watch.next_at is not None and watch.next_at > now:
            return True  # it was taken out of turn, and does not count
        if watch.put_off >= len(pauses):
            watch.put_off, watch.unclear, watch.waiting, watch.lacking = 0, False, False, lacking
            return False
        again, over_at = now + pauses[watch.put_off], self._over_at(watch)
        self._schedule(watch)
        self._watches.schedule(watch, again if over_at is None else min(again, over_at))
        watch.put_off += 1
        return True

    def _pauses(self, watch: Watch, now: Usec) -> tuple[Usec, ...]:
        """How long its look is put off, again and again."""
        sources = [watch, *(self._watches.liveliest_others(watch) if watch.memory.trace.inner else ())]
        unread = any(source.unread for source in sources) and self._is_idle(watch, now)
        watch.waiting = watch.waiting or unread  # also for a look that finds sshd amid what it has just read
        if not unread and not any(source.unclear for source in sources):
            return ()
        return timing.PUT_OFF_UNREAD if watch.waiting else timing.PUT_OFF

    def _is_idle(self, watch: Watch, now: Usec) -> bool:
        """Whether its idle timeout has come, by what was seen so far."""
        due = timing.due_at(watch.memory, watch.limits, Reason.IDLE, watch.observed)
        return due is not None and due <= now and not watch.memory.idle.noted

    def _note_coarse(self, watch: Watch, now: Usec) -> None:
        if not watch.memory.trace.coarse:
            watch.memory = replace(watch.memory, trace=replace(watch.memory.trace, coarse=True))
            self._record(Kind.TROUBLE, watch, now, note=_COARSE)

    def _decide(self, watch: Watch, now: Usec) -> None:
        for reason in timing.LIMITED:
            due = timing.due_at(watch.memory, watch.limits, reason, watch.observed)
            due = due if self.policy.mode is Mode.ENFORCE else None
            if timing.warning_is_void(watch.memory.track(reason), due, now):
                self._withdraw(watch, reason, now)
        overdue = self._first_due(watch)
        if overdue is not None and overdue[0] <= now:
            self._overdue(watch, *overdue, now)
        elif self.policy.mode is Mode.ENFORCE:
            for reason in timing.LIMITED:
                self._warn(watch, reason, now)

    def _withdraw(self, watch: Watch, reason: Reason, now: Usec) -> None:
        self._track(watch, reason, warned=None)
        stands = reason is Reason.ABSOLUTE or watch.memory.absolute.warned is not None
        ends_at = timing.due_at(watch.memory, watch.limits, Reason.ABSOLUTE, watch.observed) if stands else None
        self._tell(watch, Withdraw(id=watch.session.id, reason=reason, ends_at=ends_at))
        self._record(Kind.WARNING_CLEARED, watch, now, reason=reason)

    def _first_due(self, watch: Watch) -> tuple[Usec, Reason] | None:
        dues = [
            (due, reason)
            for reason in timing.LIMITED
            if (due := timing.due_at(watch.memory, watch.limits, reason, watch.observed)) is not None
            and not watch.memory.track(reason).noted
        ]
        return min(dues, key=lambda pair: pair[0], default=None)

    def _overdue(self, watch: Watch, due: Usec, reason: Reason, now: Usec) -> None:
        if self.policy.mode is Mode.OBSERVE:
            self._track(watch, reason, noted=True)
            self._record(Kind.WOULD_END, watch, now, reason=reason, late=now - due)
            return
        self._end(watch, Ending(reason=reason, due_at=due, started_at=now))

    def _warn(self, watch: Watch, reason: Reason, now: Usec) -> None:
        due = timing.due_at(watch.memory, watch.limits, reason, watch.observed)
        limit = timing.limit_of(watch.memory, watch.limits, reason)
        if due is None or limit is None:
            return
        lead = timing.lead_reached(watch.memory.track(reason), watch.limits.leads(reason), due, now)
        if lead is not None:
            self._track(watch, reason, warned=lead)
            self._tell(watch, Warn(id=watch.session.id, reason=reason, ends_at=due, limit=limit))
            self._record(Kind.WARNED, watch, now, reason=reason, ends_in=due - now)

    def _tell(self, watch: Watch, line: Warn | Withdraw) -> None:
        watch.memory = replace(watch.memory, trace=replace(watch.memory.trace, told=True))
        self._do(line)

    # How it ends

    def _end_asked(self, event: EndAsked, now: Usec) -> None:
        watch = self._watches.get(event.id)
        if watch is not None and watch.memory.ending is None:
            asked = Ending(reason=Reason.REQUEST, due_at=now, started_at=now, by=event.by, note=event.note)
            self._end(watch, asked)
            self._schedule(watch)

    def _end(self, watch: Watch, ending: Ending) -> None:
        self._begin(watch, ending)
        if watch.limits.end is Extent.USER:
            now = ending.started_at
            for other in self._watches.others(watch):
                self._begin(other, Ending(reason=Reason.USER, due_at=now, started_at=now))
                self._schedule(other)

    def _begin(self, watch: Watch, ending: Ending) -> None:
        watch.memory = replace(watch.memory, ending=ending)
        self._do(Remember(memory=watch.memory))
        self._hang_up(watch, ending)

    def _hang_up(self, watch: Watch, ending: Ending) -> None:
        limit = timing.limit_of(watch.memory, watch.limits, ending.reason)
        self._do(
            HangUp(
                id=watch.session.id,
                extent=watch.limits.end,
                reason=ending.reason,
                limit=limit,
                by=ending.by,
                note=ending.note,
            )
        )

    def _kill(self, watch: Watch, ending: Ending, now: Usec) -> None:
        killed_at = now if ending.killed_at is None else ending.killed_at
        failed = now - killed_at >= timing.FAILED_AFTER
        if failed and not ending.failed:
            self._record(
                Kind.END_FAILED,
                watch,
                now,
                reason=ending.reason,
                took=now - ending.started_at,
                survivors=watch.survivors,
            )
        watch.memory = replace(watch.memory, ending=replace(ending, killed_at=killed_at, failed=failed))
        self._do(Kill(id=watch.session.id, extent=watch.limits.end))
        self._schedule(watch, now)

    def _survived(self, event: Survived, now: Usec) -> None:
        watch = self._watches.get(event.id)
        ending = watch.memory.ending if watch else None
        if watch is None or ending is None:
            return
        watch.survivors = event.processes
        if not ending.escalated:
            watch.memory = replace(watch.memory, ending=replace(ending, escalated=True))
            self._do(Remember(memory=watch.memory))
            took = now - ending.started_at
            self._record(Kind.END_ESCALATED, watch, now, reason=ending.reason, took=took, survivors=event.processes)

    def _gone(self, event: Gone, now: Usec) -> None:
        watch = self._watches.get(event.id)
        ending = watch.memory.ending if watch else None
        if watch is None or ending is None:
            return
        self._do(Release(id=event.id, extent=watch.limits.end))
        self._record(
            Kind.ENDED,
            watch,
            ending.started_at,  # how long it was idle, and open, until it was ended
            reason=ending.reason,
            late=ending.started_at - ending.due_at,
            took=now - ending.started_at,
            survivors=(),
            by=ending.by,
            note=ending.note,
        )
        self._drop(watch)

    # How a limit is moved

    def refusal(self, session: SessionId, request: Request, now: Usec) -> str:
        """Why an extension is refused; empty when `ExtensionAsked` grants it at that moment."""
        watch = self._watches.get(session)
        if watch is None:
            return "the session is over"
        if watch.memory.ending is not None or self._is_over(watch, now):
            return "the session is being ended"
        track = watch.memory.track(request.limit)
        return refusal(request, watch.limits, track.grants, room_left(watch.session, watch.limits, track.extra))

    def _over_at(self, watch: Watch) -> Usec | None:
        """When its absolute timeout ends it, if nothing else does."""
        due = timing.due_at(watch.memory, watch.limits, Reason.ABSOLUTE, watch.observed)
        return due if self.policy.mode is Mode.ENFORCE else None

    def _is_over(self, watch: Watch, now: Usec) -> bool:
        """Whether its absolute timeout has come, noticed or not."""
        over_at = self._over_at(watch)
        return over_at is not None and over_at <= now

    def _extension_asked(self, event: ExtensionAsked, now: Usec) -> None:
        watch, request = self._watches.get(event.session.id), event.request
        why = event.refused or self.refusal(event.session.id, request, now)
        story: dict[str, Any] = {"reason": request.limit, "asked": request.by, "by": request.who, "by_uid": request.uid}
        if watch is None:
            self._do(Record(kind=Kind.EXTENSION_REFUSED, session=event.session, **story, note=why))
            return
        if why:
            self._record(Kind.EXTENSION_REFUSED, watch, now, **story, note=why)
            return
        track = watch.memory.track(request.limit)
        grants = track.grants + (not request.privileged)
        self._track(watch, request.limit, extra=track.extra + request.by, grants=grants, noted=False)
        self._record(Kind.EXTENDED, watch, now, **story, note=request.note)  # first: none is without its record
        self._schedule(watch)
        self._look(watch)

    # What comes from outside of any session

    def _reloaded(self, event: Reloaded, now: Usec) -> None:
        self.policy = event.policy
        for watch in self._watches:
            if watch.memory.ending is not None:
                continue  # it ends as it began to
            self._set_limits(watch, now)
            self._watches.schedule(watch, now)

    def _stepped(self, event: Stepped, now: Usec) -> None:
        self._do(Record(kind=Kind.CLOCK_STEPPED, late=event.by))
        self._look_soon(self._watches, now)

    def _scanned(self, _event: Scanned, now: Usec) -> None:
        self._look_soon((watch for watch in self._watches if not watch.observed or watch.memory.idle.noted), now)

    def _woken(self, _event: Woken, now: Usec) -> None:
        """The first of those that are due; for the others the deadline is past, so the next call is not far."""
        for watch in islice(self._watches.due(now), _AT_ONCE):
            if watch.memory.ending is not None:
                self._kill(watch, watch.memory.ending, now)
            else:
                self._look(watch)

    # Bookkeeping

    def _set_limits(self, watch: Watch, now: Usec | None, *, first: bool = False) -> None:
        """Ask the policy anew. `now`: limits that are tighter than before leave a respite from then on (T7)."""
        asked = self.policy.limits(watch.session, watch.terminals)
        limits = before_last_resort(asked, watch.session, watch.memory.absolute.extra)
        changed = first or limits != watch.limits
        watch.limits = limits
        for reason in timing.LIMITED:
            track = timing.put_in_force(
                watch.memory.track(reason),
                limits,
                reason,
                enforce=self.policy.mode is Mode.ENFORCE,
                due=timing.due_at(watch.memory, limits, reason, observed=True),
                now=now,
            )
            watch.memory = watch.memory.with_track(reason, track)
        if changed:
            self._do(Record(kind=Kind.LIMITS_SET, session=watch.session, limits=limits))

    def _look_soon(self, watches: Iterable[Watch], now: Usec) -> None:
        for watch in watches:
            if watch.memory.ending is None:
                self._watches.schedule(watch, now)

    def _look(self, watch: Watch) -> None:
        """Look at it; where it may be fed from elsewhere, first there (activity, 11)."""
        if watch.memory.trace.inner and not watch.looking:
            for other in self._watches.liveliest_others(watch):
                self._look_now(other)
        self._look_now(watch)

    def _look_now(self, watch: Watch) -> None:
        if not watch.looking:
            watch.looking = True
            self._do(LookAt(id=watch.session.id))

    def _active_elsewhere(self, watch: Watch) -> Usec | None:
        others = self._watches.liveliest_others(watch)
        return others[0].memory.trace.active_until if others else None

    def _track(self, watch: Watch, reason: Reason, **changes: Any) -> None:
        track: Track = replace(watch.memory.track(reason), **changes)
        watch.memory = watch.memory.with_track(reason, track)

    def _schedule(self, watch: Watch, now: Usec = 0) -> None:
        """Set the next moment at which it must be looked at, and have everything written down."""
        ending = watch.memory.ending
        if ending is not None:
            at: Usec | None = timing.next_kill_at(ending, watch.limits, now)
        else:
            at = timing.next_at(watch.memory, watch.limits, self.policy.mode, watch.observed)
        written = Written.of(watch.memory)
        if watch.written is None or not watch.written.suffices(written):
            watch.written = written
            self._do(Remember(memory=watch.memory))
        self._watches.schedule(watch, at)

    def _do(self, action: Action) -> None:
        self._actions.append(action)

    def _record(self, kind: Kind, watch: Watch, now: Usec, **fields: Any) -> None:
        trace, reason = watch.memory.trace, fields.get("reason")
        self._do(
            Record(
                kind=kind,
                session=watch.session,
                limits=watch.limits,
                idle=max(0, now - trace.active_until) if watch.observed else None,
                age=now - watch.session.opened_at,
                terminals=tuple(terminal.name for terminal in trace.terminals),
                extra=watch.memory.track(reason).extra if reason in timing.LIMITED else None,
                **fields,
            )
        )


_COARSE: Final = (
    "what its client sends cannot be counted (its sshd is not OpenSSH, or /proc/PID/io cannot be read), "
    "so input is told by its terminals' time stamps and by when the last packet came"
)

_HANDLERS: Final[dict[type[Any], Callable[[Engine, Any, Usec], None]]] = {
    Opened: Engine._opened,
    Restored: Engine._restored,
    Looked: Engine._looked,
    Closed: Engine._closed,
    EndAsked: Engine._end_asked,
    ExtensionAsked: Engine._extension_asked,
    Gone: Engine._gone,
    Survived: Engine._survived,
    Reloaded: Engine._reloaded,
    Stepped: Engine._stepped,
    Scanned: Engine._scanned,
    Woken: Engine._woken,
}
