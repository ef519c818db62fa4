# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one terminal's stamps tell: until when there can have been input on it.

1. A terminal's atime moves when a program reads input from it, and only when the wall clock has left the 8 s block
   (seconds divided by 8) of the stamp; it then takes the whole second (tty_update_time() in the kernel's
   drivers/tty/tty_io.c). So a stamp says: the last input came in that block, its end not excluded.
2. Input is therefore possible until the *end* of the block: at most 8 s too long, never too short. While the block
   lasts, more input can come without a trace; its end may lie in the future. Where the wall clock is set back, it
   comes through the block of an old stamp once more.
3. The stamp is of the wall clock, which can be stepped. A stamp that moved between two looks was moved between
   them, whatever its value; the value only says where in between, under the offset (wall minus boot time) of one of
   the two looks. If it fits under neither, the latest possible moment is taken: that of the second look.
4. An old stamp seen for the first time, old under both offsets, says nothing but that there was no input since. Before
   the first look, the opening of the session stands in its place, where its offset is known.
5. The kernel's own updates leave ctime alone; utimensat(2), chmod(2) and chown(2) move it. A stamp whose ctime moved
   too is *doubtful*: forged, or overwritten, or the trace of somebody who typed ``mesg n``. Input is then possible
   until the later of the two, but not certain. A stamp in the future is no better than its ctime. What came doubtful
   stays so: when the clock gets to the block of such a stamp, or is still in it, that tells nothing more.
6. Input waiting in the terminal's queue that was not there at the last look came in between, at the latest just now.
   When a program has read since, or can have without a trace, that is all of what is waiting.
7. mtime is to output by a program what atime is to input. It is no sign of input, but bounds what left none.
"""

from dataclasses import dataclass
from typing import Final

from .span import MSEC, SEC, Usec

#: The kernel stamps with a coarse clock, behind by up to one tick (10 ms at 100 Hz).
TICK: Final = 10 * MSEC
#: From the first moment that may leave a stamp to the end of its block.
STEP: Final = 8 * SEC + TICK


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalLook:
    """One terminal at one moment. The stamps are wall clock, microseconds."""

    name: str  # without /dev/
    device: int  # its device number
    atime: Usec
    ctime: Usec
    mtime: Usec = 0  # 0: not known, as of looks that were followed
    queued: int = 0  # bytes typed that no program has read (TIOCINQ)
    canonical: bool = False  # input goes line by line: what is typed leaves no trace before Enter
    inner: bool = False  # its other side is not sshd's but a multiplexer's, an editor's or the like
    doubted: bool = False  # atime came to be as it is by rule 5; known of looks that were followed only


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time between two looks, on CLOCK_BOOTTIME, and the offset of the wall clock at each."""

    begin: Usec
    end: Usec
    begin_offset: Usec
    end_offset: Usec


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """Input is possible until then (CLOCK_BOOTTIME; 0: nothing new).

    `moved`: something happened since the look before; otherwise only the block of an older stamp is not over yet.
    """

    until: Usec = 0
    moved: bool = False
    doubtful: bool = False  # by rule 5


NOTHING: Final = Sign()


def sign(before: TerminalLook | None, now: TerminalLook, window: Window) -> Sign:
    """What the terminal shows now, against how it was at the look before."""
    if now.queued > (before.queued if before else 0):
        return Sign(until=window.end, moved=True)
    if before is None:
        return _first_sight(now, window)
    if now.atime == before.atime:
        if before.doubted or not (ends := _ends(now.atime, window)):
            return NOTHING
        return Sign(until=max(*ends, window.end if now.queued else 0))
    if now.queued:
        return Sign(until=window.end, moved=True)
    if now.ctime == before.ctime:
        return Sign(until=_moved(now.atime, window), moved=True)
    return Sign(until=_moved(now.atime, window, now.ctime), moved=True, doubtful=True)


def written_until(terminal: TerminalLook, window: Window) -> Usec:
    """Until when a program can have written to it within the window, CLOCK_BOOTTIME; 0: none has (7)."""
    return max(_ends(terminal.mtime, window), default=0)


def _first_sight(now: TerminalLook, window: Window) -> Sign:
    ends = _ends(now.atime, window)
    if ends:
        return Sign(until=max(ends))
    start, _ = _block(now.atime, window.end_offset)
    return Sign(until=window.end, doubtful=True) if start > window.end else NOTHING


def _moved(stamp: Usec, window: Window, *others: Usec) -> Usec:
    """When stamps that moved within the window were made, at the latest."""
    return max((end for moved in (stamp, *others) for end in _ends(moved, window)), default=window.end)


def _ends(stamp: Usec, window: Window) -> list[Usec]:
    """The ends of the blocks, under either offset, that have a part in the window."""
    blocks = [_block(stamp, offset) for offset in (window.begin_offset, window.end_offset)]
    return [end for start, end in blocks if end > window.begin and start <= window.end]


def _block(stamp: Usec, offset: Usec) -> tuple[Usec, Usec]:
    """Begin and end, on CLOCK_BOOTTIME, of the time in which input may have left this stamp."""
    second = stamp // SEC
    return (second & ~7) * SEC - offset, ((second | 7) + 1) * SEC - offset + TICK
