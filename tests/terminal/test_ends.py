# SPDX-License-Identifier: LGPL-2.1-or-later
"""The end of a session against processes that do not want to go, in a cgroup like logind's scope and without one."""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest

from idled import procfs, threads
from idled.actions.end import End
from idled.core.events import Memory
from idled.core.model import Extent
from idled.members import Handle, audited, concerned, members, terminals, with_user
from idled.state import State
from idled.threads import Threads

from .bench import NOBODY, Cgroup, Child, handle_of, is_root, kill, lives, promptly, python, shell, until

pytestmark = is_root

#: What a session may have started: each says its pid, and is still there when its session has begun.
KINDS = {
    "sleeps": "sleep 1000 & echo $!",
    "ignores": "sh -c 'trap \"\" HUP TERM INT; echo $$; sleep 1000' &",
    "stopped": "sleep 1000 & pid=$!; kill -STOP $pid; echo $pid",
    "nohup": "nohup sh -c 'echo $$ >&2; exec sleep 1000' 2>&1 >/dev/null &",
    "setsid": "setsid sh -c 'echo $$; exec sleep 1000' &",
    "daemon": "(setsid sh -c 'trap \"\" HUP; echo $$; exec sleep 1000' &)",
}
GOES_BY_HANGUP = {"sleeps", "stopped", "setsid"}

