# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes when a session is ended, and what stays: stubborn processes, detached ones, other sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.terminal.bench import until

from .installed import END, LATE, SEC, Installed, number
from .terminal import Unseen, boottime
from .test_ends import type_until

#: What a session may leave behind in its terminal when its person walks away.
STUBBORN = {
    "ignores HUP and TERM": "sh -c \"trap '' HUP TERM INT; while :; do sleep 1; done\"",
    "background job": "nohup sleep 1001 >/dev/null 2>&1 &",
    "setsid child": "setsid sleep 1002 >/dev/null 2>&1 </dev/null &",
    "double fork": "(setsid sh -c 'sleep 1003 & sleep 1003' >/dev/null 2>&1 </dev/null &)",
    "tmux server": "tmux new-session -d 'sleep 1004'",
    "stopped job": "sleep 1005 & kill -STOP $!",
    "forks all the time": "setsid sh -c \"trap '' HUP; while :; do sleep 0.01; done\" >/dev/null 2>&1 </dev/null &",
}

NAMES = "loginctl list-sessions --no-legend | awk '{ print $1 }'"


@pytest.mark.parametrize("what", STUBBORN)
def test_nothing_of_the_session_survives(idled: Installed, what: str) -> None:
    idled.limits(idle="4s")
    with idled.login("bob"), idled.login("alice") as terminal:
        typed = terminal.type(STUBBORN[what] + "\n")
        closed = terminal.wait_closed(25)
        ended = idled.event("ended", 15, IDLED_USER="alice")
    assert closed - typed >= 4 * SEC
    assert number(ended, "TOOK_USEC") <= END
    assert idled.processes("alice") == []
    assert (idled.events("end-escalated", IDLED_USER="alice") != []) == (number(ended, "TOOK_USEC") > 4 * SEC)


def test_another_session_of_the_same_user_goes_on(idled: Installed) -> None:
    idled.limits(idle="5s")
    with idled.login("alice") as idle, idled.login("alice") as busy:
        while idle.closed_at is None and boottime():
            busy.type("x")
            try:
                idle.wait_closed(0.5)
            except Unseen:
                continue
        busy.type("\x15echo still $((40+2))\n")
        busy.expect("still 42")
        idled.wait_ended("alice")
        assert len(idled.events("ended")) == 1


def test_end_connection_keeps_what_was_detached(idled: Installed) -> None:
    idled.limits(idle="4s", more='end = "connection"\n')
    with idled.login("alice") as terminal:
        terminal.type("tmux new-session -d 'sleep 1011'; setsid sleep 1012 </dev/null >/dev/null 2>&1 &\n")
        typed = terminal.type("sh -c \"trap '' HUP TERM; sleep 1013\"\n")
        closed = terminal.wait_closed(20)
    assert 4 * SEC <= closed - typed <= 4 * SEC + LATE
    idled.event("ended", 10, IDLED_USER="alice")
    left = " ".join(idled.processes("alice"))
    assert "sleep 1011" in left
    assert "sleep 1012" in left
    assert "sshd" not in left


def test_end_user_takes_all_of_the_user(idled: Installed) -> None:
    rule = '[[rule]]\nname = "all of carol"\nmatch = { user = "carol" }\nidle_timeout = "8s"\nend = "user"\n'
    idled.limits(more=rule)
    idled.machine.run("loginctl", "enable-linger", "carol")
    try:
        with idled.login("bob") as other, idled.login("carol") as first, idled.login("carol") as second:
            first.type("systemd-run --user sleep 1021\n")
            first.expect("Running as unit")
            second.type("setsid sleep 1022 </dev/null >/dev/null 2>&1 &\n")
            last = second.type("x")
            assert first.wait_closed(20) - last < 8 * SEC + LATE + END
            assert second.wait_closed(20) - last < 8 * SEC + LATE + END
            idled.event("ended", 10, IDLED_USER="carol", IDLED_REASON="idle")
            idled.event("ended", 10, IDLED_USER="carol", IDLED_REASON="user")
            other.type("\x15echo still $((40+2))\n")
            other.expect("still 42")
        assert [line for line in idled.processes("carol") if "sleep" in line] == []
    finally:
        idled.machine.run("loginctl", "disable-linger", "carol")


