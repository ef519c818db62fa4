# SPDX-License-Identifier: LGPL-2.1-or-later
"""The nouns: a session, its identity, its limits. Frozen values without behaviour of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from .span import Usec


class Reason(Enum):
    """Why a session is ended."""

    IDLE = "idle"
    ABSOLUTE = "absolute"
    REQUEST = "request"  # somebody who may do so asked for it
    USER = "user"  # another session of the same person was ended, and its rule says end = "user"


class Mode(Enum):
    """Log what would be done, or do it."""

    OBSERVE = "observe"
    ENFORCE = "enforce"


class Extent(Enum):
    """What goes when a session is ended: the values of the setting ``end``."""

    CONNECTION = "connection"  # the leader and its terminals; what was detached stays
    SESSION = "session"  # every process of the session
    USER = "user"  # every session of the user and the user manager with its services


class Activity(Enum):
    """What counts as activity: the values of the setting ``activity``."""

    INPUT = "input"  # a person typed
    OUTPUT = "output"  # something came out of the session
    TRAFFIC = "traffic"  # bytes went into the session or came out of it


class Unobserved(Enum):
    """What a session gets whose activity cannot be seen: the values of the setting ``unobserved``."""

    ABSOLUTE_ONLY = "absolute-only"
    IDLE_FROM_START = "idle-from-start"  # it counts as idle since it was opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How a person may extend a session: the value of the setting ``extend``."""

    limit: Reason  # the one that is moved: idle or absolute
    by_at_most: Usec  # each time
    times: int = 1  # in the life of the session
    reauthenticate: bool = True  # only with the person's password


@dataclass(frozen=True, slots=True, order=True)
class SessionId:
    """What the kernel calls a session: nothing in it can be replayed or confused by pid reuse."""

    boot: str  # /proc/sys/kernel/random/boot_id
    pid: int  # of the leader
    start: int  # the leader's start, clock ticks since boot: field 22 of /proc/PID/stat

    def __str__(self) -> str:
        return f"{self.pid}-{self.start}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login, as PAM opened it. Text in it comes from outside and has been stripped of control characters."""

    id: SessionId
    user: str
    uid: int
    opened_at: Usec
    groups: frozenset[str] = frozenset()  # all of the user's groups by NSS
    service: str = ""  # the PAM service
    tty: str = ""  # the terminal it was opened on, without /dev/; none for SSH
    remote: str = ""  # address or host name of the other end; none for a console
    logind: str = ""  # logind's id, its name for people
    last_resort: Usec | None = None  # the age at which logind ends it, whatever comes; None: not at all, or not known

    @property
    def name(self) -> str:
        """What people call it: logind's id, or else the leader's pid."""
        return self.logind or f"p{self.id.pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the rules give for one session; None is no limit. `origin` names the rule each value came from."""

    idle_timeout: Usec | None = None
    absolute_timeout: Usec | None = None
    warn_before: tuple[Usec, ...] = (120_000_000, 30_000_000)
    end: Extent = Extent.SESSION
    kill_after: Usec = 5_000_000
    activity: frozenset[Activity] = frozenset()  # empty: input with a terminal, traffic without
    unobserved: Unobserved = Unobserved.ABSOLUTE_ONLY
    extend: Allowance | None = None
    hold_while: tuple[str, ...] = ()  # absolute paths of programs in whose foreground the idle timeout waits
    origin: Mapping[str, str] = field(default_factory=dict)

    def timeout(self, reason: Reason) -> Usec | None:
        """The limit that is meant by a reason."""
        return {Reason.IDLE: self.idle_timeout, Reason.ABSOLUTE: self.absolute_timeout}.get(reason)

    def rule(self, reason: Reason) -> str:
        """Name of the rule that set the limit."""
        return self.origin.get(f"{reason.value}_timeout", "")

    def leads(self, reason: Reason) -> tuple[Usec, ...]:
        """Lead times of the warnings, longest first; those the limit itself leaves no room for are left out."""
        timeout = self.timeout(reason) or 0
        return tuple(lead for lead in self.warn_before if lead < timeout)
