# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a look at a session tells about when its person was last there.

The rules of evidence:

1. A terminal's atime moves when a program reads input from it, and only when the wall clock has left the 8 s block
   (seconds divided by 8) of the stamp; it then takes the whole second (tty_update_time() in the kernel's
   drivers/tty/tty_io.c). So a stamp says: the last input came in that block, its end not excluded.
2. Activity is therefore counted until the *end* of the block: at most 8 s too long, never too short. While the block
   lasts, more input can come without a trace; its end may lie in the future.
3. The stamp is of the wall clock, which can be stepped. A stamp that moved between two looks was moved between
   them, whatever its value; the value only says where in between, under the offset (wall minus boot time) of one of
   the two looks. If it fits under neither, the latest possible moment is taken: that of the second look.
4. An old stamp seen for the first time says nothing but that there was no input since.
5. Every key of an SSH session comes over its connection: the moment at which that last received anything bounds all
   of the above from above.
6. Input waiting in the terminal's queue that was not there at the last look came in between, at the latest just now.

What is not here: how stamps are read (``evidence``), and what follows from them (``engine``).
"""

from dataclasses import dataclass, replace
from typing import Final

from .span import MSEC, SEC, Usec

#: The kernel stamps with a coarse clock, behind by up to one tick (10 ms at 100 Hz).
TICK: Final = 10 * MSEC


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalLook:
    """One terminal at one moment. The stamps are wall clock, microseconds."""

    name: str  # without /dev/
    device: int  # its device number
    atime: Usec
    ctime: Usec
    queued: int = 0  # bytes typed that no program has read (TIOCINQ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was to be seen of a session at the moment `at`."""

    at: Usec
    offset: Usec  # wall clock minus CLOCK_BOOTTIME at that moment
    terminals: tuple[TerminalLook, ...] = ()
    received_at: Usec | None = None  # when its connection last received data; None where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is remembered of all looks so far.

    `active_until` is the latest moment at which activity can have happened; it may lie up to 8 s ahead of the last
    look. `signs_until` is the same by the terminals alone.
    """

    at: Usec
    offset: Usec | None
    signs_until: Usec
    active_until: Usec
    terminals: tuple[TerminalLook, ...] = ()


def first_trace(opened_at: Usec) -> Trace:
    """Before the first look: opening a session is activity."""
    return Trace(at=opened_at, offset=None, signs_until=opened_at, active_until=opened_at)


def follow(trace: Trace, look: Look) -> Trace:
    """The trace after one more look."""
    before = {terminal.device: terminal for terminal in trace.terminals}
    signs = [_sign(before.get(terminal.device), terminal, trace, look) for terminal in look.terminals]
    signs_until = max([trace.signs_until, *signs])
    active_until = signs_until if look.received_at is None else min(signs_until, look.received_at)
    return replace(
        trace,
        at=look.at,
        offset=look.offset,
        signs_until=signs_until,
        active_until=max(trace.active_until, active_until),
        terminals=look.terminals,
    )


def _sign(before: TerminalLook | None, now: TerminalLook, trace: Trace, look: Look) -> Usec:
    """The latest moment at which this terminal can have had input; 0 when it shows nothing new."""
    if now.queued > (before.queued if before else 0):
        return look.at
    if before is not None and before.atime == now.atime:
        block_start, block_end = _block(now.atime, look.offset)
        return block_end if block_start <= look.at < block_end else 0
    offsets = {look.offset, look.offset if trace.offset is None else trace.offset}
    blocks = [_block(now.atime, offset) for offset in offsets]
    possible = [end for start, end in blocks if end > trace.at and start <= look.at]
    if possible:
        return max(possible)
    if before is None and all(end <= trace.at for _, end in blocks):
        return 0
    return look.at


def _block(stamp: Usec, offset: Usec) -> tuple[Usec, Usec]:
    """Begin and end, on CLOCK_BOOTTIME, of the time in which input may have left this stamp."""
    second = stamp // SEC
    return second * SEC - offset, ((second | 7) + 1) * SEC - offset + TICK
