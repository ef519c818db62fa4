# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which program holds a session, with a real shell and its jobs on a real pty."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from idled import procfs
from idled.evidence.foreground import holder

from .bench import NOBODY, Pty, handle_of, is_root, until

SLEEP = os.path.realpath("/usr/bin/sleep")


class Shell:
    """An interactive shell that is a session's leader."""

    def __init__(self, pty: Pty) -> None:
        self._pty = pty
        command = ["setsid", "--ctty", "bash", "--norc", "--noprofile", "-i"]
        self.running = subprocess.Popen(command, stdin=pty.slave, stdout=pty.slave, stderr=pty.slave)
        until(lambda: (found := self._leader()) and found.tty == pty.device and found.foreground)
        self.handle = handle_of(until(self._leader))

    def _leader(self) -> procfs.Process | None:
        return procfs.process(self.running.pid)

    def foreground(self, command: str) -> str:
        """Run a command, and return the file of what is then in the foreground."""
        self._pty.type(f"{command}\n".encode())
        return until(self._foreground)

    def background(self, command: str) -> None:
        """Run a command behind the shell."""
        self._pty.type(f"{command} &\n".encode())
        until(lambda: [child for child in procfs.children(self.running.pid) if child.comm == "sleep"])

    def become(self, command: str) -> None:
        """Have another program take the shell's place, in a mount namespace of its own."""
        before = os.stat(f"/proc/{self.running.pid}/ns/mnt").st_ino
        self._pty.type(f"{command}\n".encode())
        until(lambda: os.stat(f"/proc/{self.running.pid}/ns/mnt").st_ino != before)

    def _foreground(self) -> str:
        """What is there, once it is a sleep by any name."""
        with suppress(FileNotFoundError, ProcessLookupError):  # one is gone meanwhile
            for child in procfs.descendants(self.running.pid):
                if child.foreground and b"\x001000\x00" in Path(f"/proc/{child.pid}/cmdline").read_bytes():
                    return procfs.executable(child.pid) or ""
        return ""

    def holder(self, *programs: str) -> str:
        return holder(self.handle, programs)


@pytest.fixture
def shell() -> Iterator[Shell]:
    with Pty() as pty:
        shell = Shell(pty)
        yield shell
        pty.hang_up()
        shell.running.kill()
        shell.running.wait()


def test_a_program_in_the_foreground_holds(shell: Shell) -> None:
    assert shell.holder(SLEEP) == ""
    shell.foreground("sleep 1000")
    assert shell.holder("/usr/bin/nothing", SLEEP) == SLEEP
    assert shell.holder("/usr/bin/nothing", "/usr/bin/true") == ""


def test_one_in_the_background_does_not(shell: Shell) -> None:
    shell.background("sleep 1000")
    assert shell.holder(SLEEP) == ""


def test_the_policy_may_name_it_by_a_link(shell: Shell, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(SLEEP)
    shell.foreground("sleep 1000")
    assert shell.holder(str(link)) == SLEEP


def test_a_name_that_it_gives_itself_does_not_count(shell: Shell) -> None:
    shell.foreground("(exec -a /usr/bin/true sleep 1000)")
    assert shell.holder("/usr/bin/true") == ""


def test_of_a_file_that_is_not_wanted_nothing_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie on a file server that does not answer; such a one cannot be had here, so who asks is seen."""
    asked, stat = list[str](), os.stat

    def seen(path: str, **how: Any) -> os.stat_result:
        asked.append(str(path))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", seen)
    shell.foreground("sleep 1000")
    assert shell.holder("/usr/bin/true") == ""
    assert [path for path in asked if path.endswith("/exe")] == []
    assert shell.holder(SLEEP) == SLEEP
    assert [path for path in asked if path.endswith("/exe")] != []


@is_root
def test_a_file_may_be_named_as_one_that_is_gone(shell: Shell, tmp_path: Path) -> None:
    copy = tmp_path / "copy (deleted)"
    shutil.copy(SLEEP, copy)
    shell.foreground(f"'{copy}' 1000")
    assert shell.holder(str(copy)) == str(copy)


@is_root
@pytest.mark.parametrize(("owner", "mode", "holds"), [(0, 0o755, True), (NOBODY, 0o755, False), (0, 0o757, False)])
def test_only_a_file_that_root_alone_can_write(
    shell: Shell, tmp_path: Path, owner: int, mode: int, holds: bool
) -> None:
    copy = tmp_path / "copy"
    shutil.copy(SLEEP, copy)
    os.chown(copy, owner, owner)
    copy.chmod(mode)
    shell.foreground(f"{copy} 1000")
    assert shell.holder(str(copy)) == (str(copy) if holds else "")


@is_root
def test_a_program_that_is_replaced_while_it_runs(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procfs, "_MOUNTS", "/proc/self/ns/mnt")  # PID 1 need not be of our machine
    copy, new = tmp_path / "copy", tmp_path / "new"
    shutil.copy(SLEEP, copy)
    shutil.copy(SLEEP, new)
    shell.foreground(f"{copy} 1000")
    new.replace(copy)
    assert shell.holder(str(copy)) == str(copy)


@is_root
@pytest.mark.parametrize("of_the_leader", [False, True])
def test_a_mount_of_the_persons_own_changes_nothing(shell: Shell, of_the_leader: bool) -> None:
    """In a namespace of his own, anybody can mount one of root's files over another; a leader can be his own shell."""
    script = "sh -c 'mount --bind /usr/bin/sleep /usr/bin/true && exec /usr/bin/true 1000'"
    if of_the_leader:
        shell.become("exec unshare --mount bash --norc --noprofile -i")
    seen = shell.foreground(script if of_the_leader else f"unshare --mount {script}")
    assert seen == "/usr/bin/true"
    assert shell.holder("/usr/bin/true", SLEEP) == ""
