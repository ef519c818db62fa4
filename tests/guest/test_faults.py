# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each fault alone, while sessions expire: none is lost and none is spared, and all is as before when it is over.

A wall clock that is set stands in test_time.py; a terminal that takes no output, and a fork bomb in the session that
is ended, in test_hostile.py; all of it at random in test_campaign.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.terminal.bench import until

from .clocks import DROP_INS
from .faults import (
    FAULTS,
    RESTART,
    Spell,
    daemon,
    excuse,
    full_journal,
    in_time,
    limited,
    running,
    silent_server,
    sleep_as,
    take_pid,
    under,
    wait_back,
)
from .footprint import Footprint
from .installed import ABSOLUTE_LATE, END, LATE, SEC, Installed, number
from .metronome import Metronome
from .pam_logins import LOGIN
from .people import KINDS, Visit
from .terminal import PROMPT, Terminal, Unseen, boottime
from .test_time import by_user, rule, typing

#: All faults but those of which another here, or in test_daemon.py, is the same and more; what does not meddle with
#: each other at once.
AT_ONCE = (
    ("daemon killed again and again",),
    ("descriptors used up",),
    ("memory used up",),
    ("state damaged",),
    ("backlog full",),
    ("journal hung", "run full"),
    ("journal away", "pids used again"),
    ("dbus hung",),
    ("dbus and logind restarted",),
    ("logind hung", "load of 100"),
)
IDLE, ABSOLUTE = 6, 8
#: A fault begins before those who left are due, and is over when they are.
BEFORE, LASTS = 4, 4
SSH, CONSOLE = (next(kind for kind in KINDS if kind.name == name) for name in ("ssh", "console"))


def passes(terminal: Terminal, seconds: float) -> None:
    """Let time pass; nothing is to happen."""
    with suppress(Unseen):
        terminal.wait_closed(seconds)


@pytest.mark.parametrize("what", AT_ONCE, ids=", ".join)
def test_nobody_is_lost_and_nobody_is_spared(idled: Installed, what: tuple[str, ...]) -> None:
    """Two have left before the fault, one leaves while it is there, and one is there for too long."""
    machine, spells = idled.machine, list[Spell]()
    idled.limits(idle=f"{IDLE}s", warn='["3s"]', more=rule("root", f'absolute_timeout = "{ABSOLUTE}s"'))
    before = Footprint.of(machine)
    with ExitStack() as stack:
        metronome = stack.enter_context(Metronome(machine))
        opened = boottime()
        overlong = stack.enter_context(idled.login("root"))
        stack.enter_context(typing(overlong))
        stays = stack.enter_context(idled.login("carol"))
        with ExitStack() as faults:
            with typing(stays):
                console = stack.enter_context(machine.console("bob"))
                console.expect(PROMPT, timeout=20)
                gone = [(CONSOLE, console, console.type("x"))]
                leaves = stack.enter_context(idled.login("alice"))
                gone.append((SSH, leaves, leaves.type("x")))
                passes(stays, BEFORE)
                for name in what:
                    faults.enter_context(under(machine, name, spells))
                passes(stays, 1)
            gone.append((SSH, stays, stays.type("x")))
            passes(stays, LASTS - 1)
        for kind, terminal, typed in gone:
            visit = Visit(kind, typed, terminal.wait_closed(60))
            assert in_time(visit, IDLE * SEC, spells, metronome), visit
        assert overlong.wait_closed(60) - opened >= ABSOLUTE * SEC
    everybody = ("alice", "bob", "carol", "root")
    for user in everybody:
        idled.event("ended", 10, IDLED_USER=user)
    late = number(idled.event("ended", IDLED_USER="root"), "LATE_USEC")
    assert late <= ABSOLUTE_LATE + excuse(spells, opened, ABSOLUTE * SEC, ABSOLUTE_LATE) + max(metronome.lates)
    if not any(spell.fault.of_daemon for spell in spells):
        stories = {user: story(idled, user) for user in everybody}
        assert all(map(is_whole, stories.values())), stories
    said = [str(entry["MESSAGE"]) for entry in machine.journal(idled.since)]
    for text in (text for name in what for text in FAULTS[name].says):
        assert any(re.search(text, line) for line in said), text
    before.wait_for(machine)


@pytest.mark.parametrize("spare", [0, 1, 2, 3])
def test_who_comes_while_descriptors_are_short_is_not_spared(idled: Installed, spare: int) -> None:
    """Who cannot be taken in then is looked for soon, wherever on the way the last descriptor was used."""
    machine = idled.machine
    idled.limits(idle=f"{IDLE}s")
    machine.run("systemctl", "restart", "idled")  # it knows nothing that it has not read
    few = f'echo $(($(ls "/proc/$1/fd" | wc -l) + {spare}))'
    with Metronome(machine) as metronome:
        with limited(machine, "--nofile", few):
            leaves = idled.login("alice")
            typed = leaves.type("x")
        over = boottime()
        with leaves:
            visit = Visit(SSH, typed, leaves.wait_closed(60))
    assert in_time(visit, IDLE * SEC, [Spell(FAULTS["descriptors used up"], typed, over)], metronome), visit


