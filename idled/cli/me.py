# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl me``: for a person inside a session: when and why it ends, and how to stay, in one line.

A second line follows where the other limit, or an extension, is worth knowing. Who reads it may know nothing of idled,
so it speaks of typing and of limits, and names no rule.
"""

import argparse
from collections.abc import Iterator

from ..core.span import format_span
from ..words import in_words
from . import page, telling
from .ask import ask
from .telling import Session


def run(options: argparse.Namespace) -> int:
    """Ask and print; the exit code."""
    answer = ask(options, "GetSession")
    mode = ask(options, "ListSessions")["mode"]
    if options.json:
        return page.dump(answer | {"mode": mode})
    paper = page.Page()
    for sentence in sentences(answer["session"], mode):
        paper.text(sentence)
    return 0


def sentences(session: Session, mode: str) -> Iterator[str]:
    """The line, and perhaps another."""
    if session["state"] == "ending":
        yield "This session is being ended now."
        return
    reason = session.get("reason")
    if reason is None:
        yield f"This session has no limit{_unseen(session)}: it stays open."
        return
    if mode == "observe":
        limit = format_span(telling.full(session, reason))
        yield f"This session stays open: its {reason} limit of {limit} is watched, but not enforced."
        return
    yield _by_idleness(session) if reason == "idle" else _by_age(session)
    more = " ".join(filter(None, (_at_the_latest(session) if reason == "idle" else "", _extension(session))))
    if more:
        yield more


def _ends(session: Session) -> str:
    span = session["endsInUSec"]
    return f"This session ends at {telling.at(span)} (in {in_words(span)})" if span else "This session ends now"


def _unseen(session: Session) -> str:
    return "" if session["observed"] else " that applies, as what you do in it cannot be observed"


def _by_idleness(session: Session) -> str:
    """The idle timeout comes first."""
    limit = f"idle limit {format_span(telling.full(session, 'idle'))}"
    if not session["observed"]:
        return f"{_ends(session)}, whatever you do: {limit}, and your activity cannot be observed."
    if "heldBy" in session:
        return f"This session stays while {telling.program(session)} is in the foreground; after that: {limit}."
    unless = "you type" if session["terminals"] else "something is transferred"
    return f"{_ends(session)} unless {unless}: {limit}."


def _by_age(session: Session) -> str:
    """The absolute timeout comes first."""
    return f"{_ends(session)}, active or not: time limit {format_span(telling.full(session, 'absolute'))}."


def _at_the_latest(session: Session) -> str:
    if "absoluteTimeoutUSec" not in session:
        return ""
    span = telling.full(session, "absolute") - session["ageUSec"]
    return f"At the latest it ends at {telling.at(span)}."


def _extension(session: Session) -> str:
    """How to get more time, where that is allowed."""
    allowed = session.get("extend")
    if not allowed:
        return ""
    times = "once" if allowed["timesLeft"] == 1 else f"{allowed['timesLeft']} times"
    limit = "idle limit" if allowed["limit"] == "idle" else "time limit"
    return f"To move the {limit} by up to {format_span(allowed['byAtMostUSec'])}, {times}: idlectl extend"
