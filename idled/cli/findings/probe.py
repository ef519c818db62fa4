# SPDX-License-Identifier: LGPL-2.1-or-later
"""The proof: a session of root's is opened through sshd's PAM stack, and the daemon must see it come and go.

The login is made by a process that systemd starts, since one that begins within a session stays a part of it.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Final

from ...control.client import Unreachable
from ...control.wire import VarlinkError
from .host import Finding, Host, error, ok, warning

_PROGRAM: Final = Path(__file__).with_name("login.py")
#: Outside of all sessions, tied to this process by its pipes, and gone in the end whatever happens.
_RUN: Final = ("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--property=RuntimeMaxSec=60")
_DESCRIPTION: Final = "--description=A login by which idlectl doctor tries idled"
#: Seconds for the login, for the daemon to see it, and for the session to be gone.
_LOGIN: Final = 15.0
_SEEN: Final = 1.0
_GONE: Final = 5.0
_STEP: Final = 0.01

Ask = Callable[[str], dict[str, Any]]


def probe(host: Host, ask: Ask) -> Iterator[Finding]:
    """Log in, and say what came of it."""
    if find_spec("pamela") is None:
        yield warning(
            "probe",
            what="No login was tried: the Python module pamela is missing.",
            why="Only a real login shows that all parts work together.",
            mend="apt-get install python3-pamela",
        )
        return
    try:
        registered = _registered(ask)
    except (Unreachable, VarlinkError):  # which is found without a login
        return
    command = (*_RUN, _DESCRIPTION, sys.executable, "-I", str(_PROGRAM))
    pipe = subprocess.PIPE
    try:
        login = subprocess.Popen(command, text=True, errors="replace", stdin=pipe, stdout=pipe, stderr=pipe)
    except OSError as error:
        yield _failed(f"{command[0]}: {error.strerror}")
        return
    with login:
        pid = _pid(login)
        opened = time.monotonic()
        session = _wait(_SEEN, lambda: _session(ask, pid)) if pid else None
        took, by_pam = time.monotonic() - opened, _registered(ask) != registered
        try:
            _, complaint = login.communicate(timeout=_LOGIN)
        except subprocess.TimeoutExpired:
            login.kill()  # which closes the pipes, and with them the session
            complaint = f"it was not closed within {_LOGIN:.0f} s"
    if not pid or login.returncode:
        yield _failed(complaint.strip() or f"exit status {login.returncode}")
    if pid:
        yield _seen(session, took, by_pam)
    if session is not None:
        yield _gone(host, ask, session)


def _pid(login: subprocess.Popen[str]) -> int:
    """Of the process whose session is open; 0 if it does not come to that."""
    assert login.stdout is not None
    with DefaultSelector() as waiting:
        waiting.register(login.stdout, EVENT_READ)
        said = login.stdout.readline() if waiting.select(_LOGIN) else ""
    return int(said) if said.strip().isdigit() else 0


def _wait(seconds: float, look: Callable[[], Any]) -> Any:
    """What is there to be seen within that time; or what was seen last."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(_STEP)
    return found


def _session(ask: Ask, leader: int) -> dict[str, Any] | None:
    return next((session for session in ask("ListSessions")["sessions"] if session["leader"] == leader), None)


def _registered(ask: Ask) -> str:
    """What the daemon says of pam_idled: it counts the sessions that it was told of."""
    return next((str(source["note"]) for source in ask("GetStatus")["sources"] if source["name"] == "pam"), "")


def _failed(why: str) -> Finding:
    return error(
        "probe",
        what=f"A login through the PAM stack of sshd failed: {why}.",
        why="Then people cannot log in by ssh either, or it could not be tried.",
        mend="journalctl -b -t sshd; journalctl -b _COMM=python3. The stack is /etc/pam.d/sshd.",
    )


def _seen(session: dict[str, Any] | None, took: float, by_pam: bool) -> Finding:
    if session is None:
        return error(
            "probe",
            what=f"A session opened through the PAM stack of sshd was not seen within {_SEEN:.0f} s.",
            why="A session that idled does not know is never ended.",
            mend="Mend what else is found here first; then see: journalctl -b -u idled",
        )
    if not by_pam:
        return warning(
            "probe",
            what="A login through the PAM stack of sshd was seen through logind alone, not through pam_idled.",
            why="Nobody is told the limits at login, and no last resort ends a session while idled is down.",
            mend="Mend what is found of PAM here; then see: journalctl -b -t sshd",
        )
    what = f"A login through the PAM stack of sshd was seen {max(1, round(took * 1000))} ms after it was open."
    return ok("probe", what=what)


def _gone(host: Host, ask: Ask, session: dict[str, Any]) -> Finding:
    """Whether neither the daemon nor logind has it any more."""
    kept = f"/run/systemd/sessions/{session['name']}"
    if _wait(_GONE, lambda: _session(ask, session["leader"]) is None and not host.has(kept)):
        return ok("probe", what="That session was closed, and nothing is left of it.")
    return warning(
        "probe",
        what=f"That session, {session['name']}, was closed and is still known after {_GONE:.0f} s.",
        why="Something in it goes on, or logind does not forget sessions that are over.",
        mend=f"loginctl session-status {session['name']}; loginctl terminate-session {session['name']}",
    )