def story(idled: Installed, user: str) -> list[str]:
    """What the journal tells of a user's session."""
    return [entry["IDLED_EVENT"] for entry in idled.machine.journal(idled.since, IDLED_USER=user)]


def is_whole(story: list[str]) -> bool:
    """Whether all of it was told, in order and once, but for warnings; sshd that waits for others is killed."""
    told = [kind for kind in story if kind not in ("end-escalated", "warning-cleared")]
    once = story.count("session-opened") == story.count("ended") == 1
    return once and list(dict.fromkeys(told)) == ["session-opened", "limits-set", "warned", "ended"]


def test_a_stop_does_not_wait_long_for_a_journal_that_hangs(idled: Installed) -> None:
    with full_journal(idled.machine):
        before = boottime()
        idled.machine.run("systemctl", "stop", "idled")
        took = boottime() - before
    assert SEC <= took < 15 * SEC, "systemctl takes its time; without patience it is 90 s"


@pytest.mark.parametrize("kind", ["ended", "session-closed"])
def test_how_a_session_ended_is_told_by_the_next_daemon_where_the_journal_hung(idled: Installed, kind: str) -> None:
    machine = idled.machine
    idled.limits(idle="10s" if kind == "ended" else "1h")
    with idled.login("alice") as terminal:
        idled.session("alice", terminals=1)
        with full_journal(machine):
            terminal.type("x" if kind == "ended" else "exec true\n")
            until(lambda: not idled.sessions(), 40)
            gone = daemon(machine)
            machine.run("systemctl", "kill", "--signal=KILL", "idled")
            wait_back(machine, gone)
            until(lambda: not idled.sessions(), 10)
        (told,) = until(lambda: idled.events(kind, IDLED_USER="alice"), 20)
    assert told["_PID"] != gone
    until(lambda: not machine.sh("ls -A /run/idled/sessions"))


WATCHDOG = 4  # seconds
SOONER = f"[Service]\nWatchdogSec={WATCHDOG}s\n"


@pytest.fixture
def watched(idled: Installed) -> Iterator[None]:
    """The watchdog is there, and takes less long than it does."""
    machine = idled.machine
    assert machine.run("systemctl", "show", "-P", "WatchdogUSec", "idled").stdout == "30s\n"
    machine.write(f"{DROP_INS}/watchdog.conf", SOONER)
    machine.sh("systemctl daemon-reload; systemctl restart idled")
    yield
    machine.sh(f"rm -r {DROP_INS}; systemctl daemon-reload; systemctl restart idled")


def test_a_daemon_that_hangs_is_started_anew(idled: Installed, watched: None) -> None:
    """Nothing ends while it hangs; the watchdog sees to it that this is not for long."""
    idled.limits(idle="4s")
    first = daemon(idled.machine)
    with idled.login("alice") as terminal:
        typed, stopped = terminal.type("x"), boottime()
        idled.machine.run("systemctl", "kill", "--signal=STOP", "idled")
        try:
            closed = terminal.wait_closed(60)
        finally:
            idled.machine.run("kill", "-CONT", first, check=False)
        assert typed + 4 * SEC <= closed <= stopped + WATCHDOG * SEC + RESTART + LATE
    idled.event("ended", IDLED_USER="alice")
    assert len(idled.events("session-opened")) == 1
    assert any("Watchdog timeout" in str(entry["MESSAGE"]) for entry in idled.machine.journal(idled.since))
    assert daemon(idled.machine) != first


LOGINS = 200
LOG_IN = f"""{LOGIN}
import signal, subprocess
wait, go = os.pipe()
for _ in range({LOGINS}):
    if not os.fork():
        os.close(go)
        os.read(wait, 1)
        print(once(), flush=True)
        signal.pause()
print("up", flush=True)
restart = subprocess.Popen(["systemctl", "restart", "idled"])
os.close(go)
restart.wait()
for _ in range({LOGINS}):
    os.wait()
"""


