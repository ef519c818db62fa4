# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is read of /proc and the cgroup tree, against processes and cgroups made for it."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import Mock

import pytest

from idled import procfs
from tests.terminal.bench import (
    NOBODY,
    Cgroup,
    Child,
    Pty,
    descriptors_left,
    is_root,
    lives,
    open_descriptors,
    python,
    until,
)

SLEEPER = python("print('ready', flush=True); time.sleep(1000)")
#: Sets its name (prctl PR_SET_NAME) to what is told in hexadecimal.
NAMED = python(
    """
import ctypes
ctypes.CDLL(None).prctl(15, bytes.fromhex(sys.argv[1]))
print('ready', flush=True)
time.sleep(1000)
""",
)
#: The main thread ends alone; another lives on. (SYS_exit; os._exit() would end all of them.)
HEADLESS = python(
    """
import ctypes, platform, threading
threading.Thread(target=time.sleep, args=(1000,)).start()
print('ready', flush=True)
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)
""",
)


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with Cgroup() as cgroup:
        yield cgroup


@pytest.fixture
def sleeper() -> Iterator[Child]:
    with Child(SLEEPER) as child:
        yield child


@pytest.mark.parametrize(
    "read",
    [
        procfs.process,
        procfs.cgroup,
        procfs.ptys_held,
        procfs.sockets_held,
        procfs.io,
        procfs.real_uid,
        procfs.audit_session,
        lambda pid: list(procfs.children(pid)),
        lambda pid: procfs.open_process(pid, 1),
        lambda pid: list(procfs.processes()),
    ],
)
def test_what_cannot_be_read_for_want_of_descriptors_is_not_gone(sleeper: Child, read: Callable[[int], object]) -> None:
    read(sleeper.pid)
    with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        read(sleeper.pid)


@is_root
def test_a_cgroup_that_cannot_be_read_for_want_of_descriptors_is_not_empty(cgroup: Cgroup) -> None:
    with Child(SLEEPER, cgroup=cgroup.path) as child:
        there = procfs.Cgroup.at(cgroup.path)
        for read in (there.populated, there.members, there.kill):
            with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
                read()
        assert lives(child.pid)


# A process


@pytest.mark.parametrize(
    "name", [b"plain", b"a b", b"(", b")", b") R 1 (", b"x) S 1 1", b"line\nline", b"\n", b"\xff\xfe", b") Z 1 1 1 1"]
)
def test_a_name_may_hold_anything(name: bytes) -> None:
    with Child([*NAMED, name.hex()]) as child:
        found = procfs.process(child.pid)
        assert found is not None
        assert found.comm == name.decode(errors="replace")
        assert (found.pid, found.ppid, found.sid) == (child.pid, os.getpid(), child.pid)
        assert found.alive
        assert found.tty == 0


def test_the_start_is_when_it_was_started() -> None:
    begin = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    with Child(SLEEPER) as child:
        end = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        assert begin - procfs.TICK <= child.process.start * procfs.TICK <= end


def test_a_zombie_is_not_alive(sleeper: Child) -> None:
    os.kill(sleeper.pid, signal.SIGKILL)
    until(lambda: sleeper.process.state == "Z")
    assert not sleeper.process.alive
    assert procfs.title(sleeper.pid) == ""
    assert procfs.executable(sleeper.pid) is None
    assert procfs.io(sleeper.pid) is None or os.geteuid() == 0


def test_a_process_whose_main_thread_has_ended_is_alive() -> None:
    with Child(HEADLESS) as child:
        until(lambda: child.process.state == "Z")
        assert child.process.alive
        assert lives(child.pid)
        assert procfs.send(child.process, signal.SIGKILL)
        until(lambda: not child.process.alive)


def test_a_stopped_process_is_alive(sleeper: Child) -> None:
    os.kill(sleeper.pid, signal.SIGSTOP)
    until(lambda: sleeper.process.state == "T")
    assert sleeper.process.alive


def test_what_is_gone_is_none(sleeper: Child) -> None:
    gone = sleeper.process
    sleeper.die()
    assert procfs.process(gone.pid) is None
    assert list(procfs.descendants(gone.pid)) == []
    assert procfs.audit_session(gone.pid) is None
    assert procfs.real_uid(gone.pid) is None
    assert procfs.io(gone.pid) is None
    assert procfs.executable(gone.pid) is None
    assert procfs.title(gone.pid) == ""
    assert procfs.ptys_held(gone.pid) is None
    assert procfs.cgroup(gone.pid) is None
    assert procfs.open_process(gone.pid, gone.start) is None
    assert not procfs.send(gone, signal.SIGKILL)
    assert procfs.twin(gone, 0) is None


