# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl explain``: how a session, or a login to come, gets its limits, and what its activity is told by."""

import argparse
from collections.abc import Iterable
from typing import Any

from ..core.span import format_span
from . import page, telling
from .ask import Misuse, ask
from .page import Page

_ROOM = 20


def run(options: argparse.Namespace) -> int:
    """Ask and print; the exit code."""
    if options.user is not None:
        return _login(options)
    if not options.service is options.remote is options.tty is None:
        raise Misuse("--service, --remote and --tty belong to --user")
    answer = ask(options, "Explain", session=options.session)
    if options.json:
        return page.dump(answer)
    paper = Page()
    session = answer["session"]
    words = telling.who(session)
    paper.text(words[0].upper() + words[1:], page.HEAD)
    _rules(paper, answer["rules"])
    _evidence(paper, answer)
    _moments(paper, answer["moments"], session)
    return 0


def _login(options: argparse.Namespace) -> int:
    if options.session is not None:
        raise Misuse("either a session or, with --user, a login that has not happened")
    given = {"user": options.user, "service": options.service, "remote": options.remote, "tty": options.tty}
    answer = ask(options, "ExplainLogin", **given)
    if options.json:
        return page.dump(answer)
    paper = Page()
    known = ", ".join(f"{key} {value}" for key, value in given.items() if value is not None)
    paper.text(f"A login that has not happened: {known}", page.HEAD)
    _rules(paper, answer["rules"])
    return 0


def _heading(paper: Page, text: str) -> None:
    paper.line("")
    paper.line((text, page.HEAD))


def _rules(paper: Page, rules: list[dict[str, Any]]) -> None:
    """Every rule in order."""
    _heading(paper, "Rules, in the order in which they are asked")
    for rule in rules:
        name = rule["name"]
        if rule["whyNot"]:
            _entry(paper, name, [f"does not match: {rule['whyNot']}"], page.DIM)
            continue
        gives = rule["gives"] or ["matches, and gives nothing" + (" more" if rule["overruled"] else "")]
        _entry(paper, name, gives, page.GOOD)
        _entry(paper, "", [f"{value} (an earlier rule gave this)" for value in rule["overruled"]], page.DIM)


def _entry(paper: Page, name: str, texts: Iterable[str], style: str = "") -> None:
    for text in texts:
        paper.item(name, text, style, room=_ROOM)
        name = ""


def _evidence(paper: Page, answer: dict[str, Any]) -> None:
    """What its activity is told by."""
    _heading(paper, "Activity")
    session = answer["session"]
    _entry(paper, "last", [telling.ago(session["idleUSec"]) if session["observed"] else "not known"])
    _entry(paper, "evidence", answer["activity"])
    for terminal in answer["terminals"]:
        believed = "" if terminal["believed"] else "; NOT believed, it was set and is not of input"
        queued = f"; {terminal['queued']} bytes typed and not read" if terminal["queued"] else ""
        text = f"stamp of input from {telling.ago(terminal['stampedUSec'])}{believed}{queued}"
        _entry(paper, terminal["name"], [text], "" if terminal["believed"] else page.WARN)
    if "connection" in answer and answer["connection"] is not None:
        _entry(paper, "connection", _connection(answer["connection"]))
    _entry(paper, "notes", answer["notes"])


def _connection(connection: dict[str, Any]) -> list[str]:
    received, sent = telling.ago(connection["receivedUSec"]), telling.ago(connection["sentUSec"])
    lines = [connection["address"], f"received last {received}, sent last {sent}"]
    counted = "can be counted" if connection.get("delivered") is not None else "cannot be counted"
    return [*lines, f"the bytes that it delivers into the session {counted}"]


def _moments(paper: Page, moments: list[dict[str, Any]], session: dict[str, Any]) -> None:
    """What comes, and when."""
    _heading(paper, "What comes if nothing changes")
    if not moments:
        paper.item("", "it is being ended" if session["state"] == "ending" else "nothing: it stays open", room=0)
    for moment in moments:
        what = {"warn": "warning", "end": "end"}.get(moment["what"], moment["what"])
        span = moment["inUSec"]
        text = f"in {format_span(span)}: {what}, {moment['limit']} timeout" if span else f"now: {what}"
        _entry(paper, telling.at(span), [text], page.BAD if moment["what"] == "end" else page.WARN)
