# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is read of /proc is gone at any moment: nobody is ended for it, nobody is spared, and the next look is right.

Real sessions, processes and cgroups; each thing that a look, a scan, a sighting or an end reads is spoiled in its turn.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from idled import clock, links, procfs
from idled.actions.end import End
from idled.core.activity import Look, follow
from idled.core.engine import Engine
from idled.core.events import HangUp, Looked, Memory, Restored, Track, Woken
from idled.core.model import Extent, Session, SessionId
from idled.core.span import MIN, SEC, Usec
from idled.members import Handle
from idled.sources.registry import Registry
from idled.sources.sighting import Sighting
from tests.guest.installed import LATE
from tests.terminal.bench import Cgroup, Child, handle_of, kill, lives, python, until
from tests.terminal.test_ends import ATTACHED_AND_DETACHED, FAKE_SSHD
from tests.unit.core.driver import policy
from tests.unit.front_office import FrontOffice

from .server import Login, Server, sightings
from .vanishing import FAULTS, REFUSALS, SHORTAGE, each

IDLE = MIN
BOUNDS = ("active", "signs", "hidden", "bytes", "traffic", "inner")
WAYS = {"terminal": ("ssh", "-tt", "echo rea''dy; exec cat"), "sftp": ("sftp", "-C", "")}


@contextmanager
def opened(server: Server, user: str, way: str) -> Iterator[Login]:
    program, option, run = WAYS[way]
    expect = "ready" if run else "sftp> "
    with server.login(user, option, run=(run,) if run else (), expect=expect, program=program) as login:
        yield login


@contextmanager
def scope_of(leader: procfs.Process) -> Iterator[Path]:
    """A cgroup with all of a session in it."""
    with Cgroup("session-1.scope") as cgroup:
        for process in (leader, *procfs.descendants(leader.pid)):
            (cgroup.path / "cgroup.procs").write_text(str(process.pid))
        yield cgroup.path


def handle(login: Login, cgroup: Path | None) -> Handle:
    id = SessionId(procfs.boot_id(), login.leader.pid, login.leader.start)
    session = Session(id=id, user=login.user, uid=login.uid, opened_at=1, service="sshd")
    folder, inode = (str(cgroup), procfs.inode(cgroup)) if cgroup else ("", 0)
    return Handle(session=session, folder=folder, inode=inode, connection=login.connection)


# A look


class Watched:
    """A session of which nobody has been there for a while."""

    def __init__(self, office: FrontOffice, handle: Handle) -> None:
        self._office = office
        self._handle = handle
        self._memory = Memory.of_new(handle.session)
        until(self._is_settled, 20)
        until(lambda: clock.now() > IDLE, 60)  # nobody was there before the machine was up

    def look(self) -> Look:
        return self._office.hands._look_at(self._handle)

    def due_at(self, due: Usec) -> Memory:
        """What would be known of it if it were an hour old, and idle so that it is due then."""
        last = due - IDLE
        bounds: dict[str, Any] = {f"{name}_until": last for name in BOUNDS}
        trace = replace(self._memory.trace, chatty=0, **bounds)
        session = replace(self._handle.session, opened_at=last - 60 * MIN)
        return replace(self._memory, session=session, trace=trace, idle=Track(timeout=IDLE))

    def _is_settled(self) -> bool:
        """Whether the block of its last stamp is over, so that looks show nothing new."""
        before, trace = self._memory.trace, follow(self._memory.trace, self.look())
        self._memory = replace(self._memory, trace=trace)
        return before.offset is not None and trace.signs_until < trace.at - SEC


@pytest.fixture(scope="module")
def watched(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Watched]]:
    """Sessions of every kind: with a terminal and without, in a cgroup and not, of a user and of root, and no SSH."""
    office = FrontOffice(tmp_path_factory.mktemp("office"))
    with ExitStack() as stack:
        server, handles = stack.enter_context(Server()), {}
        for way in WAYS:
            for user in ("nobody", "root"):
                login = stack.enter_context(opened(server, user, way))
                handles[f"{way} of {user}"] = handle(login, stack.enter_context(scope_of(login.leader)))
                handles[f"{way} of {user}, no cgroup"] = handle(login, None)
        leader = stack.enter_context(Child(python(FAKE_SSHD, "echo ready >/proc/self/fd/$0; exec cat")))
        handles["console"] = handle_of(leader.process, cgroup=stack.enter_context(scope_of(leader.process)))
        yield {name: Watched(office, handle) for name, handle in handles.items()}
    office.close()


def ended_at(memory: Memory, first: Look, then: Look, now: Usec) -> Usec:
    """When a session is ended that shows this now, and that ever after, looked at when the engine wants to."""
    engine, id, look = Engine(policy(idle_timeout=IDLE, warn_before=())), memory.session.id, first
    engine.handle(Restored(memory=memory), now)
    while not any(
        isinstance(action, HangUp) for action in engine.handle(Looked(id=id, look=replace(look, at=now)), now)
    ):
        assert engine.deadline is not None
        now, look = engine.deadline, then
        engine.handle(Woken(), now)
    return now


KINDS = [f"{way} of {user}{where}" for way in WAYS for user in ("nobody", "root") for where in ("", ", no cgroup")]


