# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leaders that go, as the kernel tells of them."""

from __future__ import annotations

import asyncio

from idled import procfs
from idled.core.model import SessionId
from idled.sources.leaders import Leaders
from tests.terminal.bench import Child, open_descriptors, python

SLEEPER = python("print('ready', flush=True); time.sleep(1000)")


def test_who_is_watched_twice_is_told_of_once() -> None:
    async def story() -> None:
        gone: list[SessionId] = []
        leaders = Leaders(gone.append)
        before = open_descriptors()
        with Child(SLEEPER) as leader:
            session = SessionId(procfs.boot_id(), leader.pid, leader.process.start)
            assert leaders.watch(session)
            assert leaders.watch(session)
            leader.die()
            async with asyncio.timeout(10):
                while not gone:
                    await asyncio.sleep(0.002)
        assert gone == [session]
        assert leaders._epoll.poll(0) == []
        assert open_descriptors() == before
        assert not leaders.watch(session)

    asyncio.run(story())
