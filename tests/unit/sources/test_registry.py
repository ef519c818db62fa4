# SPDX-License-Identifier: LGPL-2.1-or-later
"""One session of what several sources see, with real processes as leaders."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from idled import procfs, threads
from idled.core.model import Extent, Session, SessionId
from idled.members import located, members, strays_of, whole
from idled.sources import mosh, nss
from idled.sources.registry import Registry
from idled.sources.sighting import Sighting
from tests.terminal.bench import (
    NOBODY,
    Cgroup,
    Child,
    handle_of,
    is_root,
    lives,
    open_descriptors,
    python,
    shell,
)

#: Says when it is there, and when it has connected to a port.
CALLER = """
import socket
print('ready', flush=True)
sys.stdin.readline()
link = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print(link.getsockname()[1], flush=True)
time.sleep(1000)
"""
SLEEPER = python("print('ready', flush=True); time.sleep(1000)")
FAMILY = shell("sleep 1000 & echo $!")


class Bench:
    """A registry, and what it told."""

    def __init__(self) -> None:
        self.opened: list[tuple[Session, Sighting | None]] = []
        self.closed: list[SessionId] = []
        self.registry = Registry(lambda session, seen: self.opened.append((session, seen)), self.closed.append)

    async def until(self, fact: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not fact():
                await asyncio.sleep(0.002)

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def all_of_it() -> None:
            await story()
            for session, _ in self.opened:
                self.registry.drop(session.id)

        asyncio.run(all_of_it())


def sighting(leader: Child, **what: Any) -> Sighting:
    known: dict[str, Any] = {
        "pid": leader.pid,
        "start": leader.process.start,
        "user": "root",
        "uid": 0,
        "opened_at": 5_000_000,
    }
    return Sighting(**(known | what))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_several_sources_see_is_one_session(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            await bench.registry.see(sighting(leader, service="ssh", connection="::1 1 ::1 2", remote="10.8.0.7"))
            await bench.registry.see(sighting(leader, logind="5", scope="session-5.scope", service="other", found=True))
            seen = await bench.registry.see(sighting(leader, tty="pts/1", remote="elsewhere", logind="6"))
            assert seen is not None
            assert (seen.service, seen.remote, seen.logind, seen.tty) == ("ssh", "10.8.0.7", "5", "pts/1")
            assert {session.id for session, _ in bench.opened} == {seen.id}
            assert [seen is not None and seen.found for _, seen in bench.opened] == [False, True, False]
            handle = bench.registry.get(seen.id)
            assert handle is not None
            assert (handle.scope, handle.connection) == ("session-5.scope", "::1 1 ::1 2")

    bench.run(story)


def test_news_that_is_none_is_not_told(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            for _ in range(3):
                await bench.registry.see(sighting(leader))
            await bench.registry.see(sighting(leader, opened_at=6_000_000, found=True))
            assert len(bench.opened) == 1

    bench.run(story)


@pytest.mark.parametrize("moments", [(7, 5, 6), (5, 7, 6), (7, None, 5), (5, None, None)])
def test_the_earliest_moment_of_opening_is_the_true_one(bench: Bench, moments: tuple[int | None, ...]) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            for moment in moments:
                seen = await bench.registry.see(sighting(leader, opened_at=moment))
            assert seen is not None
            assert seen.opened_at == 5

    bench.run(story)


def test_without_a_moment_it_is_the_leaders_start(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            seen = await bench.registry.see(sighting(leader, opened_at=None))
            assert seen is not None
            assert seen.opened_at == leader.process.start * procfs.TICK

    bench.run(story)


def test_text_from_outside_is_cleaned(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            hostile = {name: "a\x1b[2J\nb" for name in ("user", "service", "tty", "remote", "logind")}
            seen = await bench.registry.see(sighting(leader, **hostile))
            assert seen is not None
            assert {getattr(seen, name) for name in hostile} == {"a?[2J?b"}

    bench.run(story)


def test_the_leaders_exit_closes_the_session(bench: Bench) -> None:
    async def story() -> None:
        before = open_descriptors()
        with Child(SLEEPER) as leader, Child(SLEEPER) as other:
            seen = await bench.registry.see(sighting(leader))
            await bench.registry.see(sighting(other))
            assert seen is not None
            begin = time.monotonic()
            os.kill(leader.pid, signal.SIGKILL)
            await bench.until(lambda: bench.closed)
            assert time.monotonic() - begin < 10, "it is held for 20 s"
            assert bench.closed == [seen.id]
            assert bench.registry.get(seen.id) is not None, "until it is dropped"
            bench.registry.drop(seen.id)
            assert bench.registry.get(seen.id) is None
            bench.registry.drop(bench.opened[1][0].id)
        assert open_descriptors() == before

    bench.run(story)


def test_a_dropped_session_is_not_closed_as_well(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader, Child(SLEEPER) as other:
            seen = await bench.registry.see(sighting(leader))
            last = await bench.registry.see(sighting(other))
            assert seen is not None
            assert last is not None
            bench.registry.drop(seen.id)
            leader.die()
            other.die()
            await bench.until(lambda: bench.closed)
            assert bench.closed == [last.id]

    bench.run(story)


def test_a_leader_that_is_gone_makes_no_session(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            dead = sighting(leader)
            reused = replace(dead, start=dead.start - 1)
            assert await bench.registry.see(reused) is None
        assert await bench.registry.see(dead) is None
        assert bench.opened == []
        assert bench.closed == []

    bench.run(story)


# By mosh


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command that runs what is taken for a mosh-server."""
    shutil.copy("/bin/sh", path := tmp_path / "mosh-server")
    monkeypatch.setattr(mosh, "_FILES", {str(path)})
    return [str(path), "-c", "echo; read line"]


