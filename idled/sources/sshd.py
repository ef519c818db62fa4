# SPDX-License-Identifier: LGPL-2.1-or-later
"""SSH sessions as /proc shows them, for hosts without logind whose sshd does not load our PAM module.

A logged-in connection is a root process that runs sshd's binary, with a child that runs the same binary as the user.
Before authentication that child is sshd's own account (or none), so nothing is seen too early. Titles are used only
for the user's name, and only of processes that a user cannot have started.
"""

import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .. import procfs
from .sighting import Sighting

_NAMES: Final = {"sshd", "sshd-session"}
_TITLE: Final = re.compile(r"^sshd(?:-session)?: (?P<user>[^ @\[]+)(?: \[priv\]|@\S+)")


def sightings() -> Iterator[Sighting]:
    """All SSH sessions that are open now."""
    for process in procfs.processes():
        if process.comm in _NAMES and process.alive and _is_sshd_of_root(process.pid):
            found = _session(process)
            if found is not None:
                yield found


def _is_sshd_of_root(pid: int) -> bool:
    executable = procfs.executable(pid)
    if executable is None or Path(executable).name not in _NAMES or procfs.real_uid(pid) != 0:
        return False
    try:
        return os.stat(f"/proc/{pid}/exe").st_uid == 0
    except OSError:
        return False


def _session(leader: procfs.Process) -> Sighting | None:
    title = _TITLE.match(procfs.title(leader.pid))
    if title is None:
        return None
    try:
        account = pwd.getpwnam(title["user"])
    except KeyError:
        return None
    of_user = procfs.twin(leader, account.pw_uid)
    if account.pw_uid == 0:  # root's connection has no second sshd; before authentication it is titled [priv]
        of_user = None if "[priv]" in title[0] else leader
    if of_user is None:
        return None
    return Sighting(
        pid=leader.pid,
        start=leader.start,
        user=account.pw_name,
        uid=account.pw_uid,
        opened_at=of_user.start * procfs.TICK,  # the leader began with the connection, before authentication
        service="sshd",
        found=True,
    )
