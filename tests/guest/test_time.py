# SPDX-License-Identifier: LGPL-2.1-or-later
"""The wall clock is set, the machine sleeps, the daemon is away or its sources are: time goes on as it should.

The machine's own clocks are never touched; the daemon alone is shown others. So the kernel's stamps stay as they are
where they are not shown otherwise, too, which for SSH sessions makes no difference, since bytes are what counts there.
How stamps are read under a clock that was set stands in tests/unit/core/test_cases.py.
"""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from .clocks import daemon_as, settable_wall, step_wall
from .installed import ABSOLUTE_LATE, CONSOLE_LATE, LATE, SEC, Installed, number
from .machine import PROJECT, Machine
from .terminal import PROMPT, Terminal, Unseen, boottime

HOUR = 3600 * SEC


@contextmanager
def typing(terminal: Terminal, pause: float = 2) -> Iterator[None]:
    """Somebody types there, a key each two seconds, until the terminal is gone."""
    over = threading.Event()

    def type_on() -> None:
        with suppress(Unseen, OSError):
            while not over.wait(pause):
                terminal.type("x")

    person = threading.Thread(target=type_on)
    person.start()
    try:
        yield
    finally:
        over.set()
        person.join()


def by_user(idled: Installed, kind: str) -> Counter[str]:
    """How many records of that kind there are of each user."""
    return Counter(entry["IDLED_USER"] for entry in idled.events(kind))


def rule(user: str, limits: str) -> str:
    """A rule for one user."""
    return f'[[rule]]\nname = "{user}"\nmatch = {{ user = "{user}" }}\n{limits}\n'


# The wall clock


#: libfaketime shows another wall clock to all that asks for it; it would change what our timers are set to as well.
OWN_TIMERS = """
import ctypes
import sys

from idled import clock
from idled.daemon import main

clock._libc = ctypes.CDLL("libc.so.6", use_errno=True)
sys.exit(main())
"""


@pytest.fixture
def set_wall(idled: Installed) -> Iterator[Callable[[str], None]]:
    """Sets the wall clock that the daemon sees, and not CLOCK_BOOTTIME. No timerfd tells of it."""
    machine = idled.machine

    def set_to(offset: str) -> None:
        machine.sh('echo "$1" >/run/wall.new && mv /run/wall.new /run/wall', offset)

    set_to("+0")
    library = machine.sh("dpkg -L libfaketime | grep 'libfaketime[.]so'")
    wall = "FAKETIME_TIMESTAMP_FILE=/run/wall FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1"
    with daemon_as(machine, OWN_TIMERS, f"LD_PRELOAD={library} {wall}"):
        yield set_to


def test_a_wall_clock_that_is_set_ends_nobody_and_saves_nobody(
    idled: Installed, set_wall: Callable[[str], None]
) -> None:
    """All have logged in, typed and been looked at before: the kernel goes on to stamp by a clock that is not shown."""
    longer = "".join(rule(user, f'idle_timeout = "{limit}s"') for user, limit in (("carol", 20), ("root", 30)))
    idled.limits(idle="10s", warn='["3s"]', more=longer)
    with ExitStack() as stack:
        types = stack.enter_context(idled.login("alice"))
        stack.enter_context(typing(types))
        idle = [stack.enter_context(idled.login(user)) for user in ("bob", "carol", "root")]
        typed = [terminal.type("x") for terminal in idle]
        with suppress(Unseen):
            idle[0].wait_closed(4)
        for n, offset in enumerate(("+1h", "+0", "+1d")):
            set_wall(offset)
            limit = (n + 1) * 10 * SEC
            assert limit <= idle[n].wait_closed(30) - typed[n] <= limit + LATE
        assert types.closed_at is None
    steps = [number(entry, "LATE_USEC") for entry in idled.events("clock-stepped")]
    assert [round(step / SEC) for step in steps] == [3600, -3600, 86400]
    idled.wait_ended("bob", "carol", "root")
    assert by_user(idled, "ended") == by_user(idled, "warned") == {"bob": 1, "carol": 1, "root": 1}
    assert all(number(entry, "LATE_USEC") <= LATE for entry in idled.events("ended"))
    assert idled.events("activity-forged") == []


def test_the_stamps_of_a_console_by_a_wall_clock_that_is_set(idled: Installed) -> None:
    """Here the kernel stamps by the clock that is set, as it does, and stamps are all there is."""
    machine = idled.machine
    idled.limits(idle="20s", warn='["3s"]', more=rule("carol", 'idle_timeout = "1min"'))
    with ExitStack() as stack:
        stack.enter_context(settable_wall(machine))
        types, first, second = (stack.enter_context(machine.console(user)) for user in ("alice", "bob", "carol"))
        for terminal in (types, first, second):
            terminal.expect(PROMPT, timeout=20)
        stack.enter_context(typing(types))
        idle = [(terminal, terminal.type("x")) for terminal in (first, second)]
        with suppress(Unseen):
            first.wait_closed(4)
        for n, (terminal, typed) in enumerate(idle):
            step_wall(machine, (-1) ** n * HOUR)
            limit = (20 * SEC, 60 * SEC)[n]
            assert limit <= terminal.wait_closed(60) - typed <= limit + CONSOLE_LATE
        assert types.closed_at is None
        steps = [number(entry, "LATE_USEC") for entry in idled.events("clock-stepped")]
        assert [round(step / SEC) for step in steps] == [3600, -3600]
        idled.wait_ended("bob", "carol")
        assert by_user(idled, "ended") == by_user(idled, "warned") == {"bob": 1, "carol": 1}
        assert idled.events("activity-forged") == []


