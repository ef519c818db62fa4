# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl extend``: moves a limit of a session. A password is asked for only where one is needed, on the terminal."""

import argparse
import getpass
import os
import warnings
from typing import Final

from ..control.wire import VarlinkError
from ..core.span import format_span
from ..words import clean, in_words
from . import page, telling
from .ask import ask, say
from .telling import Session

_NEEDED: Final = "io.idled.AuthenticationRequired"


def run(options: argparse.Namespace) -> int:
    """Ask, with the password if need be, and say what the limits are now; the exit code."""
    asked = {"session": options.session, "limit": options.limit, "byUSec": options.by, "reason": options.reason}
    try:
        answer = ask(options, "Extend", **asked)
    except VarlinkError as error:
        if error.name != _NEEDED:
            raise
        password = _password(clean(str(error.parameters.get("user", ""))))
        if password is None:
            return 1
        answer = ask(options, "Extend", **asked, password=password)
    if options.json:
        return page.dump(answer)
    page.Page().text(sentence(answer["session"]))
    return 0


def _password(user: str) -> str | None:
    """The password, typed on the terminal and not shown; None without a terminal, or when nothing was typed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        say("not extended: the password is needed, and there is no terminal to ask for it (with ssh: ssh -t)")
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # where it cannot be hidden, it is not asked for
        try:
            typed = getpass.getpass(f"Password of {user}: ")
        except (EOFError, getpass.GetPassWarning):
            typed = ""
    if not typed:
        say("not extended: no password was given")
    return typed or None


def sentence(session: Session) -> str:
    """What the limits are now."""
    words = telling.who(session)
    moved = [name for name in telling.LIMITED if session.get(f"{name}ExtraUSec")]
    limits = " and ".join(f"its {name} timeout is now {format_span(telling.full(session, name))}" for name in moved)
    text = f"{words[0].upper()}{words[1:]}: {limits or 'its limits stand'}."
    if "endsInUSec" in session:
        span = session["endsInUSec"]
        text += f" It ends in {in_words(span)} (at {telling.at(span)}) if nothing changes."
    allowed = session.get("extend")
    return f"{text} {_again(allowed['timesLeft'])}" if allowed else text


def _again(times: int) -> str:
    return f"Its person may extend it {times} more time{'' if times == 1 else 's'}."
