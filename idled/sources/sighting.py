# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a source tells of one session. What it does not know it leaves empty."""

from dataclasses import dataclass

from ..core.span import Usec


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One session as one source sees it, its leader identified by the kernel's numbers."""

    pid: int
    start: int
    user: str
    uid: int
    opened_at: Usec | None = None
    offset: Usec | None = None  # wall clock minus CLOCK_BOOTTIME at that moment
    service: str = ""
    tty: str = ""  # of a console; an SSH connection has terminals that come and go
    remote: str = ""
    logind: str = ""
    scope: str = ""  # the unit of its cgroup, as logind says
    connection: str = ""
    last_resort: Usec | None = None  # the age at which logind ends it, as it was told at the login
    found: bool = False  # it was open before the source looked, so nobody was told of its limits
