# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attempts on the daemon itself and on its tools: calls that fail in it, no pids or terminals left, files planted."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .apparmor import STRACE, Use, uses
from .installed import LATE, SEC, Installed, number
from .machine import Machine
from .terminal import PROMPT, children
from .test_confinement import field, traced

SOCKET = "/run/idled/io.idled"
IDLE = 8

#: The daemon with a flaw that its makers did not foresee, in a method and in what answers the PAM module.
FLAWED = """
import sys
from idled import daemon, desk, reception
async def get_status(self, call):
    raise LookupError("\\x1b[2J", call)
def answer(self, *_):
    raise LookupError
desk.Desk.get_status = get_status
reception.Reception._answer = answer
sys.exit(daemon.main())
"""
DROP_IN = "/run/systemd/system/idled.service.d/flawed.conf"
#: Makes the same call again and again, and says what it got, if that changes.
ASKS = f"""
import json, socket, time
said = None
while True:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect("{SOCKET}")
        link.sendall(json.dumps({{"method": "io.idled.GetStatus"}}).encode() + b"\\0")
        got = "an answer" if link.recv(1 << 16) else "nothing"
    if got != said:
        print("got " + got, flush=True)
    said = got
    time.sleep(0.01)
"""


@pytest.fixture
def flawed(idled: Installed) -> Iterator[Installed]:
    """The project with that daemon."""
    machine = idled.machine
    machine.write("/usr/local/lib/flawed.py", FLAWED)
    machine.write(DROP_IN, "[Service]\nExecStart=\nExecStart=/usr/bin/python3 -I /usr/local/lib/flawed.py\n")
    machine.sh("systemctl daemon-reload; systemctl restart idled")
    yield idled
    machine.sh(f"rm {DROP_IN}; systemctl daemon-reload; systemctl restart idled")


def test_who_finds_a_call_that_fails_loses_the_connection_and_nothing_else_happens(flawed: Installed) -> None:
    machine = flawed.machine
    machine.write("/tmp/asks.py", ASKS)
    daemon = machine.sh("systemctl show -P MainPID idled")
    flawed.limits(idle=f"{IDLE}s", warn='["3s"]')
    with flawed.login("bob") as attacker, flawed.login("alice") as idle:
        attacker.type("python3 /tmp/asks.py\n")
        attacker.expect("got nothing")
        typed = idle.type("x")
        idle.expect("this session will be ended", timeout=20)
        assert IDLE * SEC <= idle.wait_closed(20) - typed <= IDLE * SEC + LATE
        attacker.wait_closed(20)
        assert "got an answer" not in attacker.text
    assert machine.sh("systemctl show -P MainPID idled") == daemon
    said = [entry["MESSAGE"] for entry in flawed.events("trouble")]
    assert 3 <= len([line for line in said if "the call of io.idled.GetStatus" in line]) <= 3 * IDLE, said
    assert any(
        "hung up on process" in line and "of uid 1002" in line and "LookupError at /usr" in line for line in said
    )
    assert any("the registration" in line and "of uid 0" in line for line in said)
    assert [line for line in said if "restarted" in line or not line.isprintable()] == []


# Without pids

#: Takes every pid there is, and each that comes free.
TAKES_ALL = """
import signal, threading, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
threading.stack_size(1 << 16)
full = False
while True:
    try:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    except RuntimeError:
        if not full:
            print("no mo" + "re", flush=True)
        full = True
        time.sleep(0.005)
"""
PIDS = 800
LIMITED = "mount -t proc proc /mnt; echo $1 >/mnt/sys/kernel/pid_max; umount /mnt"


def kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


