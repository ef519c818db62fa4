# SPDX-License-Identifier: LGPL-2.1-or-later
"""A terminal's stamps: until when input is possible, by each rule of the module, under every step of the wall clock.

Moments are seconds on the boot clock; what the kernel stamped is the same moment on the wall clock that was in force.
The wall clock's offset is a multiple of 8 s, so the kernel's blocks begin at multiples of 8 s here too.
"""

from dataclasses import dataclass, replace
from typing import Final

import pytest

from idled.core.span import DAY, HOUR, SEC, Usec
from idled.core.stamps import NOTHING, Sign, TerminalLook, Window, sign

OFFSET: Final = 1_790_000_000 * SEC
TICK: Final = 0.01


def usec(seconds: float) -> Usec:
    return round(seconds * SEC)


def terminal(atime: float, ctime: float = 5, queued: int = 0, *, step: Usec = 0, doubted: bool = False) -> TerminalLook:
    """As read when the wall clock was `step` ahead of OFFSET."""
    return TerminalLook(
        name="pts/3",
        device=34819,
        atime=usec(atime) + OFFSET + step,
        ctime=usec(ctime) + OFFSET,
        queued=queued,
        doubted=doubted,
    )


def window(begin: float, end: float, step: Usec = 0) -> Window:
    """Between two looks, with the wall clock set by `step` in between."""
    return Window(begin=usec(begin), end=usec(end), begin_offset=OFFSET, end_offset=OFFSET + step)


def until(moment: float, *, moved: bool = False, doubtful: bool = False) -> Sign:
    return Sign(until=usec(moment), moved=moved, doubtful=doubtful)


@dataclass(frozen=True)
class Case:
    what: str
    before: TerminalLook | None
    now: TerminalLook
    window: Window
    expected: Sign


OLD: Final = terminal(1000)
QUIET: Final = window(1010, 1100)
DRIFT: Final = 300_000
PAIR: Final = {"+1h": HOUR, "-1h": -HOUR, "+1 day": DAY, "-1 day": -DAY, "+3 s": 3 * SEC}

