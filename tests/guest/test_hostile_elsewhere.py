# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user leaves outside of the session to keep it open: jobs of cron, a lingering user manager, odd cgroups."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .installed import CONSOLE_LATE, END, LATE, SEC, Installed, number
from .machine import Machine, received_at
from .terminal import PROMPT, Terminal, boottime
from .test_ends import type_until

IDLE = 8

#: Makes signs of input on a terminal, prints there, and cannot be stopped but by SIGKILL.
KEEPER = """#!/bin/bash
trap '' HUP TERM
while sleep 1; do
    touch -a "/dev/$1"; touch -a -d '+1 hour' "/dev/$1"; echo here >"/dev/$1"
done 2>/dev/null
"""
#: In a cgroup of its own, which systemd gives to the user: a frozen one, and one so deep that no path leads there.
NESTED = """
import os, subprocess, time
os.chdir("/sys/fs/cgroup" + open("/proc/self/cgroup").read().strip().rpartition("::")[2])
def put(command, where):
    child = subprocess.Popen(command, start_new_session=True)
    with open(f"{where}/cgroup.procs", "w") as file:
        file.write(str(child.pid))
os.mkdir("frozen")
put(["sleep", "1301"], "frozen")
with open("frozen/cgroup.freeze", "w") as file:
    file.write("1")
for _ in range(30):
    os.mkdir("x" * 200)
    os.chdir("x" * 200)
put(["python3", "-c", "import os, signal, time; signal.signal(signal.SIGHUP, signal.SIG_IGN); time.sleep(1302)"], ".")
time.sleep(1303)
"""
#: Files of /proc of the processes of $1 whose command lines match $2.
OF = 'of() { pgrep -u "$1" -f -- "$2" | sed "s,.*,/proc/&/$3,"; }'
CRON = "grep cron.service $(of alice 'keeper pts' cgroup)"
MANAGER = "grep user@1002.service $(of bob 'keeper pts' cgroup)"
FROZEN = "grep '1$' $(find /sys/fs/cgroup/user.slice/user-1003.slice -name frozen)/cgroup.freeze"
DEEP = "[ $(cat $(of carol 1302 cgroup) | wc -c) -gt 4090 ]"


def wait_for(machine: Machine, fact: str) -> None:
    """Until a command of root's says yes."""
    waited = machine.run("timeout", "15", "bash", "-c", f"{OF}; until {fact}; do sleep 0.1; done", check=False)
    assert waited.returncode == 0, f"not within 15 s: {fact}"


def start_cron(machine: Machine) -> None:
    """Jobs that are to be run at boot are run whenever cron is started; nobody waits for the next minute."""
    machine.sh("systemctl stop cron; rm -f /run/crond.reboot; systemctl start cron")


UNDO = """
systemctl stop cron
systemctl kill --signal=KILL cron
crontab -r -u alice
loginctl disable-linger bob
"""


@pytest.fixture
def keeper(idled: Installed) -> Iterator[Installed]:
    """With programs in the guest that keep a terminal busy and nest cgroups."""
    idled.machine.write("/usr/local/bin/keeper", KEEPER, 0o755)
    idled.machine.write("/tmp/nested.py", NESTED)
    yield idled
    idled.machine.sh(UNDO, check=False)


def terminal_of(client: Terminal) -> str:
    client.type("tty\n")
    found = client.expect(r"/dev/(pts/\d+)\r")[1]
    client.expect(PROMPT)
    return found


def test_what_runs_elsewhere_keeps_no_session(keeper: Installed) -> None:
    """A job of cron's, the user manager of one who lingers, cgroups of one of whom all is to end."""
    machine = keeper.machine
    keeper.limits()
    with keeper.login("alice") as cron, keeper.login("bob") as lingering, keeper.login("carol") as nested:
        nested.type("systemd-run --user --quiet -p Delegate=yes python3 /tmp/nested.py\n")
        lingering.type("loginctl enable-linger; echo gave $?\n")
        lingering.expect(r"gave [1-9]", timeout=30)  # without polkit nobody may; so root does, as with it anybody could
        machine.run("loginctl", "enable-linger", "bob")
        lingering.type(f"systemd-run --user --quiet keeper {terminal_of(lingering)}\n")
        cron.type(f"echo '@reboot /usr/local/bin/keeper {terminal_of(cron)}' | crontab -; crontab -l | tr a-z A-Z\n")
        cron.expect("@REBOOT")
        start_cron(machine)
        for fact in (CRON, MANAGER, FROZEN, DEEP):
            wait_for(machine, fact)
        for client in (cron, lingering):
            client.expect("here")
        for client in (nested, cron, lingering):
            client.type("\n")
        keeper.limits(idle=f"{IDLE}s", more='[[rule]]\nname = "all"\nmatch = { user = ["carol"] }\nend = "user"')
        asked = nested.type("idlectl me\n")  # from the session itself, which is found all the same
        nested.expect("ends at")
        typed = {client: client.type("x") for client in (cron, lingering)}
        for client, moment in typed.items():
            assert IDLE * SEC <= client.wait_closed(20) - moment <= IDLE * SEC + LATE
        ended = keeper.event("ended", timeout=20, IDLED_USER="carol")
    assert number(ended, "TOOK_USEC") <= END
    assert IDLE * SEC <= received_at(ended) - asked <= IDLE * SEC + LATE + END
    assert keeper.processes("carol") == []
    keeper.wait_ended("alice", "bob")
    wait_for(machine, f"{CRON} && {MANAGER}")  # which go on, as the manual says
    machine.sh("pkill -KILL -u alice -f 'keeper pts'")
    start_cron(machine)
    wait_for(machine, CRON)
    assert keeper.sessions() == []
    assert len(keeper.events("session-opened")) == 3


def test_a_screen_in_the_user_manager_is_used_through_the_terminal_of_the_session(idled: Installed) -> None:
    """Nothing is escaped, and nobody who types there is ended."""
    idled.limits()
    with idled.login("alice") as client:
        client.type("systemd-run --user --scope --quiet screen -d -m -S outside; screen -r outside\n")
        wait_for(idled.machine, "grep user@1001.service $(of alice SCREEN cgroup)")
        client.type("tty | tr a-z A-Z\n")
        client.expect("/DEV/PTS")
        client.type("x")
        idled.limits(idle="6s")
        typed = type_until(client, boottime() + 13 * SEC, pause=1.0)
        assert client.closed_at is None
        closed = client.wait_closed(20)
    assert 6 * SEC <= closed - typed <= 6 * SEC + CONSOLE_LATE
    assert "screen" in " ".join(idled.processes("alice")).lower(), "which is the user manager's"