@pytest.mark.skipif(kernel() < (6, 14), reason="before Linux 6.14 all pids are those of the whole machine")
def test_where_no_pids_are_left_nobody_stays(guests: None, release: str) -> None:
    """In a guest of its own, since nothing can be started in it for a while."""
    with Machine(release) as machine:
        idled = Installed(machine)
        machine.write("/tmp/takes.py", TAKES_ALL)
        machine.sh(LIMITED, str(PIDS))
        with idled.login("alice") as hog, idled.login("bob") as other:
            session = idled.session("bob", terminals=1)["id"]
            for terminal in (hog, other):
                terminal.type("\n")
            idled.limits(idle=f"{IDLE}s", warn='["3s"]', more='[access]\nview = ["user:carol", "group:users"]')
            machine.sh("systemctl restart idled")
            daemon = machine.sh("systemctl show -P MainPID idled")
            hogged = hog.type("nice -n 19 python3 /tmp/takes.py\n")
            hog.expect("no more\r", timeout=IDLE)
            typed = other.type("true; /bin/true\n")
            other.expect("fork: .*Resource temporarily unavailable")
            with ThreadPoolExecutor(8) as callers:  # each has the daemon ask for a name, which wants a thread
                answers = list(callers.map(extension_of, [machine] * 8, [session] * 8))
            assert [answer["error"] for answer in answers] == ["io.idled.ExtensionRefused"] * 8
            assert IDLE * SEC <= hog.wait_closed(20) - hogged <= IDLE * SEC + LATE
            assert IDLE * SEC <= other.wait_closed(20) - typed <= IDLE * SEC + LATE
        until_pids(machine)
        for user in ("alice", "bob"):
            ended = idled.event("ended", timeout=20, IDLED_USER=user)
            assert number(ended, "LATE_USEC") < SEC
            assert idled.events("warned", IDLED_USER=user)
        assert machine.sh("systemctl show -P MainPID idled") == daemon
        assert idled.processes("alice") == idled.processes("bob") == []


def until_pids(machine: Machine) -> None:
    """Until something can be started again: the hog ignores the hangup."""
    deadline = time.monotonic() + 20
    while machine.run("true", check=False).returncode != 0:
        assert time.monotonic() < deadline, "there are still no pids"
        time.sleep(0.1)


def extension_of(machine: Machine, session: str) -> Any:
    """What root is told who gives no reason, from outside: in the guest nothing can be started."""
    asked = {"method": "io.idled.Extend", "parameters": {"session": session, "byUSec": SEC}}
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(f"/proc/{machine.pid}/root{SOCKET}")
        link.sendall(json.dumps(asked).encode() + b"\0")
        return json.loads(link.recv(1 << 16).rstrip(b"\0"))


# Without terminals

HOARD = """
import os, resource, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
ptys = []
while True:
    try:
        ptys.append(os.openpty())
    except OSError:
        print("no mo" + "re", flush=True) if ptys else None
        time.sleep(1000)
"""
MOST = 100


@pytest.fixture
def few_ptys(machine: Machine) -> Iterator[None]:
    """So many in this guest, whose devpts is its own: all that there are would be those of the whole machine."""
    machine.sh(f"mount -o remount,max={MOST} /dev/pts")
    yield
    machine.sh("mount -o remount,max=1048576 /dev/pts")


@pytest.mark.usefixtures("few_ptys")
def test_where_no_terminals_are_left_nobody_stays(idled: Installed) -> None:
    idled.machine.write("/tmp/hoard.py", HOARD)
    with idled.login("alice") as hoarder, idled.login("bob") as other:
        idled.limits(idle="12s", warn='["3s"]')
        hoarded = hoarder.type("python3 /tmp/hoard.py\n")
        hoarder.expect("no more\r")
        typed = other.type("x")
        with idled.machine.login("carol") as late:
            late.expect("PTY allocation request failed")
            assert late.closed_at is None, late.text
            assert idled.session("carol")["terminals"] == []
            other.expect("this session will be ended", timeout=20)
            assert 12 * SEC <= hoarder.wait_closed(20) - hoarded <= 12 * SEC + LATE
            assert 12 * SEC <= other.wait_closed(20) - typed <= 12 * SEC + LATE
            late.wait_closed(20)
    idled.wait_ended("alice", "bob", "carol")
    with idled.login("alice") as again:
        again.type("tty\n")
        again.expect(r"/dev/pts/\d+\r")
        again.expect(PROMPT)


# What is planted

