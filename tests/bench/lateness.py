# SPDX-License-Identifier: LGPL-2.1-or-later
"""How late idled, systemd-logind and autolog end the same people's idle sessions, in guests of both releases.

The tools run one after another in one guest, the guests side by side. Whoever the tool, the oracle is the person's own
record of the last input. Markdown goes to standard output, what goes on meanwhile to standard error.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ..guest.image import RELEASES
from ..guest.installed import SEC
from ..guest.machine import LOGOUT, Machine, why_not
from ..guest.people import KINDS, Person, Visit, crowd, prepared

DEBIAN = {"bookworm": "Debian 12", "trixie": "Debian 13"}
COMING = 3 * SEC // 4  # of each; key exchanges are what a crowd costs most

# Each person is a user, so that no tool can take two of them for one.
ADD_PEOPLE = """
for user; do
    useradd --create-home --shell /bin/bash "$user"
    install -d -o "$user" -g "$user" -m 0700 "/home/$user/.ssh"
    install -o "$user" -g "$user" -m 0600 /root/.ssh/authorized_keys "/home/$user/.ssh/authorized_keys"
done
for user; do echo "$user:$user"; done | chpasswd
"""


@dataclass(frozen=True)
class Tool:
    """What ends idle sessions: its limit, for how long after it people wait, its rule, and what puts it in force."""

    name: str
    limit: int
    patience: int
    path: str
    rule: str
    begin: str
    end: str


TOOLS = (
    Tool(
        "idled",
        limit=20 * SEC,
        patience=60 * SEC,
        path="/etc/idled/idled.toml",
        rule='mode = "enforce"\n[defaults]\nidle_timeout = "20s"\nwarn_before = ["5s"]\n',
        begin="systemctl restart idled",
        end="systemctl stop idled.socket idled-varlink.socket idled",
    ),
    Tool(
        "systemd-logind",
        limit=20 * SEC,
        patience=60 * SEC,
        path="/etc/systemd/logind.conf.d/bench.conf",
        rule="[Login]\nStopIdleSessionSec=20s\n",
        begin="systemctl restart systemd-logind",
        end="rm /etc/systemd/logind.conf.d/bench.conf; systemctl restart systemd-logind",
    ),
    # Its unit is the minute. Without `nolostkill` it kills whoever has processes and no entry in utmp.
    Tool(
        "autolog",
        limit=60 * SEC,
        patience=120 * SEC,
        path="/etc/autolog.conf",
        rule="nolostkill\nname=root idle=-1\nidle=1 grace=1 nomail nolog\n",
        begin="systemctl start autolog",
        end="systemctl stop autolog",
    ),
)

HEAD = f"""# How late sessions are ended, beside other tools

Made by `./dev bench >docs/lateness.md` on a machine with 2 cores, Debian 12 and 13 guests side by side.

In each guest people log in at random moments, each in one of {len(KINDS)} ways and as a user of their own: they type
at random for a while, with pauses of up to 9 s, and walk away. They do so under one tool after another, each with a
rule for everybody: idled and systemd-logind (`StopIdleSessionSec=`) with a limit of 20 s, autolog with its shortest, a
minute, and a second of grace. Lateness is counted from the limit after the last input, which the person wrote down, to
the moment at which the person's client was gone; negative is early. *Never*: not within {{waits}} of the last input.
All times are in seconds.

autolog ends one user after another and takes about 15 s for each, so in a crowd it comes to many of them too late.
"""


Results = dict[Tool, list[Visit]]


def measure(release: str, size: int, seed: int) -> Results:
    """What people lived through under each tool in a guest of this release."""
    names = [f"p{number:02}" for number in range(size * len(KINDS))]
    with Machine(release) as machine:
        machine.sh(ADD_PEOPLE, *names, timeout=120)
        machine.sh(TOOLS[0].end)
        with prepared(machine):
            return {tool: visits(machine, tool, names, seed) for tool in TOOLS}


def visits(machine: Machine, tool: Tool, names: Sequence[str], seed: int) -> list[Visit]:
    """One visit of each person under one tool."""
    say(f"{machine.release}: {tool.name}")
    machine.write(tool.path, tool.rule)
    machine.sh(tool.begin)
    people = [
        Person(
            machine,
            name,
            KINDS[number % len(KINDS)],
            tool.limit,
            random.Random(seed + number),
            comes_within=COMING * len(names),
            patience=tool.patience,
        )
        for number, name in enumerate(names)
    ]
    crowd(people)
    machine.sh(tool.end)
    machine.sh(LOGOUT, ",".join(names), check=False, timeout=60)
    for person in people:
        if person.trouble:
            say(f"{machine.release}: {tool.name}: {person.trouble}")
    return [visit for person in people for visit in person.visits]


def report(found: dict[str, Results]) -> Iterator[str]:
    """All of it: first one line for each tool, then its kinds of sessions."""
    waits = ", ".join(f"{(tool.limit + tool.patience) // SEC} s ({tool.name})" for tool in TOOLS)
    yield HEAD.format(waits=waits)
    yield from columns("release and tool")
    for release, results in found.items():
        for tool, seen in results.items():
            yield row(f"{DEBIAN[release]}: {tool.name}", [visit.late(tool.limit) for visit in seen])
    for release, results in found.items():
        for tool, seen in results.items():
            yield f"\n## {DEBIAN[release]}: {tool.name}, limit {tool.limit // SEC} s\n"
            yield from table(tool, seen)


def columns(first: str) -> Iterator[str]:
    yield f"| {first} | visits | early | never | min | median | p99 | max |"
    yield "| --- | --: | --: | --: | --: | --: | --: | --: |"


def table(tool: Tool, found: Sequence[Visit]) -> Iterator[str]:
    """A row for each kind of which any session was ended, and one for all; below, the kinds of which none was."""
    by_kind = {kind: [visit.late(tool.limit) for visit in found if visit.kind == kind] for kind in KINDS}
    acted = {kind: times for kind, times in by_kind.items() if any(time is not None for time in times)}
    if acted:
        yield from columns("session")
        for kind, times in acted.items():
            yield row(kind.name, times)
        yield row("**all of these**", [time for times in acted.values() for time in times])
    never = [f"{kind.name} ({len(times)})" for kind, times in by_kind.items() if times and kind not in acted]
    if never:
        every = f"any of {len(found)} sessions of all kinds"
        yield f"\nNever ended: {'; '.join(never)}." if acted else f"Never ended: {every}."


def row(name: str, times: Sequence[int | None]) -> str:
    ended = sorted(time for time in times if time is not None)
    early = sum(time < 0 for time in ended)
    numbers = [str(number) for number in (len(times), early, len(times) - len(ended))]
    if ended:
        shown = (ended[0], statistics.median(ended), ended[len(ended) * 99 // 100], ended[-1])
        numbers += [f"{time / SEC:.2f}" for time in shown]
    else:
        numbers += [""] * 4
    return f"| {name} | {' | '.join(numbers)} |"


def say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Measure, and print it as markdown."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=main.__doc__)
    parser.add_argument("--people", type=int, default=5, metavar="N", help="of each kind, for each tool (5)")
    parser.add_argument("--release", choices=RELEASES, action="append", help="one only; both if not given")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="repeats a run")
    arguments = parser.parse_args()
    if reason := why_not():
        say(reason)
        return 1
    releases = arguments.release or RELEASES
    say(f"seed {arguments.seed}")
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda release: measure(release, arguments.people, arguments.seed), releases)
        print("\n".join(report(dict(zip(releases, found, strict=True)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
