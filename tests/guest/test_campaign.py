# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults at random, two at a time, among people who come, type and walk away: none is lost and none is spared.

The oracle is each person's own record of the last key; what a fault may cost stands beside it (faults.py). All comes
from one seed, which is printed: IDLED_CAMPAIGN_SEED repeats it, IDLED_CAMPAIGN_SECONDS makes it longer, and
IDLED_CAMPAIGN_STEPS="3,5-7" has only these of its steps happen, each at the moment that it had among all of them. To
find out what a failure takes, give half of the steps, and go on with the half that fails still.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.terminal.bench import until

from .clocks import settable_wall
from .faults import FAULTS, Spell, in_time, under
from .footprint import Footprint
from .installed import END, SEC, Installed
from .machine import Entry, Machine, received_at
from .metronome import Metronome
from .people import KINDS, Person, Visit, crowd, prepared
from .terminal import boottime

SECONDS = int(os.environ.get("IDLED_CAMPAIGN_SECONDS", "40"))
STEPS = os.environ.get("IDLED_CAMPAIGN_STEPS", "")
PEOPLE = 8
LIMIT = 6 * SEC
USERS = ("alice", "bob", "carol")
COMING = 4 * SEC
SHORTEST, LONGEST = 0.5, 6.0  # seconds that a fault is there
CALM = 4.0  # seconds, at most, from one to the next
#: An end that meets one of these and, while it is there, a fault of the daemon's own may be missing in the journal.
UNTOLD = ("journal away", "state damaged")
#: Where /run is full systemd makes no scope for who logs in, and logind forgets whom it knew when it is restarted: then
#: nobody but this daemon knows of them, and a fault that takes its memory, too, would leave nobody who does.
ALONE = ("run full",)


@dataclass(frozen=True)
class Step:
    """A fault of the campaign: when it begins, in seconds, and how long it is there."""

    number: int
    name: str
    start: float
    lasts: float

    def __str__(self) -> str:
        return f"{self.number:3}  at {self.start:6.1f} s for {self.lasts:3.1f} s: {self.name}"


def steps(seed: int) -> list[Step]:
    """All of a seed: at any time one fault of the daemon's own and one of what is around it, or none."""
    chance, drawn = random.Random(seed), list[tuple[float, float, str]]()
    for of_daemon in (True, False):
        names = [name for name, fault in FAULTS.items() if fault.of_daemon is of_daemon and name not in ALONE]
        at = chance.uniform(0, CALM)
        while at < SECONDS:
            lasts = chance.uniform(SHORTEST, LONGEST)
            drawn.append((at, lasts, chance.choice(names)))
            at += lasts + chance.uniform(0, CALM)
    return [Step(number, name, at, lasts) for number, (at, lasts, name) in enumerate(sorted(drawn), 1)]


def chosen(every: Sequence[Step], numbers: str) -> list[Step]:
    """Those of numbers like "3,5-7"; all where there are none."""
    if not numbers:
        return list(every)
    spans = [part.partition("-") for part in numbers.split(",")]
    return [step for step in every if any(int(one) <= step.number <= int(to or one) for one, _, to in spans)]