@is_root
def test_who_stays_by_mosh_goes_on_when_the_leader_is_gone(bench: Bench, server: list[str]) -> None:
    async def story() -> None:
        with Cgroup("session-1.scope") as cgroup, Child(SLEEPER, cgroup=cgroup.path) as leader:
            seen = await bench.registry.see(sighting(leader, service="sshd", remote="::1", scope="session-1.scope"))
            assert seen is not None
            assert bench.registry.get(seen.id) is not None  # a look, which finds the cgroup
            with Child(server, cgroup=cgroup.path) as first, Child(server, cgroup=cgroup.path) as second:
                leader.die()
                for heir in (first, second):
                    await bench.until(lambda: len(bench.closed) == len(bench.opened))
                    bench.registry.drop(bench.closed[-1])
                    session, told = bench.opened[-1]
                    assert session == replace(seen, id=session.id, service="mosh")
                    assert (session.id.pid, told) == (heir.pid, None)
                    assert bench.registry.around(heir.pid) == session
                    heir.die()
                await bench.until(lambda: len(bench.closed) == len(bench.opened))
                bench.registry.drop(bench.closed[-1])
                assert [id.pid for id in bench.closed] == [leader.pid, first.pid, second.pid]
                assert len(bench.opened) == 3

    bench.run(story)