#: What never stops forking, each child going on and its parent ending, immune to all but SIGKILL.
RABBITS = """
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
print('ready', flush=True)
if not os.fork():
    os.setsid()
    for _ in range(3):
        os.fork()
    while True:
        if os.fork():
            os._exit(0)
time.sleep(1000)
"""


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A scope below a slice of the user, as systemd has them."""
    with Cgroup(f"user-{NOBODY}.slice/session-1.scope") as cgroup:
        yield cgroup


def finish(ending: End, within: float = 60) -> None:
    """What the daemon does from the deadline on; a count of the whole machine may have to be taken several times."""
    asyncio.run(asyncio.wait_for(ending.until_gone(), within))


def names(found: list[procfs.Process]) -> set[int]:
    return {process.pid for process in found}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_with_its_session(cgroup: Cgroup, kind: str) -> None:
    with Child(shell(KINDS[kind]), cgroup=cgroup.path) as leader:
        pid = int(leader.said)
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        if kind in GOES_BY_HANGUP:
            until(lambda: not lives(pid))
        else:
            assert not ending.gone()
            assert f"[{pid}]" in " ".join(kill(ending))
        finish(ending)
        assert cgroup.pids() == set()
        assert kill(ending) == ()


def test_a_leader_that_ignores_everything(cgroup: Cgroup) -> None:
    with Child(
        ["sh", "-c", "trap '' HUP TERM INT; echo ready; while :; do sleep 1; done"], cgroup=cgroup.path
    ) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        ending.hang_up()
        assert not ending.gone()
        assert f"sh[{leader.pid}]" in kill(ending)
        finish(ending)


def test_a_leader_outside_of_the_cgroup_goes_too(cgroup: Cgroup) -> None:
    """A privileged sshd need not be in the scope of its session."""
    with Child(["sh", "-c", "trap '' HUP; echo ready; sleep 1000"]) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        until(lambda: len(list(procfs.children(leader.pid))) == 1)
        (below,) = procfs.children(leader.pid)
        ending.hang_up()
        assert not ending.gone()
        kill(ending)
        finish(ending)
        os.kill(below.pid, signal.SIGKILL)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[procfs.Cgroup]]:
    """Cgroups that somebody waits to kill; they are once it is over. Made up: for real the whole machine would wait."""
    over, killed, waiting = threading.Event(), procfs.Cgroup.kill, list[procfs.Cgroup]()

    def late(self: procfs.Cgroup) -> None:
        waiting.append(self)
        over.wait(30)
        killed(self)

    monkeypatch.setattr(procfs.Cgroup, "kill", late)
    yield waiting
    over.set()


def test_who_has_whoever_kills_a_cgroup_wait_holds_up_nobody(cgroup: Cgroup, slow: list[procfs.Cgroup]) -> None:
    """As who moves processes between cgroups while hundreds at nice 19 fork. What is killed meanwhile waits once."""
    with Child(["sh", "-c", "trap '' HUP; echo ready; sleep 1000"], cgroup=cgroup.path) as leader:
        until(lambda: len(list(procfs.children(leader.pid))) == 1)
        killer = ThreadPoolExecutor(1)
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        ending.hang_up()
        killed, took = promptly(lambda: ending.kill(killer))
        assert f"sh[{leader.pid}]" in killed
        assert took < 5
        finish(ending)
        with Child(shell("echo"), cgroup=cgroup.path) as other:
            assert promptly(lambda: ending.kill(killer))[0]
            until(lambda: not lives(other.pid))
        assert len(slow) == 1
        killer.shutdown(wait=False)


def test_where_no_thread_can_be_started_a_cgroup_is_killed_all_the_same(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody has all the pids there are. That signals hit nobody is made up, and so is the want."""
    monkeypatch.setattr(threads, "start_new_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    monkeypatch.setattr(procfs, "send", Mock())
    with Child(shell("echo"), cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        assert ending.kill(Threads(1))
        finish(ending)
        assert not lives(leader.pid)


def test_a_cgroup_that_is_not_killed_for_want_of_descriptors_is_not_taken_for_killed(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon is started anew, and goes on. The want is made up: for real it would not come as far."""
    with Child(shell("echo"), cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        monkeypatch.setattr(procfs.Cgroup, "kill", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
        assert kill(ending)
        with pytest.raises(OSError, match="Too many open files"):
            finish(ending)


@pytest.mark.parametrize("has_cgroup", [True, False])
def test_what_may_not_be_signalled_spares_nobody_else(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch, has_cgroup: bool
) -> None:
    """AppArmor can forbid it, as for a manual page's reader; here there is none, so the refusal alone is made up."""
    with Child(shell("sleep 1000 & one=$!; sleep 1000 & echo $one $!"), cgroup=cgroup.path) as leader:
        confined, other = map(int, leader.said.split())
        until(lambda: {found.comm for found in procfs.children(leader.pid)} == {"sleep"})
        send = procfs.send

        def refuse(target: procfs.Process, *signals: signal.Signals) -> bool:
            if target.pid == confined:
                raise PermissionError
            return send(target, *signals)

        monkeypatch.setattr(procfs, "send", refuse)
        ending = End(handle_of(leader.process, cgroup=cgroup.path if has_cgroup else None), Extent.SESSION)
        ending.hang_up()
        assert ending.forbidden == {f"sleep[{confined}]"}
        until(lambda: not lives(other) and not lives(leader.pid))
        assert lives(confined)
        assert kill(ending) == (f"sleep[{confined}]",)
        if has_cgroup:
            finish(ending)
        else:
            assert not ending.gone()
            os.kill(confined, signal.SIGKILL)


IGNORES = ["sh", "-c", "trap '' HUP; echo ready; exec sleep 1000"]
#: A leader, and one that it started of the same file, as sshd does for the user, in another cgroup.
OWN_ELSEWHERE = """
if os.fork():
    time.sleep(1000)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with open(sys.argv[1] + '/cgroup.procs', 'w') as file:
    file.write(str(os.getpid()))
print(os.getpid(), flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("extent", Extent)
def test_the_leaders_own_sshd_goes_wherever_it_was_taken(cgroup: Cgroup, extent: Extent, frozen: bool) -> None:
    """It has the connection: while it lives the client is connected, and what it forwards is."""
    with Cgroup() as elsewhere, Child(python(OWN_ELSEWHERE, elsewhere.path), cgroup=cgroup.path) as leader:
        own = int(leader.said)
        (elsewhere.path / "cgroup.freeze").write_text(str(int(frozen)))
        ending = End(handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY), extent)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        assert not ending.gone()
        assert f"[{own}]" in " ".join(kill(ending))
        finish(ending)
        assert not lives(own)


def test_what_forks_while_it_is_killed(cgroup: Cgroup) -> None:
    with Child(python(RABBITS), cgroup=cgroup.path) as leader:
        first = until(lambda: pids if len(pids := cgroup.pids()) > 4 else None)
        until(lambda: not (first & cgroup.pids()) - {leader.pid})
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        begin = time.monotonic()
        ending.hang_up()
        assert not ending.gone()
        assert kill(ending)
        finish(ending)
        assert time.monotonic() - begin < 30
        assert not cgroup.populated()


def test_what_forks_all_the_time_is_never_taken_for_gone(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time: each that is listed may be gone before it is looked at, and its child is not listed yet."""
    rabbit = "print('ready', flush=True)\nwhile True:\n    if os.fork():\n        os._exit(0)"
    with Child(python(rabbit), cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        until(lambda: not lives(leader.pid))
        assert not any(ending.gone() for _ in range(300))
        monkeypatch.setattr(procfs, "cgroup_members", lambda _: iter(()))  # seldom so: 9 of 3,000 looks
        assert not ending.gone()


@pytest.mark.parametrize("extent", [Extent.SESSION, Extent.USER])
def test_who_has_the_path_by_now_is_not_ended_for_it(cgroup: Cgroup, extent: Extent) -> None:
    """As a logind that is restarted gives a name again, and the path of the cgroup with it."""
    with Child(shell("echo"), cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY), extent)
        ending.hang_up()
        assert ending.stands()
    until(lambda: not cgroup.populated())
    cgroup.make_anew()
    with Child(shell("echo"), cgroup=cgroup.path) as other:
        assert not ending.stands()
        assert ending.gone()
        assert kill(ending) == ()
        ending.hang_up()
        assert lives(other.pid)


@pytest.mark.parametrize("extent", [Extent.SESSION, Extent.USER])
def test_an_end_that_begins_late_is_not_that_of_who_has_the_path_by_now(cgroup: Cgroup, extent: Extent) -> None:
    with Child(shell("echo"), cgroup=cgroup.path) as leader:
        handle = handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY)
    until(lambda: not cgroup.populated())
    cgroup.make_anew()
    with Child(shell("echo"), cgroup=cgroup.path) as other:
        ending = End(handle, extent)
        assert not ending.stands()
        ending.hang_up()
        assert kill(ending) == ()
        finish(ending)
        assert lives(other.pid)


def test_of_all_of_a_user_a_session_that_was_opened_since_stays(cgroup: Cgroup) -> None:
    """What else is there goes, also what was started since."""
    anew, manager = cgroup.path.parent / "session-2.scope", cgroup.path.parent / "user@1.service" / "app.slice"
    manager.mkdir(parents=True)
    with Child(shell("echo"), cgroup=cgroup.path) as leader, Child(shell("echo"), cgroup=manager) as before:
        ending = End(handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY), Extent.USER)
        assert not ending.joined()
        ending.hang_up()
        anew.mkdir()
        with Child(IGNORES, cgroup=anew) as other, Child(IGNORES, cgroup=manager) as since:
            assert ending.joined()
            until(lambda: not lives(leader.pid) and not lives(before.pid))
            assert not ending.gone()
            assert [name.rpartition("[")[2] for name in kill(ending)] == [f"{since.pid}]"]
            finish(ending)
            assert not lives(since.pid)
            assert lives(other.pid)
            assert ending.stands()


def test_of_all_of_a_user_a_daemon_that_is_started_anew_takes_what_was_there(cgroup: Cgroup, tmp_path: Path) -> None:
    """Its session may be gone by then, and the user have logged in anew."""
    anew, manager = (cgroup.path.parent / name for name in ("session-2.scope", "user@1.service"))
    state = State(tmp_path)
    manager.mkdir()
    with Child(shell("echo"), cgroup=cgroup.path) as leader, Child(IGNORES, cgroup=manager) as before:
        handle = with_user(handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY))
        state.remember(Memory.of_new(handle.session), handle)
        End(handle, Extent.USER).hang_up()
        leader.die()
        cgroup.path.rmdir()
        anew.mkdir()
        with Child(IGNORES, cgroup=anew) as other:
            ending = End(recalled(state), Extent.USER)
            assert ending.joined()
            ending.hang_up()
            assert not ending.gone()
            assert [name.rpartition("[")[2] for name in kill(ending)] == [f"{before.pid}]"]
            finish(ending)
            assert lives(other.pid)


