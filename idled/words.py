# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people read: sentences about limits, warnings and ends, and the cleaning of text from outside."""

import time
import unicodedata

from .core.model import Limits, Reason
from .core.span import SEC, Usec, format_span


def clean(text: str, length: int = 256) -> str:
    """Text from outside, safe on a terminal, in a log and in a table: no control or format characters, not long."""
    cut = text[:length]
    return "".join("?" if unicodedata.category(sign).startswith(("C", "Zl", "Zp")) else sign for sign in cut)


def clock(wall_at: Usec) -> str:
    """A wall clock moment in local time, for people; with the day when that is not today."""
    then, today = time.localtime(wall_at // SEC), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == today[:3] else "%a %d %b %H:%M:%S", then)


def in_words(span: Usec) -> str:
    """A span to count down by: whole seconds below two minutes, whole minutes above."""
    seconds = max(0, round(span / SEC))
    if seconds < 120:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    minutes = round(seconds / 60)
    return f"{minutes} minutes" if minutes < 120 else format_span(minutes * 60 * SEC)


def greeting(limits: Limits, wall_ends_at: Usec | None) -> str:
    """The line at login: which limits this session has; empty when it has none."""
    parts = []
    if limits.idle_timeout is not None:
        parts.append(f"ends after {format_span(limits.idle_timeout)} without input")
    if wall_ends_at is not None:
        parts.append(f"ends at {clock(wall_ends_at)} at the latest")
    return "This session " + " and ".join(parts) + "." if parts else ""


def warning(reason: Reason, limit: Usec, ends_in: Usec, wall_ends_at: Usec) -> str:
    """The line before the end: what will happen, when, why, and how to stay."""
    what = f"idled: this session will be ended in {in_words(ends_in)} (at {clock(wall_ends_at)})"
    if reason is Reason.IDLE:
        return f"{what}: no input; the idle limit is {format_span(limit)}. Press a key to stay."
    return f"{what}: it reaches its time limit of {format_span(limit)}. Save your work; a new login starts anew."


def withdrawn(reason: Reason, wall_ends_at: Usec | None) -> str:
    """The line when a warning no longer stands; `wall_ends_at`: when the time limit ends the session."""
    if reason is Reason.IDLE:
        but = f" Its time limit still ends it at {clock(wall_ends_at)}." if wall_ends_at is not None else ""
        return f"idled: you are back, so this session stays.{but}"
    if wall_ends_at is None:
        return "idled: this session has no time limit any more."
    return f"idled: this session now ends at {clock(wall_ends_at)}."


def farewell(reason: Reason, limit: Usec | None, by: str = "", note: str = "") -> str:
    """The last line; `by` and `note`: who asked for the end, and why."""
    if reason is Reason.IDLE and limit is not None:
        return f"idled: session ended after {format_span(limit)} without input."
    if reason is Reason.ABSOLUTE and limit is not None:
        return f"idled: session ended, it was open for {format_span(limit)}."
    if reason is Reason.REQUEST:
        return f"idled: session ended by {by}: {note}" if note else f"idled: session ended by {by}."
    return "idled: session ended with another session of yours."
