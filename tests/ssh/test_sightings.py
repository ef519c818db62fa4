# SPDX-License-Identifier: LGPL-2.1-or-later
"""SSH sessions as /proc shows them: each once, as who it is, and none before its authentication."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from idled import procfs
from idled.core.model import Session, SessionId
from idled.links import Links
from idled.members import Handle, connected
from idled.sources import sshd
from idled.sources.sighting import Sighting
from tests.guest.terminal import Terminal, boottime
from tests.terminal.bench import NOBODY, Cgroup, Child, shell, until

from .server import PASSPHRASE, Login, Server, sightings


def seen(server: Server) -> list[Sighting]:
    """What is seen of this server's connections, and of what they have started."""
    ours = {process.pid for process in procfs.descendants(server.pid)} | {server.pid}
    return [sighting for sighting in sightings() if sighting.pid in ours]


@contextmanager
def watched(server: Server) -> Iterator[list[Sighting]]:
    """Everything that is seen at any moment, looked for without a pause."""
    found: list[Sighting] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            found.extend(seen(server))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


@pytest.fixture(autouse=True)
def nobody_is_logged_in(server: Server) -> None:
    until(lambda: not server.leaders())


WAYS = {
    "terminal": (("-tt",), ("echo rea''dy; exec cat",), "ready", "ssh"),
    "command": (("-T",), ("echo rea''dy; exec cat",), "ready", "ssh"),
    "forward only": (("-N",), (), "", "ssh"),
    "sftp": ((), (), "sftp> ", "sftp"),
}


def opened(server: Server, user: str, way: str) -> Login:
    options, run, expect, program = WAYS[way]
    return server.login(user, *options, run=run, expect=expect, program=program)


@pytest.mark.parametrize("way", WAYS)
def test_a_session_is_seen_as_who_it_is(server: Server, user: str, way: str) -> None:
    before = boottime()
    with opened(server, user, way) as login:
        (sighting,) = until(lambda: seen(server))
        assert (sighting.pid, sighting.start) == (login.leader.pid, login.leader.start)
        assert (sighting.user, sighting.uid, sighting.service) == (user, login.uid, "sshd")
        assert sighting.found
        assert sighting.opened_at is not None
        assert before - procfs.TICK <= sighting.opened_at <= boottime()
    until(lambda: seen(server) == [])


@pytest.mark.parametrize("way", ["terminal", "forward only"])
def test_nothing_is_seen_before_the_authentication(server: Server, user: str, way: str) -> None:
    """The client waits for its key's passphrase: connected, the user named, and not yet in."""
    options, run, expect, _ = WAYS[way]
    with watched(server) as found, Terminal([*server.command(user, *options, key="locked"), *run]) as client:
        client.expect("passphrase")
        (leader,) = until(lambda: list(server.leaders().values()))
        until(lambda: user in procfs.title(leader.pid))
        authenticated_after = boottime()
        assert found == []
        client.type(f"{PASSPHRASE}\n")
        if expect:
            client.expect(expect)
        sighting = until(lambda: next(iter(found), None))
    assert {other.pid for other in found} == {leader.pid}
    assert authenticated_after - procfs.TICK < min(other.opened_at or 0 for other in found)
    assert (sighting.opened_at or 0) <= boottime()
    assert sighting.opened_at is not None
    assert sighting.opened_at > leader.start * procfs.TICK


def test_who_does_not_get_in_is_never_seen(server: Server, user: str) -> None:
    with watched(server) as found:
        for _ in range(5):
            done = subprocess.run(
                server.command(user, "-N", key="unknown"), stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            assert b"Permission denied" in done.stderr
            subprocess.run(
                server.command("no-such-user", "-N"), stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
    assert found == []


def test_a_bare_connection_is_never_seen(server: Server) -> None:
    with watched(server) as found, socket.create_connection((server.address, server.port)) as silent:
        assert silent.recv(100).startswith(b"SSH-2.0-")
        silent.sendall(b"SSH-2.0-none\r\n")
        until(lambda: server.leaders())
    assert found == []


def test_each_connection_is_one_session(server: Server, user: str) -> None:
    with opened(server, user, "terminal") as one, opened(server, user, "forward only") as two:
        until(lambda: {sighting.pid for sighting in seen(server)} == {one.leader.pid, two.leader.pid})
        assert len(seen(server)) == 2


def test_what_a_connection_starts_is_no_session(server: Server, user: str, tmp_path: Path) -> None:
    """Each channel is a child of sshd that runs sshd's file until it runs something else, or for good (sftp)."""
    control = ("-o", f"ControlPath={tmp_path}/s")
    with server.login(user, "-M", "-N", *control) as login, watched(server) as found:
        until(lambda: found)
        with Terminal(server.command(user, *control, program="sftp")) as sftp:
            sftp.expect("sftp> ")
            for _ in range(15):
                subprocess.run([*server.command(user, *control), "true"], stdin=subprocess.DEVNULL, check=True)
        assert {sighting.pid for sighting in found} == {login.leader.pid}
        (opened_at,) = {sighting.opened_at for sighting in seen(server)} - {None}
        assert (opened_at or 0) <= boottime()


def test_a_program_that_calls_itself_sshd_is_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and title are right; its file is not sshd's."""
    with Terminal(["bash", "-c", "exec -a 'sshd: root@pts/0' cat"]) as fake:
        until(lambda: procfs.title(fake.pid) == "sshd: root@pts/0")
        process = procfs.process(fake.pid)
        assert process is not None
        monkeypatch.setattr(procfs, "processes", lambda: iter([process._replace(comm="sshd")]))
        assert sightings() == []


@pytest.mark.parametrize("way", WAYS)
def test_the_connection_of_a_session_is_found_through_its_leader(server: Server, user: str, way: str) -> None:
    with opened(server, user, way) as login:
        session = Session(
            id=SessionId(procfs.boot_id(), login.leader.pid, login.leader.start),
            user=user,
            uid=login.uid,
            opened_at=1,
            service="sshd",
        )
        links = Links()
        assert connected(Handle(session=session), links).connection == login.connection
        elsewhere = replace(session, service="login")
        assert connected(Handle(session=elsewhere), links).connection == ""
        assert connected(Handle(session=session, connection="known"), links).connection == "known"


def test_who_has_the_path_of_another_session_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a logind that is restarted gives a name again, and the path of the cgroup with it."""
    with Cgroup(f"user.slice/user-{NOBODY}.slice/session-1.scope") as cgroup:
        monkeypatch.setattr(procfs, "cgroup_root", lambda: cgroup.top)
        known = {str(cgroup.path): procfs.inode(cgroup.path)}
        cgroup.make_anew()
        with Child(shell("echo"), cgroup=cgroup.path) as child:
            assert [found.pid for found in procfs.members_of(sshd.folders(known))] == [child.pid]
            known = {str(cgroup.path): procfs.inode(cgroup.path)}
            assert list(procfs.members_of(sshd.folders(known))) == []
