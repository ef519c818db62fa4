# SPDX-License-Identifier: LGPL-2.1-or-later
"""What terminals show when they are looked at: real ptys, the kernel's own stamps and queues."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from idled.core.stamps import TerminalLook
from idled.evidence.terminals import look

from .bench import NOBODY, Child, Pty, is_root, open_descriptors, python, until

SEC = 1_000_000
BLOCK = 8 * SEC
CLOCK_REALTIME_COARSE = 5  # linux/time.h; Python has no name for it


@pytest.fixture
def pty() -> Iterator[Pty]:
    with Pty() as pty:
        yield pty


def seen(pty: Pty) -> TerminalLook:
    (found,) = look(pty.terminals, os.geteuid())
    return found


def coarse() -> int:
    """The clock that the kernel stamps with, microseconds."""
    return time.clock_gettime_ns(CLOCK_REALTIME_COARSE) // 1000


def tick() -> None:
    """Let the kernel's clock of stamps move on, so that what is stamped next differs."""
    before = coarse()
    until(lambda: coarse() != before)


def read_a_key(pty: Pty) -> None:
    pty.type(b"\n")
    assert os.read(pty.slave, 10) == b"\n"


def test_name_device_and_stamps(pty: Pty) -> None:
    status = os.stat(pty.path)
    assert seen(pty) == TerminalLook(
        name=pty.name,
        device=pty.device,
        atime=status.st_atime_ns // 1000,
        ctime=status.st_ctime_ns // 1000,
        mtime=status.st_mtime_ns // 1000,
        queued=0,
        canonical=True,
    )


def test_a_read_moves_atime_in_steps_of_eight_seconds_to_whole_seconds(pty: Pty) -> None:
    born = seen(pty)
    last, deadline = born.atime, time.monotonic() + 10
    while True:
        earliest = coarse()
        read_a_key(pty)
        latest, now = coarse(), seen(pty)
        assert now.ctime == born.ctime
        if now.atime != last:
            break
        assert earliest // BLOCK == last // BLOCK, "the step was over, and the stamp stayed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert now.atime % SEC == 0
    assert earliest // SEC <= now.atime // SEC <= latest // SEC
    assert now.atime // BLOCK != last // BLOCK


def test_a_read_through_another_name_of_the_terminal_moves_the_same_stamp(pty: Pty) -> None:
    os.utime(pty.path, (1, 1))
    again = os.open(f"/proc/self/fd/{pty.slave}", os.O_RDONLY | os.O_NOCTTY)
    try:
        pty.type(b"\n")
        before = coarse()
        assert os.read(again, 10) == b"\n"
    finally:
        os.close(again)
    assert seen(pty).atime // SEC >= before // SEC


