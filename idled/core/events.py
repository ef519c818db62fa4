# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes into the engine (events) and what comes out of it (actions). Frozen; nobody subclasses them."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from .activity import Look, Trace, first_trace
from .extension import Request
from .model import Extent, Limits, Reason, Session, SessionId
from .policy import Policy
from .span import Usec


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """How far one limit of one session has come."""

    timeout: Usec | None = None  # the limit in force; None is no limit, or none that is enforced
    warned: Usec | None = None  # the shortest lead time at which was warned of the present deadline
    not_before: Usec = 0  # no end by this limit before this moment: limits that came late leave time to warn
    extra: Usec = 0  # what extensions added to the limit
    grants: int = 0  # how often the person extended it
    noted: bool = False  # in observe mode: would-end was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A session that is being ended."""

    reason: Reason
    due_at: Usec
    started_at: Usec
    by: str = ""  # who asked for it, and why
    note: str = ""
    killed_at: Usec | None = None  # when SIGKILL was sent first
    escalated: bool = False  # end-escalated was recorded
    failed: bool = False  # end-failed was recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All that must survive a restart of the daemon for one session."""

    session: Session
    trace: Trace
    idle: Track = Track()
    absolute: Track = Track()
    ending: Ending | None = None

    @classmethod
    def of_new(cls, session: Session, offset: Usec | None = None) -> "Memory":
        """Of a session that nothing is remembered of. `offset`: wall clock minus CLOCK_BOOTTIME when it was opened."""
        return cls(session=session, trace=first_trace(session.opened_at, offset))

    def track(self, reason: Reason) -> Track:
        """The track of one of the two limits."""
        return self.idle if reason is Reason.IDLE else self.absolute

    def with_track(self, reason: Reason, track: Track) -> "Memory":
        """The same with another track of one of the two limits."""
        return replace(self, idle=track) if reason is Reason.IDLE else replace(self, absolute=track)


# Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A source told of a session. `found`: it was open already, and nobody can have warned it.

    `offset`: wall clock minus CLOCK_BOOTTIME when it was opened, if that is known.
    """

    session: Session
    found: bool = False
    offset: Usec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A session as the daemon before this one remembered it."""

    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The answer to the action `LookAt`. None: nothing could be seen."""

    id: SessionId
    look: Look | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Its leader is gone."""

    id: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAsked:
    """Somebody who may do so wants it ended."""

    id: SessionId
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionAsked:
    """Somebody wants a limit moved. `refused`: why not, where more than the rules is against it.

    The session may have gone since it was asked for; then it is refused.
    """

    session: Session
    request: Request
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """No process of a session that is being ended is left."""

    id: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """These processes were still there when SIGKILL was sent."""

    id: SessionId
    processes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """There is a new policy."""

    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """The wall clock was set, or the machine was asleep; `by` microseconds, as far as is known."""

    by: Usec


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """The slow safety net came round: terminals may have appeared where there were none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """The engine's deadline has come."""


Event: TypeAlias = (
    Opened
    | Restored
    | Looked
    | Closed
    | EndAsked
    | ExtensionAsked
    | Gone
    | Survived
    | Reloaded
    | Stepped
    | Scanned
    | Woken
)


# Actions


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAt:
    """Look at the session now, and answer with `Looked`."""

    id: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """Tell the person on every terminal of the session."""

    id: SessionId
    reason: Reason
    ends_at: Usec
    limit: Usec


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Tell the person that the warning no longer stands.

    `ends_at`: when the absolute timeout now ends the session; of an idle warning only where it has warned too.
    """

    id: SessionId
    reason: Reason
    ends_at: Usec | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """SIGHUP and SIGCONT to all of it; from now on answer with `Gone` as soon as nothing is left."""

    id: SessionId
    extent: Extent
    reason: Reason
    limit: Usec | None
    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL to what is left; answer with `Survived` when there was something left."""

    id: SessionId
    extent: Extent


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """It is empty: let logind forget it too."""

    id: SessionId
    extent: Extent


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Write this down for the daemon after this one."""

    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """The session is over."""

    id: SessionId


class Kind(Enum):
    """What a record tells: its IDLED_EVENT."""

    SESSION_OPENED = "session-opened"
    LIMITS_SET = "limits-set"
    ACTIVITY_FORGED = "activity-forged"
    WARNED = "warned"
    WARNING_CLEARED = "warning-cleared"
    EXTENDED = "extended"
    EXTENSION_REFUSED = "extension-refused"
    WOULD_END = "would-end"
    ENDED = "ended"
    END_ESCALATED = "end-escalated"
    END_FAILED = "end-failed"
    SESSION_CLOSED = "session-closed"
    CLOCK_STEPPED = "clock-stepped"
    CONFIG_LOADED = "config-loaded"
    CONFIG_REJECTED = "config-rejected"
    INPUT_REFUSED = "input-refused"
    TROUBLE = "trouble"
    STARTED = "started"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the story, for the journal."""

    kind: Kind
    session: Session | None = None
    limits: Limits | None = None
    reason: Reason | None = None
    idle: Usec | None = None
    age: Usec | None = None
    late: Usec | None = None
    took: Usec | None = None
    ends_in: Usec | None = None
    survivors: tuple[str, ...] | None = None
    terminals: tuple[str, ...] = ()
    extra: Usec | None = None  # what extensions add to the limit
    asked: Usec | None = None  # by how much it was to be extended
    by: str = ""  # who asked for it
    by_uid: int | None = None
    note: str = ""  # what else a person should know, in words


Action: TypeAlias = LookAt | Warn | Withdraw | HangUp | Kill | Release | Remember | Forget | Record