#: Wherever alice may write: links, FIFOs and modules under all names that daemon, tools and Python might ask for.
PLANT = """
for place in /tmp /var/tmp /dev/shm /run/lock /run/user/1001 "$HOME" "$HOME/.config/idled"; do
    mkdir -p "$place"; cd "$place" || continue
    for name in idled idlectl idled.toml sessions sessions.new pam terminfo .netrc .terminfo .inputrc; do
        mkfifo "$name" 2>/dev/null
    done
    for name in io.idled state.json .python_history; do ln -s /etc/idled/planted "$name"; done
    for name in rich jeepney json asyncio idled usercustomize; do
        echo 'open("/etc/idled/planted", "w").write("hijacked")' >"$name.py"
    done
done
ln /tmp/json.py /tmp/hard
mkdir -p "$HOME/.local/lib"
for version in 3.11 3.13; do
    mkdir -p "$HOME/.local/lib/python$version/site-packages"
    cp /tmp/json.py "$HOME/.local/lib/python$version/site-packages/usercustomize.py"
done
echo plan"ted"
"""
#: As it was before.
UPROOT = """
find /tmp /var/tmp /dev/shm /run/lock -mindepth 1 -user alice -delete
find /home/alice -mindepth 1 -newer /tmp/plant.sh -delete
"""
VERBS = ("list", "status", "check", "doctor", "log", "explain --user alice", "reload")
#: As one does who has become root in a place and with the home and the environment of somebody else.
WHERE = (
    'cd "$0"; export HOME=/home/alice PYTHONPATH=/tmp TMPDIR=/tmp XDG_RUNTIME_DIR=/run/user/1001; kill -STOP $$; exec '
)


@pytest.fixture
def planting(idled: Installed) -> Iterator[Installed]:
    """With that in the guest, and nothing of what came of it afterwards."""
    idled.machine.write("/tmp/plant.sh", PLANT)
    yield idled
    idled.machine.sh(UPROOT)


def test_root_touches_nothing_that_is_planted(planting: Installed, tmp_path: Path) -> None:
    idled, machine = planting, planting.machine
    idled.limits(idle="1h")
    with idled.login("alice") as terminal:
        terminal.type("sh /tmp/plant.sh\n")
        terminal.expect("planted\r")
        machine.run("systemctl", "restart", "idled")
        used = set[Use]()
        for number_, verb in enumerate(VERBS):
            used |= used_by(machine, f"idlectl {verb}", ("/tmp", "/home/alice")[number_ % 2], tmp_path / verb)
        with idled.login("bob"):
            assert idled.session("bob")["state"] == "open"
        assert machine.run("ls", "/etc/idled/planted", check=False).returncode != 0
    assert len(used) > 100
    assert {use for use in used if use.path.startswith("/run/idled/")} != set()
    writable = machine.sh(
        "find / /tmp /run /dev/shm /var/tmp -ignore_readdir_race -xdev"
        " -type d '(' -perm -2 -o -user alice ')' -prune -print"
    )
    places = [*writable.splitlines(), "/home/alice", "/run/user"]
    assert {"/tmp", "/var/tmp", "/home/alice"} <= set(places)
    assert [use for use in used if any(use.path.startswith(f"{place}/") for place in places)] == []


def used_by(machine: Machine, command: str, where: str, seen: Path) -> set[Use]:
    """Which files a command of root's uses that is run in some place: it must come to its end."""
    seen.mkdir()
    with machine.popen("sh", "-c", f"{WHERE}{command}", where) as process:
        pid = stopped(process.pid)
        with subprocess.Popen([*STRACE, "-o", seen / "of", "-p", str(pid)]) as strace:
            traced(pid)
            os.kill(pid, signal.SIGCONT)
            process.send_signal(signal.SIGCONT)
            assert process.communicate(timeout=120)[0]
            strace.wait(30)
    return uses(seen)


def stopped(nsenter: int) -> int:
    """The one child of an nsenter, once it has stopped itself, and the nsenter with it."""
    deadline = time.monotonic() + 20
    while field(nsenter, "State")[0] != "T":
        assert time.monotonic() < deadline, "the command does not wait"
        time.sleep(0.005)
    (child,) = children(nsenter)
    return child