def recalled(state: State) -> Handle:
    """The one session that the next daemon knows of."""
    (found,) = state.recall(procfs.boot_id())
    assert not isinstance(found, str)
    return found[1]


def test_a_session_that_is_opened_while_the_user_is_hung_up_stays(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after the first list of what there is."""
    anew, cgroups, opened = cgroup.path.parent / "session-2.scope", procfs.cgroups, list[Child]()

    def then_opened(folder: str, pattern: str) -> Iterator[str]:
        yield from list(cgroups(folder, pattern))
        if not opened:
            anew.mkdir()
            opened.append(stack.enter_context(Child(shell("echo"), cgroup=anew)))

    with ExitStack() as stack:
        leader = stack.enter_context(Child(shell("echo"), cgroup=cgroup.path))
        ending = End(handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY), Extent.USER)
        monkeypatch.setattr(procfs, "cgroups", then_opened)
        ending.hang_up()
        finish(ending)
        assert not lives(leader.pid)
        assert lives(opened[0].pid)


def test_a_tmux_server_goes_with_its_session(cgroup: Cgroup, tmp_path: Path) -> None:
    script = f"tmux -f /dev/null -S {tmp_path}/socket new-session -d 'sleep 1000' && echo started"
    with Child(shell(script), cgroup=cgroup.path) as leader:
        assert leader.said == "started"
        server = next(process for process in members(handle_of(leader.process, cgroup=cgroup.path)) if is_tmux(process))
        assert server.ppid != leader.pid
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        if not ending.gone():
            kill(ending)
        finish(ending)
        assert cgroup.pids() == set()


def is_tmux(process: procfs.Process) -> bool:
    return process.comm.startswith("tmux")


def test_another_session_of_the_user_is_untouched(cgroup: Cgroup) -> None:
    other = cgroup.path.parent / "session-2.scope"
    other.mkdir()
    script = KINDS["ignores"]
    with Child(shell(script), cgroup=cgroup.path) as leader, Child(shell(script), cgroup=other) as neighbour:
        handle = handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY)
        kept = {neighbour.pid, int(neighbour.said)}
        assert not names(concerned(handle, Extent.SESSION)) & kept
        ending = End(handle, Extent.SESSION)
        ending.hang_up()
        kill(ending)
        finish(ending)
        assert all(lives(pid) for pid in kept)


def test_the_extent_user_takes_all_of_the_slice(cgroup: Cgroup) -> None:
    manager = cgroup.path.parent / f"user@{NOBODY}.service"
    manager.mkdir()
    script = KINDS["ignores"]
    with Child(shell(script), cgroup=cgroup.path) as leader, Child(shell(script), cgroup=manager) as service:
        handle = handle_of(leader.process, cgroup=cgroup.path, uid=NOBODY)
        ending = End(handle, Extent.USER)
        ending.hang_up()
        assert not ending.gone()
        survivors = " ".join(kill(ending))
        assert f"[{service.said}]" in survivors
        finish(ending)
        assert cgroup.pids() == set()


def test_the_extent_user_without_cgroups_takes_all_that_is_the_users() -> None:
    uid = 54_321
    ignoring = ["sh", "-c", "trap '' HUP; echo ready; sleep 1000"]
    with Child(ignoring, uid=uid) as elsewhere, Child(["sh", "-c", "echo ready; read line"]) as leader:
        handle = handle_of(leader.process, uid=uid)
        ending = End(handle, Extent.USER)
        ending.hang_up()
        assert not ending.gone()
        assert f"sh[{elsewhere.pid}]" in kill(ending)
        finish(ending)
        assert not lives(elsewhere.pid)


def test_the_extent_user_of_root_is_not_the_machine() -> None:
    with Child(["sh", "-c", "echo ready; read line"]) as leader:
        assert names(concerned(handle_of(leader.process), Extent.USER)) == {leader.pid}


# A connection: the leader holds the pty, its child (the same program) moves the bytes, a shell has the terminal.

FAKE_SSHD = """
import pty, fcntl, termios
master, slave = os.openpty()
if os.fork():
    time.sleep(1000)
if os.fork():
    time.sleep(1000)
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
out = os.dup(1)
os.set_inheritable(out, True)
for number in (0, 1, 2):
    os.dup2(slave, number)
os.execvp('sh', ['sh', '-c', sys.argv[1], str(out)])
"""
#: The shell and what it started: the first two have the terminal, the others have detached themselves.
ATTACHED_AND_DETACHED = """
say() { echo "$@" >"/proc/self/fd/$0"; }
trap '' HUP
sleep 1000 & attached=$!
setsid sleep 1001 & detached=$!
until [ "$(cut -d' ' -f6 /proc/$detached/stat)" = "$detached" ]; do :; done
say $$ $attached $detached
wait
"""


@pytest.fixture
def connection(cgroup: Cgroup) -> Iterator[tuple[Child, Cgroup]]:
    with Child(python(FAKE_SSHD, ATTACHED_AND_DETACHED), cgroup=cgroup.path) as leader:
        yield leader, cgroup


@pytest.mark.parametrize("has_cgroup", [True, False], ids=["in a cgroup", "without"])
def test_a_connection_keeps_what_was_detached(connection: tuple[Child, Cgroup], has_cgroup: bool) -> None:
    leader, cgroup = connection
    shell_pid, attached, detached = map(int, leader.said.split())
    ending = End(handle_of(leader.process, cgroup=cgroup.path if has_cgroup else None), Extent.CONNECTION)
    ending.hang_up()
    until(lambda: cgroup.pids() == {shell_pid, attached, detached})
    assert not ending.gone(), "its terminal has gone, and with it what led to them"
    survivors = " ".join(kill(ending))
    assert f"[{shell_pid}]" in survivors
    assert f"[{attached}]" in survivors
    assert f"[{detached}]" not in survivors
    finish(ending)
    assert cgroup.pids() == {detached}


def test_a_session_of_a_connection_is_all_of_it(connection: tuple[Child, Cgroup]) -> None:
    leader, cgroup = connection
    ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
    ending.hang_up()
    kill(ending)
    finish(ending)
    assert cgroup.pids() == set()


def test_the_terminals_of_a_connection_are_found_through_its_processes(connection: tuple[Child, Cgroup]) -> None:
    leader, cgroup = connection
    held = procfs.ptys_held(leader.pid)
    assert held is not None
    (device,) = held
    name = f"pts/{os.minor(device)}"
    assert terminals(handle_of(leader.process, cgroup=cgroup.path)) == {device: name}
    assert terminals(handle_of(leader.process)) == {device: name}


@pytest.mark.parametrize("has_cgroup", [True, False], ids=["in a cgroup", "without"])
def test_what_forks_on_after_its_terminal_has_gone(cgroup: Cgroup, has_cgroup: bool) -> None:
    code = "trap '' HUP; echo $$ >/proc/self/fd/$0; while :; do sleep 0.01; done"
    with Child(python(FAKE_SSHD, code), cgroup=cgroup.path) as leader:
        shell_pid = int(leader.said)
        ending = End(handle_of(leader.process, cgroup=cgroup.path if has_cgroup else None), Extent.CONNECTION)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        until(lambda: (found := procfs.process(shell_pid)) is not None and found.tty == 0)
        assert not ending.gone()
        until(lambda: not kill(ending))
        finish(ending)
        assert cgroup.pids() == set()


# Without a cgroup


FORKS_WHEN_TOLD = """
print('ready', flush=True)
sys.stdin.readline()
if (child := os.fork()) == 0:
    time.sleep(1000)
print(child, flush=True)
time.sleep(1000)
"""


def test_without_a_cgroup_what_forks_just_before_its_signal_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leads from the dead to a child that was not seen. When it forks is made to be that moment."""
    with Child(python(FORKS_WHEN_TOLD)) as leader:
        send, forked = procfs.send, list[int]()

        def send_late(target: procfs.Process, *signals: signal.Signals) -> bool:
            if not forked:
                leader.tell()
                forked.append(int(leader.line()))
            return send(target, *signals)

        monkeypatch.setattr(procfs, "send", send_late)
        ending = End(handle_of(leader.process), Extent.SESSION)
        killed = " ".join(kill(ending))
        assert f"[{forked[0]}]" in killed
        until(lambda: not lives(forked[0]))
        finish(ending)


@pytest.mark.parametrize("kind", ["sleeps", "ignores", "stopped", "nohup", "setsid"])
def test_without_a_cgroup_all_that_descends_goes(cgroup: Cgroup, kind: str) -> None:
    with Child(shell(KINDS[kind]), cgroup=cgroup.path) as leader:
        pid = int(leader.said)
        ending = End(handle_of(leader.process), Extent.SESSION)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        if kind in GOES_BY_HANGUP:
            until(lambda: not lives(pid))
        else:
            assert not ending.gone(), "the leader has gone first; what it left is not forgotten"
            assert f"[{pid}]" in " ".join(kill(ending))
        finish(ending)
        assert cgroup.pids() == set()


def test_without_a_cgroup_what_survivors_start_goes_too(cgroup: Cgroup) -> None:
    script = "sh -c 'trap \"\" HUP; echo $$; while :; do sleep 0.05; done' &"
    with Child(shell(script), cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process), Extent.SESSION)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        assert not ending.gone()
        until(lambda: not kill(ending))
        finish(ending)
        assert cgroup.pids() == set()