def test_a_process_may_go_between_open_and_read(sleeper: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers ESRCH then. The moment cannot be hit, so the file is one that was opened before."""
    pid, path = sleeper.pid, f"/proc/{sleeper.pid}/stat"
    with open(path, "rb", buffering=0) as before, open(path, "rb", buffering=0) as other:
        sleeper.die()
        with pytest.raises(ProcessLookupError):
            other.read()
        monkeypatch.setattr(procfs, "open", lambda *_, **__: before, raising=False)
        assert procfs.process(pid) is None


def test_all_processes_while_they_come_and_go() -> None:
    flicker = python("print('ready', flush=True)\nwhile True:\n    os.fork() or os._exit(0)\n    os.wait()")
    with Child(flicker) as one, Child(flicker) as other:
        for _ in range(30):
            assert {one.pid, other.pid, os.getpid()} <= {process.pid for process in procfs.processes()}
            for process in procfs.descendants(one.pid):
                assert process.ppid in (one.pid, os.getpid()) or not process.alive
                procfs.title(process.pid)
                procfs.io(process.pid)
                procfs.ptys_held(process.pid)


@is_root
def test_real_uid() -> None:
    with Child(SLEEPER, uid=NOBODY) as child:
        assert procfs.real_uid(child.pid) == NOBODY
    assert procfs.real_uid(os.getpid()) == os.getuid()


def test_executable_and_title(sleeper: Child) -> None:
    assert procfs.executable(sleeper.pid) == os.path.realpath(SLEEPER[0])
    assert procfs.title(sleeper.pid) == " ".join(SLEEPER)


@is_root
def test_twin(sleeper: Child) -> None:
    family = python(
        """
if not (twin := os.fork()):
    os.setuid(65534)
    time.sleep(1000)
if not (other := os.fork()):
    os.execvp('sleep', ['sleep', '1000'])
print(twin, other, flush=True)
time.sleep(1000)
"""
    )
    with Cgroup() as cgroup, Child(family, cgroup=cgroup.path) as child:
        twin, other = map(int, child.said.split())
        until(lambda: procfs.real_uid(twin) == NOBODY)
        until(lambda: procfs.executable(other) != procfs.executable(child.pid))
        found = procfs.twin(child.process, NOBODY)
        assert found is not None
        assert found.pid == twin
        assert procfs.twin(child.process, 0) is None, "the other one runs something else"


# Descendants

#: Forks as deep as is told, and says the pids from top to bottom.
CHAIN = python(
    """
depth, pids = int(sys.argv[1]), []
for _ in range(depth):
    pids.append(os.getpid())
    if pid := os.fork():
        time.sleep(1000)
print(*pids, os.getpid(), flush=True)
time.sleep(1000)
"""
)


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_descendants_at_every_depth(cgroup: Cgroup, depth: int) -> None:
    with Child([*CHAIN, str(depth)], cgroup=cgroup.path) as child:
        top, *below = map(int, child.said.split())
        assert [process.pid for process in procfs.descendants(top)] == below
        assert [process.pid for process in procfs.children(top)] == below[:1]


@pytest.fixture
def shallow() -> Iterator[int]:
    """Python may call few functions deep here; a depth that is more than it can recurse."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 80)
    yield 120
    sys.setrecursionlimit(before)


def test_descendants_deeper_than_python_can_recurse(cgroup: Cgroup, shallow: int) -> None:
    with Child([*CHAIN, str(shallow)], cgroup=cgroup.path) as child:
        top, *below = map(int, child.said.split())
        assert [process.pid for process in procfs.descendants(top)] == below


def test_children_of_every_thread(cgroup: Cgroup) -> None:
    code = """
import threading
def start():
    if not os.fork():
        time.sleep(1000)
    time.sleep(1000)
threading.Thread(target=start).start()
start()
"""
    with Child(python(f"print('ready', flush=True){code}"), cgroup=cgroup.path) as child:
        found = until(lambda: pids if len(pids := [p.pid for p in procfs.children(child.pid)]) == 2 else None)
        assert cgroup.pids() == {child.pid, *found}


# Audit session


@is_root
def test_audit_session() -> None:
    if not Path("/proc/self/loginuid").exists():
        pytest.skip("this kernel has no audit")
    code = """
if sys.argv[1] != 'none':
    open('/proc/self/loginuid', 'w').write(sys.argv[1])
print(open('/proc/self/sessionid').read(), flush=True)
time.sleep(1000)
"""
    with Child(python(code, "none")) as child:
        assert procfs.audit_session(child.pid) == int(child.said)
    with (
        Child(python(code, "4294967295")) as unset,
        Child(python(code, NOBODY)) as one,
        Child(python(code, "1")) as two,
    ):
        assert procfs.audit_session(unset.pid) == procfs.UNSET
        assert procfs.audit_session(one.pid) == int(one.said) != procfs.UNSET
        assert procfs.audit_session(one.pid) != procfs.audit_session(two.pid)


# Terminals

ON_TERMINAL = python(
    """
import fcntl, termios
fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)
print('ready', flush=True)
time.sleep(1000)
"""
)


def test_the_controlling_terminal_also_above_255() -> None:
    with ExitStack() as stack:
        ptys = [stack.enter_context(Pty()) for _ in range(260)]
        highest = max(ptys, key=lambda pty: int(pty.name.removeprefix("pts/")))
        assert os.minor(highest.device) > 255
        child = stack.enter_context(Child([*ON_TERMINAL, str(highest.path)]))
        assert child.process.tty == highest.device
        assert (procfs.ptys_held(os.getpid()) or set()) >= {pty.device for pty in ptys}


def test_ptys_held_are_those_of_the_master_side() -> None:
    with Pty() as pty, Child([*ON_TERMINAL, str(pty.path)]) as child:
        assert procfs.ptys_held(child.pid) == set()
        assert pty.device in (procfs.ptys_held(os.getpid()) or ())
        pty.hang_up()
        held = procfs.ptys_held(os.getpid())
        assert held is not None
        assert pty.device not in held


# Bytes


def test_io_counts_every_byte_written_and_read(tmp_path: Path) -> None:
    code = """
for line in sys.stdin:
    data = os.read(source, int(line)) if (source := os.open('/dev/zero', os.O_RDONLY)) else b''
    os.write(os.open('/dev/null', os.O_WRONLY), data + b'more')
    print('done', flush=True)
"""
    with Child(python(f"print('ready', flush=True){code}")) as child:
        for size in (1, 1000, 70_000):
            before = procfs.io(child.pid)
            child.tell(str(size))
            assert child.line() == "done"
            after = procfs.io(child.pid)
            assert before is not None
            assert after is not None
            assert after.read - before.read == size + len(f"{size}\n")
            assert after.written - before.written == size + len("more") + len("done\n")


@is_root
def test_io_of_somebody_else_is_none_for_who_may_not_see_it(sleeper: Child) -> None:
    code = """
sys.path.insert(0, sys.argv[1])
from idled import procfs
print(procfs.io(int(sys.argv[2])), procfs.ptys_held(int(sys.argv[2])), procfs.executable(int(sys.argv[2])))
"""
    with Child(python(code, Path(__file__).parents[2], sleeper.pid), uid=NOBODY) as child:
        assert child.said == "None None None"


# Signals


def test_open_process_is_of_exactly_that_process(sleeper: Child) -> None:
    start = sleeper.process.start
    before = open_descriptors()
    assert procfs.open_process(sleeper.pid, start + 1) is None
    assert procfs.open_process(sleeper.pid, start - 1) is None
    assert open_descriptors() == before
    pidfd = procfs.open_process(sleeper.pid, start)
    assert pidfd is not None
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    until(lambda: not sleeper.process.alive)


def test_a_process_with_the_number_of_another_gets_no_signal(sleeper: Child) -> None:
    other = sleeper.process
    before = procfs.Process(other.pid, other.comm, other.state, other.ppid, other.sid, other.tty, other.start - 1)
    assert not procfs.send(before, signal.SIGKILL)
    assert procfs.send(other, signal.SIGCONT)
    assert sleeper.process.alive


def test_a_thread_with_the_number_of_a_process_gets_no_signal() -> None:
    """Whoever starts threads all the time has the numbers of those who are gone, and one of them may be to be ended."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert thread.native_id is not None
    found = procfs.process(thread.native_id)
    assert found is not None
    assert not procfs.send(found, signal.SIGKILL)
    done.set()
    thread.join()


def test_sending_leaks_no_descriptor(sleeper: Child) -> None:
    before = open_descriptors()
    for _ in range(100):
        assert procfs.send(sleeper.process, signal.SIGCONT, signal.SIGCONT)
    assert open_descriptors() == before


# Cgroups


def test_the_root_of_the_tree_is_a_cgroup2_mount() -> None:
    root = procfs.cgroup_root()
    if root is None:
        pytest.skip("no cgroup v2 tree")
    assert (root / "cgroup.controllers").exists()


def test_a_mount_may_have_any_name(tmp_path: Path) -> None:
    """As one of a user's, by FUSE; here it is in a mount namespace of its own."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs to be allowed a mount namespace")
    (odd := tmp_path / os.fsdecode(b"\xff\r\x85 - cgroup2 ")).mkdir()
    code = "from idled import procfs; print(procfs.cgroup_root())"
    mount = 'mount -t tmpfs none "$0" && exec "$@"'
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, odd, sys.executable, "-c", code], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(procfs.cgroup_root())