def test_who_logs_in_anew_while_all_of_the_user_is_ended_stays(idled: Installed) -> None:
    """The user manager takes SIGHUP for something else, so an end waits for its SIGKILL."""
    idled.limits(more='[[rule]]\nname = "all"\nmatch = { user = "carol" }\nidle_timeout = "6s"\nend = "user"\n')
    with idled.login("carol") as first:
        first.type("x")
        first.wait_closed(20)
        with idled.login("carol") as anew:
            last = type_until(anew, boottime() + 9 * SEC, pause=1.0)
            ended = idled.event("ended", IDLED_USER="carol")
            assert number(ended, "TOOK_USEC") > 4 * SEC, "nothing of the first was there any more"
            assert anew.closed_at is None
            assert 6 * SEC <= anew.wait_closed(20) - last <= 6 * SEC + LATE
        until(lambda: len(idled.events("ended", IDLED_USER="carol", IDLED_REASON="idle")) == 2, 20)
    assert idled.processes("carol") == []
    assert idled.events("session-closed") == []


def test_a_daemon_that_was_away_goes_on_with_all_of_the_user(idled: Installed) -> None:
    """The session itself has gone meanwhile, and somebody has logged in anew, who stays."""
    idled.limits(more='[[rule]]\nname = "all"\nmatch = { user = "carol" }\nidle_timeout = "6s"\nend = "user"\n')
    with idled.login("carol") as first:
        first.type("systemd-run --user sh -c \"trap '' HUP; while :; do sleep 1; done\"\n")
        first.expect("Running as unit")
        first.wait_closed(20)
        idled.machine.run("systemctl", "stop", "idled")
    assert any("trap" in line for line in idled.processes("carol"))
    with idled.login("carol") as anew:
        idled.machine.run("systemctl", "start", "idled")
        type_until(anew, boottime() + 9 * SEC, pause=1.0)
        ended = idled.event("ended", IDLED_USER="carol")
        assert number(ended, "TOOK_USEC") > 4 * SEC, "it was told before all was gone"
        assert not any("trap" in line for line in idled.processes("carol"))
        assert anew.closed_at is None
        anew.type("\x15echo still $((40+2))\n")
        anew.expect("still 42")


@pytest.fixture
def counted_names(idled: Installed) -> Iterator[None]:
    """Sessions are called by logind's own count, from the start again with each logind: they have no audit session."""
    machine = idled.machine
    machine.sh("sed -i.saved /pam_loginuid/d /etc/pam.d/sshd")
    until(lambda: machine.sh(NAMES) == "", 20)
    machine.run("systemctl", "restart", "systemd-logind")
    yield
    machine.sh("mv /etc/pam.d/sshd.saved /etc/pam.d/sshd")


#: How a daemon is away, and how it comes back.
AWAY = {
    "hung": ("systemctl kill --signal=STOP idled", "systemctl kill --signal=CONT idled"),
    "stopped": ("systemctl stop idled", "systemctl start idled"),
}


@pytest.mark.parametrize(("end", "other"), [("session", "alice"), ("session", "bob"), ("user", "alice")])
@pytest.mark.parametrize("away", AWAY)
@pytest.mark.usefixtures("counted_names")
def test_a_daemon_that_was_away_ends_nobody_by_the_name(idled: Installed, away: str, end: str, other: str) -> None:
    """An end has begun; when the daemon goes on, logind was restarted and calls another session by the same name.

    The same user's has the path of the cgroup, too.
    """
    machine = idled.machine
    idled.limits(idle="4s", more=f'kill_after = "3s"\nend = "{end}"\n')
    with idled.login("alice") as first:
        name = machine.sh(NAMES)
        first.type(STUBBORN["ignores HUP and TERM"] + "\n")
        first.wait_closed(20)
    goes, comes = AWAY[away]
    machine.sh(goes)
    try:
        machine.sh("pkill -KILL -u alice; systemctl stop user-1001.slice")
        until(lambda: not machine.sh("ls -d /sys/fs/cgroup/user.slice/user-1001.slice 2>/dev/null || true"), 20)
        machine.run("systemctl", "restart", "systemd-logind")
        with idled.login(other) as second:
            assert machine.sh(NAMES) == name
            machine.sh(comes)
            typed = second.type("x")
            assert 4 * SEC <= second.wait_closed(20) - typed <= 4 * SEC + LATE
    finally:
        machine.sh(comes)
    assert number(idled.event("ended", IDLED_USER="alice"), "SURVIVORS") == 0
