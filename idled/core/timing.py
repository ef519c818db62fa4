# SPDX-License-Identifier: LGPL-2.1-or-later
"""When something is due for a session. Every rule of time is here, and nothing else.

T1. The idle timeout is due at ``active_until + idle_timeout``, the absolute timeout at ``opened_at +
    absolute_timeout``, each with what extensions (see ``extension``) added to it. The earlier one ends the session.
T2. The idle timeout is due only while activity can be observed; where it cannot, ``unobserved`` may say that the
    session counts as idle since it was opened.
T3. Before each of the two the person is warned once at each lead time. Where several lead times have passed at once
    (the machine slept, limits changed), one warning stands for all of them.
T4. Lead times that are not shorter than the limit are left out: nobody is warned while typing.
T5. A warning is withdrawn when its moment has come to lie in the future again: the person came back, or the limit grew.
T6. While a warning of the idle timeout stands, the session is looked at every second, so that who comes back is told.
T7. A limit that the administrator sets or shortens for a session already open ends it no earlier than the longest
    lead time after that change, so that it is warned; nothing that a user does starts that respite.
T8. What is overdue ends at once. Who could not be warned because the machine slept is not warned belatedly.
T9. In observe mode nobody is warned; each deadline is noted once, and again after new activity.
T10. A session that shows no terminal is looked at again before its idle timeout could end it, at least each minute and
    at most each second.
T11. A session whose evidence is blurred (see ``activity``, wary) is looked at every 3 s. To find that out, and to see
    its terminals soon, one with an idle timeout is looked at after its first second and then as often, for a minute.
    So is one that is held by a program of ``hold_while`` (see ``activity``, 9): there the idle timeout waits.
    One with a connection is looked at again after the longest silence that was seen of it (see ``activity``, 4).
T12. An end begins with SIGHUP; what is left ``kill_after`` later gets SIGKILL, again each second until nothing is
    left; after 10 s of that the failure is recorded and tried again every 5 s, for ever.
T13. A look that finds the two sshd of a connection in the midst of something, or lacks what the one before showed
    (see ``activity``, lacks), is taken again 10 ms later, then after twice as long, five times at most. The first look
    is not, nor is one that lacks something yet again; and the absolute timeout waits for none.
    Where the idle timeout is due while bytes wait to be read by sshd, or by that of a session from where this one may
    be fed, it is taken again eight times, for 2.55 s in all: what sshd reads then tells whether it was a key. One that
    its user stopped, or took to where it can be frozen, is not waited for. A look that is taken in between, as when
    somebody asks, does not count, unless it is clear.
"""

from dataclasses import dataclass, replace
from typing import Final

from .events import Ending, Memory, Track
from .model import Limits, Mode, Reason, Unobserved
from .span import MIN, MSEC, SEC, Usec

LIMITED: Final = (Reason.IDLE, Reason.ABSOLUTE)

WARNED_LOOK: Final = SEC
UNOBSERVED_LOOK: Final = MIN
WARY_LOOK: Final = 3 * SEC
#: How long looks that are not clear are put off, one after the other.
PUT_OFF: Final = (10 * MSEC, 20 * MSEC, 40 * MSEC, 80 * MSEC, 160 * MSEC)
PUT_OFF_UNREAD: Final = (*PUT_OFF, 320 * MSEC, 640 * MSEC, 1280 * MSEC)
FIRST_LOOK: Final = SEC
YOUNG: Final = MIN
#: By then an sshd has made the process whose bytes are counted.
SETTLED: Final = 10 * SEC
KILL_AGAIN: Final = SEC
FAILED_AFTER: Final = 10 * SEC
FAILED_AGAIN: Final = 5 * SEC


def limit_of(memory: Memory, limits: Limits, reason: Reason) -> Usec | None:
    """The limit with what extensions added to it (T1); None is no limit."""
    timeout = limits.timeout(reason)
    return None if timeout is None else timeout + memory.track(reason).extra


def due_at(memory: Memory, limits: Limits, reason: Reason, observed: bool) -> Usec | None:
    """When the session is to be ended by this limit; None: never (T1, T2, T7)."""
    timeout = limit_of(memory, limits, reason)
    countable = observed or limits.unobserved is Unobserved.IDLE_FROM_START
    if timeout is None or (reason is Reason.IDLE and not countable):
        return None
    since = memory.trace.active_until if reason is Reason.IDLE and observed else memory.session.opened_at
    return max(since + timeout, memory.track(reason).not_before)