def test_the_root_of_the_tree_is_read_once_it_can_be() -> None:
    root = procfs.cgroup_root()
    procfs.cgroup_root.cache_clear()
    with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
        procfs.cgroup_root()
    assert procfs.cgroup_root() == root


def test_members_are_those_in_it_and_below(cgroup: Cgroup) -> None:
    below = cgroup.path / "a" / "b"
    below.mkdir(parents=True)
    with Child(SLEEPER, cgroup=cgroup.path) as one, Child(SLEEPER, cgroup=below) as two, Child(SLEEPER):
        assert {process.pid for process in procfs.cgroup_members(cgroup.path)} == {one.pid, two.pid}
        assert [process.pid for process in procfs.cgroup_members(below)] == [two.pid]
        assert procfs.cgroup(one.pid) == cgroup.name
        assert procfs.cgroup(two.pid) == f"{cgroup.name}/a/b"
        assert procfs.cgroup_path(f"{cgroup.name}/a/b") == below


def test_a_cgroup_that_is_gone_has_no_members(cgroup: Cgroup) -> None:
    gone = cgroup.path / "gone"
    assert list(procfs.cgroup_members(gone)) == []
    assert not procfs.Cgroup.at(gone).populated()
    assert procfs.Cgroup.at(gone).members() == []


