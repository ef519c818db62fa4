# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl status``: whether sessions are ended here when they are due, and how the daemon is."""

import argparse
from typing import Any

from ..core.span import format_span
from ..words import clock
from . import page
from .ask import ask

_ERROR: int = 3


def run(options: argparse.Namespace) -> int:
    """Ask and print; the exit code: 0 only where what is due is ended."""
    answer = ask(options, "GetStatus")
    code = 0 if answer["effective"] else 1
    if options.json:
        page.dump(answer)
    else:
        _print(page.Page(), answer)
    return code


def _print(paper: page.Page, answer: dict[str, Any]) -> None:
    up = format_span(answer["upUSec"])
    paper.text(f"idled {answer['version']}, {answer['mode']} mode, up for {up}", page.HEAD)
    if answer["effective"]:
        paper.item("effective", "yes: sessions that are due are ended", page.GOOD)
    else:
        paper.item("effective", f"NO: {answer['why'] or 'the daemon does not say why'}", page.BAD)
    paper.item("sessions", _sessions(answer))
    for label, file in zip(_labels("policy"), answer["files"] or ["none: the built-in one"], strict=False):
        paper.item(label, file)
    for label, source in zip(_labels("sources"), answer["sources"], strict=False):
        fails = "" if source["works"] else "FAILS: "
        paper.item(label, f"{source['name']}: {fails}{source['note'] or 'ok'}", page.BAD if fails else "")
    for label, trouble in zip(_labels("troubles"), answer["troubles"], strict=False):
        style = page.BAD if trouble["priority"] <= _ERROR else page.WARN
        paper.item(label, f"{clock(trouble['realtimeUSec'])}  {trouble['text']}", style)
    if not answer["troubles"]:
        paper.item("troubles", "none")


def _labels(first: str) -> Any:
    """The name of a list, before its first entry alone."""
    yield first
    while True:
        yield ""


def _sessions(answer: dict[str, Any]) -> str:
    unobserved = answer["unobserved"]
    unseen = f"; the activity of {unobserved} cannot be observed" if unobserved else ""
    return f"{answer['sessions']} open, {answer['limited']} with a limit{unseen}"
