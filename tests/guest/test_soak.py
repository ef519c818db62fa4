# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many people at once with sessions of all kinds, typing at random: nobody is ended early, nobody late.

The oracle is each person's own record of the last key, written independently of idled. IDLED_SOAK_SECONDS and
IDLED_SOAK_PEOPLE make it longer and larger; the seed is printed, and IDLED_SOAK_SEED repeats one.
"""

from __future__ import annotations

import os
import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import pytest

from tests.terminal.bench import until

from .installed import SEC, Installed, number
from .metronome import Metronome
from .people import KINDS, Kind, Person, crowd, prepared
from .terminal import boottime

SECONDS = int(os.environ.get("IDLED_SOAK_SECONDS", "60"))
PEOPLE = int(os.environ.get("IDLED_SOAK_PEOPLE", str(len(KINDS))))
LIMIT = 10 * SEC
USERS = ("alice", "bob", "carol")
COMING = SEC // 3  # of each; key exchanges are what a crowd costs most


@pytest.mark.timeout(SECONDS + 300)
def test_nobody_early_nobody_late(idled: Installed) -> None:
    seed = int(os.environ.get("IDLED_SOAK_SEED", random.randrange(1 << 32)))
    print(f"IDLED_SOAK_SEED={seed}")
    idled.limits(idle=f"{LIMIT // SEC}s", warn='["4s"]')
    over_at = boottime() + SECONDS * SEC
    people = [
        Person(
            idled.machine,
            USERS[number % len(USERS)],
            KINDS[number % len(KINDS)],
            LIMIT,
            random.Random(seed + number),
            comes_within=COMING * PEOPLE,
            until=over_at,
        )
        for number in range(PEOPLE)
    ]
    with prepared(idled.machine), Metronome(idled.machine) as metronome:
        crowd(people)
    visits = [visit for person in people for visit in person.visits]
    with suppress(AssertionError):  # which the comparison below says better
        until(lambda: len(idled.events("ended")) >= sum(visit.closed is not None for visit in visits), 20)
    ended = [number(entry, "LATE_USEC") for entry in idled.events("ended")]
    late = lateness(people)
    show(late, ended)
    print(f"{'what the machine added to half a second':47} {spread(metronome.lates)}")
    assert [person.trouble for person in people if person.trouble] == []
    assert [visit for visit in visits if not visit.in_time(LIMIT, metronome)] == []
    assert len(ended) == sum(map(len, late.values()))


def lateness(people: Sequence[Person]) -> dict[Kind, list[int]]:
    """How late each visit ended, by kind; who was not ended at all is late beyond all bounds."""
    late = defaultdict(list)
    for person in people:
        for visit in person.visits:
            times = visit.late(LIMIT)
            late[visit.kind].append(person.patience if times is None else times)
    return late


def show(late: dict[Kind, list[int]], ended: Sequence[int]) -> None:
    print(f"{'kind':40} visits  late, s: min median p95 max")
    for kind, times in sorted(late.items(), key=lambda item: item[0].name):
        print(f"{kind.name:40} {len(times):6} {spread(times)}")
    print(f"{'all':40} {sum(map(len, late.values())):6} {spread([time for times in late.values() for time in times])}")
    print(f"{'all, as the journal has it':40} {len(ended):6} {spread(ended)}")


def spread(times: Sequence[int]) -> str:
    found = sorted(times) or [0]
    shown = (found[0], statistics.median(found), found[len(found) * 95 // 100], found[-1])
    return " ".join(f"{time / SEC:7.2f}" for time in shown)
