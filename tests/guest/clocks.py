# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other clocks than the machine's, for the daemon of a guest: the machine's own are never touched.

How to run the daemon by a script that shows it another clock, and a wall clock that can be set, together with the
kernel's stamps by it. Scripts that one test alone has a use for stand there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from .machine import Machine

DROP_INS = "/run/systemd/system/idled.service.d"
STEPS = "/run/wall-steps"
#: Nanoseconds: of the kernel's blocks, and in which a step is surely written down.
BLOCK, WRITTEN = 8 * 10**9, 4 * 10**9

#: Each line of a file is a moment of the machine's wall clock, and by how much the daemon's was set then. What the
#: kernel stamps from then on is later by so much; what it has stamped stays. No timerfd tells of it.
SETTABLE = f"""
import os
import sys
from dataclasses import replace

from idled import clock
from idled.evidence import terminals

real_wall, real_look = clock.wall, terminals._look_at
file = os.open("{STEPS}", os.O_RDONLY)  # and kept: a clock takes no descriptor to be read

def shown(moment):
    steps = (map(int, line.split()) for line in os.pread(file, 1 << 16, 0).splitlines())
    return moment + sum(by for at, by in steps if at <= moment)

def look_at(*arguments, **options):
    found = real_look(*arguments, **options)
    if found is None:
        return None
    return replace(found, atime=shown(found.atime), ctime=shown(found.ctime), mtime=shown(found.mtime))

clock.wall = lambda: shown(real_wall())
terminals._look_at = look_at

from idled.daemon import main

sys.exit(main())
"""


@contextmanager
def daemon_as(machine: Machine, script: str, environment: str = "") -> Iterator[None]:
    """Run the daemon by a script of Python that shows it other clocks."""
    machine.write("/run/idled-clock.py", script)
    start = "ExecStart=\nExecStart=/usr/bin/python3 -I /run/idled-clock.py"
    machine.write(f"{DROP_INS}/clock.conf", f"[Service]\n{start}\nEnvironment={environment}\n")
    machine.sh("systemctl daemon-reload; systemctl restart idled")
    try:
        yield
    finally:
        machine.logout_all()
        machine.sh(f"rm -r {DROP_INS}; systemctl daemon-reload; systemctl restart idled")


@contextmanager
def settable_wall(machine: Machine) -> Iterator[None]:
    """The daemon has a wall clock that `step_wall` sets."""
    machine.write(STEPS, "")
    with daemon_as(machine, SETTABLE):
        yield


def step_wall(machine: Machine, by: int) -> None:
    """Set it on by so many microseconds, back where they are fewer than none, and wait for that: up to twelve seconds.

    It is set when the machine's own clock begins a block of eight seconds. Within a block the kernel stamps no terminal
    twice: the keys after a step would leave no stamp there, as they would by a clock that was really set.
    """
    at = ((time.time_ns() + WRITTEN) // BLOCK + 1) * BLOCK
    machine.sh(f'echo "$1 $2" >>{STEPS}', str(at // 1000), str(by))
    assert (left := at - time.time_ns()) > 0, "it was written too late, and what was stamped since would move"
    time.sleep(left / 1e9)
