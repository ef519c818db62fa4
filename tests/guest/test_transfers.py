# SPDX-License-Identifier: LGPL-2.1-or-later
"""Transfers over ssh: who transfers stays, however slowly; when it is over, or output floods a terminal, it is idle."""

from __future__ import annotations

import subprocess

import pytest

from .installed import LATE, SEC, Installed
from .machine import CLIENT_ALIVE, cut
from .terminal import Terminal, boottime
from .test_connections import assert_on_time, line, type_now_and_then

IDLE = 5
# A kilobyte each second; in pieces as small, or nothing would go for some seconds and then many.
SLOW_SFTP = ("-B", "1000", "-R", "1", "-l", "8")

# Lets a kilobyte through each second.
SLOWLY = """#!/usr/bin/python3
import os, time
while data := os.read(0, 1000):
    os.write(1, data)
    time.sleep(1)
"""
UPLOAD_PACK = '#!/bin/sh\ngit-upload-pack "$@" | slowly\n'
HOOK = "#!/bin/sh\nfor step in $(seq 12); do echo $step; sleep 1; done\n"
SETUP = """
cd /home/alice
rm -rf repository.git files; mkdir files
head -c 15000 /dev/urandom >files/here
git init -q --bare repository.git
rm -rf /tmp/work /tmp/got; mkdir /tmp/got
cp files/here /tmp/got/send
head -c 130000 /dev/urandom >/tmp/got/large
git init -q /tmp/work && cd /tmp/work && git config user.name x && git config user.email x
cp /tmp/got/send . && git add send && git commit -qm one && git push -q /home/alice/repository.git HEAD:master
git --git-dir=/home/alice/repository.git symbolic-ref HEAD refs/heads/master
install /tmp/hook /home/alice/repository.git/hooks/pre-receive
chown -R alice: /home/alice
"""

#: Each runs for longer than twice the limit.
TRANSFERS = {
    "sftp get": f"echo get files/here got-sftp | sftp -b - {' '.join(SLOW_SFTP)} alice@127.0.0.1",
    "sftp put": f"echo put send files/sftp | sftp -b - {' '.join(SLOW_SFTP)} alice@127.0.0.1",
    "scp there": "scp -O -l 64 large alice@127.0.0.1:files/scp",
    "rsync there": "rsync --bwlimit=1 send alice@127.0.0.1:files/rsync",
    "rsync back": "rsync --bwlimit=1 alice@127.0.0.1:files/here got-rsync",
    "git clone": "git clone -q --upload-pack=slow-upload-pack alice@127.0.0.1:repository.git cloned",
    "git push": "git -C /tmp/work push -q alice@127.0.0.1:repository.git HEAD:refs/heads/two",
}


def prepare(idled: Installed) -> None:
    """Put in place what is transferred, and what makes it slow."""
    for path, text in (("slowly", SLOWLY), ("slow-upload-pack", UPLOAD_PACK)):
        idled.machine.write(f"/usr/local/bin/{path}", text, 0o755)
    idled.machine.write("/tmp/hook", HOOK, 0o755)
    idled.machine.sh(SETUP)


def run_in(idled: Installed, command: str) -> subprocess.Popen[str]:
    """Start a client; what it says ends with the seconds that it took when it was successful."""
    return idled.machine.popen("bash", "-c", f"cd /tmp/got && {command} && echo $SECONDS")


def test_slow_transfers_complete(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    prepare(idled)
    transfers = {name: run_in(idled, command) for name, command in TRANSFERS.items()}
    said = {name: transfer.communicate(timeout=120)[0].split() for name, transfer in transfers.items()}
    assert {name: transfer.returncode for name, transfer in transfers.items()} == dict.fromkeys(TRANSFERS, 0), said
    took = {name: int(words[-1]) for name, words in said.items()}
    print(took)
    assert min(took.values()) > 2 * IDLE
    assert idled.events("ended") == []


def test_download_over_a_slow_line_completes(idled: Installed) -> None:
    """All of it waits in the server's queues from the first moment on; only that the client gets it shows.

    On such a line TCP may be silent for some seconds, so the limit is longer than elsewhere.
    """
    limit = 8
    idled.limits(idle=f"{limit}s")
    prepare(idled)
    machine = idled.machine
    machine.sh("ip link set lo mtu 1500; head -c 500000 /dev/urandom >/home/alice/files/large")
    try:
        with line(machine, "limit rate over 25 kbytes/second burst 25 kbytes drop"):
            before = boottime()
            got = machine.run("scp", "-q", "alice@127.0.0.1:files/large", "/tmp/got", check=False, timeout=90)
            assert (got.returncode, got.stderr) == (0, "")
            assert boottime() - before > 2 * limit * SEC
    finally:
        machine.sh("ip link set lo mtu 65536")


def test_sftp_stays_through_a_transfer_and_is_ended_after_it(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    prepare(idled)
    with idled.machine.terminal("sftp", *SLOW_SFTP, "alice@127.0.0.1") as client:
        client.expect("sftp> ")
        before = client.type("get files/here /tmp/got/one\n")
        done = client.moment(client.expect("100%", timeout=60))
        last = said_at(client, "sftp> ")
        assert done - before > 2 * IDLE * SEC
        ended = said_at(client, "Connection closed")
        assert done + IDLE * SEC <= ended <= last + IDLE * SEC + LATE
    idled.wait_ended("alice")
    assert idled.processes("alice") == []


def test_idle_sftp_is_ended(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    before = boottime()
    with idled.machine.terminal("sftp", *CLIENT_ALIVE, "alice@127.0.0.1") as client:
        last = said_at(client, "sftp> ")
        ended = said_at(client, "Connection closed")
        assert before + IDLE * SEC <= ended <= last + IDLE * SEC + LATE
    idled.wait_ended("alice")
    assert idled.processes("alice") == []


def said_at(client: Terminal, text: str) -> int:
    """When the client said that."""
    return client.moment(client.expect(text, timeout=20))


# Floods


def test_flood_both_ways_stays(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    command = "exec ssh -T alice@127.0.0.1 cat </dev/zero >/dev/null"
    with idled.machine.popen("sh", "-c", command) as flood:
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                flood.wait(3 * IDLE)
            assert idled.session("alice")["state"] == "open"
        finally:
            cut(flood)


def test_flood_of_output_spares_nobody(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s", warn='["2s"]')
    with idled.login("alice") as terminal:
        typed = terminal.type("yes\n")
        assert_on_time(terminal.wait_closed(30), typed, IDLE)
    assert idled.events("activity-forged") == []


def test_who_types_under_a_flood_stays(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    with idled.login("alice") as terminal:
        terminal.type("yes\n")
        last = type_now_and_then(terminal, "abcdefgh", pause=2)
        assert_on_time(terminal.wait_closed(30), last, IDLE)
    assert idled.events("activity-forged") == []