def test_a_cgroup_is_not_the_one_that_has_its_path_later(cgroup: Cgroup) -> None:
    """Not for who looks, nor for who kills; and one that is gone needs no killing."""
    with Child(SLEEPER, cgroup=cgroup.path) as child:
        was = procfs.Cgroup.at(cgroup.path)
        assert was.stands()
        assert was.populated()
        assert [process.pid for process in was.members()] == [child.pid]
    until(lambda: not cgroup.populated())
    cgroup.make_anew()
    with Child(SLEEPER, cgroup=cgroup.path) as other:
        assert not was.stands()
        assert not was.populated()
        assert was.members() == []
        was.kill()
        assert lives(other.pid)
        procfs.Cgroup.at(cgroup.path).kill()
        until(lambda: not lives(other.pid))
    cgroup.path.rmdir()
    was.kill()
    cgroup.path.mkdir()


def test_a_cgroup_without_others_in_it_is_not_listed(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lists it waits for who is about to remove it, who may wait long."""
    with Child(SLEEPER, cgroup=cgroup.path) as child:
        monkeypatch.setattr(os, "scandir", Mock(side_effect=AssertionError))
        assert [process.pid for process in procfs.cgroup_members(cgroup.path)] == [child.pid]
        monkeypatch.undo()
        (cgroup.path / "below").mkdir()
        with Child(SLEEPER, cgroup=cgroup.path / "below") as other:
            assert {process.pid for process in procfs.cgroup_members(cgroup.path)} == {child.pid, other.pid}
    until(lambda: not cgroup.populated())
    (cgroup.path / "below").rmdir()


def test_a_cgroup_may_go_between_open_and_read(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel answers ENODEV then: shown once, then done to the reader, since the moment cannot be hit."""
    below = cgroup.path / "below"
    below.mkdir()
    with open(below / "cgroup.procs", "rb", buffering=0) as file:
        below.rmdir()
        with pytest.raises(OSError, match="No such device"):
            file.read()
    below.mkdir()
    read = procfs._read

    def read_too_late(path: str) -> bytes | None:
        if path.startswith(f"{below}/"):
            raise OSError(errno.ENODEV, "No such device")
        return read(path)

    monkeypatch.setattr(procfs, "_read", read_too_late)
    with Child(SLEEPER, cgroup=cgroup.path) as child:
        assert [process.pid for process in procfs.cgroup_members(cgroup.path)] == [child.pid]
        assert not procfs.Cgroup.at(below).populated()


def test_a_threaded_cgroup_hides_nobody(cgroup: Cgroup) -> None:
    """Whoever has a cgroup of their own may make one; its cgroup.procs cannot be read."""
    (cgroup.path / "domain" / "threads").mkdir(parents=True)
    (cgroup.path / "domain" / "threads" / "cgroup.type").write_text("threaded")
    with pytest.raises(OSError, match="not supported"):
        (cgroup.path / "domain" / "threads" / "cgroup.procs").read_text()
    with Child(SLEEPER, cgroup=cgroup.path / "domain") as child:
        (cgroup.path / "domain" / "threads" / "cgroup.threads").write_text(str(child.pid))
        assert procfs.cgroup(child.pid) == f"{cgroup.name}/domain/threads"
        assert [process.pid for process in procfs.cgroup_members(cgroup.path)] == [child.pid]
        procfs.Cgroup.at(cgroup.path).kill()
        until(lambda: not procfs.Cgroup.at(cgroup.path).populated())


def test_cgroups_deeper_than_python_can_recurse(cgroup: Cgroup, shallow: int) -> None:
    deepest = cgroup.path.joinpath(*["d"] * shallow)
    with ExitStack() as stack:
        for folder in reversed([deepest, *deepest.parents][:shallow]):
            folder.mkdir()
            stack.callback(folder.rmdir)
        with Child(SLEEPER, cgroup=deepest) as child:
            assert [process.pid for process in procfs.cgroup_members(cgroup.path)] == [child.pid]
        until(lambda: not procfs.Cgroup.at(cgroup.path).populated())


def test_populated_says_whether_anyone_lives_in_it(cgroup: Cgroup) -> None:
    below = cgroup.path / "below"
    below.mkdir()
    assert not procfs.Cgroup.at(cgroup.path).populated()
    with Child(SLEEPER, cgroup=below) as child:
        assert procfs.Cgroup.at(cgroup.path).populated()
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: not procfs.Cgroup.at(cgroup.path).populated())
        assert child.process.state == "Z", "the dead that nobody waited for do not count"


