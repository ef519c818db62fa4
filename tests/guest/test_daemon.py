# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon itself in a guest: restarted, killed, reloaded, observing, without its sources; nothing is lost."""

from __future__ import annotations

import pytest

from tests.terminal.bench import until

from .installed import END, LATE, SEC, Installed, number
from .machine import received_at
from .terminal import boottime
from .test_ends import type_until


@pytest.mark.parametrize("how", ["systemctl restart idled", "systemctl kill --signal=KILL idled"])
def test_a_restart_changes_no_clock(idled: Installed, how: str) -> None:
    # Where other tests need all of the CPU, a restart has taken 4.5 s; until the warning there are 7.
    idled.limits(idle="14s", absolute="23s", warn='["3s"]')
    with idled.login("alice") as walks_away, idled.login("bob") as types:
        opened = number(idled.event("session-opened", IDLED_USER="bob"), "AGE_USEC")
        before = boottime()
        typed = walks_away.type("x")
        type_until(types, before + 4 * SEC)
        idled.machine.sh(how)
        idled.event("started", 10)
        type_until(types, before + 30 * SEC)
        closed = walks_away.wait_closed(5)
        types.wait_closed(5)
    assert 14 * SEC <= closed - typed <= 14 * SEC + LATE
    ended = idled.event("ended", IDLED_USER="bob")
    assert ended["IDLED_REASON"] == "absolute"
    assert number(ended, "LATE_USEC") < SEC
    assert number(ended, "AGE_USEC") >= 23 * SEC
    assert opened < LATE
    assert len(idled.events("session-opened")) == 2
    assert len(idled.events("warned", IDLED_USER="alice")) == 1


#: Sends records as many sessions would that end at once, as the daemon; journald takes 10,000 to 60,000 of others.
RECORDS = 70_000
FLOOD = f"""
import socket
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
open("/sys/fs/cgroup/system.slice/idled.service/cgroup.procs", "w").write("0")
for number in range({RECORDS}):
    sender.sendto(b"MESSAGE=one of many\\nPRIORITY=6\\nSYSLOG_IDENTIFIER=many", "/run/systemd/journal/socket")
"""


def test_the_journal_takes_however_many_records(idled: Installed) -> None:
    machine = idled.machine
    machine.run("python3", "-c", FLOOD, timeout=120)
    machine.run("journalctl", "--sync", timeout=120)
    listed = machine.sh(
        'journalctl --quiet --output=cat --after-cursor="$1" | grep -c "^one of many$"', idled.since, timeout=120
    )
    assert int(listed) == RECORDS


def test_a_login_while_the_daemon_is_away_is_not_lost(idled: Installed) -> None:
    idled.limits(idle="8s")
    idled.machine.sh("systemctl stop idled.socket idled-varlink.socket idled")
    with idled.login("alice") as terminal:
        typed = terminal.type("x")
        idled.machine.sh("systemctl start idled.socket idled-varlink.socket idled")
        session = idled.session("alice", terminals=1)
        assert session["idleTimeoutUSec"] == 8 * SEC
        assert terminal.wait_closed(20) - typed >= 8 * SEC


def test_killed_in_the_midst_of_an_end(idled: Installed) -> None:
    idled.limits(idle="4s")
    with idled.login("alice") as terminal:
        terminal.type("sh -c \"trap '' HUP TERM; while :; do sleep 1; done\"\n")
        terminal.wait_closed(20)
        idled.machine.sh("systemctl kill --signal=KILL idled")
        ended = idled.event("ended", 15, IDLED_USER="alice")
    assert ended["IDLED_SURVIVORS"] == "0"
    assert idled.processes("alice") == []


def test_reload_changes_limits_of_running_sessions(idled: Installed) -> None:
    idled.limits(idle="1h", warn='["2s"]')
    with idled.login("alice") as terminal:
        typed = terminal.type("x")
        assert idled.session("alice")["idleTimeoutUSec"] == 3600 * SEC
        idled.limits(idle="6s", warn='["2s"]')
        typed = terminal.type("x")
        terminal.expect("the idle limit is 6s", timeout=20)
        assert 6 * SEC <= terminal.wait_closed(15) - typed <= 6 * SEC + LATE