@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["ahead", "back"])
def test_who_is_forgotten_when_the_clock_is_set_is_not_ended_early(idled: Installed, by: int) -> None:
    """All it has then are stamps of another clock, and by both clocks the moment a session was opened (logind)."""
    machine = idled.machine
    idled.limits(idle="25s", warn='["3s"]')
    with ExitStack() as stack:
        stack.enter_context(settable_wall(machine))
        console, ssh = stack.enter_context(machine.console("alice")), stack.enter_context(idled.login("bob"))
        console.expect(PROMPT)
        typed = {terminal: terminal.type("x") for terminal in (console, ssh)}
        idled.session("alice", terminals=1)
        step_wall(machine, by)
        machine.sh("systemctl stop idled; rm /run/idled/sessions/*.json; systemctl start idled")
        for terminal, late in ((ssh, LATE), (console, CONSOLE_LATE)):
            assert 25 * SEC <= terminal.wait_closed(40) - typed[terminal] <= 25 * SEC + late
    assert by_user(idled, "warned") == {"alice": 1, "bob": 1}


# Suspend

#: At each SIGUSR1 the daemon sees what it sees on a machine that slept for an hour: CLOCK_BOOTTIME and the wall clock
#: have gone on, CLOCK_MONOTONIC and the times in TCP_INFO have not, and both timers go off as the kernel makes them.
ASLEEP = """
import signal
import sys

from idled import clock

now, wall, slept = clock.now, clock.wall, 0
clock.now = lambda: now() + slept
clock.wall = lambda: wall() + slept

class Alarm(clock.Alarm):
    def set(self, at):
        self.at = at
        super().set(None if at is None else at - slept)

class StepWatch(clock.StepWatch):
    woke = False

    def _read(self):
        woke, self.woke = self.woke, False
        return super()._read() or woke

def sleep(*_):
    global slept
    slept += 3600_000_000
    alarm.set(alarm.at)
    steps.woke = True
    steps._set(1, 1, 0)

alarm, steps = Alarm(), StepWatch()
clock.Alarm, clock.StepWatch = lambda: alarm, lambda: steps
signal.signal(signal.SIGUSR1, sleep)

from idled.daemon import main

sys.exit(main())
"""


@pytest.fixture
def sleep_an_hour(idled: Installed) -> Iterator[Callable[[], None]]:
    """Has the machine sleep, as far as the daemon can see."""

    def sleep() -> None:
        idled.machine.sh("systemctl kill --signal=USR1 idled")

    with daemon_as(idled.machine, ASLEEP):
        yield sleep


def test_time_counts_while_the_machine_sleeps(idled: Installed, sleep_an_hour: Callable[[], None]) -> None:
    longer = rule("bob", 'idle_timeout = "1h 15s"') + rule(
        "carol", 'idle_timeout = "2h"\nabsolute_timeout = "1h 15s"\nwarn_before = []'
    )
    idled.limits(idle="10s", warn='["3s"]', more=longer)
    with ExitStack() as stack:
        types, overdue, in_time = (stack.enter_context(idled.login(user)) for user in ("carol", "alice", "bob"))
        stack.enter_context(typing(types))
        typed, typed_in_time = overdue.type("x"), in_time.type("x")
        with suppress(Unseen):
            overdue.wait_closed(4)
        slept = boottime()
        sleep_an_hour()
        told = boottime()
        closed, closed_in_time = overdue.wait_closed(20), in_time.wait_closed(20)
        assert slept <= closed <= told + LATE
        assert "Press a key" not in overdue.text
        assert 15 * SEC <= closed_in_time - typed_in_time <= 15 * SEC + LATE
        types.wait_closed(20)
    idled.wait_ended("alice", "bob", "carol")
    ended = {entry["IDLED_USER"]: entry for entry in idled.events("ended")}
    assert {user: entry["IDLED_REASON"] for user, entry in ended.items()} == {
        "alice": "idle",
        "bob": "idle",
        "carol": "absolute",
    }
    away = HOUR + closed - typed
    assert away - LATE <= number(ended["alice"], "IDLE_USEC") <= away
    assert HOUR - 10 * SEC <= number(ended["alice"], "LATE_USEC") < HOUR
    assert number(ended["bob"], "LATE_USEC") <= LATE
    assert number(ended["carol"], "LATE_USEC") <= ABSOLUTE_LATE
    assert by_user(idled, "warned") == {"bob": 1}
    assert len(idled.events("clock-stepped")) == 1


