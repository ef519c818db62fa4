# SPDX-License-Identifier: LGPL-2.1-or-later
"""Telling a want of descriptors or memory from an answer.

A call that fails for it has said nothing of what was asked: not that a process is gone, that a terminal has no input
waiting, or that a file is damaged. So it is taken for no answer, and passed on: the daemon is started anew, and goes on
with what it remembers.
"""

import errno
from types import TracebackType
from typing import Final

_SHORTAGE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_shortage(error: BaseException) -> bool:
    """Whether a call failed for want of descriptors or memory."""
    return isinstance(error, OSError) and error.errno in _SHORTAGE


class _Tolerant:
    """`with tolerant:` what follows may fail with an OSError, unless that is a shortage."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        return isinstance(error, OSError) and not is_shortage(error)


tolerant: Final = _Tolerant()
