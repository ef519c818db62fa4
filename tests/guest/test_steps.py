# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon is killed before each single step of a login, of a warning, of an end and of an extension.

Session after session, and in each one kill, a step later than in the one before, until there is one that goes through
without. Whatever the step: every session ends within its bounds, and once, and nothing is left of it. What was told
just before the kill is told again, since nobody can know that it was; rather twice than never.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.terminal.bench import until

from .clocks import daemon_as
from .installed import END, LATE, MOMENT, SEC, Installed
from .steps import KILLED, LEFT
from .terminal import Terminal, boottime

SCRIPT = Path(__file__).with_name("steps.py").read_text()
pytestmark = pytest.mark.timeout(900)
MIN = 60 * SEC
#: More steps than there can be: one that comes back again and again would never let it go through.
MOST = 40

WARNING = (
    rf"idled: this session will be ended in \d seconds? \(at {MOMENT}\): no input; the idle limit is 6s\. Press a key"
)
FAREWELL = r"idled: session ended after 6s without input\."


class Killed:
    """idled in a guest, which is killed where it is told to be."""

    def __init__(self, idled: Installed) -> None:
        self.idled = idled
        self.machine = idled.machine
        self.steps: list[str] = []

    @property
    def through(self) -> bool:
        """Whether the last one went through without a kill."""
        assert len(self.steps) < MOST, self.steps
        return self.steps[-1:] == [""]

    def arm(self, since: str = "now") -> None:
        """From the next step of that name on, kill it one step later than the last time."""
        given = f"{since} {len(self.steps)}"
        self.machine.sh('rm -f "$2"; echo "$3" >"$1.given"; mv "$1.given" "$1"', LEFT, KILLED, given)

    def disarm(self) -> str:
        """The step before which it was killed, now that it is back; empty when it was not."""
        self.machine.sh('rm -f "$1"; while ! systemctl is-active --quiet idled; do sleep 0.02; done', LEFT)
        self.steps.append(self.machine.sh('cat "$1" 2>&-', KILLED, check=False))
        return self.steps[-1]

    def is_quiet(self) -> bool:
        """Whether nobody is logged in, and nothing is remembered of anybody."""
        left = "ls -A /run/idled/sessions; loginctl list-sessions --no-legend | grep -v manager"
        return self.machine.sh(left, check=False) == ""


@pytest.fixture
def killed(idled: Installed) -> Iterator[Killed]:
    with daemon_as(idled.machine, SCRIPT):
        yield Killed(idled)


def told(terminal: Terminal, sentence: str) -> int:
    """How often that was written on a terminal; each time all of it."""
    beginning, times = sentence[: len("idled: this session")], len(list(re.finditer(sentence, terminal.text)))
    assert times == terminal.text.count(beginning), terminal.text
    return times


def test_at_each_step_of_a_login(killed: Killed) -> None:
    """Whether or not the registration outlived the kill: it is one session, of that moment, and ends as such."""
    idled, stays = killed.idled, []
    idled.limits(absolute="1h")
    with ExitStack() as stack:
        while not killed.through:
            killed.arm()
            before = boottime()
            terminal = stack.enter_context(idled.login("alice"))
            stays.append((before, terminal, boottime()))
            until(lambda: known(killed) == len(stays))
            killed.disarm()
        asked, sessions, answered = boottime(), idled.sessions(), boottime()
        ages = sorted((session["ageUSec"] for session in sessions), reverse=True)
        for step, (before, _, after), age in zip(killed.steps, stays, ages, strict=True):
            assert before <= answered - age, step
            assert asked - age <= after, step
        idled.limits(absolute="1s")
        reloaded = boottime()
        for step, (_, terminal, _) in zip(killed.steps, stays, strict=True):
            assert terminal.wait_closed(20) <= reloaded + LATE, step
        until(killed.is_quiet)
    assert [entry["IDLED_REASON"] for entry in idled.events("ended")] == ["absolute"] * len(stays)


def known(killed: Killed) -> int:
    """Of how many sessions the daemon after this one would know who told of them: logind, too."""
    listed = """grep -lE '"logind": "[^"]+"' /run/idled/sessions/*.json | wc -l"""
    return int(killed.machine.sh(listed, check=False))


def test_at_each_step_of_an_end(killed: Killed) -> None:
    """From the warning on."""
    idled = killed.idled
    idled.limits(idle="6s", warn='["2s"]')
    while not killed.through:
        killed.arm("line")
        with idled.login("alice") as terminal:
            typed = terminal.type("x")
            closed = terminal.wait_closed(20)
            until(killed.is_quiet)
            assert idled.processes("alice") == [], killed.steps
            step = killed.disarm()
        assert 6 * SEC <= closed - typed <= 6 * SEC + LATE, step
        assert told(terminal, WARNING) - terminal.text.count("you are back") in (1, 2), step  # nor is a login quick
        assert told(terminal, FAREWELL) in (1, 2), step
    assert ended(killed) == {"idle"}


def test_at_each_step_of_a_kill(killed: Killed) -> None:
    """From SIGKILL on, to what ignores SIGHUP."""
    idled = killed.idled
    idled.limits(more='kill_after = "1s"')
    while not killed.through:
        killed.arm("kill")
        with idled.login("alice") as terminal:
            terminal.type("trap '' HUP; sleep 1001 &\n")
            terminal.expect(r"\[1\] \d+")
            idled.machine.run("idlectl", "end", idled.session("alice")["id"])
            asked = boottime()
            until(killed.is_quiet)
            assert boottime() - asked < END + 4 * SEC, killed.steps  # the daemon has to come back
            assert idled.processes("alice") == [], killed.steps
            killed.disarm()
    assert ended(killed) == {"request"}


def ended(killed: Killed) -> set[str]:
    """Why, in the records of them all: there is one of each session, and a second where the kill came just after it."""
    entries = killed.idled.events("ended")
    times = Counter(entry["IDLED_SESSION"] for entry in entries)
    assert list(times.values()) == [2 if step == "unlink" else 1 for step in killed.steps], killed.steps
    assert {entry["IDLED_SURVIVORS"] for entry in entries} == {"0"}
    assert killed.idled.events("session-closed") == []
    return {entry["IDLED_REASON"] for entry in entries}


def test_at_each_step_of_an_extension(killed: Killed) -> None:
    """It is granted or it is not; and once is once, however often one has to ask."""
    idled, lost = killed.idled, 0
    allowed = 'extend = { limit = "absolute", by_at_most = "5min", times = 1, reauthenticate = false }'
    idled.limits(absolute="1h", more=allowed)
    while not killed.through:
        with idled.login("alice"):
            name = idled.session("alice")["id"]
            killed.arm()
            answered = extend(killed, name)
            step = killed.disarm()
            granted = moved(idled)
            assert granted in (0, 5 * MIN), step
            assert granted or not answered, step
            lost += not granted and step != "record"
            assert extend(killed, name) == (not granted), step
            assert moved(idled) == 5 * MIN, step
        until(killed.is_quiet)
    assert len(idled.events("extended")) == len(killed.steps) + lost


def extend(killed: Killed, name: str) -> bool:
    """Whether it was granted, as far as the person gets to know."""
    run = ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "idlectl", "extend", name)
    return killed.machine.run(*run, check=False).returncode == 0


def moved(idled: Installed) -> int:
    """By how much the end of the one session there is comes later than after an hour."""
    session = idled.session("alice")
    by: int = session["ageUSec"] + session["endsInUSec"] - 60 * MIN
    assert by == (session.get("absoluteExtraUSec") or 0)
    return by
