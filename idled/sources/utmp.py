# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that only utmp knows, where there is a utmp: logins on hosts without logind and without our PAM module.

A record of utmp is a claim. It counts only if its line is a terminal below /dev that belongs to the user it names and
its process is root's (a login program, not one that the user could have written in) and has that terminal; a claim on
what is not the user's is refused and said. A process without that terminal got the number of one that is gone: after a
crash utmp is full of those, and whoever has the number now is no session. Nor is a tmux or screen, which write records
of their own panes, nor what runs in a scope of logind's, which tells of its sessions itself: what root left detached
there would be taken for a login.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import psutil

from .. import clock, procfs
from ..core.span import SEC
from ..words import clean
from .sighting import Sighting

#: How tmux and screen call the host of a pane: tmux(PID).%N, HOST:S.N.
_MULTIPLEXER: Final = re.compile(r"^tmux\(\d+\)|:S\.\d+$")
_SCOPE: Final = re.compile(r"/session-[^/]+\.scope(/|$)")


class Line(NamedTuple):
    """The part of a utmp record that matters."""

    user: str
    line: str
    host: str
    started: float  # seconds of wall clock
    pid: int


def read() -> list[Line]:
    """All logins in utmp; none where there is no utmp."""
    return [
        Line(user.name, user.terminal or "", user.host or "", user.started, int(user.pid or 0))
        for user in psutil.users()
    ]


def sighting(line: Line, uids: Mapping[str, int | None], refuse: Callable[[str], None]) -> Sighting | None:
    """The session that the record really is of; `refuse` is told of one that claims what is not so.

    `uids`: of each user; None where there is no such user. A record of another is left for another time.
    """
    if line.user not in uids:
        return None
    uid = uids[line.user]
    try:
        device = _terminal(line, uid)
    except _Refused as error:
        refuse(f"utmp: {error}")
        return None
    leader = None if _MULTIPLEXER.search(line.host) else _login_on(device, line.pid)
    if leader is None or uid is None:
        return None
    began = leader.start * procfs.TICK
    claimed = int(line.started + 1) * SEC - clock.offset()  # whole seconds, never early
    return Sighting(
        pid=leader.pid,
        start=leader.start,
        user=line.user,
        uid=uid,
        opened_at=max(began, min(claimed, clock.now())),
        tty="" if line.host else line.line,
        remote=line.host,
        found=True,
    )


class _Refused(Exception):
    """A record claims what is not so; the message says what."""


def _login_on(device: int, pid: int) -> procfs.Process | None:
    """The login program of that number: root's, and the terminal is its own or one whose master side it holds."""
    found = procfs.process(pid) if pid > 0 and device else None
    if found is None or not found.alive or procfs.real_uid(pid) != 0:
        return None
    if _SCOPE.search(procfs.cgroup(pid) or ""):
        return None
    return found if device == found.tty or device in (procfs.ptys_held(pid) or ()) else None


def _terminal(line: Line, uid: int | None) -> int:
    """Device number of a record's terminal; 0: it is gone, an old record. Raises _Refused."""
    shown, user = clean(line.line, 64), clean(line.user, 64)
    parts = line.line.split("/")
    if not line.line or line.line.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise _Refused(f"line {shown!r} of {user} is no name below /dev")
    if uid is None:
        raise _Refused(f"no user {user}")
    try:
        status = os.stat(f"/dev/{line.line}", follow_symlinks=False)
    except OSError:
        return 0
    if not stat.S_ISCHR(status.st_mode):
        raise _Refused(f"line {shown!r} of {user} is no terminal")
    if status.st_uid != uid:
        raise _Refused(f"terminal {shown!r} is not {user}'s")
    return status.st_rdev
