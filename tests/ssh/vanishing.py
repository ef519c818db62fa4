# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults at the reader of /proc and the cgroup tree: of all that is read there, one thing is not to be had."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from itertools import count
from typing import Any, Final, Self
from unittest.mock import patch

#: What a reader meets where something has gone between two reads, or before the first.
FAULTS: Final = {
    "gone": FileNotFoundError(errno.ENOENT, "made up"),
    "gone while it is read": ProcessLookupError(errno.ESRCH, "made up"),
    "empty": None,
}
#: What has not gone, and yet cannot be read.
REFUSALS: Final = {name: OSError(getattr(errno, name), "made up") for name in ("EACCES", "EIO")}
#: What says nothing of what is read.
SHORTAGE: Final = OSError(errno.EMFILE, "made up")
_WHERE: Final = ("/proc", "/sys/")


class Vanishing:
    """While it is entered, the read of that number fails; `hit` tells what that was."""

    def __init__(self, fault: OSError | None, at: int) -> None:
        self._fault = fault
        self._left = at
        self._patches = ExitStack()
        self._spoiled: int | None = None  # descriptor of what was opened, and cannot be read
        self.hit = ""

    def __enter__(self) -> Self:
        places: dict[str, Callable[[], Any] | None]
        places = {"listdir": list[str], "scandir": lambda: nullcontext(iter(())), "readlink": None, "stat": None}
        for name, empty in places.items():
            self._patch(os, name, empty)
        for owner in (builtins, io):
            self._patch(owner, "open", io.BytesIO)
        self._patch_descriptors()
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _patch(self, owner: Any, name: str, empty: Callable[[], Any] | None) -> None:
        original = getattr(owner, name)

        def read(path: Any, *args: Any, **options: Any) -> Any:
            if not self._is_here(path):
                return original(path, *args, **options)
            self.hit = f"{name} {path}"
            if name == "open" and isinstance(self._fault, ProcessLookupError):
                return _Gone(self._fault)
            if self._fault is None and empty is not None:
                return empty()
            raise self._fault or FAULTS["gone"] or AssertionError

        self._patches.enter_context(patch.object(owner, name, read))

    def _patch_descriptors(self) -> None:
        """What is read without a file object."""
        original_open, original_read = os.open, os.read

        def open_(path: Any, *args: Any, **options: Any) -> int:
            spoil = self._is_here(path)
            if spoil:
                self.hit = f"os.open {path}"
                if self._fault is not None and not isinstance(self._fault, ProcessLookupError):
                    raise self._fault
            fd = original_open(path, *args, **options)
            self._spoiled = fd if spoil else self._spoiled
            return fd

        def read(fd: int, size: int) -> bytes:
            if fd != self._spoiled:
                return original_read(fd, size)
            self._spoiled = None
            if self._fault is not None:
                raise self._fault
            return b""

        self._patches.enter_context(patch.object(os, "open", open_))
        self._patches.enter_context(patch.object(os, "read", read))

    def _is_here(self, path: Any) -> bool:
        if not str(path).startswith(_WHERE):
            return False
        self._left -= 1
        return self._left == -1


class _Gone(io.BytesIO):
    """Was there when it was opened."""

    def __init__(self, fault: OSError) -> None:
        super().__init__()
        self._fault = fault

    def read(self, _size: int | None = -1) -> bytes:
        raise self._fault


def each(fault: OSError | None) -> Iterator[Vanishing]:
    """One after the other for each thing that is read, until one finds nothing more to spoil."""
    for at in count():
        vanishing = Vanishing(fault, at)
        yield vanishing
        if not vanishing.hit:
            return
