# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asking NSS for users and groups: in threads, since it may ask a server, which may be slow, or hang.

Nobody is kept waiting for long. What is asked again meanwhile is one question, and what is answered late is kept for
who asks again, so that a server which always takes longer is heard, too.
"""

import asyncio
import ctypes
import grp
import os
import pwd
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..threads import Threads

#: Seconds that an answer is waited for.
PATIENCE: Final = 0.2
#: Seconds for which a question is not asked anew, and a late answer kept: until all was looked through again, and more.
KEPT: Final = 90.0
_THREADS: Final = 4
_Key = TypeVar("_Key")
_Entry = TypeVar("_Entry")
_libc: Final = ctypes.CDLL(None)


class Nss:
    """Who asks."""

    def __init__(self) -> None:
        self._threads = Threads(_THREADS)
        self._pending: dict[tuple[Any, Any], asyncio.Future[Any]] = {}

    async def ask(self, function: Callable[[_Key], _Entry], key: _Key) -> _Entry | None:
        """What the function, one of NSS's, says of the key; None when it knows none, or does not answer in time."""
        question = (function, key)
        try:
            answer = self._pending.get(question) or self._asked(question)
            async with asyncio.timeout(PATIENCE):
                entry: _Entry = await asyncio.shield(answer)
            return entry
        except (KeyError, ValueError, OSError, RuntimeError):  # the last where all pids are taken: there is no thread
            return None
        finally:
            if (pending := self._pending.get(question)) is not None and pending.done():
                del self._pending[question]

    def _asked(self, question: tuple[Any, Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.run_in_executor(self._threads, question[0], question[1])
        self._pending[question] = answer
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may ask again
        loop.call_later(KEPT, self._forget, question, answer)
        return answer

    def _forget(self, question: tuple[Any, Any], answer: asyncio.Future[Any]) -> None:
        """Answered or not: should a thread have come to grief, it is asked anew."""
        if self._pending.get(question) is answer:
            del self._pending[question]


# What is asked, beside functions of pwd and grp; these block, too


def uids(user: str) -> tuple[int, ...]:
    """The uid of a user, or nothing."""
    try:
        return (pwd.getpwnam(user).pw_uid,)
    except (KeyError, ValueError):
        return ()


def groups(user: str) -> frozenset[str]:
    """All groups of a user; OSError when there is no such user."""
    try:
        gid = pwd.getpwnam(user).pw_gid
    except KeyError:
        raise OSError(f"no user {user!r}") from None
    names = set()
    for number in _numbers(user, gid):
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            names.add(str(number))
    return frozenset(names)


def _numbers(user: str, gid: int) -> list[int]:
    """The gids, by libc itself: os.getgrouplist() has all threads wait, the loop's, too, as long as a server hangs."""
    size = 64
    while True:
        found, count = (ctypes.c_uint32 * size)(), ctypes.c_int(size)
        if _libc.getgrouplist(os.fsencode(user), ctypes.c_uint32(gid), found, ctypes.byref(count)) >= 0:
            return found[: count.value]
        size = max(2 * size, count.value)  # as it is told then, see getgrouplist(3)
