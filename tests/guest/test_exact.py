# SPDX-License-Identifier: LGPL-2.1-or-later
"""What sshd of a release counts, exactly: a key is a byte, and nothing else is one.

Whatever cipher, MAC, key exchange and host key were agreed on, under rekeys, keepalives, chaff and floods, and over a
line that loses packets. The looks are taken in the guest by the library that the daemon uses.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from typing import Self

import pytest

from idled.core.activity import ConnectionLook, most
from idled.core.rekeys import apart

from .image import USERS
from .machine import Machine, cut
from .rekeys import NOT_TOLD_APART, TELLING, Rekeying, taken_for_traffic
from .test_connections import line

LOSSY = "numgen random mod 100 < 10 drop"
FLOOD = 200_000

# For each line, a list of SSH_CONNECTION, pid of the user-side sshd, uid: one look at each.
WITNESS = """
import json, sys
from dataclasses import asdict
from idled import procfs
from idled.evidence.connections import Connections
connections = Connections()
for line in sys.stdin:
    looks = []
    for name, pid, uid in json.loads(line):
        sshd = procfs.process(pid)
        leader = procfs.process(sshd.ppid)
        leader = leader if "[priv]" in procfs.title(leader.pid) else sshd
        looks.append(asdict(connections.look(name, leader, uid)))
    print(json.dumps(looks), flush=True)
"""

# Echoes each key; o is a flood of output, i takes a flood of input; each says when it is done.
ECHO = f"""
stty raw -echo 2>/dev/null
echo ready $SSH_CONNECTION $PPID.
while key=$(head -c 1) && [ "$key" ]; do
    case $key in
        o) yes | head -c {FLOOD}; printf '(done)' ;;
        i) head -c {FLOOD} >/dev/null; printf '(done)' ;;
        *) printf %s "$key" ;;
    esac
