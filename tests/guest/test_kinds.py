# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the list says that each kind of session is: with sftp, scp, rsync, git, a command, or nothing but forwards."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from idled.cli.telling import what

from .installed import Installed
from .machine import cut
from .pane import pane
from .test_transfers import prepare, run_in

FILES_ONLY = "Match User carol\n    ForceCommand internal-sftp\n"
MASTER = "/tmp/kinds-master"
SFTP = "sftp> "


@pytest.fixture
def files_only(idled: Installed) -> Iterator[None]:
    """Carol may do nothing but move files, by the file server inside of sshd."""
    idled.machine.write("/etc/ssh/sshd_config.d/kinds.conf", FILES_ONLY)
    idled.machine.run("systemctl", "restart", "ssh")
    yield
    idled.machine.sh("rm /etc/ssh/sshd_config.d/kinds.conf")
    idled.machine.run("systemctl", "restart", "ssh")


def shown(idled: Installed) -> dict[str, set[str]]:
    """What the sessions of each user are said to be."""
    found: dict[str, set[str]] = {}
    for session in idled.sessions():
        found.setdefault(session["user"], set()).add(what(session))
    return found


def wait_for(idled: Installed, user: str, kinds: set[str]) -> None:
    deadline = time.monotonic() + 20
    while (found := shown(idled).get(user)) != kinds:
        assert time.monotonic() < deadline, f"{user} has {found}"


@contextmanager
def transferring(idled: Installed, *commands: str) -> Iterator[None]:
    """Clients in the guest that take their time."""
    clients: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        for command in commands:
            clients.append(stack.enter_context(run_in(idled, command)))
        try:
            yield
        finally:
            for client in clients:
                cut(client)


@pytest.mark.usefixtures("files_only")
def test_sessions_without_a_terminal_say_what_they_are(idled: Installed) -> None:
    idled.limits(idle="10min", absolute="12h")
    prepare(idled)
    with transferring(
        idled,
        "scp -O -l 8 large alice@127.0.0.1:files/scp",
        "rsync --bwlimit=1 large alice@127.0.0.1:files/rsync",
        "git clone -q --upload-pack=slow-upload-pack alice@127.0.0.1:repository.git cloned",
        "ssh alice@127.0.0.1 'sleep 1000; true'",
        "ssh -N alice@127.0.0.1",
        "ssh 127.0.0.1 sleep 1000",
    ):
        wait_for(idled, "alice", {"scp", "rsync", "runs slow-upload-pac", "runs sleep", "ssh -N"})
        wait_for(idled, "root", {"runs sleep"})
    client = idled.machine.client
    with client("sftp", "bob@127.0.0.1") as sftp, client("sftp", "carol@127.0.0.1") as own:
        for terminal in (sftp, own):
            terminal.expect(SFTP, timeout=20)
        for user in ("bob", "carol"):
            wait_for(idled, user, {"sftp"})


def test_what_runs_beside_a_terminal_is_told_with_it_and_looks_well(idled: Installed) -> None:
    # A short name leaves room for the session's, which grows with the machine's days.
    idled.policy('mode = "enforce"\n[[rule]]\nname = "all"\nidle_timeout = "10min"\nabsolute_timeout = "12h"\n')
    machine = idled.machine
    share = f"-oControlPath={MASTER}"
    with idled.login("alice", "-M", share), machine.client("sftp", share, "alice@127.0.0.1") as sftp:
        sftp.expect(SFTP, timeout=20)
        tty = idled.session("alice", terminals=1)["terminals"][0]
        wait_for(idled, "alice", {f"ssh {tty}, sftp"})
        with pane(machine) as looked_at:
            listed, told = looked_at.look("idlectl"), looked_at.look(f"idlectl show {idled.session('alice')['name']}")
        assert f" ssh {tty}, sftp " in listed[1]
        assert "  also runs         sftp-server" in told


def test_a_command_cannot_pass_for_a_terminal(idled: Installed) -> None:
    idled.limits(idle="10min")
    name = "open('/proc/self/comm', 'w').write('ssh pts/1\\x1b[2J')"
    with idled.machine.login("bob", f'python3 -c "{name}; import time; time.sleep(1000)"'):
        wait_for(idled, "bob", {"runs ssh pts/1?[2J"})
