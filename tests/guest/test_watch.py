# SPDX-License-Identifier: LGPL-2.1-or-later
"""idlectl watch in a guest, on a terminal that tmux shows: it tells what happens, and ends and extends sessions."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from .installed import SEC, Installed
from .machine import Machine

ALLOW = 'extend = { limit = "absolute", by_at_most = "10min", times = 2, reauthenticate = true }'


class Screen:
    """A terminal in which a command runs, and somebody who looks at it and presses keys."""

    def __init__(self, machine: Machine, command: str, columns: int, rows: int) -> None:
        self._machine = machine
        self._socket = f"/tmp/watch-{uuid.uuid4().hex}"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "env LANG=C.UTF-8 bash --norc")
        self.press(f"clear; {command}; echo code $?", "Enter")

    def press(self, *keys: str) -> None:
        """Press keys, by the names that tmux has for them; all else is typed."""
        self._tmux("send-keys", *keys)

    def see(self, regex: str, timeout: float = 15) -> str:
        """Wait until it stands there; the whole screen."""
        deadline = time.monotonic() + timeout
        while not re.search(regex, shown := self._tmux("capture-pane", "-p"), re.MULTILINE):
            assert time.monotonic() < deadline, f"{regex} in:\n{shown}"
            time.sleep(0.05)
        return shown

    def read(self, question: str) -> None:
        """See a question, and take the time to read it: what comes at once is no answer."""
        self.see(question)
        time.sleep(0.6)

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        """End it."""
        self._machine.run("tmux", "-S", self._socket, "kill-server", check=False)

    def _tmux(self, *arguments: str) -> str:
        return self._machine.run("tmux", "-S", self._socket, *arguments).stdout


@contextmanager
def watching(idled: Installed, command: str = "idlectl watch", columns: int = 80, rows: int = 24) -> Iterator[Screen]:
    """Somebody who watches."""
    screen = Screen(idled.machine, command, columns, rows)
    try:
        screen.see("q quit")
        yield screen
    finally:
        screen.close()


def test_a_session_comes_is_warned_and_ends_before_ones_eyes(idled: Installed) -> None:
    idled.limits(idle="20s", warn='["10s"]')
    with watching(idled) as screen:
        screen.see("No session that you may see")
        with idled.login("alice") as alice:
            screen.see(r"^1 session +\d\d:\d\d:\d\d$")
            screen.see(r"^\w+ +alice +127\.0\.0\.1 +ssh pts/\d+ .* warn \ds +idle 20s, defaults")
            screen.see(r"^\d\d:\d\d:\d\d Session \w+ of alice from 127\.0\.0\.1 opened")
            screen.see(r"^\w+ +alice .* \ds +end +idle 20s, defaults", timeout=30)
            screen.see(r"^\d\d:\d\d:\d\d Warned session \w+ of alice", timeout=5)
            alice.wait_closed(30)
        shown = screen.see(r"^\d\d:\d\d:\d\d Ended session \w+ of alice", timeout=5)
        assert not re.search(r"^\w+ +alice", shown, re.MULTILINE)
        screen.press("q")
        assert "alice" not in screen.see("^code 0$")


def test_a_session_is_ended_from_the_keyboard_and_no_other_one(idled: Installed) -> None:
    idled.limits(idle="15min", absolute="12h")
    with idled.login("alice") as alice, idled.login("bob") as bob, watching(idled) as screen:
        screen.press("s")
        screen.see("2 sessions by user")
        screen.press("j")
        screen.see("e end")
        screen.press("e")
        screen.read(r"^End session \w+ of alice from 127\.0\.0\.1\?$")
        screen.press("n")
        screen.see("^Nothing was done")
        screen.press("e")
        screen.read(r"^End session \w+ of alice")
        screen.press("y")
        screen.see("^Reason, or nothing: _")
        screen.press("reboot at noon", "Enter")
        alice.expect("idled: session ended by root: reboot at noon")
        alice.wait_closed(10)
        screen.see(r"^\d\d:\d\d:\d\d Ended session \w+ of alice from 127\.0\.0\.1: by root, took")
        screen.see(r"^1 session ")
        assert bob.closed_at is None
    assert idled.event("ended", IDLED_USER="alice")["IDLED_REASON"] == "request"


def test_a_person_extends_the_own_session_with_the_password_which_is_not_seen(idled: Installed) -> None:
    idled.limits(absolute="1h", more=ALLOW)
    watch = "runuser -u alice -- idlectl watch"
    with idled.login("alice"), idled.login("bob"), watching(idled, watch, 100, 24) as screen:
        assert "bob" not in screen.see("^1 session ")
        screen.press("j", "x")
        screen.read(r"^Extend session \w+ of alice from 127\.0\.0\.1 by 10min\?$")
        screen.press("y")
        screen.see("^Reason, or nothing: _")
        screen.press("Enter")
        screen.see("^Password of alice: _")
        screen.press("wrong one", "Enter")
        assert "wrong one" not in screen.see("^Not extended: wrong password")
        screen.press("x")
        screen.read("^Extend session")
        screen.press("y")
        screen.see("^Reason, or nothing: _")
        screen.press("Enter")
        screen.see("^Password of alice: _")
        screen.press("alice", "Enter")
        screen.see("its absolute timeout is now 1h 10min")
        screen.see(r"^\d\d:\d\d:\d\d Extended the absolute timeout")
        assert idled.session("alice")["absoluteExtraUSec"] == 600 * SEC
        screen.press("e")
        screen.read("^End session")
        screen.press("y")
        screen.see("^Reason, or nothing: _")
        screen.press("Enter")
        screen.see("^You may not do this: try as root")


def test_it_says_that_the_daemon_is_away_and_comes_back_with_it(idled: Installed) -> None:
    idled.limits(idle="15min")
    with idled.login("alice"), watching(idled, "idlectl watch --user alice", 40, 12) as screen:
        screen.see("alice")
        idled.machine.sh("systemctl stop idled.socket idled-varlink.socket idled")
        try:
            assert "alice" in screen.see(r"^1 session +as of \d\d:\d\d:\d\d$")
            screen.see("^The daemon cannot be asked:")
        finally:
            idled.machine.sh("systemctl start idled.socket idled-varlink.socket idled")
        screen.see("The daemon answers again")
        screen.see(r"^1 session +\d\d:\d\d:\d\d$")
        screen.resize(80, 24)
        screen.see(r"^\w+ +alice +127\.0\.0\.1 +ssh pts/\d+ .* idle 15m, defaults$")


def test_a_member_of_access_ends_and_extends_what_is_others_and_who_may_view_does_not(idled: Installed) -> None:
    groups = 'view = ["user:bob"]\nend = ["group:carol"]\nextend = ["user:carol"]'
    idled.limits(idle="1h", more=f"[access]\n{groups}")
    as_member, as_viewer = ("runuser -u carol -- idlectl watch", "runuser -u bob -- idlectl watch")
    with idled.login("alice") as alice:
        with watching(idled, as_viewer, 100, 24) as screen:
            screen.see(r"^\w+ +alice +127\.0\.0\.1 ")
            for key, asked in (("e", "End"), ("x", "Extend")):
                screen.press("j", key)
                screen.read(rf"^{asked} session \w+ of alice")
                screen.press("y")
                if key == "x":
                    screen.see("^By how much")
                    screen.press("10min", "Enter")
                screen.see("^Reason, or nothing: _")
                screen.press("curious", "Enter")
                screen.see("^You may not do this: try as root")
        assert alice.closed_at is None
        assert "idleExtraUSec" not in idled.session("alice")
        with watching(idled, as_member, 100, 24) as screen:
            screen.see(r"^\w+ +alice +127\.0\.0\.1 ")
            screen.press("j", "x")
            screen.read(r"^Extend session \w+ of alice")
            screen.press("y")
            screen.see("^By how much")
            screen.press("10min", "Enter")
            screen.see("^Reason, or nothing: _")
            screen.press("phone call", "Enter")
            screen.see("its idle timeout is now 1h 10min")
            screen.press("e")
            screen.read(r"^End session \w+ of alice")
            screen.press("n")
            screen.see("^Nothing was done")
            assert alice.closed_at is None
            screen.press("e")
            screen.read(r"^End session \w+ of alice")
            screen.press("y")
            screen.see("^Reason, or nothing: _")
            screen.press("maintenance", "Enter")
            alice.expect("idled: session ended by carol: maintenance")
            alice.wait_closed(10)
            screen.see(r"^\d\d:\d\d:\d\d Ended session \w+ of alice from 127\.0\.0\.1: by carol, took")
            screen.see("^No session that you may see")
    assert idled.event("extended")["IDLED_BY"] == idled.event("ended")["IDLED_BY"] == "carol"