done
"""

SSHD = """
MaxStartups 500
Ciphers +{cipher}
MACs +{mac}
KexAlgorithms +{kex}
"""


class Login:
    """A client, and where its connection is to be seen."""

    def __init__(self, machine: Machine, user: str, options: tuple[str, ...]) -> None:
        self.uid = USERS.get(user, 0)
        self.client = machine.login(user, ECHO, options)
        ready = self.client.expect(r"ready (\S+ \d+ \S+ \d+) (\d+)\.", 60)
        self.place = (ready[1], int(ready[2]), self.uid)


class Witness:
    """Looks at many connections from within the guest."""

    def __init__(self, machine: Machine, logins: list[Login]) -> None:
        self._process = machine.popen("python3", "-c", WITNESS, stdin=subprocess.PIPE)
        self._logins = logins

    def looks(self, *logins: Login) -> list[ConnectionLook]:
        """One at each of these, or of all."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        places = json.dumps([login.place for login in logins or self._logins])
        self._process.stdin.write(f"{places}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said.startswith("["), said + self._process.stdout.read()
        return [ConnectionLook(**look) for look in json.loads(said)]

    def look(self, login: Login) -> ConnectionLook:
        """One at that."""
        return self.looks(login)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        cut(self._process)
        self._process.__exit__(None, None, None)


def rekeying(witness: Witness, login: Login) -> Rekeying:
    return Rekeying(login.client, partial(witness.look, login))


class Count:
    """What went into each session since it was made, look by look, against what was typed."""

    def __init__(self, witness: Witness, logins: dict[str, Login]) -> None:
        self._witness, self._logins = witness, logins
        self.first = self._latest = [rekeying(witness, login).at_rest(1) for login in logins.values()]
        self.typed = dict.fromkeys(logins, 0)
        self.looks = self.amid = 0

    def type(self, way: str, keys: str) -> None:
        self.typed[way] += len(keys)
        self._logins[way].client.type(keys, 60)

    def wrong(self) -> dict[str, tuple[int, int]]:
        """What was delivered and what was typed, where that is not the same.

        More than was typed it is only while the privileged sshd has not read yet what it is asked; the look says so.
        """
        deadline = time.monotonic() + 20
        while True:
            looks = self._witness.looks()
            self._latest = list(map(most, self._latest, looks))
            self.looks += 1
            counted = dict(zip(self._logins, map(delivered, self.first, self._latest), strict=True))
            found = {way: (counted[way], self.typed[way]) for way in counted if counted[way] != self.typed[way]}
            more = {way: pair for way, pair in found.items() if pair[0] > pair[1]}
            if not more:
                return found
            moving = {way for way, look in zip(self._logins, looks, strict=True) if look.moving}
            assert more.keys() <= moving, more
            assert time.monotonic() < deadline, more
            self.amid += 1

    def settle(self, timeout: float = 60) -> None:
        """Wait until all that was typed was delivered."""
        deadline = time.monotonic() + timeout
        while wrong := self.wrong():
            assert time.monotonic() < deadline, wrong

    def watch(self, seconds: float) -> None:
        """Look all the time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.wrong()

    def rekeyed(self) -> list[bool]:
        """Of which the keys were changed; where there is but one sshd it asks nobody."""
        pairs = zip(self.first, self._latest, strict=True)
        return [now.asked > was.asked or now.asked == 0 for was, now in pairs]


def delivered(was: ConnectionLook, now: ConnectionLook) -> int:
    assert was.counted == now.counted
    assert None not in (was.delivered, now.delivered, was.issued, now.issued)
    moved = ((now.delivered or 0) - (was.delivered or 0), (now.issued or 0) - (was.issued or 0))
    return apart(*moved, now.asked - was.asked, now.answered - was.answered)[0]


def offered(machine: Machine, what: str) -> list[str]:
    return machine.run("ssh", "-Q", what).stdout.split()


@pytest.fixture
def sshd(machine: Machine) -> Iterator[Machine]:
    """The guest, whose sshd takes everything that it knows, from many at once."""
    known = {what: ",".join(offered(machine, what)) for what in ("cipher", "mac", "kex")}
    machine.write("/etc/ssh/sshd_config.d/exact.conf", SSHD.format(**known))
    machine.sh("systemctl restart ssh")
    yield machine
    machine.sh("rm /etc/ssh/sshd_config.d/exact.conf; systemctl restart ssh")


def log_in(machine: Machine, ways: Mapping[str, tuple[str, ...]], users: tuple[str, ...]) -> dict[str, Login]:
    """All of them, some at a time."""
    with ThreadPoolExecutor(8) as pool:
        opened = {
            way: pool.submit(Login, machine, user, options)
            for (way, options), user in zip(ways.items(), cycle(users), strict=False)
        }
        return {way: login.result() for way, login in opened.items()}


def test_a_key_is_a_byte_and_nothing_else_is(sshd: Machine) -> None:
    plain = ("-o", "Ciphers=aes128-ctr")  # a cipher that brings no MAC of its own
    ways: dict[str, tuple[str, ...]] = {cipher: ("-o", f"Ciphers={cipher}") for cipher in offered(sshd, "cipher")}
    ways |= {mac: ("-o", f"MACs={mac}", *plain) for mac in offered(sshd, "mac")}
    ways |= {f"compression of {user}": ("-o", "Compression=yes") for user in ("one", "another")}
    logins = log_in(sshd, {way: ("-tt", *TELLING, *ways[way]) for way in ways}, ("alice", "bob", "carol", "root"))
    with Witness(sshd, list(logins.values())) as witness:
        count = Count(witness, logins)
        for rows in (30, 31, 32):  # nobody types; keepalives, rekeys, windows of another size
            for login in logins.values():
                login.client.resize(rows, 90)
            count.watch(1.5)
        count.settle(0)
        for loses in (False, True):
            with line(sshd, LOSSY if loses else "accept"):
                for keys in ("a", "bcd", "ef", "g" * 50):
                    for way in ways:
                        count.type(way, keys)
                    count.wrong()
                count.settle()
                for flood in ("o", "i" + "x" * FLOOD):
                    with ThreadPoolExecutor(len(ways)) as pool:
                        typing = [pool.submit(count.type, way, flood) for way in ways]
                        while not all(future.done() for future in typing):
                            count.wrong()
                    for login in logins.values():
                        login.client.expect(r"\(done\)", 60)
                    count.settle()
        count.watch(2.5)  # chaff
        count.settle(0)
        assert all(count.rekeyed())
        print(f"{len(ways)} ways, {count.looks} looks at each, {count.amid} of them amid a rekey")


def test_no_rekey_is_traffic(sshd: Machine) -> None:
    pairs = [
        (kind, kex)
        for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
        for kex in offered(sshd, "kex")
        if kex not in NOT_TOLD_APART
    ]
    ways = {
        f"{kind} {kex}": ("-T", *TELLING, "-o", f"HostKeyAlgorithms={kind}", "-o", f"KexAlgorithms={kex}")
        for kind, kex in pairs
    }
    logins = log_in(sshd, ways, ("alice", "bob", "carol"))
    with Witness(sshd, list(logins.values())) as witness:
        assert taken_for_traffic({way: rekeying(witness, login) for way, login in logins.items()}) == []
