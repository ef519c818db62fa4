# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads for what may block, so that the loop does not: a question to NSS, and what needs a lock of the kernel's."""

import threading
from _thread import start_new_thread
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class Threads(Executor):
    """A few, begun as they are needed, which then wait for more to do.

    Those of ThreadPoolExecutor are waited for when the daemon exits, as long as what they do takes, while nobody is
    ended. And who starts one by ``threading`` waits until it has begun, for ever where memory is short just then.
    """

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._to_do = SimpleQueue[Callable[[], None]]()
        self._begun, self._idle = 0, threading.Semaphore(0)

    def begin(self) -> None:
        """One of them before there is anything to do: the kernel may have who begins one wait."""
        with suppress(RuntimeError):  # all pids are taken; it is tried again once there is
            self._begin()
            self._idle.release()

    def submit(self, fn: Callable[_P, _Result], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_Result]:
        """As that of any executor; for the loop alone. RuntimeError where all pids are taken: there is no thread."""
        future = Future[_Result]()
        if not self._idle.acquire(blocking=False) and self._begun < self._most:
            self._begin()
        self._to_do.put(partial(_do, future, partial(fn, *args, **kwargs)))
        return future

    def _begin(self) -> None:
        start_new_thread(self._work, ())
        self._begun += 1

    def _work(self) -> None:
        while True:
            self._to_do.get()()
            self._idle.release()


def _do(future: Future[_Result], work: Callable[[], _Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
