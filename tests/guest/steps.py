# SPDX-License-Identifier: LGPL-2.1-or-later
"""idled, killed at a step: it runs in a guest in place of /usr/sbin/idled, written there by a test.

A step is whatever outlasts the daemon: a record, a line on a terminal, a signal, a state file that is half written, or
renamed. The world changes at steps only, so to be killed before each of them is to be killed at any moment.

LEFT says where: the name of a step, and how many more are to be done from the first of that name on. It holds across
restarts, and goes with the process that it kills; without it nobody is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jeepney.io.asyncio import DBusConnection

from idled import procfs
from idled.actions import warn
from idled.actions.end import End
from idled.control import service
from idled.daemon import main
from idled.native import Native

LEFT: Final = "/run/idled/left"
#: Before which step it was killed.
KILLED: Final = "/run/idled/killed"

#: Each step by its name, and what is called for it.
_PLACES: Final[dict[str, tuple[Any, str]]] = {
    "record": (Native, "send"),
    "line": (warn, "write_line"),
    "rename": (os, "replace"),
    "unlink": (os, "unlink"),
    "signal": (procfs, "send"),
    "kill": (End, "kill"),
    "cgroup": (procfs.Cgroup, "kill"),
    "call": (DBusConnection, "send"),
    "greeting": (BaseSelectorEventLoop, "sock_sendall"),
    "answer": (service, "_send"),
}
_replace, _unlink = os.replace, os.unlink
#: A thread takes steps, too.
_one_at_a_time: Final = threading.Lock()


def _put(path: str, text: str) -> None:
    with open(f"{path}.new", "w") as file:
        file.write(text)
    _replace(f"{path}.new", path)


def step(name: str) -> None:
    """Be killed, if it is here."""
    with _one_at_a_time:
        _step(name)


def _step(name: str) -> None:
    try:
        with open(LEFT) as file:
            since, left = file.read().split()
    except FileNotFoundError:
        return
    if since not in ("now", name):
        return
    if int(left):
        _put(LEFT, f"now {int(left) - 1}")
        return
    _put(KILLED, name)
    _unlink(LEFT)
    os.kill(os.getpid(), signal.SIGKILL)


def _after_a_step(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def stepped(*args: Any, **options: Any) -> Any:
        step(name)
        return function(*args, **options)

    return stepped


def _write_text(path: Path, text: str) -> int:
    """In two halves."""
    with open(path, "w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        step("half a file")
        file.write(text[len(text) // 2 :])
    return len(text)


if __name__ == "__main__":
    for name, (owner, attribute) in _PLACES.items():
        setattr(owner, attribute, _after_a_step(name, getattr(owner, attribute)))
    Path.write_text = _write_text  # type: ignore[assignment, method-assign]
    sys.exit(main())
