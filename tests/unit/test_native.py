# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records reach a journal that hung or was away, in order, and nobody waits for it meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from idled import native
from idled.native import Native


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "socket"
    monkeypatch.setattr(native, "SOCKET", path)
    monkeypatch.setattr(native, "_AGAIN_AFTER", 0.01)
    monkeypatch.setattr(native, "_BUSY", 0.0)
    return path


@contextmanager
def journal(lost: list[int] | None = None) -> Iterator[Native]:
    """The way to it, and how many were lost; the daemon never closes its own."""
    lost = [] if lost is None else lost
    way = Native(lost.append)
    with way._socket:
        yield way


def listen(place: Path) -> socket.socket:
    place.unlink(missing_ok=True)
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    inbox.bind(str(place))
    return inbox


def taken(inbox: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield inbox.recv(1 << 20)
        except BlockingIOError:
            return


async def take(inbox: socket.socket, count: int) -> list[bytes]:
    """So many records, as soon as they have come."""
    found: list[bytes] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += taken(inbox)
            await asyncio.sleep(0)
    return found


def numbered(count: int) -> list[bytes]:
    return [f"N={number}\n".encode() for number in range(count)]


def test_one_that_hangs_gets_all_in_order_when_it_goes_on(place: Path) -> None:
    async def run() -> None:
        with listen(place) as inbox, journal() as way:
            for number in range(3000):  # a socket takes some hundred
                way.send({"N": str(number)})
            assert way.stuck > 1000
            assert await take(inbox, 3000) == numbered(3000)
            assert not way.stuck

    asyncio.run(run())


def test_one_that_is_busy_for_a_moment_is_well(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_BUSY", 0.2)

    async def run() -> None:
        with journal() as way:
            await asyncio.sleep(0.3)  # there was nothing to take
            way.send({"N": "0"})
            began = time.monotonic()
            while not way.stuck:
                await asyncio.sleep(0.01)
            assert time.monotonic() - began > 0.19
            with listen(place) as inbox:
                await take(inbox, 1)
            way.send({"N": "1"})
            assert not way.stuck

    asyncio.run(run())


@pytest.mark.parametrize("left", ["nothing", "a socket that nobody has"])
def test_one_that_is_away_gets_all_when_it_is_back(place: Path, left: str) -> None:
    async def run() -> None:
        listen(place).close()
        if left == "nothing":
            place.unlink()
        with journal() as way:
            for number in range(10):
                way.send({"N": str(number)})
            assert way.stuck == 10
            with listen(place) as inbox:
                assert await take(inbox, 10) == numbered(10)

    asyncio.run(run())


def test_of_too_many_the_latest_are_kept_and_the_others_told_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(native, "_WAITING", 5)
        lost = list[int]()
        with journal(lost) as way:
            for number in range(10):
                way.send({"N": str(number)})
            with listen(place) as inbox:
                assert await take(inbox, 5) == numbered(10)[5:]
                assert lost == [5]
                way.send({"N": "0"})
                assert await take(inbox, 1) == numbered(1)
        assert lost == [5]

    asyncio.run(run())


def test_of_one_that_is_too_large_comes_what_fits(place: Path) -> None:
    with listen(place) as inbox, journal() as way:
        way.send({"LARGE": "ï" * 10_000_000, "ANOTHER": "x" * 1000, "N": "0"})
        way.send({"N": "1"})
        first, second = taken(inbox)
    large, *rest = first.splitlines()
    assert large.decode().startswith("LARGE=ïïï") and len(large) > 100_000
    assert rest == [b"ANOTHER=" + b"x" * 1000, b"N=0"]
    assert second == b"N=1\n"


def test_where_memory_is_short_a_record_waits(place: Path) -> None:
    async def run() -> None:
        with listen(place) as inbox, journal() as way:
            real, way._socket = way._socket, Short()  # type: ignore[assignment]
            way.send({"N": "0"})
            assert way.stuck == 1
            way._socket = real
            assert await take(inbox, 1) == numbered(1)

    asyncio.run(run())


class Short:
    """A socket that gets no memory of the kernel."""

    def sendto(self, data: bytes, place: str) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))


def test_who_stops_can_wait_until_all_are_taken(place: Path) -> None:
    async def run() -> None:
        with journal() as way:
            way.send({"N": "0"})
            waits = asyncio.create_task(way.taken())
            assert await asyncio.wait([waits], timeout=0.05) == (set(), {waits})
            with listen(place) as inbox:
                async with asyncio.timeout(10):
                    await waits
                assert list(taken(inbox)) == numbered(1)

    asyncio.run(run())


def test_any_text_is_a_value(place: Path) -> None:
    with listen(place) as inbox, journal() as way:
        way.send({"ONE": "a=b", "TWO": "a\nb", "THREE": os.fsdecode(b"\xff"), "FOUR": "ï"})
        two = b"TWO\n" + (3).to_bytes(8, "little") + b"a\nb\n"
        assert list(taken(inbox)) == [b"ONE=a=b\n" + two + b"THREE=?\n" + "FOUR=ï\n".encode()]
