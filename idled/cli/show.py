# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl show``: all that is known of one session."""

import argparse
from collections.abc import Iterator

from ..core.span import format_span
from . import listing, page, telling
from .ask import ask
from .telling import Session

_ROOM = 18


def run(options: argparse.Namespace) -> int:
    """Ask and print; the exit code."""
    answer = ask(options, "GetSession", session=options.session)
    if options.json:
        return page.dump(answer)
    session = answer["session"]
    paper = page.Page()
    paper.text(_title(session), page.HEAD)
    for label, text in facts(session):
        paper.item(label, text, listing.urgency(session) if label == "ends" else "", room=_ROOM)
    return 0


def _title(session: Session) -> str:
    state = {"ending": ", being ended", "warned": ", warned"}.get(session["state"], "")
    return f"Session {session['name']} of {session['user']}{state}"


def facts(session: Session) -> Iterator[tuple[str, str]]:
    """What is to be said, each under its name."""
    yield "user", f"{session['user']} (uid {session['uid']})"
    yield "from", session["remote"] or "this machine"
    yield "service", session["service"] or "unknown"
    yield "leader", f"pid {session['leader']}, session id {session['id']}"
    yield "terminals", ", ".join(session["terminals"]) or "none"
    if session.get("programs"):
        yield "also runs", ", ".join(name or "?" for name in session["programs"])
    yield "opened", f"{telling.at(-session['ageUSec'])}, {format_span(session['ageUSec'])} ago"
    yield "idle", _idle(session)
    for name in telling.LIMITED:
        yield f"{name} timeout", telling.limit(session, name)
    yield from _coming(session)
    yield "extend", telling.allowance(session) or "not allowed, or used up"


def _idle(session: Session) -> str:
    if not session["observed"]:
        return "not known: the activity of this session cannot be observed"
    text = f"for {format_span(session['idleUSec'])}"
    return f"{text}; the idle timeout waits for {session['heldBy']}" if "heldBy" in session else text


def _coming(session: Session) -> Iterator[tuple[str, str]]:
    if session["state"] == "ending":
        yield "ends", "now"
        return
    if session.get("warnsInUSec") is not None:
        yield "warned", f"in {format_span(session['warnsInUSec'])}, at {telling.at(session['warnsInUSec'])}"
    if "endsInUSec" in session:
        span = session["endsInUSec"]
        when = f"in {format_span(span)}, at {telling.at(span)}" if span else "overdue"
        yield "ends", f"{when}, by the {session['reason']} timeout if nothing changes"
    else:
        yield "ends", "never: it has no limit"