def pending_lead(track: Track, leads: tuple[Usec, ...]) -> Usec | None:
    """The lead time of the next warning; None when all have been given (T3, T4)."""
    return next((lead for lead in leads if track.warned is None or lead < track.warned), None)


def lead_reached(track: Track, leads: tuple[Usec, ...], due: Usec, now: Usec) -> Usec | None:
    """The shortest lead time that has passed and was not warned of (T3)."""
    passed = [lead for lead in leads if due - lead <= now and (track.warned is None or lead < track.warned)]
    return min(passed, default=None)


def warning_is_void(track: Track, due: Usec | None, now: Usec) -> bool:
    """Whether a warning stands that should not (T5)."""
    return track.warned is not None and (due is None or due - track.warned > now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that is to come if nothing changes: a warning `lead` before the end, or the end itself."""

    at: Usec
    reason: Reason
    lead: Usec = 0


def moments(memory: Memory, limits: Limits, mode: Mode, observed: bool, now: Usec) -> list[Moment]:
    """All that is to come, in order; the earlier end is the last (T1, T3, T4, T9)."""
    found = []
    for reason in LIMITED:
        due, track = due_at(memory, limits, reason, observed), memory.track(reason)
        if due is None:
            continue
        found.append(Moment(at=max(due, now), reason=reason))
        leads = limits.leads(reason) if mode is Mode.ENFORCE else ()
        pending = [lead for lead in leads if track.warned is None or lead < track.warned]
        passed = min((lead for lead in pending if due - lead <= now), default=None)
        pending = [lead for lead in pending if due - lead > now or lead == passed]
        found += [Moment(at=max(due - lead, now), reason=reason, lead=lead) for lead in pending]
    end = min((moment.at for moment in found if not moment.lead), default=0)
    ends = [moment for moment in found if not moment.lead and moment.at == end]
    warnings = [moment for moment in found if moment.at < end]
    return sorted(warnings, key=lambda moment: moment.at) + ends[:1]


def next_at(memory: Memory, limits: Limits, mode: Mode, observed: bool) -> Usec | None:
    """The next moment at which the session must be looked at; None: not before something changes.

    Of a session that is being ended `next_kill_at` tells instead.
    """
    looked_at = memory.trace.at
    moments: list[Usec] = []
    for reason in LIMITED:
        due, track = due_at(memory, limits, reason, observed), memory.track(reason)
        if due is not None and not track.noted:
            lead = pending_lead(track, limits.leads(reason)) if mode is Mode.ENFORCE else None
            moments.append(due - (lead or 0))
    if memory.idle.warned is not None:
        moments.append(looked_at + WARNED_LOOK)
    if limits.idle_timeout is not None:
        if not observed:
            lead = max(limits.leads(Reason.IDLE), default=0)
            moments.append(looked_at + max(FIRST_LOOK, min(limits.idle_timeout - lead, UNOBSERVED_LOOK)))
        connection = memory.trace.connection
        if memory.trace.wary:
            moments.append(looked_at + WARY_LOOK)
        elif connection is not None and connection.counted is not None and not memory.idle.noted:
            moments.append(looked_at + max(WARY_LOOK, memory.trace.silence))
        age = looked_at - memory.session.opened_at
        if age < YOUNG:
            moments.append(looked_at + min(max(age, FIRST_LOOK), WARY_LOOK))
    return min(moments, default=None)


def next_kill_at(ending: Ending, limits: Limits, now: Usec) -> Usec:
    """When SIGKILL is sent (again), asked for at `now` (T12)."""
    if ending.killed_at is None:
        return ending.started_at + limits.kill_after
    return now + (FAILED_AGAIN if ending.failed else KILL_AGAIN)


def put_in_force(
    track: Track, limits: Limits, reason: Reason, *, enforce: bool, due: Usec | None, now: Usec | None
) -> Track:
    """The track of a limit under new limits (T7). `now` is None where there is no respite to be given."""
    timeout = limits.timeout(reason) if enforce else None
    tighter = timeout is not None and (track.timeout is None or timeout < track.timeout)
    track = replace(track, timeout=timeout, noted=track.noted and not enforce)
    respite = max(limits.leads(reason), default=0)
    if now is None or due is None or not tighter or due >= now + respite:
        return track
    return replace(track, not_before=now + respite)
