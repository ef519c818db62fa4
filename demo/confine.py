# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running something where it can leave nothing behind: in PID, mount, network and host name namespaces of its own.

The child is PID 1 of its namespace, so when it ends, in whatever way, the kernel kills every process that was started
there, and then the mounts and the network are gone as well. It dies with its parent, should that be killed. What it
writes on disk outside of its own mounts is its own affair.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWUTS: Final = 0x04000000
_CLONE_NEWPID: Final = 0x20000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_libc: Final = ctypes.CDLL(None, use_errno=True)


def run(inside: Callable[[], int]) -> int:
    """The exit code of `inside`, or 128 plus the number of the signal that stopped it. OSError: not permitted."""
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _unshare(_CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        _be_first(inside)
    return _wait(child)


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _be_first(inside: Callable[[], int]) -> None:
    """The child's life. Ctrl-C and a closed terminal reach it by way of its parent, as SIGTERM."""
    code = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _nothing)  # not SIG_IGN: that would pass to every program that is started
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        _unshare(_CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWUTS)
        code = inside()
        sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _wait(child: int) -> int:
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        """Ask once, then insist."""
        os.kill(child, signal.SIGKILL if stopped else signal.SIGTERM)
        stopped.append(number)

    for number in _SIGNALS:
        signal.signal(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _, status = os.waitpid(child, 0)
    if stopped:
        return 128 + stopped[0]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1