#: Some lines of processes that never stop forking: each child goes on and its parent ends.
RABBITS = python(
    """
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
print('ready', flush=True)
for _ in range(5):
    if not os.fork():
        break
else:
    time.sleep(1000)
while True:
    if os.fork():
        os._exit(0)
"""
)


def test_killing_what_forks_all_the_time(cgroup: Cgroup) -> None:
    below = cgroup.path / "below"
    below.mkdir()
    with Child(RABBITS, cgroup=below) as first, Child(SLEEPER) as outside:
        seen = until(lambda: pids if len(pids := cgroup.pids()) > 4 else None)
        until(lambda: not seen & cgroup.pids() - {first.pid})
        begin = time.monotonic()
        procfs.Cgroup.at(cgroup.path).kill()
        until(lambda: not procfs.Cgroup.at(cgroup.path).populated(), 5)
        assert time.monotonic() - begin < 5
        assert outside.process.alive


def test_a_kernel_that_cannot_kill_a_cgroup(tmp_path: Path) -> None:
    """The folder is there, the file is not."""
    procfs.Cgroup.at(tmp_path).kill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["/", "", "//", ".", "..", "/..", "/../x", "/x/../y", "/x/..", "relative/path", "x", "//x"]
)
def test_names_that_are_no_cgroup_of_a_session(name: str) -> None:
    assert procfs.cgroup_path(name) is None


def test_a_path_that_is_too_long_to_be_told_is_none(sleeper: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cgroup is that deep in no time; but not every kernel answers so, some cut the path off."""

    def refused(*_: object) -> bytes:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(procfs, "_read", refused)
    assert procfs.cgroup(sleeper.pid) is None


def test_a_path_stays_below_the_root() -> None:
    root = procfs.cgroup_root()
    if root is None:
        pytest.skip("no cgroup v2 tree")
    assert procfs.cgroup_path("/user.slice/user-0.slice/a b.scope") == root / "user.slice/user-0.slice/a b.scope"
