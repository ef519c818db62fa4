# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a test on the real kernel works with: a wait for a fact, a pty, a process, a cgroup. Each goes when left."""

from __future__ import annotations

import fcntl
import gc
import os
import re
import resource
import select
import struct
import subprocess
import sys
import termios
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

import pytest

from idled import procfs
from idled.actions.end import End
from idled.core.model import Session, SessionId
from idled.members import Handle

T = TypeVar("T")

NOBODY = 65534

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users' terminals, processes and cgroups")


def until(fact: Callable[[], T | None], timeout: float = 10) -> T:
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + timeout
    while not (found := fact()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {fact}"
        time.sleep(0.002)
    return found


def kill(ending: End) -> tuple[str, ...]:
    """SIGKILL to all that is left of a session and to what is started meanwhile, and what was left."""
    with ThreadPoolExecutor(1) as killer:
        return ending.kill(killer)


def promptly(act: Callable[[], T], within: float = 20) -> tuple[T, float]:
    """Call what must not block in a thread; its result and the seconds it took."""
    results: list[tuple[T, float]] = []

    def run() -> None:
        begin = time.monotonic()
        result = act()
        results.append((result, time.monotonic() - begin))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(within)
    assert results, f"still blocked after {within} s"
    return results[0]


def open_descriptors() -> int:
    """Of this process, without those that a test before left to the collector."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def descriptors_left(spare: int) -> Iterator[None]:
    """This process can open so many more, and then none."""
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Pty:
    """A pty of which the test has both sides."""

    def __init__(self, *, raw: bool = False) -> None:
        self.master, self.slave = os.openpty()
        self.path = Path(os.ttyname(self.slave))
        self.name = str(self.path).removeprefix("/dev/")
        self.device = os.fstat(self.slave).st_rdev
        self.terminals = {self.device: self.name}
        os.set_blocking(self.master, False)
        mode = termios.tcgetattr(self.slave)
        mode[3] &= ~termios.ECHO
        if raw:
            mode[3] &= ~termios.ICANON
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)

    def type(self, data: bytes) -> None:
        assert os.write(self.master, data) == len(data)

    def shown(self, wanted: bytes, timeout: float = 5) -> bytes:
        """All that comes out on the master side up to what is wanted."""
        data = b""
        while wanted not in data:
            assert select.select([self.master], [], [], timeout)[0], f"{wanted!r} did not come, only {data!r}"
            data += os.read(self.master, 65536)
        return data

    def silent(self) -> bool:
        """Nothing has come out that was not taken."""
        return not select.select([self.master], [], [], 0)[0]

    def writable(self) -> bool:
        return bool(select.select([], [self.slave], [], 0)[1])

    def fill(self) -> None:
        """Write until it takes no more, now and after the kernel has carried what it can to the other side."""
        os.set_blocking(self.slave, False)
        self._write_all_it_takes()
        until(lambda: self._carried() == 4095)
        self._write_all_it_takes()

    def _write_all_it_takes(self) -> None:
        for size in (4096, 1):
            try:
                while True:
                    os.write(self.slave, b"x" * size)
            except BlockingIOError:
                pass

    def _carried(self) -> int:
        """Bytes that the other side could read at once."""
        return int(struct.unpack("i", fcntl.ioctl(self.master, termios.TIOCINQ, b"\0\0\0\0"))[0])

    def hang_up(self) -> None:
        """Close the master side."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        os.close(self.slave)


class Child:
    """A process that says when it is ready by a first line, and is killed when it is left."""

    def __init__(self, argv: Sequence[str], *, cgroup: Path | None = None, uid: int | None = None) -> None:
        enter = ["sh", "-c", 'echo $$ >"$0"/cgroup.procs && exec "$@"', str(cgroup)] if cgroup else []
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        self._process = subprocess.Popen(
            [*enter, *become, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        self.pid = self._process.pid
        self.said = self.line()

    @property
    def process(self) -> procfs.Process:
        found = procfs.process(self.pid)
        assert found is not None
        return found

    def tell(self, line: str = "") -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    def line(self) -> str:
        """The next line it says."""
        assert self._process.stdout is not None
        said = b""
        while not said.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], 20)[0]:
                self.die()
                raise AssertionError(f"no line came from {self._process.args!r}")
            if not (sign := self._process.stdout.read(1)):
                break
            said += sign
        return said.decode().strip()

    def die(self) -> None:
        """Kill it and leave no zombie."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass


def python(code: str, *arguments: object) -> list[str]:
    """The command that runs some lines of Python."""
    return [sys.executable, "-I", "-S", "-c", f"import os, sys, time, signal\n{code}", *map(str, arguments)]


def shell(script: str) -> list[str]:
    """The command that runs a script, which says a line, and stays."""
    return ["sh", "-c", f"{script}\nread line"]


class Cgroup:
    """A cgroup of the machine's v2 tree, emptied and removed when it is left."""

    def __init__(self, name: str = "") -> None:
        root = procfs.cgroup_root()
        if root is None or os.geteuid() != 0:
            pytest.skip("needs root and a cgroup v2 tree")
        self.top = root / f"idled-test-{uuid.uuid4().hex[:12]}"
        self.path = self.top / name
        self.path.mkdir(parents=True)
        self.name = f"/{self.path.relative_to(root)}"

    def make_anew(self) -> None:
        """Another one of the same path, and those above it, all of which must be empty."""
        for folder in (self.path, *self.path.parents):
            if folder.is_relative_to(self.top):
                folder.rmdir()
        self.path.mkdir(parents=True)

    def pids(self) -> set[int]:
        """Everything in it and below it that lives."""
        lists = [path.read_text() for path in self.top.rglob("cgroup.procs")]
        return {int(pid) for text in lists for pid in text.split() if lives(int(pid))}

    def populated(self) -> bool:
        return "populated 1" in (self.top / "cgroup.events").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        (self.top / "cgroup.kill").write_text("1")
        until(lambda: not self.populated())
        for folder in sorted(self.top.rglob("*/"), key=lambda path: -len(path.parts)):
            folder.rmdir()
        self.top.rmdir()


def lives(pid: int) -> bool:
    """Whether a process has not ended; by another way than that of what is tested."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    threads = re.search(r"^Threads:\s+(\d+)", status, re.M)
    return "\nState:\tZ" not in status or (threads is not None and int(threads[1]) > 1)


def handle_of(
    leader: procfs.Process, *, cgroup: Path | None = None, uid: int = 0, tty: str = "", user: str = "root"
) -> Handle:
    """A session with that leader."""
    id = SessionId(procfs.boot_id(), leader.pid, leader.start)
    folder, inode = (str(cgroup), procfs.inode(cgroup)) if cgroup else ("", 0)
    return Handle(session=Session(id=id, user=user, uid=uid, opened_at=1, tty=tty), folder=folder, inode=inode)
