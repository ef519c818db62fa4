# SPDX-License-Identifier: LGPL-2.1-or-later
"""One session under watch, and how it stands. What happens to it is decided in ``engine``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from . import timing
from .events import Memory
from .model import Limits, Mode, Reason, Session
from .span import SEC, Usec


@dataclass(frozen=True, slots=True)
class Written:
    """What a restarted daemon would know of a session: not all of it again, but whether it is what is known here."""

    offset: Usec | None
    delivered: int | None
    rest: int  # a hash of what else matters

    @classmethod
    def of(cls, memory: Memory) -> "Written":
        """That this was written down."""
        trace = memory.trace
        alike = replace(memory, trace=replace(trace, at=0, offset=None, chatty=0, silence=0, connection=None))
        delivered = trace.connection.delivered if trace.connection else None
        return cls(trace.offset, delivered, hash(alike))

    def suffices(self, now: "Written") -> bool:
        """Whether it tells all that matters by now: an earlier look only tells it less sharply."""
        if self.offset is None or now.offset is None or abs(self.offset - now.offset) > SEC:
            return False
        return (self.delivered, self.rest) == (now.delivered, now.rest)


@dataclass(slots=True)
class Watch:
    """One session under watch; `memory` is what must survive, the rest can be found again."""

    memory: Memory
    limits: Limits
    observed: bool = False
    looking: bool = False
    put_off: int = 0  # looks in a row that were not clear
    unread: bool = False  # at the last look, put off or not, bytes waited for an sshd that can read them
    unclear: bool = False  # the last look was put off for what it showed itself
    waiting: bool = False  # of those that were put off in a row, one was for such bytes
    lacking: bool = False  # the last look showed less than one before, however often it was taken
    next_at: Usec | None = None
    survivors: tuple[str, ...] = ()
    written: Written | None = None

    @property
    def session(self) -> Session:
        """The session itself."""
        return self.memory.session

    @property
    def terminals(self) -> tuple[str, ...]:
        """Names of the terminals it is known to have."""
        names = {terminal.name for terminal in self.memory.trace.terminals} | {self.session.tty}
        return tuple(sorted(names - {""}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a session stands, for whoever asks."""

    session: Session
    limits: Limits
    terminals: tuple[str, ...]
    observed: bool
    idle: Usec
    age: Usec
    ending: Reason | None
    warned: bool
    extra: Mapping[Reason, Usec]  # what extensions added to each limit
    times_left: int  # how often its person may extend it yet
    holder: str  # path of the program for which the idle timeout waits
    due_at: Usec | None  # when the earlier of its limits ends it
    reason: Reason | None  # which one that is
    warn_at: Usec | None  # when it will be warned of that next


def _times_left(memory: Memory, limits: Limits) -> int:
    allowed = limits.extend
    if allowed is None or limits.timeout(allowed.limit) is None or memory.ending is not None:
        return 0
    return max(0, allowed.times - memory.track(allowed.limit).grants)


def status(watch: Watch, mode: Mode, now: Usec) -> Status:
    """How the session stands at the moment `now`."""
    memory, limits = watch.memory, watch.limits
    dues = {
        reason: due
        for reason in timing.LIMITED
        if (due := timing.due_at(memory, limits, reason, watch.observed)) is not None
    }
    reason = min(dues, key=lambda key: dues[key], default=None)
    lead = None
    if reason is not None and mode is Mode.ENFORCE:
        lead = timing.pending_lead(memory.track(reason), limits.leads(reason))
    return Status(
        session=watch.session,
        limits=limits,
        terminals=tuple(terminal.name for terminal in memory.trace.terminals),
        observed=watch.observed,
        idle=max(0, now - memory.trace.active_until),
        age=now - watch.session.opened_at,
        ending=memory.ending.reason if memory.ending else None,
        warned=reason is not None and memory.track(reason).warned is not None,
        extra={key: memory.track(key).extra for key in timing.LIMITED},
        times_left=_times_left(memory, limits),
        holder=memory.trace.holder,
        due_at=dues[reason] if reason is not None else None,
        reason=reason,
        warn_at=dues[reason] - lead if reason is not None and lead is not None else None,
    )