@pytest.mark.parametrize(
    "act",
    [
        lambda path: os.utime(path),
        lambda path: os.utime(path, (coarse() // SEC + 5, coarse() // SEC)),
        lambda path: path.chmod(0o600 if path.stat().st_mode & 0o020 else 0o620),
    ],
    ids=["touch", "touch into the future", "mesg"],
)
def test_what_moves_ctime(pty: Pty, act: Callable[[Path], None]) -> None:
    before = seen(pty)
    tick()
    act(pty.path)
    assert seen(pty).ctime > before.ctime


def test_a_forged_stamp_is_what_is_seen(pty: Pty) -> None:
    os.utime(pty.path, (4_000_000_000, 1))
    assert seen(pty).atime == 4_000_000_000 * SEC


def test_output_and_unread_input_move_neither_stamp(pty: Pty) -> None:
    os.utime(pty.path, (1, 1))
    before = seen(pty)
    os.write(pty.slave, b"out\n")
    pty.type(b"in\n")
    pty.shown(b"out")
    after = until(lambda: found if (found := seen(pty)).queued else None)
    assert (after.atime, after.ctime) == (before.atime, before.ctime)
    assert os.stat(pty.path).st_mtime > 1, "the output did move its own stamp"


def test_typed_ahead_counts_line_by_line(pty: Pty) -> None:
    pty.type(b"abc\n")
    until(lambda: seen(pty).queued == 4)
    pty.type(b"half a line")
    assert seen(pty).queued == 4
    pty.type(b"\n")
    until(lambda: seen(pty).queued == 16)
    assert os.read(pty.slave, 100) == b"abc\n"
    assert seen(pty).queued == 12


def test_typed_ahead_counts_each_key_in_raw_mode() -> None:
    with Pty(raw=True) as pty:
        for count in range(1, 6):
            pty.type(b"k")
            until(lambda count=count: seen(pty).queued == count)  # type: ignore[misc]


def test_looking_takes_no_input_and_moves_nothing(pty: Pty) -> None:
    os.utime(pty.path, (1, 1))
    pty.type(b"abc\n")
    first = until(lambda: found if (found := seen(pty)).queued == 4 else None)
    assert all(seen(pty) == first for _ in range(100))
    assert os.read(pty.slave, 100) == b"abc\n"


LOOK_AND_WRITE = """
sys.path.insert(0, sys.argv[1])
from idled import procfs
from idled.actions.warn import write_line
from idled.evidence.terminals import look
terminals = {int(sys.argv[2]): sys.argv[3]}
assert look(terminals, os.geteuid()) and not write_line(terminals, os.geteuid(), "line")
print(procfs.process(os.getpid()).tty)
"""


def test_a_session_leader_that_looks_and_writes_gets_no_controlling_terminal(pty: Pty) -> None:
    project = Path(__file__).parents[2]
    with Child(python(LOOK_AND_WRITE, project, pty.device, pty.name)) as child:
        assert child.said == "0"


def test_looking_hangs_nobody_up(pty: Pty) -> None:
    assert seen(pty)
    os.write(pty.slave, b"still here")
    pty.shown(b"still here")


@is_root
def test_a_terminal_of_somebody_else_is_not_looked_at(pty: Pty) -> None:
    os.chown(pty.path, NOBODY, -1)
    assert look(pty.terminals, 0) == ()
    assert [terminal.name for terminal in look(pty.terminals, NOBODY)] == [pty.name]


def test_a_vanished_terminal_is_not_looked_at(pty: Pty) -> None:
    pty.hang_up()
    until(lambda: look(pty.terminals, os.geteuid()) == ())


def test_a_name_that_means_another_terminal_by_now_is_not_looked_at(pty: Pty) -> None:
    assert look({pty.device + 1: pty.name}, os.geteuid()) == ()


@contextmanager
def below_dev(folder: str = "/dev") -> Iterator[Path]:
    """A name below /dev that is free, and is free again afterwards."""
    path = Path(folder) / f"idled-test-{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@is_root
def test_a_symlink_is_not_followed(pty: Pty) -> None:
    with below_dev() as path:
        path.symlink_to(pty.path)
        assert path.stat().st_rdev == pty.device
        assert look({pty.device: path.name}, os.geteuid()) == ()


@is_root
def test_a_regular_file_and_a_fifo_are_not_looked_at() -> None:
    with below_dev() as path:
        path.write_text("no terminal")
        assert look({path.stat().st_rdev: path.name}, os.geteuid()) == ()
    with below_dev() as path:
        os.mkfifo(path)
        assert look({path.stat().st_rdev: path.name}, os.geteuid()) == ()


@is_root
def test_a_terminal_after_its_end_has_no_queue(pty: Pty) -> None:
    """A node of a device that nobody serves: opening it fails, and the look is taken without the queue."""
    with below_dev() as path:
        os.mknod(path, 0o600 | 0o020000, os.makedev(136, 0xFFFFE))
        (found,) = look({os.makedev(136, 0xFFFFE): path.name}, os.geteuid())
        assert found.queued == 0


@is_root
def test_thousands_of_looks_leak_no_descriptor(pty: Pty) -> None:
    with Pty() as gone, Pty() as foreign:
        os.chown(foreign.path, NOBODY, -1)
        gone.hang_up()
        all_kinds = pty.terminals | gone.terminals | foreign.terminals
        before = open_descriptors()
        for _ in range(3000):
            assert len(look(all_kinds, 0)) == 1
        assert open_descriptors() == before
