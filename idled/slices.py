# SPDX-License-Identifier: LGPL-2.1-or-later
"""Work on thousands of things that lets the loop go on meanwhile, so that nobody's end waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

#: Seconds of work before the loop is given back.
_SLICE: Final = 0.005
_Thing = TypeVar("_Thing")


async def in_slices(things: Iterable[_Thing]) -> AsyncIterator[_Thing]:
    """Each of the things; what is done with one is never interrupted."""
    began = time.monotonic()
    for thing in things:
        if time.monotonic() - began > _SLICE:
            await asyncio.sleep(0)
            began = time.monotonic()
        yield thing