CASES: Final = [
    Case("nothing happened", OLD, OLD, QUIET, NOTHING),
    Case("read at the begin of a block", OLD, terminal(1040), QUIET, until(1048 + TICK, moved=True)),
    Case("read within a block", OLD, terminal(1043), QUIET, until(1048 + TICK, moved=True)),
    Case("read in a block's last second", OLD, terminal(1047), QUIET, until(1048 + TICK, moved=True)),
    Case("read in the present block", OLD, terminal(1099), QUIET, until(1104 + TICK, moved=True)),
    Case("the present block goes on", terminal(1099), terminal(1099), window(1100, 1102), until(1104 + TICK)),
    Case("a block ends between looks", terminal(1099), terminal(1099), window(1102, 1900), until(1104 + TICK)),
    Case("a block has ended", terminal(1099), terminal(1099), window(1104.5, 1900), NOTHING),
    Case("the coarse clock lags", terminal(1096), terminal(1096), window(1104.005, 1110), until(1104 + TICK)),
    *(
        Case(f"read, then {name}", OLD, terminal(1043), window(1010, 1100, step), until(1048 + TICK, moved=True))
        for name, step in PAIR.items()
        if abs(step) > 8 * SEC
    ),
    *(
        Case(
            f"{name}, then read",
            OLD,
            terminal(1048, step=step // (8 * SEC) * 8 * SEC),
            window(1010, 1100, step // (8 * SEC) * 8 * SEC),
            until(1056 + TICK, moved=True),
        )
        for name, step in PAIR.items()
    ),
    Case(
        "the later offset of two that fit",
        OLD,
        terminal(1043),
        window(1010, 1100, -3 * SEC),
        until(1051.01, moved=True),
    ),
    Case("slow drift ahead", OLD, terminal(1043), window(1010, 1100, DRIFT), until(1048 + TICK, moved=True)),
    Case("slow drift back", OLD, terminal(1043), window(1010, 1100, -DRIFT), until(1048.31, moved=True)),
    Case("fits under no offset", OLD, terminal(1043, step=DAY), window(1010, 1100, HOUR), until(1100, moved=True)),
    Case("set back within the block", terminal(1100), terminal(1100), window(1101, 1102, -3 * SEC), until(1107.01)),
    Case("set back before the stamp", terminal(1100), terminal(1100), window(1101, 1102, -6 * SEC), until(1110.01)),
    Case("set back before the block", terminal(1100), terminal(1100), window(1105, 1106, -20 * SEC), NOTHING),
    Case("first sight of an old stamp", None, OLD, QUIET, NOTHING),
    Case("first sight, read since", None, terminal(1043), QUIET, until(1048 + TICK)),
    Case("first sight, present block", None, terminal(1099), QUIET, until(1104 + TICK)),
    Case("first sight, read, then +1h", None, terminal(1043), window(1010, 1100, HOUR), until(1048 + TICK)),
    Case("first sight, read, then -1h", None, terminal(1043), window(1010, 1100, -HOUR), until(1048 + TICK)),
    Case("first sight of the future", None, terminal(9000), QUIET, until(1100, doubtful=True)),
    Case("touch", OLD, terminal(1043.2, 1043.2), QUIET, until(1048 + TICK, moved=True, doubtful=True)),
    Case("touch -1 day", OLD, terminal(1043 - 86400, 1043), QUIET, until(1048 + TICK, moved=True, doubtful=True)),
    Case("touch +1 day", OLD, terminal(1043 + 86400, 1043), QUIET, until(1048 + TICK, moved=True, doubtful=True)),
    Case("touch to soon", OLD, terminal(1100.5, 1043), QUIET, until(1104 + TICK, moved=True, doubtful=True)),
    Case("mesg n, then typed on", OLD, terminal(1072, 1043), QUIET, until(1080 + TICK, moved=True, doubtful=True)),
    Case(
        "mesg n, typed on, then -1h",
        OLD,
        terminal(1072, 1043),
        window(1010, 1100, -HOUR),
        until(1080 + TICK, moved=True, doubtful=True),
    ),
    Case(
        "mesg n, then -1h, then typed on",
        OLD,
        replace(terminal(1043, 1043), atime=terminal(1072, step=-HOUR).atime),
        window(1010, 1100, -HOUR),
        until(1080 + TICK, moved=True, doubtful=True),
    ),
    Case("mesg n alone", OLD, terminal(1000, 1043), QUIET, NOTHING),
    Case("a forged stamp's block", terminal(1099, doubted=True), terminal(1099), window(1100, 1102), NOTHING),
    Case("read after a forgery", terminal(2000, doubted=True), terminal(1043), QUIET, until(1048.01, moved=True)),
    Case("typed ahead", OLD, terminal(1000, queued=4), QUIET, until(1100, moved=True)),
    Case("still waiting", terminal(1000, queued=4), terminal(1000, queued=4), QUIET, NOTHING),
    Case("more typed ahead", terminal(1000, queued=4), terminal(1000, queued=5), QUIET, until(1100, moved=True)),
    Case("what waited is read", terminal(1000, queued=4), terminal(1043), QUIET, until(1048 + TICK, moved=True)),
    Case("thrown away by Ctrl-C", terminal(1000, queued=4), OLD, QUIET, NOTHING),
    Case("read and typed again", terminal(1000, queued=1), terminal(1043, queued=1), QUIET, until(1100, moved=True)),
    Case(
        "read without a trace and typed again",
        terminal(1008, queued=1),
        terminal(1008, queued=1),
        QUIET,
        until(1100),
    ),
    Case(
        "waiting in its block", terminal(1099, queued=1), terminal(1099, queued=1), window(1100, 1101), until(1104.01)
    ),
    Case("first sight, typed ahead", None, terminal(1000, queued=1), QUIET, until(1100, moved=True)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_what_a_stamp_tells(case: Case) -> None:
    assert sign(case.before, case.now, case.window) == case.expected


def test_the_wall_clock_comes_through_an_old_block_once_more() -> None:
    step = -1004 * SEC  # at 2000 the wall clock says what it said at 996
    later = Window(begin=usec(2000), end=usec(2100), begin_offset=OFFSET + step, end_offset=OFFSET + step)
    assert sign(OLD, OLD, later) == until(2012 + TICK)
    assert sign(replace(OLD, doubted=True), OLD, later) == NOTHING


@pytest.mark.parametrize("lead", range(0, 80))
def test_no_read_in_a_block_is_missed(lead: int) -> None:
    """Every tenth of a second of a block, seen at once or after the block."""
    typed_at = 1040 + lead / 10
    now = terminal(typed_at // 1)
    for looked_at in (typed_at + TICK, 1049, 1500):
        found = sign(OLD, now, window(1010, looked_at))
        assert usec(typed_at) <= found.until <= usec(typed_at + 8 + TICK)