class Campaign:
    """Makes the faults of its steps, those of the daemon beside the others."""

    def __init__(self, machine: Machine, these: Sequence[Step]) -> None:
        self._machine = machine
        self._steps = these
        self._begin = boottime()
        self.spells: list[Spell] = []
        self.trouble: list[str] = []

    def run(self) -> None:
        """Back when the last fault is over."""
        lanes = [threading.Thread(target=self._lane, args=(of_daemon,)) for of_daemon in (True, False)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def told(self, visit: Visit) -> str:
        """A visit in the seconds of the steps."""
        moments = (visit.last_input, visit.last_input + LIMIT, visit.closed)
        typed, due, closed = ("never" if at is None else f"{(at - self._begin) / SEC:.2f}" for at in moments)
        return f"{visit.kind.name}: typed at {typed}, due at {due}, ended at {closed}"

    def _lane(self, of_daemon: bool) -> None:
        for step in self._steps:
            if FAULTS[step.name].of_daemon is of_daemon:
                if self._left(step.start + step.lasts) < 0:
                    continue  # one before it took longer than was drawn, and without a pause both would be another one
                time.sleep(max(0.0, self._left(step.start)))
                try:
                    self._make(step)
                except Exception as error:  # noqa: BLE001, told by the test
                    self.trouble.append(f"{step}: {error!r}")

    def _make(self, step: Step) -> None:
        with under(self._machine, step.name, self.spells):
            time.sleep(step.lasts)

    def _left(self, moment: float) -> float:
        return moment - (boottime() - self._begin) / SEC


def is_told(visit: Visit, spells: Sequence[Spell]) -> bool:
    """Whether the journal must have the end of a visit."""
    closed, untold = visit.closed or 0, [FAULTS[name] for name in UNTOLD]
    return not any(
        spell.fault in untold and spell.since < closed + END and spell.until > closed - END for spell in spells
    )


def untold(told: Iterable[tuple[str, Visit]], records: Sequence[Entry]) -> list[Visit]:
    """The visits of users whose end is in no record; each record tells of one end."""
    left, lost = [(entry["IDLED_USER"], received_at(entry)) for entry in records], []
    for user, visit in sorted(told, key=lambda pair: pair[1].closed or 0):
        closed = visit.closed or 0
        near = [one for one in left if one[0] == user and closed - END < one[1] < closed + 60 * SEC]
        if near:
            left.remove(min(near, key=lambda one: one[1]))
        else:
            lost.append(visit)
    return lost


@pytest.fixture
def settable(idled: Installed) -> Iterator[Installed]:
    """The daemon, with a wall clock that can be set."""
    with settable_wall(idled.machine):
        yield idled


@pytest.mark.timeout(SECONDS + 300)
def test_nobody_is_lost_and_nobody_is_spared_whatever_happens(settable: Installed) -> None:
    seed = int(os.environ.get("IDLED_CAMPAIGN_SEED", random.randrange(1 << 32)))
    these = chosen(steps(seed), STEPS)
    print(f"IDLED_CAMPAIGN_SEED={seed} IDLED_CAMPAIGN_SECONDS={SECONDS} IDLED_CAMPAIGN_STEPS={STEPS or 'all'}")
    print(*these, sep="\n")
    chance, machine = random.Random(seed), settable.machine
    settable.limits(idle=f"{LIMIT // SEC}s", warn='["2s"]')
    before = Footprint.of(machine)
    with prepared(machine), Metronome(machine) as metronome:
        over_at = boottime() + SECONDS * SEC
        people = [
            Person(machine, USERS[number % len(USERS)], kind, LIMIT, random.Random(seed + number), COMING, over_at)
            for number, kind in enumerate(chance.sample(KINDS, PEOPLE))
        ]
        campaign = Campaign(machine, these)
        makes = threading.Thread(target=campaign.run)
        makes.start()
        crowd(people)
        makes.join()
    visits = [visit for person in people for visit in person.visits]
    lates = sorted(visit.late(LIMIT) or 0 for visit in visits)
    print(f"{len(visits)} visits, late by {lates[0] / SEC:.2f} to {lates[-1] / SEC:.2f} s")
    assert campaign.trouble + [person.trouble for person in people if person.trouble] == []
    wrong = [campaign.told(visit) for visit in visits if not in_time(visit, LIMIT, campaign.spells, metronome)]
    if wrong:
        print(machine.sh("journalctl --no-pager --output=short-monotonic --identifier=idled --lines=600", timeout=120))
    assert wrong == [], "\n".join(wrong)
    told = [(person.user, visit) for person in people for visit in person.visits if is_told(visit, campaign.spells)]
    with suppress(AssertionError):  # written after the client has gone, and long to read
        until(lambda: not untold(told, settable.events("ended")), 60)
    lost = [campaign.told(visit) for visit in untold(told, settable.events("ended"))]
    if lost:
        print(machine.sh("journalctl --no-pager --output=short-monotonic --identifier=idled", timeout=120))
    assert lost == [], "\n".join(lost)
    before.wait_for(machine)
