# SPDX-License-Identifier: LGPL-2.1-or-later
"""What logind tells, and that neither it nor the bus can take the daemon down: a real bus, a logind that is not."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from idled import clock, procfs
from idled.core.span import SEC
from idled.sources import logind, mosh
from idled.sources.logind import Logind, sighting_of
from idled.sources.sighting import Sighting
from tests.terminal.bench import Child, python

from .fake_logind import OPENED_AT, Bus, FakeLogind, here, properties

SLEEPER = python("print('ready', flush=True); time.sleep(1000)")
ME = os.getpid()


def told(leader: int = ME, **changes: Any) -> dict[str, Any]:
    return {name: value for name, (_, value) in properties("5", leader, **changes).items()}


# What a session's properties say


def test_an_ssh_session() -> None:
    before = clock.asleep()
    found = sighting_of(told(), found=False)
    me = procfs.process(ME)
    assert found is not None
    assert me is not None
    assert (found.pid, found.start) == (ME, me.start)
    assert (found.user, found.uid, found.service) == ("alice", 1000, "sshd")
    assert (found.remote, found.tty, found.logind) == ("10.8.0.7", "", "5")
    assert abs((found.opened_at or 0) - OPENED_AT - before) < SEC / 10, "two clocks are read one after the other"
    assert found.offset == 1_800_000_000 * SEC - (found.opened_at or 0)
    assert not found.found


def test_where_the_machine_has_slept_nobody_knows_by_which_clock_it_was_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "asleep", lambda: SEC)
    found = sighting_of(told(), found=True)
    assert found is not None
    assert found.offset is None


def test_a_console_login_has_its_terminal() -> None:
    console = told(Remote=False, RemoteHost="", TTY="/dev/tty1", Service="login")
    found = sighting_of(console, found=True)
    assert found is not None
    assert (found.tty, found.remote, found.service, found.found) == ("tty1", "", "login", True)


def test_a_later_process_of_the_leaders_number_is_no_leader() -> None:
    """A session that something has outlived is listed long after its leader's number may be another's."""
    began = me.start * procfs.TICK - clock.asleep() if (me := procfs.process(ME)) else 0
    assert sighting_of(told(TimestampMonotonic=began + procfs.TICK), found=True) is not None
    assert sighting_of(told(TimestampMonotonic=began - procfs.TICK), found=True) is None


def test_a_session_whose_leader_is_gone_is_led_by_its_mosh_server(monkeypatch: pytest.MonkeyPatch) -> None:
    me = procfs.process(ME)
    asked: list[tuple[int, str]] = []

    def server_of(uid: int, scope: str) -> procfs.Process | None:
        asked.append((uid, scope))
        return me

    monkeypatch.setattr(mosh, "server_of", server_of)
    found = sighting_of(told(leader=0, State="closing"), found=True)
    assert found is not None
    assert (found.pid, found.service, found.remote, found.logind) == (ME, "mosh", "10.8.0.7", "5")
    assert asked == [(1000, "session-5.scope")]


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"Class": "user"}, True),
        ({"Class": "user-early"}, True),
        ({"Class": "user-light"}, True),
        ({"Class": "user-early-light"}, True),
        ({"Class": "user-incomplete"}, True),
        ({"Class": "greeter"}, False),
        ({"Class": "lock-screen"}, False),
        ({"Class": "background"}, False),
        ({"Class": "background-light"}, False),
        ({"Class": "manager"}, False),
        ({"Class": "manager-early"}, False),
        ({"Class": "none"}, False),
        ({"Type": "tty"}, True),
        ({"Type": "unspecified", "TTY": "", "Remote": True}, True),
        ({"Type": "x11"}, False),
        ({"Type": "wayland"}, False),
        ({"Type": "mir"}, False),
        ({"Type": "web"}, False),
        ({"Service": "systemd-user"}, False),
        ({"Service": "login"}, True),
        ({"Leader": 0}, False),
        ({"State": "closing"}, True),
    ],
)
def test_which_sessions_count(changes: dict[str, Any], counts: bool) -> None:
    assert (sighting_of(told(**changes), found=True) is not None) == counts


def test_a_session_whose_leader_is_gone_is_over() -> None:
    with Child(SLEEPER) as child:
        gone = child.pid
    assert sighting_of(told(gone), found=True) is None


# On the bus


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    if reason := here():
        pytest.skip(reason)
    monkeypatch.setattr(logind, "_AGAIN_AFTER", 0.05)
    with Bus() as bus:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield bus


class Watcher:
    """The source at work: what it saw, what it said, and whether it still runs."""

    def __init__(self) -> None:
        self.seen: list[Sighting] = []
        self.sees = True
        self.troubles: list[str] = []
        self.missed = 0
        self.source = Logind(self._see, self.troubles.append, self._miss)

    def _miss(self) -> None:
        self.missed += 1

    async def _see(self, sighting: Sighting) -> Sighting | None:
        self.seen.append(sighting)
        return sighting if self.sees else None

    def ids(self) -> list[str]:
        return [sighting.logind for sighting in self.seen]

    async def until(self, fact: Callable[[], object], timeout: float = 10) -> None:
        async with asyncio.timeout(timeout):
            while not fact():
                assert not self.task.done(), "run() has ended"
                await asyncio.sleep(0.005)

    def run(self, story: Callable[[Watcher], Awaitable[None]]) -> None:
        """Let it run beside a story; it must still be running when that has been told."""

        async def both() -> None:
            self.task = asyncio.create_task(self.source.run())
            try:
                await story(self)
                assert not self.task.done(), "run() has ended"
            finally:
                self.task.cancel()
                await asyncio.gather(self.task, return_exceptions=True)

        asyncio.run(both())


def test_all_that_are_there_are_seen_and_then_each_new_one(bus: Bus) -> None:
    with FakeLogind(bus.address, {"1": properties("1", ME), "2": properties("2", ME)}) as fake:

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            assert sorted(watcher.ids()) == ["1", "2"]
            assert all(sighting.found for sighting in watcher.seen)
            assert watcher.source.connected
            assert watcher.source.health == "ok"
            fake.open("3", properties("3", ME))
            await watcher.until(lambda: len(watcher.seen) == 3)
            assert watcher.seen[2].logind == "3"
            assert not watcher.seen[2].found
            fake.sessions["4"] = properties("4", ME)
            await watcher.source.relist()
            assert watcher.ids()[3:] == ["4"], "those that are known are not asked for again"

        Watcher().run(story)


def test_many_sessions_are_listed(bus: Bus) -> None:
    ids = [str(number) for number in range(200)]
    with FakeLogind(bus.address, {id: properties(id, ME) for id in ids}):

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            assert sorted(watcher.ids()) == sorted(ids)

        Watcher().run(story)


def test_a_session_that_is_over_before_it_is_asked_for(bus: Bus) -> None:
    with FakeLogind(bus.address, {}) as fake:

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            fake.open("1", properties("1", ME))
            del fake.sessions["1"]
            fake.open("2", properties("2", ME))
            await watcher.until(lambda: "2" in watcher.ids())

        Watcher().run(story)


def test_the_bus_is_restarted(bus: Bus) -> None:
    async def story(watcher: Watcher) -> None:
        with FakeLogind(bus.address, {"1": properties("1", ME)}):
            await watcher.source.first_listed.wait()
            bus.stop()
            await watcher.until(lambda: watcher.troubles)
            assert not watcher.source.connected
        bus.start()
        with FakeLogind(bus.address, {"1": properties("1", ME), "2": properties("2", ME)}):
            await watcher.until(lambda: "2" in watcher.ids())
            await watcher.until(lambda: watcher.source.health == "ok")
        assert len(set(watcher.troubles)) == len(watcher.troubles), "each failure is said once"

    Watcher().run(story)


def test_logind_is_restarted(bus: Bus) -> None:
    async def story(watcher: Watcher) -> None:
        with FakeLogind(bus.address, {"1": properties("1", ME)}):
            await watcher.source.first_listed.wait()
        with FakeLogind(bus.address, {"1": properties("1", ME), "2": properties("2", ME)}):
            await watcher.until(lambda: "2" in watcher.ids())
        assert watcher.source.connected

    Watcher().run(story)


def test_there_is_no_logind_on_the_bus(bus: Bus) -> None:
    async def story(watcher: Watcher) -> None:
        await watcher.source.first_listed.wait()
        assert not watcher.source.connected
        assert len(watcher.troubles) == 1
        with FakeLogind(bus.address, {"1": properties("1", ME)}):
            await watcher.until(lambda: watcher.ids() == ["1"])

    Watcher().run(story)


def test_there_is_no_bus(bus: Bus) -> None:
    bus.stop()

    async def story(watcher: Watcher) -> None:
        await watcher.source.first_listed.wait()
        assert "not reachable" in watcher.source.health
        await watcher.source.relist()
        await watcher.source.terminate("1")
        bus.start()
        with FakeLogind(bus.address, {"1": properties("1", ME)}):
            await watcher.until(lambda: watcher.ids() == ["1"])

    Watcher().run(story)


def test_a_logind_that_does_not_answer(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logind, "_PATIENCE", 0.2)
    with FakeLogind(bus.address, {"1": properties("1", ME)}) as fake:
        fake.mute = True

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            assert not watcher.source.connected
            fake.mute = False
            await watcher.until(lambda: watcher.ids() == ["1"])
            await watcher.until(lambda: watcher.source.health == "ok")
            fake.mute = True
            await watcher.source.relist()
            await watcher.source.terminate("1")
            assert any("does not let go" in trouble for trouble in watcher.troubles)
            fake.open("2", properties("2", ME))
            await watcher.until(lambda: any("new session" in trouble for trouble in watcher.troubles))

        Watcher().run(story)


def test_a_logind_that_takes_long_is_asked_once(bus: Bus) -> None:
    sessions = {str(number): properties(str(number), ME) for number in range(20)}
    with FakeLogind(bus.address, sessions) as fake:
        fake.slow = 0.02

        async def story(watcher: Watcher) -> None:
            await watcher.until(lambda: watcher.seen)
            assert watcher.source.listing
            assert not watcher.source.first_listed.is_set()
            await watcher.source.relist()
            assert not watcher.source.listing
            assert watcher.source.first_listed.is_set()
            assert len(watcher.seen) == len([None for member, _ in fake.asked if member == "GetAll"]) == len(sessions)

        Watcher().run(story)


@pytest.mark.parametrize("missing", ["Leader", "Class", "User", "TimestampMonotonic"])
def test_a_logind_that_tells_less(bus: Bus, missing: str) -> None:
    session = properties("1", ME)
    del session[missing]
    with FakeLogind(bus.address, {}) as fake:

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            fake.open("1", session)
            await watcher.until(lambda: watcher.troubles)
            await watcher.source.relist()
            assert watcher.seen == []
            fake.sessions["1"] = properties("1", ME)
            await watcher.source.relist()
            assert watcher.ids() == ["1"], "it was not given up"

        Watcher().run(story)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # jeepney forgets a connection that fails half-way
@pytest.mark.parametrize(
    "answers",
    [
        None,
        [],
        [b"REJECTED EXTERNAL\r\n"],
        [b"OK 1234\r\nnonsense"],
        [b"OK 1234\r\nl\1\0\1"],
        [b"OK 1234\r\n", b""],
        [b"OK 1234\r\n", b"nonsense" * 10],
        [b"\0" * 3000],
    ],
    ids=["silent", "closes", "refuses", "talks nonsense", "stops in the middle", "greets", "greets and raves", "zeros"],
)
def test_a_peer_that_is_no_bus(bus: Bus, monkeypatch: pytest.MonkeyPatch, answers: list[bytes] | None) -> None:
    monkeypatch.setattr(logind, "_PATIENCE", 0.2)
    bus.stop()
    bus.socket.unlink(missing_ok=True)
    peers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer)
        for answer in answers or []:
            await reader.read(1000)
            writer.write(answer)
        if answers is not None:
            await reader.read(1000)
            writer.close()

    async def story(watcher: Watcher) -> None:
        server = await asyncio.start_unix_server(serve, bus.socket)
        await watcher.until(lambda: len(peers) >= 2)
        assert len(watcher.troubles) == 1
        assert not watcher.source.connected
        server.close()
        for peer in peers:
            peer.close()

    Watcher().run(story)
    gc.collect()


def test_letting_go(bus: Bus) -> None:
    with FakeLogind(bus.address, {"1": properties("1", ME)}) as fake:

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            await watcher.source.terminate("1")
            await watcher.source.terminate_user(1000)
            await watcher.source.terminate("no such")
            asked = [question for question in fake.asked if question[0].startswith("Terminate")]
            assert asked == [
                ("TerminateSession", ("1",)),
                ("TerminateUser", (1000,)),
                ("TerminateSession", ("no such",)),
            ]
            assert watcher.troubles == []

        Watcher().run(story)


def test_a_see_that_fails_is_tried_again(bus: Bus) -> None:
    """Out of descriptors, say: the session is not taken for seen."""
    with FakeLogind(bus.address, {}) as fake:

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            see, watcher.source._see = watcher.source._see, out_of_descriptors
            fake.open("1", properties("1", ME))
            await watcher.until(lambda: watcher.troubles)
            assert watcher.missed == 1, "nobody is told to look for it"
            watcher.source._see = see
            await watcher.source.relist()
            assert watcher.ids() == ["1"]

        Watcher().run(story)


def test_a_session_that_is_not_seen_at_first_is_asked_for_once_more(bus: Bus) -> None:
    """Its leader could not be read just then; one that is closing, with nobody in it, is not asked for for ever."""
    with FakeLogind(bus.address, {"1": properties("1", ME), "2": properties("2", 0)}) as fake:

        async def story(watcher: Watcher) -> None:
            watcher.sees = False
            await watcher.source.first_listed.wait()
            assert watcher.ids() == ["1"]
            fake.sessions["2"] = properties("2", ME)
            watcher.sees = True
            for _ in range(3):
                await watcher.source.relist()
            assert sorted(watcher.ids()) == ["1", "1", "2"]

        Watcher().run(story)


def test_a_session_that_is_over_for_us_is_asked_for_again(bus: Bus) -> None:
    """While logind knows it: who stays in it by mosh may have been missed."""
    with FakeLogind(bus.address, {"1": properties("1", ME), "2": properties("2", ME)}):

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            watcher.seen.clear()
            for _ in range(2):
                watcher.source.ask_again("2")
                await watcher.source.relist()
            assert watcher.ids() == ["2", "2"]

        Watcher().run(story)


def test_what_the_daemon_before_this_one_knew_is_not_asked_for(bus: Bus) -> None:
    with FakeLogind(bus.address, {"1": properties("1", ME), "2": properties("2", ME)}):

        async def story(watcher: Watcher) -> None:
            await watcher.source.first_listed.wait()
            assert watcher.ids() == ["1"]
            watcher.source.ask_again("2")
            await watcher.source.relist()
            assert sorted(watcher.ids()) == ["1", "2"]

        watcher = Watcher()
        watcher.source.need_not_ask("2")
        watcher.source.need_not_ask("")
        watcher.run(story)


async def out_of_descriptors(_: Sighting) -> None:
    raise OSError(24, "Too many open files")
