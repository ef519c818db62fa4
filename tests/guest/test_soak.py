# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many people at once with sessions of all kinds, typing at random: nobody is ended early, nobody late.

The oracle is each person's own record of the last key, written independently of idled. IDLED_SOAK_SECONDS and
IDLED_SOAK_PEOPLE make it longer and larger; the seed is printed.
"""

from __future__ import annotations

import os
import random
import statistics
from collections import defaultdict

from .installed import SEC, Installed
from .people import INJECT, KINDS, Person, crowd
from .terminal import boottime

SECONDS = int(os.environ.get("IDLED_SOAK_SECONDS", "90"))
PEOPLE = int(os.environ.get("IDLED_SOAK_PEOPLE", "24"))
LIMIT = 10 * SEC


def test_nobody_early_nobody_late(idled: Installed) -> None:
    seed = int(os.environ.get("IDLED_SOAK_SEED", random.randrange(1 << 32)))
    print(f"IDLED_SOAK_SEED={seed}")
    idled.machine.write("/tmp/inject.py", INJECT)
    idled.machine.write("/etc/ssh/sshd_config.d/soak.conf", "MaxStartups 100\n")
    idled.machine.run("systemctl", "reload", "ssh")
    idled.limits(idle=f"{LIMIT // SEC}s", warn='["4s"]')
    until = boottime() + SECONDS * SEC
    users = ("alice", "bob", "carol")

    def make(number: int) -> Person:
        kind, chance = KINDS[number % len(KINDS)], random.Random(seed + number)
        return Person(idled.machine, users[number % 3], kind, LIMIT, until, chance)

    people = crowd(make, PEOPLE)
    late = defaultdict(list)
    for person in people:
        for visit in person.visits:
            late[visit.kind].append(visit.late(LIMIT))
    print(f"{'kind':30} visits  late, s: min median max")
    for kind, times in sorted(late.items(), key=lambda item: item[0].name):
        shown = (min(times), statistics.median(times), max(times))
        print(f"{kind.name:30} {len(times):6}  " + " ".join(f"{time / SEC:6.2f}" for time in shown))
    assert [person.trouble for person in people if person.trouble] == []
    wrong = {kind.name: times for kind, times in late.items() if min(times) < 0 or max(times) > kind.late}
    assert wrong == {}
    assert len(idled.events("ended")) == sum(map(len, late.values()))
