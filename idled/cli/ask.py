# SPDX-License-Identifier: LGPL-2.1-or-later
"""How verbs ask the control service, and what they say when it does not do what was asked."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final

from ..control.client import Stream, Unreachable
from ..control.wire import SOCKET, VarlinkError
from .page import columns, wrapped

#: Seconds for an answer. A password may have to be checked by a server far away.
_PATIENCE: Final = 10.0
_PATIENT: Final = {"Extend": 60.0}


class Misuse(Exception):
    """The call was wrong in a way that no single argument shows; the message says how."""


def ask(options: argparse.Namespace, method: str, /, **parameters: Any) -> dict[str, Any]:
    """The service's answer, for `--json` as it came, else made harmless. What is None is not sent."""
    given = {key: value for key, value in parameters.items() if value is not None}
    with Stream(options.socket or SOCKET, {"method": f"io.idled.{method}", "parameters": given}) as answers:
        answer = answers.next(_PATIENT.get(method, _PATIENCE))
    if options.json:
        return answer
    found: dict[str, Any] = harmless(answer)
    return found


def harmless(value: Any) -> Any:
    """The same with all text cleaned: the daemon has done so, but a terminal should not have to rely on it."""
    from ..words import clean

    if isinstance(value, str):
        return clean(value, 4096)
    if isinstance(value, list):
        return [harmless(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): harmless(item) for key, item in value.items()}
    return value


def say(text: str) -> None:
    """One line to people about something that did not go well; on a terminal broken between words."""
    width = columns(sys.stderr) if sys.stderr.isatty() else None
    for line in wrapped(f"idlectl: {harmless(text)}", width):
        print(line, file=sys.stderr)


def complain(error: Unreachable | VarlinkError, about: str = "") -> int:
    """Say (`about` what) why it was not done and what to do next; the exit code."""
    for line in complaint(error):
        say(f"{about}{line}")
    return 1


def complaint(error: Unreachable | VarlinkError) -> list[str]:
    """Why it was not done, in words."""
    if isinstance(error, Unreachable):
        return [f"the daemon cannot be asked: {error} (see: systemctl status idled)"]
    words = _WORDS.get(error.name)
    if words is None:
        about = ", ".join(f"{key} {value}" for key, value in error.parameters.items())
        return [f"the daemon answers {error.name}{': ' if about else ''}{about} (is it as new as idlectl? {_RESTART})"]
    return words(error.parameters)


_RESTART: Final = "systemctl restart idled"


def _no_such_session(about: dict[str, Any]) -> list[str]:
    name = about.get("session")
    if not name:
        return ["you are in no session that idled watches (see: idlectl list --all)"]
    return [f"there is no session {name} that you may see (see: idlectl list --all)"]


_WORDS: Final[dict[str, Callable[[dict[str, Any]], list[str]]]] = {
    "io.idled.NoSuchSession": _no_such_session,
    "io.idled.NotPermitted": lambda _: ["you may not do this: try as root, or see [access] in idled.toml(5)"],
    "io.idled.ExtensionRefused": lambda about: [
        f"not extended: {about.get('reason', '')} (see: idlectl extend --help)"
    ],
    "io.idled.AuthenticationRequired": lambda about: [f"the password of {about.get('user', 'the user')} is needed"],
    "io.idled.PolicyRejected": lambda about: [
        *map(str, about.get("problems", [])),
        "the policy was not taken; the one in force stays (mend it, then: idlectl check)",
    ],
    "org.varlink.service.InvalidParameter": lambda about: [f"the daemon does not take this {about.get('parameter')}"],
}
