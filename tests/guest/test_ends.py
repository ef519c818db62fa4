# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real logins end on time: idle, absolute, warned, on the console, multiplexed; and who is there stays."""

from __future__ import annotations

import time

from tests.terminal.bench import until

from .installed import ABSOLUTE_LATE, CONSOLE_LATE, END, LATE, MOMENT, SEC, Installed, number
from .terminal import PROMPT, Unseen, boottime


def type_until(terminal: object, deadline: int, pause: float = 0.5) -> int:
    """Type now and then until the moment has come or the terminal is gone; when the last key was typed."""
    last = 0
    while boottime() < deadline and terminal.closed_at is None:  # type: ignore[attr-defined]
        try:
            last = terminal.type("x")  # type: ignore[attr-defined]
        except (Unseen, OSError):
            break
        time.sleep(pause)
    return last


def test_idle_session_is_warned_and_ended(idled: Installed) -> None:
    idled.limits(idle="10s", warn='["4s"]')
    with idled.login("alice") as terminal:
        typed = terminal.type("echo here\n")
        warning = terminal.expect(
            rf"idled: this session will be ended in [0-4] seconds? \(at {MOMENT}\): no input; the idle",
            timeout=20,
        )
        assert 5 * SEC < terminal.moment(warning) - typed < 6 * SEC + LATE
        terminal.expect("session ended after 10s without input", timeout=20)
        closed = terminal.wait_closed(20)
    assert 10 * SEC <= closed - typed <= 10 * SEC + LATE
    ended = idled.event("ended", IDLED_USER="alice")
    assert (ended["IDLED_REASON"], ended["IDLED_RULE"], ended["IDLED_SURVIVORS"]) == ("idle", "defaults", "0")
    assert number(ended, "LIMIT_USEC") == 10 * SEC <= number(ended, "IDLE_USEC")
    assert 0 <= number(ended, "LATE_USEC") < SEC
    assert number(ended, "TOOK_USEC") < END
    story = [entry["IDLED_EVENT"] for entry in idled.machine.journal(idled.since, IDLED_SESSION=ended["IDLED_SESSION"])]
    assert story == ["session-opened", "limits-set", "warned", "ended"]
    listed = "loginctl list-sessions --no-legend | grep alice | grep -vc manager"
    until(lambda: idled.machine.sh(listed, check=False) == "0")


def test_person_who_types_stays(idled: Installed) -> None:
    idled.limits(idle="4s")
    with idled.login("alice") as terminal:
        last = type_until(terminal, boottime() + 14 * SEC, pause=1.0)
        assert terminal.closed_at is None
        closed = terminal.wait_closed(20)
    assert 4 * SEC <= closed - last <= 4 * SEC + LATE


def test_who_answers_the_warning_stays(idled: Installed) -> None:
    idled.limits(idle="9s", warn='["4s"]')
    with idled.login("alice") as terminal:
        terminal.expect("Press a key to stay", timeout=20)
        typed = terminal.type("x")
        terminal.expect("idled: you are back, so this session stays", timeout=5)
        idled.event("warning-cleared", IDLED_USER="alice")
        terminal.expect("Press a key to stay", timeout=20)
        closed = terminal.wait_closed(20)
    assert 9 * SEC <= closed - typed <= 9 * SEC + LATE
    assert len(idled.events("warned")) == 2


def test_absolute_timeout_ends_who_types(idled: Installed) -> None:
    idled.limits(absolute="10s", idle="5s", warn='["3s"]')
    before = boottime()
    with idled.login("alice") as terminal:
        type_until(terminal, before + 30 * SEC)
        closed = terminal.wait_closed(5)
        assert "it reaches its time limit of 10s" in terminal.text
    ended = idled.event("ended", IDLED_USER="alice")
    assert ended["IDLED_REASON"] == "absolute"
    assert number(ended, "AGE_USEC") >= 10 * SEC
    assert number(ended, "LATE_USEC") <= ABSOLUTE_LATE
    assert closed - before >= 10 * SEC


