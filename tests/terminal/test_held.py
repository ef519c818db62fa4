# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debuggers outside of a session that hold what was killed at its exit: who of them goes, and who is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from idled import procfs
from idled.actions.end import End
from idled.core.model import Extent

from .bench import NOBODY, Cgroup, Child, handle_of, is_root, kill, lives, python, until
from .test_ends import finish, names

pytestmark = is_root

#: Would hold a process when it exits, whatever signal it gets (PTRACE_SEIZE with PTRACE_O_TRACEEXIT), until it is told
#: to let go (PTRACE_CONT). A thread does so, which has another number than its process.
HOLDS = """
import ctypes, threading
pid, uid = map(int, sys.argv[1:])
def hold():
    ptrace = ctypes.CDLL(None).ptrace
    for task in os.listdir(f'/proc/{pid}/task'):
        assert ptrace(0x4206, int(task), 0, 0x40) == 0
    os.setresuid(uid, uid, uid)
    print('ready', flush=True)
    sys.stdin.readline()
    ptrace(7, pid, 0, 0)
    print('let go', flush=True)
    time.sleep(1000)
threading.Thread(target=hold).start()
"""
IGNORES = ["sh", "-c", "trap '' HUP; echo ready; while :; do sleep 1; done"]


@pytest.fixture
def uid() -> int:
    """Of whom the session is."""
    return NOBODY


@pytest.fixture
def ignoring(uid: int) -> Iterator[tuple[Child, End]]:
    """A session whose leader ignores the hangup, and its end."""
    with Cgroup() as cgroup, Child(IGNORES, cgroup=cgroup.path, uid=uid) as leader:
        yield leader, End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)


def kill_what_is_held(leader: Child, ending: End, by: Child) -> None:
    ending.hang_up()
    assert kill(ending)
    until(lambda: names(procfs.holders(leader.process)) == {by.pid})
    assert not ending.gone()


def test_a_debugger_outside_that_holds_what_was_killed(ignoring: tuple[Child, End]) -> None:
    leader, ending = ignoring
    with Child(python(HOLDS, leader.pid, NOBODY)) as holder:
        kill_what_is_held(leader, ending, holder)
        finish(ending)
        assert ending.freed_from == {f"{holder.process.comm}[{holder.pid}]"}
        until(lambda: not lives(holder.pid))


@pytest.mark.parametrize(("uid", "others"), [(NOBODY, 0), (NOBODY, 54_320), (0, 0)])
def test_a_debugger_of_somebody_elses_or_roots_stays(ignoring: tuple[Child, End], others: int) -> None:
    leader, ending = ignoring
    with Child(python(HOLDS, leader.pid, others)) as holder:
        kill_what_is_held(leader, ending, holder)
        with pytest.raises(TimeoutError):
            finish(ending, within=0.5)
        assert lives(holder.pid)
        assert ending.freed_from == set()
    finish(ending)


def test_a_debugger_that_lets_go_stays(ignoring: tuple[Child, End]) -> None:
    """As strace does at once, which may run in another session of the user's."""
    leader, ending = ignoring
    with Child(python(HOLDS, leader.pid, NOBODY)) as holder:
        kill_what_is_held(leader, ending, holder)
        with pytest.raises(TimeoutError):
            finish(ending, within=0.001)  # one look
        holder.tell()
        assert holder.line() == "let go"
        finish(ending)
        assert lives(holder.pid)


def test_a_debugger_that_is_held_itself(ignoring: tuple[Child, End]) -> None:
    leader, ending = ignoring
    with Child(python(HOLDS, leader.pid, NOBODY)) as holder, Child(python(HOLDS, holder.pid, NOBODY)) as above:
        kill_what_is_held(leader, ending, holder)
        finish(ending)
        until(lambda: not lives(holder.pid) and not lives(above.pid))