def test_broken_policy_changes_nothing(idled: Installed) -> None:
    idled.limits(idle="1h")
    with idled.login("alice"):
        idled.machine.write("/etc/idled/idled.toml", 'mode = "enforce"\n[defaults]\nidle_timout = "1s"\n')
        idled.machine.run("systemctl", "reload", "idled")
        said = idled.event("config-rejected")["MESSAGE"]
        assert "/etc/idled/idled.toml: defaults.idle_timout: unknown key; did you mean idle_timeout?" in said
        assert idled.session("alice")["idleTimeoutUSec"] == 3600 * SEC
        idled.machine.run("systemctl", "restart", "idled")
        assert idled.session("alice")["idleTimeoutUSec"] == 3600 * SEC
        assert idled.machine.run("idlectl", "check", check=False).returncode == 1


def test_observe_mode_ends_nobody(idled: Installed) -> None:
    idled.policy('mode = "observe"\n[defaults]\nidle_timeout = "4s"\nabsolute_timeout = "8s"\nwarn_before = ["2s"]\n')
    with idled.login("alice") as terminal:
        idled.event("would-end", 15, IDLED_REASON="idle")
        idled.event("would-end", 15, IDLED_REASON="absolute")
        terminal.type("echo still $((40+2))\n")
        terminal.expect("still 42")
        assert "idled:" not in terminal.text
    assert idled.events("ended") == []
    assert len(idled.events("would-end")) == 2


@pytest.mark.parametrize("service", ["systemd-logind", "dbus"])
def test_a_source_that_is_restarted_loses_nothing(idled: Installed, service: str) -> None:
    idled.limits(idle="12s")
    with idled.login("alice") as terminal:
        typed = terminal.type("x")
        idled.machine.sh(f"systemctl restart {service}")
        try:
            # Without a bus sshd itself waits for logind when it closes the session, until it gets SIGKILL.
            closed = terminal.wait_closed(30)
            ended = idled.event("ended", IDLED_USER="alice")
        finally:
            idled.machine.sh("systemctl restart systemd-logind")  # 257 does not come back to a new bus by itself
    assert 12 * SEC <= closed - typed <= 12 * SEC + LATE + END
    assert number(ended, "LATE_USEC") < SEC
    with idled.login("bob"):
        assert idled.session("bob", terminals=1)["idleTimeoutUSec"] == 12 * SEC


def test_a_start_that_waits_for_logind_can_be_stopped_and_does_not_wait_for_ever(idled: Installed) -> None:
    machine = idled.machine
    machine.sh("systemctl kill --signal=STOP systemd-logind")
    try:
        machine.sh("systemctl restart --no-block idled")
        idled.event("config-loaded")
        assert machine.sh("systemctl show -P ActiveState idled") == "activating"
        began = boottime()
        machine.sh("systemctl stop idled")
        assert boottime() - began < 5 * SEC
        machine.run("systemctl", "start", "idled", timeout=30)
        assert "logind not reachable" in machine.run("idlectl", "status", check=False).stdout
    finally:
        machine.sh("systemctl kill --signal=CONT systemd-logind; systemctl start idled")


def test_who_is_remembered_is_ended_while_a_start_waits_for_logind(idled: Installed) -> None:
    machine = idled.machine
    idled.limits(idle="6s")
    with idled.login("alice") as terminal:
        idled.session("alice", terminals=1)
        machine.run("systemctl", "stop", "idled")
        typed = terminal.type("x")
        machine.sh("systemctl kill --signal=STOP systemd-logind")
        try:
            machine.sh("systemctl start --no-block idled")
            ended = idled.event("ended", 30, IDLED_USER="alice")  # sshd waits for logind, too, until it gets SIGKILL
        finally:
            machine.sh("systemctl kill --signal=CONT systemd-logind; systemctl start idled")
    assert 6 * SEC <= received_at(ended) - number(ended, "TOOK_USEC") - typed <= 6 * SEC + LATE
    assert received_at(idled.event("started")) > received_at(ended) - number(ended, "TOOK_USEC"), "it waited in vain"


def test_host_without_logind_and_without_registration(idled: Installed) -> None:
    """sshd's processes alone tell of the session, and its leader's socket of the connection."""
    machine = idled.machine
    machine.sh("systemctl mask --now systemd-logind dbus.socket dbus; sed -i /pam_idled/d /etc/pam.d/common-session")
    try:
        idled.limits(idle="9s", warn='["4s"]')
        with idled.login("alice") as terminal:
            machine.run("systemctl", "restart", "idled")
            session = idled.session("alice", terminals=1)
            assert session["service"] == "sshd"
            typed = terminal.type("sleep 1001 &\n")
            terminal.expect("Press a key to stay", timeout=20)
            closed = terminal.wait_closed(20)
        assert 9 * SEC <= closed - typed <= 9 * SEC + LATE
        idled.event("ended", 10, IDLED_USER="alice")
        assert idled.processes("alice") == []
    finally:
        machine.sh("systemctl unmask systemd-logind dbus.socket dbus; systemctl start dbus.socket dbus systemd-logind")
        machine.sh("pam-auth-update --package --enable idled")


