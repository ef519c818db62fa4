# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who goes on by mosh when a session's leader is gone: real processes in a cgroup, that run a file as mosh-server is.

The file is a copy of sleep(1), or of what opens a pty: what tells a server is where the file stands and whose it is.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from idled import procfs
from idled.members import Handle, members
from idled.sources import mosh
from tests.terminal.bench import NOBODY, Cgroup, Child, handle_of, is_root, shell, until

SCOPE = "session-1.scope"
HOLDS_A_PTY = "import os, time; os.openpty(); print('ready', flush=True); time.sleep(1000)"

pytestmark = is_root


@pytest.fixture
def scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The scope of a session, in a tree of its own."""
    with Cgroup(f"user.slice/user-{NOBODY}.slice/{SCOPE}") as cgroup:
        monkeypatch.setattr(procfs, "cgroup_root", lambda: cgroup.top)
        yield cgroup.path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that is a mosh-server: a copy of Python's."""
    path = tmp_path / "mosh-server"
    shutil.copy(os.path.realpath(sys.executable), path)
    monkeypatch.setattr(mosh, "_FILES", {str(path)})
    return path


def running(path: Path, scope: Path, code: str = HOLDS_A_PTY, **how: int) -> Child:
    return Child([str(path), "-I", "-S", "-c", code], cgroup=scope, **how)


def pid_of(process: procfs.Process | None) -> int | None:
    return process.pid if process else None


def gone(**what: object) -> Handle:
    """A session of nobody's whose leader is gone."""
    with Child(shell("echo")) as leader:
        handle = handle_of(leader.process, uid=NOBODY, user="nobody", tty="pts/1")
    session = replace(handle.session, service="sshd", remote="10.8.0.7", logind="1", groups=frozenset({"g"}))
    return replace(handle, session=session, scope=SCOPE, connection="::1 1 ::1 2", **what)  # type: ignore[arg-type]


def test_the_server_leads_the_same_session(scope: Path, server: Path) -> None:
    was = gone()
    with running(server, scope, uid=NOBODY) as process:
        heir = mosh.heir(was)
        assert heir is not None
        assert (heir.session.id.pid, heir.session.id.start) == (process.pid, process.process.start)
        assert heir.session == replace(was.session, id=heir.session.id, service="mosh", tty="")
        assert (heir.cgroup, heir.connection) == (procfs.Cgroup.at(scope), "")
        assert pid_of(mosh.server_of(NOBODY, SCOPE)) == process.pid


def test_a_server_of_who_has_the_path_by_now_is_none_of_the_session(scope: Path, server: Path) -> None:
    """As a logind that is restarted gives a name again, and the path of the cgroup with it."""
    was = gone(folder=str(scope), inode=procfs.inode(scope))
    scope.rmdir()
    scope.mkdir()
    with running(server, scope, uid=NOBODY):
        assert mosh.heir(was) is None


def test_without_a_server_it_is_over(scope: Path, server: Path) -> None:
    with Child(shell("echo"), cgroup=scope):
        assert mosh.heir(gone()) is None
    with running(server, scope) as process:
        process.die()
        assert mosh.heir(gone()) is None


def test_a_server_elsewhere_is_none_of_the_session(scope: Path, server: Path) -> None:
    other = scope.parent / "session-2.scope"
    other.mkdir()
    with running(server, other):
        assert mosh.heir(gone()) is None
        assert mosh.heir(gone(folder=str(scope))) is None
        assert mosh.server_of(NOBODY, "") is None
        assert mosh.server_of(1, SCOPE) is None


def test_the_one_that_holds_a_terminal_goes_before_an_older_one(scope: Path, server: Path) -> None:
    forks = f"import os; os.fork() or exec({HOLDS_A_PTY!r}); os.wait()"
    with running(server, scope, forks) as parent, running(server, scope):
        (child,) = procfs.children(parent.pid)
        heir = mosh.heir(gone())
        assert heir is not None
        assert heir.session.id.pid == child.pid
        os.kill(child.pid, 9)
        until(lambda: (next_one := mosh.heir(gone())) is not None and next_one.session.id.pid != child.pid)


def test_a_server_in_a_session_whose_leader_is_there(scope: Path, server: Path) -> None:
    with Child(shell("echo"), cgroup=scope) as leader:
        handle = handle_of(leader.process, cgroup=scope, uid=NOBODY)
        assert not mosh.serves(members(handle))
        with running(server, scope):
            assert mosh.serves(members(handle))


def test_a_server_that_was_upgraded_is_one_still(scope: Path, server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "_MOUNTS", "/proc/self/ns/mnt")  # PID 1 need not be of our machine
    with running(server, scope) as process:
        server.unlink()
        shutil.copy("/bin/sleep", server)
        assert pid_of(mosh.server_of(NOBODY, SCOPE)) == process.pid


def test_what_only_looks_like_one_is_none(scope: Path, server: Path, tmp_path: Path) -> None:
    elsewhere, link = tmp_path / "x" / "mosh-server", tmp_path / "link"
    elsewhere.parent.mkdir()
    shutil.copy(server, elsewhere)
    link.symlink_to(elsewhere)
    os.link(server, tmp_path / "hard")
    for path in (elsewhere, link, tmp_path / "hard"):
        with running(path, scope):
            assert mosh.server_of(NOBODY, SCOPE) is None, path
    named = f'exec -a {server} {sys.executable} -I -S -c "{HOLDS_A_PTY}"'
    with Child(["bash", "-c", named], cgroup=scope):
        assert mosh.server_of(NOBODY, SCOPE) is None


@pytest.mark.parametrize(("owner", "mode"), [(NOBODY, 0o755), (0, 0o775), (0, 0o757)])
def test_a_file_that_others_can_write_is_none(scope: Path, server: Path, owner: int, mode: int) -> None:
    os.chown(server, owner, owner)
    server.chmod(mode)
    with running(server, scope):
        assert mosh.server_of(NOBODY, SCOPE) is None


@pytest.mark.parametrize("name", ["mosh-server", "mosh-server (deleted)"])
def test_a_mount_in_a_namespace_of_ones_own_is_none(
    scope: Path, server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """There the link shows any path one likes."""
    monkeypatch.setattr(procfs, "_MOUNTS", "/proc/self/ns/mnt")
    other, shown = tmp_path / "other", tmp_path / name
    shutil.copy(server, other)
    shown.touch()
    mount = 'mount --bind "$1" "$2" && exec "$2" -I -S -c "$3"'
    mounted = ["unshare", "--mount", "sh", "-c", mount, "sh", str(other), str(shown), HOLDS_A_PTY]
    with Child(mounted, cgroup=scope) as process:
        assert procfs.executable(process.pid) == str(shown)
        assert mosh.server_of(NOBODY, SCOPE) is None
        other.unlink()
        assert mosh.server_of(NOBODY, SCOPE) is None
