# SPDX-License-Identifier: LGPL-2.1-or-later
"""When a limit of one session may be moved. Every rule about that is here; no other way moves a limit.

E1. The person may move the limit that ``extend`` of the session's rules names, by at most ``by_at_most`` each time, and
    ``times`` times in the life of the session.
E2. Who is privileged may move any limit that the session has, and says why; that uses up nothing of the person's.
E3. What is granted adds to the limit of this one session until it is over (`Track.extra`).
E4. A session that is being ended is past it, and so is one whose absolute timeout has come.
E5. The absolute timeout is never moved beyond the last resort that logind was given at the login, less a margin: it is
    idled that ends the session, and logind only where idled cannot. So a policy that comes to allow a session more
    than that, after its login, gives it that and no more.
"""

from dataclasses import dataclass, replace
from typing import Final

from .model import Limits, Reason, Session
from .span import DAY, MIN, SEC, Usec, format_span

#: More is a slip of the hand.
MOST: Final = 30 * DAY
#: What the last resort leaves idled for an end.
MARGIN: Final = 2 * MIN


#: In the place of a rule's name, where the last resort is what limits a session.
AT_LOGIN: Final = "its login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for: by whom, and why."""

    limit: Reason
    by: Usec
    who: str
    uid: int
    privileged: bool = False
    note: str = ""


def last_resort(*possible: Limits) -> Usec | None:
    """The age at which logind is to end a session that idled does not end (E5); None: never.

    It is set at the login and cannot be changed later. So there is room for all that the person may extend the session
    by, under any of the limits that it may come to have.
    """
    ages = []
    for limits in possible:
        if limits.absolute_timeout is None:
            return None
        allowed = limits.extend
        moved = allowed.times * min(allowed.by_at_most, MOST) if allowed and allowed.limit is Reason.ABSOLUTE else 0
        ages.append(limits.absolute_timeout + moved + MARGIN)
    return max(ages)


def before_last_resort(limits: Limits, session: Session, extra: Usec) -> Limits:
    """The limits with an absolute timeout that, with what was added to it, comes before logind's (E5)."""
    if session.last_resort is None:
        return limits
    latest = max(SEC, session.last_resort - MARGIN - extra)
    if limits.absolute_timeout is not None and limits.absolute_timeout <= latest:
        return limits
    return replace(limits, absolute_timeout=latest, origin={**limits.origin, "absolute_timeout": AT_LOGIN})


def room_left(session: Session, limits: Limits, extra: Usec) -> Usec | None:
    """By how much the absolute timeout, with what was added to it, can still grow (E5); None: by any span."""
    if session.last_resort is None or limits.absolute_timeout is None:
        return None
    return session.last_resort - MARGIN - limits.absolute_timeout - extra


def refusal(request: Request, limits: Limits, used: int, room: Usec | None) -> str:
    """Why it is refused, in words for who asked; empty when it is granted.

    `used`: how often the person extended it; `room`: by how much its absolute timeout can still grow, None for any.
    """
    name = f"{request.limit.value} timeout"
    if limits.timeout(request.limit) is None:
        return f"the session has no {name}"
    if not request.privileged and (why := _not_allowed(request, limits, used)):
        return why
    if not SEC <= request.by <= MOST:
        return f"a span between 1s and {format_span(MOST)} was expected"
    if request.limit is Reason.ABSOLUTE and room is not None and request.by > room:
        left = f"no more than {format_span(room)} is left" if room > 0 else "nothing is left"
        return f"{left} until logind ends the session, as was set at its login"
    return ""


def _not_allowed(request: Request, limits: Limits, used: int) -> str:
    """What the rules have against it (E1)."""
    allowed = limits.extend
    if allowed is None:
        return "no rule lets this session be extended"
    if request.limit is not allowed.limit:
        return f"only the {allowed.limit.value} timeout may be extended"
    if request.by > allowed.by_at_most:
        return f"at most {format_span(allowed.by_at_most)} at a time may be asked for"
    if used >= allowed.times:
        return f"it was extended {used} time{'' if used == 1 else 's'} already, which is all that may be"
    return ""
