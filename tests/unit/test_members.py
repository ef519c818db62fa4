# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which processes and terminals are a session's: real processes, with and without a cgroup."""

from __future__ import annotations

import os
import signal
import stat
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from idled import clock, procfs
from idled.core.model import Extent, SessionId
from idled.members import (
    device_of,
    leader,
    located,
    members,
    strays_of,
    terminal_name,
    terminals,
    user_slice,
    whole,
)
from tests.terminal.bench import NOBODY, Cgroup, Child, Pty, handle_of, is_root, python, shell, until

FAMILY = shell("sleep 1000 & echo $!")
SAYS_AND_WAITS = ["sh", "-c", "echo ready; read line"]


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with Cgroup(f"user-{NOBODY}.slice/session-1.scope") as cgroup:
        yield cgroup


def pids(found: Iterable[procfs.Process]) -> set[int]:
    return {process.pid for process in found}


def test_the_leader_while_it_lives() -> None:
    with Child(FAMILY) as child:
        handle = handle_of(child.process)
        assert leader(handle.session) == child.process
        os.kill(int(child.said), signal.SIGKILL)
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: leader(handle.session) is None)
        assert members(handle) == []


def test_a_later_process_of_the_leaders_number_is_not_the_leader() -> None:
    with Child(FAMILY) as child:
        session = handle_of(child.process).session
        other = replace(session, id=SessionId(session.id.boot, child.pid, session.id.start - 1))
        assert leader(other) is None
        os.kill(int(child.said), signal.SIGKILL)


@is_root
def test_members_with_a_cgroup_are_the_cgroup_and_the_leader(cgroup: Cgroup) -> None:
    with Child(FAMILY) as child, Child(FAMILY, cgroup=cgroup.path) as inside:
        handle = handle_of(child.process, cgroup=cgroup.path)
        assert pids(members(handle)) == {child.pid, inside.pid, int(inside.said)}
        os.kill(int(child.said), signal.SIGKILL)


@is_root
def test_members_without_a_cgroup_descend_from_the_leader(cgroup: Cgroup) -> None:
    with Child(FAMILY, cgroup=cgroup.path) as child:
        assert pids(members(handle_of(child.process))) == {child.pid, int(child.said)}


@is_root
def test_a_session_is_located_once_its_leader_has_arrived_in_the_scope(cgroup: Cgroup) -> None:
    with Child(SAYS_AND_WAITS) as child:
        handle = replace(handle_of(child.process), scope="session-1.scope")
        assert located(handle) == handle
        (cgroup.path / "cgroup.procs").write_text(str(child.pid))
        assert located(handle).cgroup == procfs.Cgroup.at(cgroup.path)
        assert located(replace(handle, scope="ession-1.scope")).cgroup is None
        assert located(replace(handle, scope="")).cgroup is None
        child.die()
        assert located(handle).cgroup is None


@is_root
def test_the_dead_are_no_members(cgroup: Cgroup) -> None:
    with Child(FAMILY, cgroup=cgroup.path) as child:
        os.kill(int(child.said), signal.SIGKILL)
        until(lambda: pids(members(handle_of(child.process))) == {child.pid})
        assert pids(members(handle_of(child.process, cgroup=cgroup.path))) == {child.pid}


@is_root
def test_strays_are_found_by_the_audit_session_and_are_no_members(cgroup: Cgroup) -> None:
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit")
    stray = f"echo {NOBODY} >/proc/self/loginuid; (setsid sh -c 'echo $$; exec sleep 1000' &)"
    with Child(shell(stray), cgroup=cgroup.path) as child:
        pid = int(child.said)
        until(lambda: (found := procfs.process(pid)) is not None and found.ppid != child.pid and found.sid == pid)
        until(lambda: not [other for other in procfs.descendants(child.pid) if other.alive])
        handle = handle_of(child.process)
        assert pids(members(handle)) == {child.pid}
        (strays,) = strays_of(handle, Extent.SESSION)
        now = clock.now()
        until(lambda: strays.census.counted_since(now))
        assert pids(strays.left()) == {child.pid, pid}
        of_user = strays_of(handle_of(child.process, uid=NOBODY), Extent.USER)
        assert [strays.number for strays in of_user] == [NOBODY, strays.number]
        assert strays_of(handle, Extent.CONNECTION) == ()
        assert strays_of(handle_of(child.process, cgroup=cgroup.path), Extent.SESSION) == ()