@is_root
def test_a_leader_that_goes_while_nss_is_asked_leaves_the_session_to_mosh(
    bench: Bench, server: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        with Cgroup("user.slice/user-0.slice/session-1.scope") as cgroup, Child(server, cgroup=cgroup.path) as heir:
            monkeypatch.setattr(procfs, "cgroup_root", lambda: cgroup.top)
            with Child(SLEEPER) as leader:
                was = sighting(leader, service="sshd", logind="1", scope="session-1.scope")
            seen = await bench.registry.see(was)
            assert seen is not None
            assert (seen.id.pid, seen.service, seen.logind) == (heir.pid, "mosh", "1")

    bench.run(story)


@is_root
def test_an_heir_that_the_daemon_before_remembered_is_taken_in_once(bench: Bench, server: list[str]) -> None:
    """Where what was remembered of the session before was kept, too."""

    async def story() -> None:
        with Cgroup("session-1.scope") as cgroup, Child(server, cgroup=cgroup.path) as heir:
            with Child(SLEEPER, cgroup=cgroup.path) as leader:
                before = located(replace(handle_of(leader.process), scope="session-1.scope"))
            after = mosh.heir(before)
            assert after is not None
            after = replace(after, session=replace(after.session, tty="pts/1"))
            assert bench.registry.adopt(after)
            assert not bench.registry.adopt(before)
            bench.registry.drop(before.session.id)
            assert bench.registry.get(after.session.id) == after
            assert bench.registry.around(heir.pid) == after.session
            with Child(SLEEPER, cgroup=cgroup.path) as inside:
                assert bench.registry.around(inside.pid) == after.session
            assert bench.opened == []
            heir.die()
            await bench.until(lambda: bench.closed)
            bench.registry.drop(after.session.id)
            assert bench.closed == [after.session.id]

    bench.run(story)


# Around a process


def test_what_a_session_has_started_is_inside_of_it(bench: Bench) -> None:
    async def story() -> None:
        with Child(FAMILY) as leader, Child(FAMILY) as stranger:
            seen = await bench.registry.see(sighting(leader))
            assert bench.registry.around(int(leader.said)) == seen
            assert bench.registry.around(int(stranger.said)) is None
            assert bench.registry.around(os.getpid()) is None
            for child in (leader, stranger):
                os.kill(int(child.said), signal.SIGKILL)

    bench.run(story)


def test_a_process_that_is_gone_is_in_no_session(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader, Child(SLEEPER) as gone:
            await bench.registry.see(sighting(leader))
            gone.die()
            assert bench.registry.around(gone.pid) is None

    bench.run(story)


@is_root
def test_what_left_its_parent_is_found_by_the_cgroup(bench: Bench) -> None:
    async def story() -> None:
        with Cgroup("session-1.scope") as cgroup:
            daemon = "(setsid sh -c 'echo $$; exec sleep 1000' &)"
            with Child(shell(daemon), cgroup=cgroup.path) as leader, Child(SLEEPER) as stranger:
                seen = await bench.registry.see(sighting(leader, scope="session-1.scope"))
                pid = int(leader.said)
                await bench.until(lambda: (found := procfs.process(pid)) is not None and found.ppid != leader.pid)
                assert seen is not None
                assert bench.registry.around(pid) == seen  # also where nobody has looked at the session yet
                handle = bench.registry.get(seen.id)
                assert handle is not None
                assert handle.cgroup == procfs.Cgroup.at(cgroup.path)
                assert bench.registry.around(stranger.pid) is None

    bench.run(story)


# From the daemon before


def test_a_remembered_session_is_watched_again(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            handle = handle_of(leader.process)
            assert bench.registry.adopt(handle)
            assert bench.registry.get(handle.session.id) == handle
            assert lives(leader.pid)
            leader.die()
            await bench.until(lambda: bench.closed == [handle.session.id])
            bench.registry.drop(handle.session.id)

    bench.run(story)


def test_a_remembered_session_whose_leader_is_gone(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            handle = handle_of(leader.process)
        assert not bench.registry.adopt(handle)
        bench.registry.drop(handle.session.id)
        assert bench.closed == []

    bench.run(story)


def test_a_remembered_session_whose_name_is_given_to_another_one(bench: Bench) -> None:
    """Its cgroup, and what logind calls by its name, are the other's."""

    async def story() -> None:
        with Cgroup("session-c1.scope") as cgroup, Child(SLEEPER, cgroup=cgroup.path) as leader:
            handle = replace(handle_of(leader.process, uid=NOBODY), scope="session-c1.scope")
            handle = located(replace(handle, session=replace(handle.session, logind="c1")))
        assert handle.cgroup is not None
        with Cgroup("session-c1.scope") as cgroup, Child(SLEEPER, cgroup=cgroup.path):
            assert not bench.registry.adopt(handle)
            adopted = bench.registry.get(handle.session.id)
            assert adopted is not None
            assert members(adopted) == []
            assert [whole(adopted, extent) for extent in Extent] == [None] * 3
            assert [strays_of(adopted, extent) for extent in Extent] == [()] * 3
            bench.registry.drop(handle.session.id)

    bench.run(story)


def test_who_has_the_path_of_a_session_is_not_in_it(bench: Bench) -> None:
    async def story() -> None:
        with Cgroup("session-1.scope") as cgroup:
            with Child(SLEEPER, cgroup=cgroup.path) as leader:
                seen = await bench.registry.see(sighting(leader, scope="session-1.scope"))
                assert seen is not None
                assert bench.registry.get(seen.id) is not None  # a look, which finds the cgroup
                with Child(SLEEPER, cgroup=cgroup.path) as inside:
                    assert bench.registry.around(inside.pid) == seen
                    assert bench.registry.folders == {str(cgroup.path): procfs.inode(cgroup.path)}
            await bench.until(lambda: not cgroup.populated())
            cgroup.make_anew()
            with Child(SLEEPER, cgroup=cgroup.path) as other:
                assert bench.registry.around(other.pid) is None
            bench.registry.drop(seen.id)

    bench.run(story)


def test_a_remembered_session_that_left_something_behind(bench: Bench) -> None:
    async def story() -> None:
        with Cgroup("session-c1.scope") as cgroup, Child(SLEEPER, cgroup=cgroup.path):
            with Child(SLEEPER, cgroup=cgroup.path) as leader:
                handle = located(replace(handle_of(leader.process), scope="session-c1.scope"))
            assert not bench.registry.adopt(handle)
            assert bench.registry.get(handle.session.id) == handle
            bench.registry.drop(handle.session.id)

    bench.run(story)


# Groups


def test_where_no_thread_can_be_started_nss_does_not_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when somebody has all the pids there are."""

    async def story() -> None:
        with monkeypatch.context() as taken:
            taken.setattr(threads, "start_new_thread", no_more)
            assert await bench.registry.uid_of("root") is None
            assert await bench.registry.groups_of("root") is None
        assert await bench.registry.uid_of("root") == 0

    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    bench.run(story)


def test_a_connection_that_was_not_found_is_looked_for_again(bench: Bench) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with Child(python(CALLER, port)) as leader, Child(python(CALLER, port)) as other:
                found = await bench.registry.see(sighting(leader, service="sshd"))
                elsewhere = await bench.registry.see(sighting(other, service="login"))
                await bench.registry.connections_again()
                assert found is not None
                assert elsewhere is not None
                assert connection(found) == ""
                for child in (leader, other):
                    child.tell()
                own = leader.line()
                other.line()
                for _ in range(2):
                    await bench.registry.connections_again()
                    assert connection(found) == f"127.0.0.1 {port} 127.0.0.1 {own}"
                    assert connection(elsewhere) == ""

    def connection(session: Session) -> str:
        handle = bench.registry.get(session.id)
        assert handle is not None
        return handle.connection

    bench.run(story)


def test_groups_are_asked_for_where_a_rule_wants_them(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as leader:
            bench.registry.want_groups(True)
            seen = await bench.registry.see(sighting(leader))
            assert seen is not None
            assert "root" in seen.groups

    bench.run(story)


def test_groups_of_open_sessions_are_asked_for_once_a_rule_wants_them(bench: Bench) -> None:
    async def story() -> None:
        with Child(SLEEPER) as one, Child(SLEEPER) as other:
            await bench.registry.see(sighting(one))
            await bench.registry.groups_again()
            assert [session.groups for session, _ in bench.opened] == [frozenset()]
            bench.registry.want_groups(True)
            bench.registry.adopt(handle_of(other.process))
            assert bench.registry.groupless == 2
            await bench.registry.groups_again()
            assert bench.registry.groupless == 0
            assert len(bench.opened) == 3
            assert all("root" in session.groups for session, _ in bench.opened[1:])

    bench.run(story)


def test_an_nss_that_does_not_answer_keeps_nobody_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory server that hangs cannot be had here; the question to it is held instead."""
    release = asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []

    def hang(user: str) -> frozenset[str]:
        asyncio.run_coroutine_threadsafe(release.wait(), loop[0]).result(20)
        return groups(user)

    async def story() -> None:
        loop.append(asyncio.get_running_loop())
        monkeypatch.setattr(nss, "groups", hang)
        monkeypatch.setattr(nss, "PATIENCE", 0.2)
        bench.registry.want_groups(True)
        with Child(SLEEPER) as leader:
            begin = time.monotonic()
            seen = await bench.registry.see(sighting(leader))
            assert time.monotonic() - begin < 10, "it is held for 20 s"
            assert seen is not None
            assert seen.groups == frozenset()
            monkeypatch.setattr(nss, "PATIENCE", 10)
            release.set()
            await bench.registry.groups_again()
            assert "root" in bench.opened[-1][0].groups

    groups = nss.groups
    bench.run(story)


def test_users_of_whom_nss_says_nothing_are_left_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def ask(user: str) -> tuple[int, ...]:
        if user == "slow":
            release.wait(20)
        return uids(user)

    async def story() -> None:
        monkeypatch.setattr(nss, "uids", ask)
        monkeypatch.setattr(nss, "PATIENCE", 2)
        found = await bench.registry.uids_of(["root", "slow", "nobody-of-that-name", "nul\0byte", "root"])
        assert found == {"root": 0, "nobody-of-that-name": None, "nul\0byte": None}
        release.set()

    uids = nss.uids
    bench.run(story)


def test_what_another_source_tells_while_nss_is_asked_is_kept(bench: Bench) -> None:
    async def story() -> None:
        bench.registry.want_groups(True)
        with Child(SLEEPER) as leader:
            both = (
                sighting(leader, connection="::1 1 ::1 2", service="sshd", opened_at=4_000_000),
                sighting(leader, logind="5", scope="session-5.scope"),
            )
            await asyncio.gather(*(bench.registry.see(one) for one in both))
            (id,) = {session.id for session, _ in bench.opened}
            handle = bench.registry.get(id)
            assert handle is not None
            assert (handle.connection, handle.scope) == ("::1 1 ::1 2", "session-5.scope")
            assert (handle.session.service, handle.session.logind) == ("sshd", "5")
            assert handle.session.opened_at == 4_000_000
            assert "root" in handle.session.groups

    bench.run(story)


def test_uid_of(bench: Bench) -> None:
    async def story() -> None:
        assert await bench.registry.uid_of("root") == 0
        assert await bench.registry.uid_of("nobody") == pwd.getpwnam("nobody").pw_uid
        assert await bench.registry.uid_of("no such user") is None
        assert await bench.registry.uid_of("nul\0byte") is None

    bench.run(story)