def test_multiplexed_session_stays_while_one_terminal_is_used(idled: Installed) -> None:
    idled.limits(idle="6s")
    path = "/tmp/mux-%r"
    with idled.login("alice", "-M", "-S", path) as first, idled.login("alice", "-S", path) as second:
        assert len(idled.session("alice", terminals=2)["terminals"]) == 2
        last = type_until(second, boottime() + 14 * SEC, pause=1.0)
        assert first.closed_at is None
        assert second.closed_at is None
        closed = max(first.wait_closed(20), second.wait_closed(20))
    assert 6 * SEC <= closed - last <= 6 * SEC + LATE
    idled.wait_ended("alice")
    assert len(idled.events("ended")) == 1


def test_console_login_is_ended(idled: Installed) -> None:
    idled.limits(idle="6s", warn='["2s"]')
    with idled.machine.console("bob") as terminal:
        terminal.expect(PROMPT, timeout=20)
        typed = terminal.type("echo here\n")
        session = idled.session("bob", terminals=1)
        assert (session["service"], session["remote"]) == ("login", "")
        terminal.expect("Press a key to stay", timeout=20)
        closed = terminal.wait_closed(20)
    assert 6 * SEC <= closed - typed <= 6 * SEC + CONSOLE_LATE
    ended = idled.event("ended", IDLED_USER="bob")
    assert ended["IDLED_SERVICE"] == "login"
    assert idled.processes("bob") == []


def test_console_person_who_types_stays(idled: Installed) -> None:
    idled.limits(idle="3s")
    with idled.machine.console("bob") as terminal:
        terminal.expect(PROMPT)
        last = type_until(terminal, boottime() + 14 * SEC, pause=1.0)
        assert terminal.closed_at is None
        closed = terminal.wait_closed(20)
    assert 3 * SEC <= closed - last <= 3 * SEC + CONSOLE_LATE


def test_su_and_sudo_are_no_sessions_of_their_own(idled: Installed) -> None:
    idled.machine.write("/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    idled.limits(idle="1h")
    with idled.login("alice") as terminal:
        idled.session("alice", terminals=1)
        terminal.type("sudo su - bob\n")
        terminal.expect(r"bob@\S+\$ ")
        terminal.type("id -un; tty\n")
        terminal.expect("bob\r")
        assert [session["user"] for session in idled.sessions()] == ["alice"]
    assert {entry["IDLED_USER"] for entry in idled.events("session-opened")} == {"alice"}


def test_input_to_a_root_shell_under_sudo_counts(idled: Installed) -> None:
    idled.machine.write("/etc/sudoers.d/alice", "Defaults use_pty\nalice ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    idled.limits(idle="4s")
    with idled.login("alice") as terminal:
        terminal.type("sudo -i\n")
        terminal.expect("# ")
        last = type_until(terminal, boottime() + 12 * SEC, pause=1.0)
        assert terminal.closed_at is None
        closed = terminal.wait_closed(20)
    assert 4 * SEC <= closed - last <= 4 * SEC + LATE


def test_stopped_terminal_does_not_hold_up_anything(idled: Installed) -> None:
    idled.limits(idle="6s", warn='["2s"]')
    with idled.login("alice") as stopped, idled.login("bob") as other:
        typed = stopped.type("\x13")  # Ctrl-S
        typed_other = other.type("x")
        assert 6 * SEC <= other.wait_closed(20) - typed_other <= 6 * SEC + LATE
        assert 6 * SEC <= stopped.wait_closed(20) - typed <= 6 * SEC + LATE


def test_unfinished_line_is_input(idled: Installed) -> None:
    """While a program reads line by line, keys leave no trace on the terminal; the connection tells."""
    idled.limits(idle="4s")
    with idled.login("alice") as terminal:
        terminal.type("cat\n")
        last = type_until(terminal, boottime() + 12 * SEC, pause=1.0)
        assert terminal.closed_at is None
        closed = terminal.wait_closed(20)
    assert 4 * SEC <= closed - last <= 4 * SEC + LATE
