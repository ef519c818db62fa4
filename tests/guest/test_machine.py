# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness shown: guests boot, people log in, and nothing stays behind."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import PROJECT, BootError, Machine, received_at
from .terminal import PROMPT, Terminal, Unseen, boottime


@pytest.fixture(scope="module")
def bare(guests: None, release: str) -> Iterator[Machine]:
    """A guest without the project: the harness must stand on its own."""
    with Machine(release, install=False) as machine:
        yield machine


@pytest.fixture(autouse=True)
def nobody_stays_in_the_bare_one(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "bare" in request.fixturenames:
        request.getfixturevalue("bare").logout_all()


def sessions(machine: Machine) -> list[dict[str, str]]:
    """What logind says of every user's session."""
    shown = machine.sh(
        """
        for id in $(loginctl list-sessions --no-legend | awk '{print $1}'); do
            loginctl show-session "$id" && echo
        done
        """
    )
    told = [dict(line.split("=", 1) for line in block.splitlines() if line) for block in shown.split("\n\n")]
    return [session for session in told if session.get("Class") == "user"]


def traces(machine: Machine) -> list[str]:
    """Whatever this machine left on its host."""
    name = machine.name
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    folders = [str(path) for path in (machine.base, *(cgroups / name for cgroups in hierarchies())) if path.exists()]
    return mounts + folders + processes(name)


def hierarchies() -> list[Path]:
    """Where the host has cgroups: of version 2, and of version 1 where it has those as well."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(where) for _, where, kind, *_ in mounts if kind in ("cgroup", "cgroup2")]


def processes(word: str) -> list[str]:
    """The living processes that have this word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in command:
            found.append(command)
    return found


def test_it_is_the_release_it_says(bare: Machine) -> None:
    assert f"VERSION_CODENAME={bare.release}" in bare.run("cat", "/etc/os-release").stdout


def test_all_units_are_up(bare: Machine) -> None:
    assert bare.sh("systemctl --failed --no-legend") == ""


def test_the_project_is_in_the_shared_one(machine: Machine) -> None:
    assert machine.sh("systemctl is-active idled.service") == "active"
    assert "pam_idled.so" in machine.sh("cat /etc/pam.d/common-session")


def test_ssh_login_is_a_logind_session(bare: Machine) -> None:
    with bare.login("alice") as terminal:
        terminal.expect(PROMPT)
        (session,) = sessions(bare)
    assert (session["Name"], session["Service"], session["Remote"]) == ("alice", "sshd", "yes")


def test_console_login_is_a_logind_session(bare: Machine) -> None:
    with bare.console("bob") as terminal:
        terminal.expect(PROMPT)
        terminal.type("tty\n")
        tty = terminal.expect(r"/dev/(pts/\d+)")[1]
        (session,) = sessions(bare)
    assert (session["Name"], session["Service"], session["Remote"]) == ("bob", "login", "no")
    assert session["TTY"] == tty


def test_console_login_wants_the_password(bare: Machine) -> None:
    with bare.console("bob", password="wrong") as terminal:
        terminal.expect("Login incorrect")
    assert sessions(bare) == []


def test_ssh_with_a_command_has_no_terminal(bare: Machine) -> None:
    with bare.login("carol", "tty; exit 3") as terminal:
        terminal.expect("not a tty")
        terminal.wait_closed()
    assert terminal.returncode == 3


def test_client_is_no_process_of_the_guest(bare: Machine) -> None:
    with bare.login("alice") as terminal:
        terminal.expect(PROMPT)
        assert bare.run("pgrep", "-x", "ssh", check=False).stdout == ""


def test_frozen_client_keeps_its_session(bare: Machine) -> None:
    with bare.login("alice") as terminal:
        terminal.expect(PROMPT)
        terminal.stop()
        terminal.type("echo go''ne on\n")
        with pytest.raises(Unseen):
            terminal.expect("gone on", timeout=0.3)
        assert len(sessions(bare)) == 1
        terminal.cont()
        terminal.expect("gone on")


def test_hangup_ends_a_console_session(bare: Machine) -> None:
    with bare.console("bob") as terminal:
        terminal.expect(PROMPT)
        terminal.hangup()
        terminal.wait_closed()


def test_window_size_reaches_the_guest(bare: Machine) -> None:
    with bare.login("alice") as terminal:
        terminal.expect(PROMPT)
        terminal.resize(50, 132)
        terminal.type("stty size\n")
        terminal.expect("50 132")


def test_text_and_journal_tell_when_they_came(bare: Machine) -> None:
    with bare.login("alice") as terminal:
        terminal.expect(PROMPT)
        cursor, before = bare.cursor(), boottime()
        terminal.type("logger -t harness wr''itten; echo sh''own\n")
        shown = terminal.moment(terminal.expect("shown"))
        entry = bare.wait_journal(5, since=cursor, SYSLOG_IDENTIFIER="harness")
        after = boottime()
    assert entry["MESSAGE"] == "written"
    assert before < shown < after
    assert before < received_at(entry) < after
    assert bare.journal(cursor, MESSAGE="written") == [entry]


def test_journal_is_waited_for_in_vain(bare: Machine) -> None:
    with pytest.raises(AssertionError, match="no entry"):
        bare.wait_journal(0.3, MESSAGE="never written")


def test_files_are_written(bare: Machine) -> None:
    bare.write("/etc/some/where.conf", "é\n", mode=0o640)
    assert bare.sh("stat -c '%a %U %s' /etc/some/where.conf") == "640 root 3"


def test_program_that_takes_too_long_is_gone(bare: Machine) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        bare.run("sleep", "4321", timeout=0.3)
    assert bare.run("pgrep", "-f", "sleep 4321", check=False).stdout == ""


def test_logout_ends_what_ignores_signals(bare: Machine) -> None:
    terminal = bare.login("alice", "trap '' HUP TERM INT; echo deaf; while :; do sleep 1; done")
    terminal.expect("deaf")
    bare.logout_all()
    assert sessions(bare) == []
    assert bare.run("pgrep", "-u", "1001", check=False).stdout == ""
    assert terminal.closed_at is not None


def test_two_stand_side_by_side(guests: None) -> None:
    with Machine("bookworm", install=False) as old, Machine("trixie", install=False) as new:
        for machine in (old, new):
            with machine.login("alice") as terminal:
                terminal.expect(PROMPT)
                assert len(sessions(machine)) == 1
        old.run("systemctl", "restart", "ssh.service")
        assert "running" in new.sh("systemctl is-system-running")
        machines = (old, new)
    assert [trace for machine in machines for trace in traces(machine)] == []


@pytest.mark.parametrize("end", [Machine.poweroff, Machine.close])
def test_nothing_stays_behind(guests: None, release: str, end: object) -> None:
    assert callable(end)
    machine = Machine(release, install=False)
    terminal = machine.login("alice")
    terminal.expect(PROMPT)
    end(machine)
    assert traces(machine) == []
    assert terminal.closed_at is not None


def test_killed_owner_leaves_nothing(guests: None) -> None:
    script = (
        "from tests.guest.machine import Machine\n"
        "machine = Machine('trixie', install=False)\n"
        "print(machine.name, machine.cgroup, machine.pid, flush=True)\n"
        "machine.run('sleep', '100')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        name, cgroup, pid = owner.stdout.readline().split()
        init = os.pidfd_open(int(pid))
        owner.kill()
    with Terminal(["sh", "-c", f"while [ -d {cgroup} ]; do sleep 0.05; done; echo go''ne"]) as waiting:
        waiting.expect("gone")
    assert select.select([init], [], [], 5)[0], "the guest's PID 1 lives on"
    os.close(init)
    deadline = time.monotonic() + 10
    while left := [line for line in processes(name) if "nspawn" in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_failed_boot_says_why(guests: None) -> None:
    with pytest.raises(BootError, match="no such thing"):
        Machine("trixie", prepare=("sh", "-c", "echo no such thing; exit 1"))


def test_uninstall_takes_all_of_it_out(guests: None, release: str) -> None:
    """Not judged: a changed configuration, which stays, and what Debian keeps for its own use."""
    in_and_out = f'{PROJECT}/dev install "$1" && {PROJECT}/dev uninstall "$1"'
    with Machine(release, prepare=("sh", "-c", in_and_out, "sh")) as machine:
        assert machine.sh("find /etc /usr -name '*idled*' -o -name '*idlectl*'") == ""
        assert machine.run("grep", "-r", "idled", "/etc/pam.d", check=False).stdout == ""
        assert machine.sh("systemctl --failed --no-legend") == ""
