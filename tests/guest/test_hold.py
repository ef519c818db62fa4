# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs for which the idle timeout waits: those of the policy, in a terminal's foreground, and no others."""

from __future__ import annotations

import pytest

from .installed import ABSOLUTE_LATE, LATE, SEC, Installed, number
from .terminal import PROMPT, Terminal, Unseen, boottime

HOLD = 'hold_while = ["/usr/bin/sleep"]\n'


def stays(terminal: Terminal, seconds: float) -> None:
    with pytest.raises(Unseen):
        terminal.wait_closed(seconds)


def test_a_session_is_idle_from_the_end_of_the_job(idled: Installed) -> None:
    idled.limits(idle="5s", more=HOLD)
    with idled.login("alice") as terminal:
        terminal.type("sleep 14\n")
        stays(terminal, 8)
        assert idled.session("alice")["heldBy"] == "/usr/bin/sleep"
        let_go = terminal.moment(terminal.expect(PROMPT))
        assert 5 * SEC <= terminal.wait_closed(20) - let_go + SEC <= 6 * SEC + LATE


@pytest.mark.parametrize(
    "command",
    ["sleep 1000 &", "cp /usr/bin/sleep /tmp/apt-$$; /tmp/apt-$$ 1000", "(exec -a /usr/bin/sleep tail -f /dev/null)"],
    ids=["in the background", "a copy of his own", "by name only"],
)
def test_what_does_not_hold(idled: Installed, command: str) -> None:
    idled.limits(idle="5s", more=HOLD)
    with idled.login("alice") as terminal:
        typed = terminal.type(command + "\n")
        assert 5 * SEC <= terminal.wait_closed(20) - typed <= 5 * SEC + LATE


@pytest.mark.parametrize("use_pty", ["use_pty", "!use_pty"])
def test_a_job_under_sudo_holds_and_the_absolute_timeout_does_not_wait(
    idled: Installed, use_pty: str, request: pytest.FixtureRequest
) -> None:
    idled.limits(idle="4s", absolute="14s", more=HOLD)
    idled.machine.write("/etc/sudoers.d/hold", f"Defaults {use_pty}\nalice ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    request.addfinalizer(lambda: idled.machine.sh("rm /etc/sudoers.d/hold"))
    opened = boottime()
    with idled.login("alice") as terminal:
        terminal.type("sudo sleep 1000\n")
        assert terminal.wait_closed(30) - opened >= 14 * SEC
    ended = idled.event("ended")
    assert ended["IDLED_REASON"] == "absolute"
    assert number(ended, "LATE_USEC") <= ABSOLUTE_LATE