def test_many_logins_at_once_while_it_is_restarted(idled: Installed) -> None:
    """All of them get in, all are known, and all are ended."""
    machine = idled.machine
    idled.limits(absolute="12s")
    machine.write("/etc/pam.d/idled-test", "session optional pam_idled.so\n")
    before = Footprint.of(machine)
    with running(machine, "python3", "-c", LOG_IN) as logins:
        assert logins.stdout is not None
        took = sorted(int(logins.stdout.readline()) for _ in range(LOGINS))
        print(f"pam_open_session, us: {took[0]} to {took[-1]}, median {took[LOGINS // 2]}")
        deadline = time.monotonic() + 10
        while (known := len(idled.sessions())) != LOGINS:
            assert time.monotonic() < deadline, known
        logins.wait(60)
    assert took[-1] < 3 * SEC
    deadline = time.monotonic() + 10
    while len(ended := idled.events("ended")) != LOGINS:
        assert time.monotonic() < deadline, len(ended)
    late = sorted(number(entry, "LATE_USEC") for entry in ended)
    print(f"ended, us late: {late[0]} to {late[-1]}, median {late[LOGINS // 2]}")
    assert late[0] >= 0 and late[-1] <= ABSOLUTE_LATE
    assert max(number(entry, "TOOK_USEC") for entry in ended) <= END
    assert len(idled.events("session-opened")) == LOGINS
    before.wait_for(machine)


def leave_unseen(idled: Installed, terminal: Terminal) -> int:
    """Log out while the daemon is not there; the leader's pid."""
    pid = int(idled.session("alice", terminals=1)["id"].partition("-")[0])
    idled.machine.run("systemctl", "stop", "idled")
    terminal.type("exit\n")
    terminal.wait_closed(10)
    return pid


def test_who_has_the_number_of_a_leader_is_not_ended_for_it(idled: Installed) -> None:
    machine = idled.machine
    idled.limits(idle="4s", absolute="10s")
    with idled.login("alice") as terminal:
        pid = leave_unseen(idled, terminal)
    sleep_as(machine, pid)
    machine.run("systemctl", "start", "idled")
    try:
        idled.event("session-closed", IDLED_USER="alice")
        assert idled.sessions() == []
    finally:
        machine.run("kill", str(pid))
    assert idled.events("ended") == []


def test_who_logs_in_with_the_number_of_a_leader_is_another_session(idled: Installed) -> None:
    machine = idled.machine
    idled.limits(idle=f"{IDLE}s")
    with ExitStack() as stack:
        pid = leave_unseen(idled, stack.enter_context(idled.login("alice")))
        for _ in range(20):  # until nobody else takes the number
            take_pid(machine, pid, "")
            terminal = stack.enter_context(idled.login("bob"))
            if str(pid) in machine.sh(r"pgrep -f '^sshd.*: bob \[priv\]'").split():
                break
            terminal.type("exit\n")
            terminal.wait_closed(10)
        typed = terminal.type("x")
        machine.run("systemctl", "start", "idled")
        assert int(idled.session("bob", terminals=1)["id"].partition("-")[0]) == pid
        idled.event("session-closed", IDLED_USER="alice")
        assert IDLE * SEC <= terminal.wait_closed(30) - typed <= IDLE * SEC + LATE
    idled.event("ended", IDLED_USER="bob")
    assert by_user(idled, "ended") == {"bob": 1}


STAYS = "sh -c \"trap '' HUP; while :; do sleep 1; done\"\n"


def test_who_has_the_name_of_a_session_is_not_ended_for_it(idled: Installed) -> None:
    """logind that was restarted may give a name again, and with it the cgroup, where there are no audit sessions."""
    machine = idled.machine
    idled.limits(idle="4s", more='kill_after = "1min"')
    with idled.login("alice") as terminal:
        terminal.type(STAYS)
        terminal.wait_closed(20)
    machine.run("systemctl", "stop", "idled")
    machine.sh(r"pkill -KILL -u alice -x '(sh|sleep)'")
    machine.run("systemctl", "restart", "systemd-logind")
    with idled.login("alice") as terminal:
        typed = terminal.type("x")
        machine.run("systemctl", "start", "idled")
        assert 4 * SEC <= terminal.wait_closed(20) - typed <= 4 * SEC + LATE


def test_a_process_that_no_signal_wakes(idled: Installed) -> None:
    """It holds up nobody else, is told, and goes as soon as it can, also when the daemon was restarted meanwhile."""
    machine = idled.machine
    idled.limits(idle="8s", more='kill_after = "1s"')
    before = Footprint.of(machine)
    with ExitStack() as server, idled.login("alice") as waits, idled.login("bob") as other:
        waits.type("\n")
        server.enter_context(silent_server(machine))
        waits.type("ls /silent\n")
        typed = other.type("x")
        assert 8 * SEC <= other.wait_closed(20) - typed <= 8 * SEC + LATE
        failed = idled.event("end-failed", 40, IDLED_USER="alice")
        assert "1 process left (ls[" in failed["MESSAGE"]
        assert machine.sh("ps -o state= -C ls") == "D"
        machine.run("systemctl", "restart", "idled")
        assert [session["user"] for session in idled.sessions()] == ["alice"]
        server.close()
        ended = idled.event("ended", 15, IDLED_USER="alice")
    assert ended["IDLED_SURVIVORS"] == "0"
    idled.event("ended", IDLED_USER="bob")
    assert by_user(idled, "ended") == {"alice": 1, "bob": 1}
    before.wait_for(machine)