def test_without_a_cgroup_the_audit_session_finds_a_daemon(cgroup: Cgroup) -> None:
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit")
    script = f"echo {NOBODY} >/proc/self/loginuid; {KINDS['daemon']}"
    with Child(shell(script), cgroup=cgroup.path) as leader:
        pid = int(leader.said)
        until(lambda: (found := procfs.process(pid)) is not None and found.ppid != leader.pid)
        ending = End(handle_of(leader.process), Extent.SESSION)
        ending.hang_up()
        until(lambda: not lives(leader.pid))
        assert not ending.gone()
        assert f"[{pid}]" in " ".join(kill(ending))
        finish(ending)


def test_without_a_cgroup_the_audit_session_is_known_when_the_leader_has_gone(cgroup: Cgroup, tmp_path: Path) -> None:
    """As after a kill of the daemon on the way: the next one has the handle that this one wrote down."""
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit")
    with Child(shell(f"echo {NOBODY} >/proc/self/loginuid; {KINDS['daemon']}"), cgroup=cgroup.path) as leader:
        pid = int(leader.said)
        handle, state = audited(handle_of(leader.process)), State(tmp_path)
        state.remember(Memory.of_new(handle.session), handle)
        until(lambda: (found := procfs.process(pid)) is not None and found.ppid != leader.pid)
        leader.die()
        ending = End(recalled(state), Extent.SESSION)
        ending.hang_up()
        assert not ending.gone()
        until(lambda: f"[{pid}]" in " ".join(kill(ending)))
        finish(ending)
        assert not lives(pid)