@is_root
def test_the_extent_user_reaches_over_the_slice(cgroup: Cgroup) -> None:
    other = cgroup.path.parent / "session-2.scope"
    other.mkdir()
    with Child(FAMILY, cgroup=cgroup.path) as one, Child(FAMILY, cgroup=other) as two:
        handle = handle_of(one.process, cgroup=cgroup.path, uid=NOBODY)
        assert user_slice(handle) == procfs.Cgroup.at(cgroup.path.parent)
        everything, its = whole(handle, Extent.USER), whole(handle, Extent.SESSION)
        assert everything is not None
        assert its is not None
        assert pids(everything.members()) == {one.pid, int(one.said), two.pid, int(two.said)}
        assert pids(its.members()) == {one.pid, int(one.said)}


@is_root
def test_a_slice_of_somebody_else_is_none(cgroup: Cgroup) -> None:
    with Child(FAMILY, cgroup=cgroup.path) as child:
        assert user_slice(handle_of(child.process, cgroup=cgroup.path, uid=0)) is None
        assert user_slice(handle_of(child.process)) is None


ON_TERMINAL = python(
    """
import fcntl, termios
fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)
print('ready', flush=True)
time.sleep(1000)
"""
)


def test_terminals_are_those_that_its_processes_have() -> None:
    with Pty() as pty, Pty() as other, Child([*ON_TERMINAL, str(pty.path)]) as child:
        assert terminals(handle_of(child.process)) == pty.terminals
        assert terminals(handle_of(child.process, tty=other.name)) == pty.terminals | other.terminals
        assert terminals(handle_of(child.process, tty="pts/999999")) == pty.terminals


def test_terminals_are_those_that_sshd_holds_whoever_uses_them() -> None:
    """A user may have every process on them moved to the own user manager."""
    holds = python("print(os.ttyname(os.openpty()[1]), flush=True)\ntime.sleep(1000)")
    with Child(holds) as sshd:
        handle = handle_of(sshd.process)
        assert terminals(handle) == {}
        name = sshd.said.removeprefix("/dev/")
        assert terminals(replace(handle, connection="::1 1 ::1 22")) == {device_of(name): name}


@pytest.mark.parametrize(
    "tty", ["", "no-such", "..", "../etc/passwd", "pts/../../etc/passwd", "shm", "fd", "stdin", "pts", "log"]
)
def test_what_is_no_terminal_has_no_device(tty: str) -> None:
    assert device_of(tty) == 0


@is_root
def test_a_block_device_is_no_terminal() -> None:
    path = Path(f"/dev/idled-test-{uuid.uuid4().hex}")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 1_000_000))
    try:
        assert device_of(path.name) == 0
    finally:
        path.unlink()


def test_names_and_devices_of_terminals() -> None:
    with Pty() as pty:
        assert device_of(pty.name) == pty.device
        assert terminal_name(pty.device) == pty.name


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (os.makedev(136, 0), "pts/0"),
        (os.makedev(136, 1000), "pts/1000"),
        (os.makedev(137, 5), "pts/1048581"),
        (os.makedev(4, 1), "tty1"),
        (os.makedev(4, 64), "ttyS0"),
        (os.makedev(1, 0), None),
        (os.makedev(500, 1), None),
    ],
)
def test_the_name_of_a_device(device: int, name: str | None) -> None:
    if name and not name.startswith("pts") and not Path("/dev", name).exists():
        pytest.skip(f"this machine has no {name}")
    assert terminal_name(device) == name
