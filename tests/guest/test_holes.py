# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user can do, with everything at once, to look present: how far it goes, and that it ends all the same."""

from __future__ import annotations

from contextlib import suppress

import pytest

from .installed import ABSOLUTE_LATE, CONSOLE_LATE, LATE, SEC, Installed, number
from .machine import CLIENT_ALIVE
from .people import INJECT
from .terminal import Terminal, Unseen, boottime

IDLE, ABSOLUTE = 5, 30

TOUCH = "while sleep 1; do touch -a $(tty); done &"
ASK_AGENT = "while sleep 1; do ssh-add -l >/dev/null 2>&1; done &"
PRINT = "while sleep 1; do date; done &"
TYPE = "python3 /tmp/inject.py &"

#: Signs of all kinds, and a connection that never rests: without bytes of the client it is all in vain.
IN_VAIN = {
    "stamps, output and keepalives": (f"{TOUCH} {PRINT}", CLIENT_ALIVE),
    "injected input, stamps and keepalives": (f"{TYPE} {TOUCH}", CLIENT_ALIVE),
    "the agent, output and keepalives": (f"{ASK_AGENT} {PRINT}", ("-A", *CLIENT_ALIVE)),
}
#: Bytes of the client that nobody typed, and with them signs that nobody made, or a program whose input leaves none
#: before Enter. This is told from a person by nothing.
POSSIBLE = {
    "the agent and stamps": f"{ASK_AGENT} {TOUCH}",
    "the agent and injected input": f"{ASK_AGENT} {TYPE}",
    "the agent while input goes line by line": f"{ASK_AGENT} cat >/dev/null",
}


@pytest.mark.parametrize("what", IN_VAIN)
def test_in_vain(idled: Installed, what: str) -> None:
    command, options = IN_VAIN[what]
    idle = 28 if TYPE in command else IDLE + 3  # its first sign can be the reading of what was typed before
    idled.machine.write("/tmp/inject.py", INJECT)
    idled.limits(idle=f"{idle}s")
    # The agent's answers are bytes all the time, so the stamp alone tells; and since something is written all the time,
    # they may be a Ctrl-C of the look that sees the stamp's block end.
    late = CONSOLE_LATE + 3 * SEC if ASK_AGENT in command else LATE
    with idled.login("alice", *options) as terminal:
        typed = terminal.type(f"{command}\n")
        assert idle * SEC <= terminal.wait_closed(50) - typed <= idle * SEC + late


@pytest.mark.parametrize("what", POSSIBLE)
def test_possible_until_the_absolute_timeout(idled: Installed, what: str) -> None:
    idled.machine.write("/tmp/inject.py", INJECT)
    idled.limits(idle=f"{IDLE}s", absolute=f"{ABSOLUTE}s")
    opened = boottime()
    with idled.login("alice", "-A") as terminal:
        terminal.type(f"{POSSIBLE[what]}\n")
        ends_by_absolute_timeout(idled, terminal, opened)


def test_a_client_that_types_by_itself(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s", absolute=f"{ABSOLUTE}s")
    opened = boottime()
    with idled.login("alice") as terminal:
        while terminal.closed_at is None and boottime() < opened + (ABSOLUTE + 5) * SEC:
            with suppress(Unseen, OSError):
                terminal.type("x")
            with suppress(Unseen):
                terminal.wait_closed(2)
        ends_by_absolute_timeout(idled, terminal, opened)


def ends_by_absolute_timeout(idled: Installed, terminal: Terminal, opened: int) -> None:
    closed = terminal.wait_closed(ABSOLUTE + 10)
    assert closed - opened >= ABSOLUTE * SEC
    ended = idled.event("ended", IDLED_USER="alice")
    assert ended["IDLED_REASON"] == "absolute"
    assert number(ended, "LATE_USEC") <= ABSOLUTE_LATE