def test_without_a_cgroup_what_is_started_on_the_way_out_goes_too(cgroup: Cgroup) -> None:
    """Detached by the leader's last deed: nothing leads to it, and no count before SIGHUP has it."""
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit")
    last = "setsid sh -c 'trap \"\" HUP; echo $$; exec sleep 1000' & exit"
    script = (
        f"echo {NOBODY} >/proc/self/loginuid; trap {shlex.quote(last)} HUP; echo ready; while :; do sleep 0.01; done"
    )
    with Child(["sh", "-c", script], cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process), Extent.SESSION)
        ending.hang_up()
        pid = int(leader.line())
        until(lambda: not lives(leader.pid))
        assert not any(ending.gone() for _ in range(100))
        until(lambda: f"[{pid}]" in " ".join(kill(ending)))
        finish(ending)
        assert not lives(pid)


def test_without_a_cgroup_what_forks_all_the_time_is_never_taken_for_gone(cgroup: Cgroup) -> None:
    """Each whose turn in a count has come may be gone, and its child was not there when the count began."""
    uid = 54_322
    rabbit = "print('ready', flush=True)\nwhile True:\n    if os.fork():\n        os._exit(0)"
    with Child(python(rabbit), cgroup=cgroup.path, uid=uid) as leader:
        ending = End(handle_of(leader.process, uid=uid), Extent.USER)
        until(lambda: not lives(leader.pid))
        assert not any(ending.gone() for _ in range(300))