# The daemon is away

NEWER = r"""sed -i 's/^__version__ = .*/__version__ = "99"/' /usr/lib/python3/dist-packages/idled/__init__.py"""


@contextmanager
def absence(machine: Machine, how: str) -> Iterator[None]:
    """The daemon goes, and is back afterwards."""
    cursor = machine.cursor()
    machine.sh(f"systemctl {'kill --signal=KILL' if how == 'killed' else 'stop'} idled")
    yield
    if how == "upgraded":
        machine.sh(f"{NEWER}; systemctl daemon-reload")
    if how != "killed":
        machine.sh("systemctl start idled")
    said = machine.wait_journal(10, since=cursor, IDLED_EVENT="started")["MESSAGE"]
    assert ("version 99" in said) is (how == "upgraded")


@pytest.fixture
def same_version_afterwards(machine: Machine) -> Iterator[None]:
    """Puts back what an upgrade replaced."""
    init = "/usr/lib/python3/dist-packages/idled/__init__.py"
    machine.sh(f"cp {init} /run/idled-init.py")
    yield
    machine.sh(f"cp /run/idled-init.py {init}; systemctl restart idled")


@pytest.mark.parametrize("how", ["stopped", "killed", "upgraded"])
def test_an_absence_changes_nothing(idled: Installed, same_version_afterwards: None, how: str) -> None:
    """Neither for who is idle, nor for who forges, nor for who types: on time, and told once."""
    if how == "upgraded":
        subprocess.run([PROJECT / "dev", "install", f"/proc/{idled.machine.pid}/root"], check=True, capture_output=True)
    idled.limits(idle="20s", warn='["3s"]', more=rule("root", 'absolute_timeout = "40s"'))
    machine = idled.machine
    with ExitStack() as stack:
        types = stack.enter_context(idled.login("root"))
        stack.enter_context(typing(types))
        alice, bob, carol = (stack.enter_context(idled.login(user)) for user in ("alice", "bob", "carol"))
        tty = idled.session("bob", terminals=1)["terminals"][0]
        last = {alice: alice.type("while sleep 1; do touch -a $(tty); done &\n"), bob: bob.type("x")}
        idled.event("activity-forged", 10, IDLED_USER="alice")
        machine.sh(f"touch -a /dev/{tty}")
        with absence(machine, how):
            machine.sh(f"touch -a /dev/{tty}")
            last[carol] = carol.type("xyz\n")
        for terminal, typed in last.items():
            assert 20 * SEC <= terminal.wait_closed(40) - typed <= 20 * SEC + LATE
        types.wait_closed(40)
    everybody = {"alice": 1, "bob": 1, "carol": 1, "root": 1}
    idled.wait_ended(*everybody)
    assert by_user(idled, "session-opened") == by_user(idled, "ended") == by_user(idled, "warned") == everybody
    assert by_user(idled, "activity-forged") == {"alice": 1, "bob": 1}
    assert idled.event("ended", IDLED_USER="root")["IDLED_REASON"] == "absolute"
    assert all(number(entry, "LATE_USEC") <= LATE for entry in idled.events("ended"))


# Its sources are


def test_nothing_is_lost_with_logind_and_dbus(idled: Installed) -> None:
    """Who is idle, who types, who is on the console and who leaves meanwhile; and no session is found twice."""
    idled.limits(idle="15s", more=rule("carol", 'absolute_timeout = "30s"'))
    with ExitStack() as stack:
        types = stack.enter_context(idled.login("carol"))
        stack.enter_context(typing(types))
        console = stack.enter_context(idled.machine.console("bob"))
        console.expect(PROMPT)
        walks_away, leaves = (stack.enter_context(idled.login("alice")) for _ in range(2))
        typed = walks_away.type("x")
        leaves.type("exit\n")
        idled.machine.sh("systemctl restart dbus; systemctl restart systemd-logind")
        typed_on_console = console.type("x")
        leaves.wait_closed(10)
        idled.event("session-closed", 10, IDLED_USER="alice")
        assert 15 * SEC <= walks_away.wait_closed(30) - typed <= 15 * SEC + LATE
        assert 15 * SEC <= console.wait_closed(30) - typed_on_console <= 15 * SEC + CONSOLE_LATE
        types.wait_closed(30)
    idled.wait_ended("alice", "bob", "carol")
    assert by_user(idled, "session-opened") == {"alice": 2, "bob": 1, "carol": 1}
    assert by_user(idled, "ended") == {"alice": 1, "bob": 1, "carol": 1}
    assert all(number(entry, "LATE_USEC") <= LATE for entry in idled.events("ended"))
    with idled.login("bob"):
        assert idled.session("bob", terminals=1)["idleTimeoutUSec"] == 15 * SEC
    assert "IDLED_LOGIND" in idled.event("session-closed", IDLED_USER="bob")