def test_a_login_that_systemd_refuses_a_scope_is_ended_on_time(idled: Installed) -> None:
    """As it refuses one to who comes more than five times in ten seconds: logind knows no such session then."""
    machine = idled.machine
    idled.limits(idle="6s")
    machine.run("systemctl", "mask", "--runtime", "user-1001.slice")
    try:
        with idled.login("alice") as terminal:
            assert "alice" not in machine.run("loginctl", "--no-legend").stdout, "it was not refused"
            typed = terminal.type("sh -c 'trap \"\" HUP; exec sleep 1001' &\n")
            closed = terminal.wait_closed(20)
        idled.wait_ended("alice")
    finally:
        machine.run("systemctl", "unmask", "--runtime", "user-1001.slice")
    assert 6 * SEC <= closed - typed <= 6 * SEC + LATE
    assert idled.processes("alice") == []


#: logind comes back without the file of a session, and idled without any of what it remembered.
FORGET = """
systemctl stop idled.socket idled-varlink.socket idled
rm /run/systemd/sessions/"$1" /run/idled/sessions/*
systemctl restart systemd-logind
systemctl start idled.socket idled-varlink.socket idled
"""


def test_a_session_that_logind_has_forgotten_is_found(idled: Installed) -> None:
    """By sshd's processes in its scope, as where logind is started again among more sessions than it can keep."""
    machine = idled.machine
    with idled.login("alice"), idled.login("alice") as forgotten:
        until(lambda: [one["name"][0] == "p" for one in idled.sessions()] == [False] * 2)  # logind has told of both
        other, name = (session["name"] for session in idled.sessions())
        machine.sh(FORGET, name)
        until(lambda: len(idled.sessions()) == 2)
        names = [session["name"] for session in idled.sessions()]
        assert other in names
        assert name not in names, "logind did not forget it"
        idled.limits(idle="9s", warn='["4s"]')
        typed = forgotten.type("sleep 1001 &\n")
        forgotten.expect("Press a key to stay", timeout=20)
        closed = forgotten.wait_closed(20)
    assert 9 * SEC <= closed - typed <= 9 * SEC + LATE
    until(lambda: len(idled.events("ended", IDLED_USER="alice")) == 2)
    assert not any("1001" in line for line in idled.processes("alice"))


def test_a_kill_on_the_way_loses_nothing_where_there_is_no_logind(idled: Installed) -> None:
    """The leader has gone when the next daemon comes, and what has left its family ignores SIGHUP."""
    machine = idled.machine
    if not machine.sh("cat /proc/1/sessionid", check=False):
        pytest.skip("this kernel has no audit")
    machine.sh("systemctl mask --now systemd-logind dbus.socket dbus")
    try:
        idled.limits(idle="6s", warn='["3s"]')
        with idled.login("alice") as terminal:
            terminal.type("(setsid sh -c 'trap \"\" HUP; exec sleep 1001' &)\n")
            terminal.wait_closed(30)
        machine.sh("systemctl kill --signal=KILL idled")
        assert "sleep 1001" in idled.processes("alice")
        idled.event("ended", 20, IDLED_USER="alice")
        assert idled.processes("alice") == []
    finally:
        machine.sh("pkill -KILL -u alice; systemctl unmask systemd-logind dbus.socket dbus", check=False)
        machine.sh("systemctl start dbus.socket dbus systemd-logind")


def test_a_reload_that_brings_the_first_rule_for_a_group_knows_the_groups_of_who_is_there(idled: Installed) -> None:
    idled.limits()
    with idled.login("alice") as terminal:
        idled.session("alice", terminals=1)
        idled.policy(
            'mode = "enforce"\n[defaults]\nabsolute_timeout = "1s"\nwarn_before = []\n'
            '[[rule]]\nname = "staff"\nmatch.group = "alice"\nabsolute_timeout = "2h"\n'
        )
        assert idled.session("alice")["absoluteTimeoutUSec"] == 7200 * SEC
        assert terminal.closed_at is None
    assert idled.events("ended", IDLED_USER="alice") == []
