# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that only utmp knows, where there is a utmp: logins on hosts without logind and without our PAM module.

A record of utmp is a claim. It counts only if its line is a terminal below /dev that belongs to the user it names and
its process is root's (a login program, not one that the user could have written in); else it is refused and said.
"""

import os
import pwd
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

import psutil

from .. import clock, procfs
from ..core.span import SEC
from ..words import clean
from .sighting import Sighting


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


def sightings(lines: list[Line], refuse: Callable[[str], None]) -> Iterator[Sighting]:
    """The sessions that the records really are of; `refuse` is told of those that claim what is not so."""
    for line in lines:
        problem, uid = _check(line)
        leader = procfs.process(line.pid) if line.pid else None
        if problem:
            refuse(f"utmp: {problem}")
        elif leader is not None and leader.alive and procfs.real_uid(leader.pid) == 0:
            yield Sighting(
                pid=leader.pid,
                start=leader.start,
                user=line.user,
                uid=uid,
                opened_at=max(1, int(line.started + 1) * SEC - clock.offset()),  # whole seconds, never early
                tty="" if line.host else line.line,
                remote=line.host,
                found=True,
            )


def _check(line: Line) -> tuple[str, int]:
    """What is wrong with a record (empty: nothing), and the user's uid."""
    shown, user = clean(line.line, 64), clean(line.user, 64)
    parts = line.line.split("/")
    if not line.line or line.line.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return f"line {shown!r} of {user} is no name below /dev", 0
    try:
        uid = pwd.getpwnam(line.user).pw_uid
        status = os.stat(f"/dev/{line.line}", follow_symlinks=False)
    except KeyError:
        return f"no user {user}", 0
    except OSError:
        return "", 0  # a terminal that is gone: an old record, not a claim
    if not stat.S_ISCHR(status.st_mode):
        return f"line {shown!r} of {user} is no terminal", 0
    if status.st_uid != uid:
        return f"terminal {shown!r} is not {user}'s", 0
    return "", uid
