# SPDX-License-Identifier: LGPL-2.1-or-later
"""Records of utmp are claims: what they name must be a terminal of the user that the process they name really has."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from idled import clock, procfs
from idled.core.span import HOUR, MIN, SEC
from idled.sources import utmp
from idled.sources.sighting import Sighting
from idled.sources.utmp import Line

from .peer import NOBODY, needs_root

pytestmark = needs_root

ME = os.getpid()
NOBODYS_NAME = pwd.getpwuid(NOBODY).pw_name


@pytest.fixture
def terminal() -> Iterator[str]:
    """A terminal, named below /dev, whose master side this process holds, as sshd does."""
    master, slave = os.openpty()
    yield os.ttyname(slave).removeprefix("/dev/")
    os.close(master)
    os.close(slave)


def line(**changes: Any) -> Line:
    return Line(user="root", line="pts/0", host="10.0.0.1", started=clock.wall() / SEC, pid=ME)._replace(**changes)


def sightings(*lines: Line) -> tuple[list[Sighting], list[str]]:
    refused: list[str] = []
    known = {account.pw_name: account.pw_uid for account in pwd.getpwall()}
    uids = {one.user: known.get(one.user) for one in lines}
    found = (utmp.sighting(one, uids, refused.append) for one in lines)
    return [sighting for sighting in found if sighting is not None], refused


def test_a_record_of_whose_user_nothing_is_known_waits_for_another_time(terminal: str) -> None:
    refused: list[str] = []
    assert utmp.sighting(line(line=terminal), {}, refused.append) is None
    assert refused == []


def test_a_true_record_is_a_session(terminal: str) -> None:
    (found,), refused = sightings(line(line=terminal))
    me = procfs.process(ME)
    assert me is not None
    assert (found.pid, found.start, found.user, found.uid, found.remote) == (ME, me.start, "root", 0, "10.0.0.1")
    assert (found.tty, found.found, refused) == ("", True, [])


def test_without_a_host_it_is_a_console(terminal: str) -> None:
    (found,), _ = sightings(line(line=terminal, host=""))
    assert (found.tty, found.remote) == (terminal, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"line": "../../etc/shadow"}, "line '../../etc/shadow' of root is no name below /dev"),
        ({"line": "/etc/shadow"}, "line '/etc/shadow' of root is no name below /dev"),
        ({"line": "pts/../../etc/shadow"}, "is no name below /dev"),
        ({"line": "./pts/0"}, "is no name below /dev"),
        ({"line": "pts//0"}, "is no name below /dev"),
        ({"line": ""}, "line '' of root is no name below /dev"),
        ({"line": "pts"}, "line 'pts' of root is no terminal"),
        ({"line": "stdin"}, "line 'stdin' of root is no terminal"),  # a link
        ({"user": "nobody-of-that-name"}, "no user nobody-of-that-name"),
        ({"user": "\x1b[31mred\u202e", "line": "pts"}, "no user ?[31mred?"),
        ({"line": "../\x1b]0;title\x07" + "x" * 500}, "line '../?]0;title?xxx"),
    ],
)
def test_a_false_claim_is_refused_and_said(changes: dict[str, object], said: str) -> None:
    found, (refusal,) = sightings(line(**changes))
    assert not found
    assert refusal.startswith("utmp: ")
    assert said in refusal
    assert refusal.isprintable()
    assert len(refusal) < 200


def test_a_terminal_of_somebody_else_is_refused(terminal: str) -> None:
    found, refused = sightings(line(line=terminal, user=NOBODYS_NAME))
    assert (found, refused) == ([], [f"utmp: terminal '{terminal}' is not {NOBODYS_NAME}'s"])


def test_one_bad_record_does_not_hide_the_next(terminal: str) -> None:
    found, refused = sightings(line(line=".."), line(line=terminal), line(line="/"))
    assert (len(found), len(refused)) == (1, 2)


@pytest.mark.parametrize("pid", [1, 0, -1, 1 << 22, 1 << 40])
def test_a_process_that_does_not_have_the_terminal_is_no_session(terminal: str, pid: int) -> None:
    """Its number is that of a login which is gone; ending whoever has it now would end a stranger."""
    assert sightings(line(line=terminal, pid=pid)) == ([], [])


def test_a_terminal_that_is_gone_is_an_old_record() -> None:
    assert sightings(line(line="pts/99999"), line(line="pts/99999", pid=1)) == ([], [])


def test_a_process_of_the_user_is_none_of_a_login_program(terminal: str) -> None:
    device = Path("/dev", terminal)
    os.chown(device, NOBODY, -1)
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        os.read(os.open("/dev/zero", os.O_RDONLY), 1)
        os.kill(os.getpid(), 19)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    try:
        assert sightings(line(line=terminal, user=NOBODYS_NAME, pid=child)) == ([], [])
        assert len(sightings(line(line=terminal, user=NOBODYS_NAME))[0]) == 1
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.parametrize("host", ["tmux(247).%0", "10.0.0.1:S.0", ":pts/3:S.12"])
def test_a_pane_is_no_login(terminal: str, host: str) -> None:
    assert sightings(line(line=terminal, host=host)) == ([], [])


@pytest.mark.parametrize("hours", [-1e6, 0, 1, 1e6])
def test_no_claimed_moment_is_before_the_process_or_after_now(terminal: str, hours: float) -> None:
    started = (clock.wall() + hours * HOUR) / SEC
    (found,), _ = sightings(line(line=terminal, started=started))
    assert found.opened_at is not None
    assert found.start * procfs.TICK <= found.opened_at <= clock.now()
    if hours >= 0:
        assert found.opened_at > clock.now() - MIN


def test_the_real_one_can_be_read() -> None:
    assert all(isinstance(record, Line) for record in utmp.read())