def test_without_a_cgroup_sessions_that_end_together_share_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each for itself would take a count at the beginning and one at the end, and others meanwhile."""
    counts, processes, uids = [], procfs.processes, range(54_400, 54_440)

    def count() -> Iterator[procfs.Process]:
        counts.append(1)
        return processes()

    monkeypatch.setattr(procfs, "processes", count)
    with ExitStack() as stack:
        leaders = [stack.enter_context(Child(["sh", "-c", "echo ready; read line"], uid=uid)) for uid in uids]
        endings = [End(handle_of(of.process, uid=uid), Extent.USER) for of, uid in zip(leaders, uids, strict=True)]

        async def end_all() -> None:
            for ending in endings:
                ending.hang_up()
            await asyncio.wait_for(asyncio.gather(*(ending.until_gone() for ending in endings)), 60)

        asyncio.run(end_all())
        assert not any(lives(leader.pid) for leader in leaders)
    assert len(counts) < len(endings)


def test_without_a_cgroup_an_inherited_audit_session_finds_nobody_else(cgroup: Cgroup) -> None:
    """Who started sshd by hand has the same audit session as every connection: it names none of them."""
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit")
    script = f"echo {NOBODY} >/proc/self/loginuid; sleep 1000 & sh -c 'echo $$; read line' ; :"
    with Child(["sh", "-c", script], cgroup=cgroup.path) as parent:
        leader = procfs.process(int(parent.said))
        assert leader is not None
        assert procfs.audit_session(leader.pid) == procfs.audit_session(parent.pid) != procfs.UNSET
        assert names(concerned(handle_of(leader), Extent.SESSION)) == {leader.pid}


def test_waiting_takes_no_longer_than_it_must(cgroup: Cgroup) -> None:
    with Child(["sh", "-c", "echo ready; exec sleep 0.3"], cgroup=cgroup.path) as leader:
        ending = End(handle_of(leader.process, cgroup=cgroup.path), Extent.SESSION)
        assert not ending.gone()
        finish(ending)
        assert not lives(leader.pid)


def test_a_session_that_is_gone_already() -> None:
    with Child(["sh", "-c", "echo ready; read line"]) as leader:
        handle: Handle = handle_of(leader.process)
        leader.die()
        ending = End(handle, Extent.SESSION)
        ending.hang_up()
        assert ending.gone()
        assert kill(ending) == ()
