# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl end``: ends sessions now, those that are named or all of a user."""

import argparse
import sys

from ..control.wire import VarlinkError
from . import page, telling
from .ask import Misuse, ask, complain, harmless, say


def run(options: argparse.Namespace) -> int:
    """Ask whether it is meant, end one after the other, and say of each what came of it; the exit code."""
    if bool(options.session) == bool(options.user):
        raise Misuse("name either sessions or, with --user, whose")
    told = {name: f"session {name}" for name in options.session} if options.session else _sessions_of(options)
    if not told:
        say(f"{options.user} has no session that you may see (see: idlectl list --all)")
        return 1
    if len(told) > 1 and not options.yes and sys.stdin.isatty() and not _meant(list(told.values())):
        say("nothing was ended")
        return 1
    return _end(options, told)


def _sessions_of(options: argparse.Namespace) -> dict[str, str]:
    """The sessions of a user: their ids, and what people call them."""
    sessions = harmless(ask(options, "ListSessions"))["sessions"]
    return {session["id"]: telling.who(session) for session in sessions if session["user"] == options.user}


def _meant(told: list[str]) -> bool:
    """Show what would be ended, and ask."""
    for line in told:
        print(f"  {line}", file=sys.stderr)
    print(f"End these {len(told)} sessions? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _end(options: argparse.Namespace, told: dict[str, str]) -> int:
    ended: list[str] = []
    failed: list[dict[str, str]] = []
    paper = page.Page()
    for name, words in told.items():
        try:
            ask(options, "End", session=name, reason=options.reason)
        except VarlinkError as error:
            failed.append({"session": name, "error": error.name})
            complain(error, "" if error.name == "io.idled.NoSuchSession" else f"{words}: ")
        else:
            ended.append(name)
            if not options.json:
                paper.text(f"{words[0].upper()}{words[1:]} is being ended.")
    if options.json:
        page.dump({"ended": ended, "failed": failed})
    return 1 if failed else 0
