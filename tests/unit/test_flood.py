# SPDX-License-Identifier: LGPL-2.1-or-later
"""Thousands of sessions, and thousands of callers who mean no good: no deadline is late for either."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from idled.control.peer import Peer

from .front_office import FrontOffice, acting, serving
from .peer import NOBODY, needs_root, public_folder

ROOT = Peer(pid=0, uid=0)
FLOOD = Path(__file__).parents[1] / "flood.py"


def test_many_sessions_are_listed_in_slices(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        for pid in range(2, 3002):
            office.open(pid, 5000)
        turns = 0
        listing = asyncio.ensure_future(office.ask(ROOT, "ListSessions"))
        while not listing.done():
            turns += 1
            await asyncio.sleep(0)
        assert len(listing.result()["sessions"]) == 3000
        assert turns > 8  # with some milliseconds of work between them

    acting(tmp_path, story)


async def lateness_while(work: Any) -> float:
    """By how many seconds of the loop's own work the worst of many timers was late until the work was done.

    Not by the clock: what else this machine has to do, and who sends the flood, takes its time from that too.
    """
    worst, worst_by_clock = 0.0, 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        before, due = time.thread_time(), time.monotonic() + 0.01
        await asyncio.sleep(0.01)
        worst = max(worst, time.thread_time() - before)
        worst_by_clock = max(worst_by_clock, time.monotonic() - due)
    task.result()
    print(f"worst lateness of a timer: {worst * 1000:.1f} ms of work, {worst_by_clock * 1000:.1f} ms by the clock")
    return worst


@needs_root
@pytest.mark.parametrize(("uid", "messages"), [(NOBODY, 100_000), (0, 20_000)], ids=["user", "root"])
def test_a_flood_makes_no_deadline_late(uid: int, messages: int) -> None:
    async def flooded(path: Path) -> int:
        script = FLOOD.read_text()
        command = (sys.executable, "-I", "-c", script, str(path), "1000", str(messages), "7")
        if uid:
            command = ("/usr/bin/python3", *command[1:])
        flood = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, user=uid, group=uid, extra_groups=[], cwd="/"
        )
        said, _ = await flood.communicate()
        assert flood.returncode == 0
        return int(said.splitlines()[-1])

    async def story(office: FrontOffice, folder: Path) -> None:
        for pid in range(2, 12):
            office.open(pid, uid)
        async with serving(office, folder / "socket") as path:
            began, sent = time.monotonic(), asyncio.ensure_future(flooded(path))
            late = await lateness_while(sent)
            assert sent.result() == messages
            print(f"{messages} messages of uid {uid} in {time.monotonic() - began:.1f} s")
            assert late < 0.5

    with public_folder() as folder:
        inner = folder / "inner"
        inner.mkdir()
        acting(inner, lambda office: story(office, folder))
