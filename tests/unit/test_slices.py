# SPDX-License-Identifier: LGPL-2.1-or-later
"""Work on many things: that others have their turn between them."""

from __future__ import annotations

import asyncio
import time

from idled.slices import in_slices


def test_others_have_their_turn_meanwhile() -> None:
    turns: list[int] = []

    async def work() -> list[int]:
        other = asyncio.create_task(others())
        done = []
        async for number in in_slices(range(40)):
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass
            done.append(number)
        other.cancel()
        return done

    async def others() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    assert asyncio.run(work()) == list(range(40))
    assert 8 <= len(turns) <= 40


def test_what_takes_no_time_is_done_in_one_turn() -> None:
    async def work() -> list[int]:
        asyncio.get_running_loop().call_soon(done.append, -1)
        async for number in in_slices(range(3)):
            done.append(number)
        return list(done)

    done: list[int] = []
    assert asyncio.run(work()) == [0, 1, 2]