@pytest.mark.parametrize("fault", [*FAULTS, *REFUSALS])
@pytest.mark.parametrize("kind", [*KINDS, "console"])
def test_a_look(watched: dict[str, Watched], kind: str, fault: str) -> None:
    """One that is taken before a session is due, and one that is to decide on it."""
    session, tries, wrong, spoiled = watched[kind], 0, [], set()
    for vanishing in each((FAULTS | REFUSALS)[fault]):
        try:
            with vanishing:
                look = session.look()
        except OSError:
            assert fault in REFUSALS, vanishing.hit
            continue  # the daemon ends, is started anew, and looks again
        finally:
            spoiled.add(vanishing.hit.rpartition("/")[2])
        tries += 1
        now, good = clock.now(), session.look()
        for due in (now, now + 5 * SEC):
            late = ended_at(session.due_at(due), look, good, now) - due
            if not 0 <= late <= LATE:
                wrong.append((vanishing.hit, late / SEC))
    assert tries > 1
    assert spoiled >= ({"stat"} if kind == "console" else {"stat", "io"}), "nothing spoils what is read most"
    assert not wrong, tries


# A scan, and the first sight of a session


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", WAYS)
def test_a_scan(server: Server, user: str, way: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It misses the session at worst; it never sees one that is none, or that is older than it is."""
    until(lambda: not server.leaders())
    monkeypatch.setattr(procfs, "cgroup_root", lambda: server.cgroup.path)
    with opened(server, user, way):
        (good,) = until(lambda: sightings(logind=True))
        for vanishing in each(FAULTS[fault]):
            with vanishing:
                found = sightings(logind=True)
            for sighting in found:
                assert replace(sighting, opened_at=good.opened_at) == good, vanishing.hit
                assert (sighting.opened_at or 0) >= (good.opened_at or 0), vanishing.hit
            assert sightings(logind=True) == [good]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sighting(server: Server, user: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first one could not find out, the next scan does, long after."""
    monkeypatch.setattr(links, "_FRESH", 0)
    with opened(server, user, "sftp") as login, scope_of(login.leader) as cgroup:
        wanted = handle(login, cgroup)
        sighting = Sighting(
            pid=login.leader.pid,
            start=login.leader.start,
            user=user,
            uid=login.uid,
            opened_at=1,
            service="sshd",
            scope=cgroup.name,
        )

        async def seen_twice() -> None:
            for vanishing in each(FAULTS[fault]):
                registry = Registry(lambda *_: None, lambda *_: None)
                with vanishing:
                    await registry.see(sighting)
                await registry.see(sighting)
                await registry.connections_again()
                assert registry.get(wanted.session.id) == wanted, vanishing.hit
                registry.drop(wanted.session.id)

        asyncio.run(seen_twice())


# Where descriptors are short


#: Of what a process runs. That may lie on a file server of the user's, who says with it what he likes.
OF_THE_USERS = re.compile(r"stat /proc/\d+/(exe|ns/mnt)$")


def never_answers(read: Callable[[], object]) -> int:
    """Whatever of it cannot be read for want of descriptors, it says so; how many things those are."""
    found = 0
    for vanishing in each(SHORTAGE):
        try:
            with vanishing:
                read()
        except OSError as error:
            assert error is SHORTAGE
            found += 1
            continue
        assert not vanishing.hit or OF_THE_USERS.match(vanishing.hit), vanishing.hit
    return found


@pytest.mark.parametrize("kind", [*KINDS, "console"])
def test_a_look_says_that_descriptors_are_short(watched: dict[str, Watched], kind: str) -> None:
    assert never_answers(watched[kind].look) > 5


@pytest.mark.parametrize("way", WAYS)
def test_a_scan_says_that_descriptors_are_short(
    server: Server, user: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "cgroup_root", lambda: server.cgroup.path)
    with opened(server, user, way):
        until(lambda: sightings(logind=True))
        assert never_answers(lambda: sightings(logind=True)) > 5


@pytest.mark.parametrize("extent", [Extent.SESSION, Extent.CONNECTION])
@pytest.mark.parametrize("has_cgroup", [True, False])
def test_an_end_says_that_descriptors_are_short(extent: Extent, has_cgroup: bool) -> None:
    with Cgroup() as cgroup, Child(python(FAKE_SSHD, ATTACHED_AND_DETACHED), cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path if has_cgroup else None), extent)
        assert never_answers(ending.gone) >= 1


# An end


#: Each read takes a session. What the readers make of the other faults is seen in the looks, too.
ENDS = {f"in a cgroup, {fault}": (Extent.SESSION, True, fault) for fault in FAULTS} | {
    "no cgroup": (Extent.SESSION, False, "gone"),
    "of a connection": (Extent.CONNECTION, True, "gone"),
    "of a connection, no cgroup": (Extent.CONNECTION, False, "gone"),
}


@pytest.mark.parametrize(("extent", "has_cgroup", "fault"), ENDS.values(), ids=ENDS)
def test_an_end(extent: Extent, has_cgroup: bool, fault: str) -> None:
    """Nothing is taken for gone that is not, nothing goes that should stay, and what was missed goes a second later."""
    wrong = []
    for vanishing in each(FAULTS[fault]):
        with Cgroup() as cgroup, Child(python(FAKE_SSHD, ATTACHED_AND_DETACHED), cgroup=cgroup.path) as leader:
            *going, detached = map(int, leader.said.split())
            stays = [detached] if extent is Extent.CONNECTION else []
            going += [leader.pid, *({detached} - {*stays})]
            ending = End(handle_of(leader.process, cgroup=cgroup.path if has_cgroup else None), extent)
            with vanishing:
                ending.hang_up()
            until(lambda: vanishing.hit or not lives(leader.pid))  # noqa: B023
            with vanishing:
                over = ending.gone()
            if over:
                wrong.append((vanishing.hit, "gone"))
                continue
            with vanishing:
                kill(ending)
            kill(ending)
            try:
                until(lambda: not any(map(lives, going)))  # noqa: B023
                assert all(map(lives, stays))
                until(ending.gone)
            except AssertionError as error:
                wrong.append((vanishing.hit, str(error)))
    assert not wrong
