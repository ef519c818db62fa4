# SPDX-License-Identifier: LGPL-2.1-or-later
"""The clocks, and the two timers of the kernel that Python 3.11 does not offer.

All arithmetic is on CLOCK_BOOTTIME, which no one can set and which counts while the machine sleeps. The event loop's
own timers run on CLOCK_MONOTONIC, which does not, so deadlines are timerfds of our own (`Alarm`). A timerfd can also
tell that the wall clock was set, or that the machine woke up (`StepWatch`). Both through ctypes, since
os.timerfd_create() came with Python 3.13 and no packaged library has it.
"""

import ctypes
import errno
import os
import time
from typing import Final

from .core.span import SEC, Usec

_TFD_TIMER_ABSTIME: Final = 1
_TFD_TIMER_CANCEL_ON_SET: Final = 2
#: Two clocks are not read at one moment; a difference of so much does not come from that.
_CERTAIN: Final[Usec] = SEC
_FAR: Final = 2**62 // 1_000_000_000  # seconds; a wall clock never gets there

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


def now() -> Usec:
    """Microseconds on CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def wall() -> Usec:
    """Microseconds since the epoch on CLOCK_REALTIME: for what people read, and to read the kernel's stamps."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000


def offset() -> Usec:
    """Wall clock minus CLOCK_BOOTTIME."""
    return wall() - now()


def asleep() -> Usec:
    """How long the machine has been suspended since boot: CLOCK_BOOTTIME minus CLOCK_MONOTONIC."""
    awake = (
        time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    )  # first, or the time between the two would count below 0
    return now() - awake


class _Timer:
    def __init__(self, clock: int) -> None:
        self._fd = _libc.timerfd_create(clock, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def fileno(self) -> int:
        return int(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _set(self, flags: int, seconds: int, nanoseconds: int) -> None:
        spec = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        if _libc.timerfd_settime(self._fd, flags, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _read(self) -> bool:
        """Take the expiration; True when the timer was cancelled by a set clock instead."""
        try:
            os.read(self._fd, 8)
        except OSError as error:
            if error.errno == errno.ECANCELED:
                return True
            if error.errno != errno.EAGAIN:
                raise
        return False


class Alarm(_Timer):
    """Readable from a moment on CLOCK_BOOTTIME on, also across suspend."""

    def __init__(self) -> None:
        super().__init__(time.CLOCK_BOOTTIME)
        self._at: Usec = 0

    def set(self, at: Usec | None) -> None:
        """Go off at that moment, at once when it has passed; None: never."""
        at = 0 if at is None else max(at, 1)
        if at != self._at:
            self._set(_TFD_TIMER_ABSTIME, at // SEC, at % SEC * 1000)
            self._at = at

    def clear(self) -> None:
        """Take note that it went off."""
        self._read()
        self._at = 0


class StepWatch(_Timer):
    """Readable when the wall clock was set or the machine woke up (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET)."""

    def __init__(self) -> None:
        super().__init__(time.CLOCK_REALTIME)
        self._offset = offset()
        self._arm()

    def _arm(self) -> None:
        """Also while the clock is being set again, which is told here, once for each time (timerfd_settime(2))."""
        while True:
            try:
                self._set(_TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET, _FAR, 0)
            except OSError as error:
                if error.errno != errno.ECANCELED:
                    raise
            else:
                return

    def step(self) -> Usec | None:
        """By how much the wall clock moved against CLOCK_BOOTTIME since it was asked last; None when it did not.

        Of a machine that woke up: next to nothing. A step between our reading of the clocks and the arming of the timer
        is not told by the kernel; it shows in the clocks themselves.
        """
        told = self._read()
        if told:
            self._arm()
        by = offset() - self._offset
        if not told and abs(by) < _CERTAIN:
            return None
        self._offset += by
        return by
