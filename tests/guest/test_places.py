# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every place where a person can sit: in a multiplexer, under sudo, on a getty, by machinectl, by mosh.

Wherever that is, who types stays, and who walks away is ended on time with all that the place has started. What no
guest has is a virtual terminal: /dev/tty1 and its like are not there in a container.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.terminal.bench import until

from .installed import ABSOLUTE_LATE, CONSOLE_LATE, END, LATE, SEC, Installed, number
from .machine import SSHD_ANEW, Machine, received_at
from .terminal import Terminal, Unseen, boottime
from .test_ends import type_until
from .test_time import typing

IDLE = 8
PIDFD_GETFD: Final = 438  # the system call's number, the same on all machines
SUDOERS = "Defaults use_pty\nalice ALL=(ALL) NOPASSWD: ALL\n"


def by_ssh(machine: Machine) -> Terminal:
    return machine.login("alice")


def by_getty(machine: Machine) -> Terminal:
    terminal = machine.terminal("agetty", "--noclear", "-", "xterm")
    terminal.expect("login: ")
    terminal.type("alice\n")
    terminal.expect("[Pp]assword: ")
    terminal.type("alice\n")
    return terminal


def by_machinectl(machine: Machine) -> Terminal:
    return machine.terminal("machinectl", "shell", "alice@.host")


def by_mosh(machine: Machine) -> Terminal:
    return machine.terminal("mosh", "alice@127.0.0.1")


PROMPT_ON_SCREEN = r"[$#] (\x1b\[[^$#]*)?$"  # some draw after it


@dataclass(frozen=True)
class Place:
    """A way in, what is typed to get further in, and words for echo that come out so there."""

    login: Callable[[Machine], Terminal] = by_ssh
    further: str = ""
    answer: str = ""  # to a question that is asked on the way
    there: tuple[str, str] = ("$(id -un)", "alice")
    late: int = LATE

    def enter(self, machine: Machine) -> Terminal:
        """Go there."""
        terminal = self.login(machine)
        terminal.expect(PROMPT_ON_SCREEN, timeout=30)
        if self.further:
            terminal.type(f"{self.further}\n")
        if self.answer:
            terminal.expect("[Pp]assword: ")
            terminal.type(f"{self.answer}\n")
        self._arrive(terminal)
        return terminal

    def _arrive(self, terminal: Terminal) -> None:
        """Ask until the answer comes: a program that starts may throw away what was typed before."""
        deadline = boottime() + 20 * SEC
        words, shown = self.there
        while True:
            terminal.type(f"echo at={words}\n")
            try:
                terminal.expect(f"at={shown}", timeout=2)
            except Unseen:
                assert boottime() < deadline, terminal.text
            else:
                return


IN_TMUX = ("${TMUX%%,*}", "/tmp/tmux")
IN_SCREEN = ("${STY:+screen}", "screen")
IN_SCRIPT = ("$(ps -o comm= $PPID)", "script")

# While the same user is active elsewhere, an inner terminal is judged by the step of its stamp (activity, 11).
PLACES = {
    "tmux": Place(further="tmux -L ssh new-session", there=IN_TMUX, late=CONSOLE_LATE),
    "screen": Place(further="screen", there=IN_SCREEN, late=CONSOLE_LATE),
    "script": Place(further="script -q /dev/null", there=IN_SCRIPT, late=CONSOLE_LATE),
    "sudo -i": Place(further="sudo -i", there=("$(id -un)", "root")),
    "sudo to another user": Place(further="sudo -u bob bash", there=("$(id -un)", "bob")),
    "su": Place(further="su - bob", answer="bob", there=("$(id -un)", "bob")),
    "tmux under sudo": Place(further="sudo tmux -L root new-session", there=IN_TMUX),
    "getty": Place(by_getty, late=CONSOLE_LATE),
    "getty, tmux": Place(by_getty, "tmux -L getty new-session", there=IN_TMUX, late=CONSOLE_LATE),
    "getty, sudo -i": Place(by_getty, "sudo -i", there=("$(id -un)", "root"), late=CONSOLE_LATE),
    "machinectl": Place(by_machinectl, late=CONSOLE_LATE),
    "mosh": Place(by_mosh, late=CONSOLE_LATE),
    "mosh, tmux": Place(by_mosh, "tmux -L mosh new-session", there=IN_TMUX, late=CONSOLE_LATE),
}

DETACHED = {
    "tmux": (Place(further="tmux -L detached new-session", there=IN_TMUX), "\x02d"),
    "screen": (Place(further="screen", there=IN_SCREEN), "\x01d"),
}


def late(machine: Machine, place: Place) -> int | str:
    """Sit there and type for a while, then walk away: how long after the limit the end comes, or what went wrong."""
    try:
        with place.enter(machine) as terminal:
            last = type_until(terminal, boottime() + (IDLE + 8) * SEC, pause=1.0)
            if terminal.closed_at is not None:
                return "ended while somebody typed"
            return terminal.wait_closed(IDLE + 25) - last - IDLE * SEC
    except AssertionError as error:
        return str(error)


def test_who_types_stays_and_who_walks_away_is_ended(idled: Installed) -> None:
    idled.machine.write("/etc/sudoers.d/alice", SUDOERS, 0o440)
    idled.limits(idle=f"{IDLE}s")
    with ThreadPoolExecutor(len(PLACES)) as people:
        ends = dict(zip(PLACES, people.map(lambda place: late(idled.machine, place), PLACES.values()), strict=True))
    for name, end in ends.items():
        print(f"{name:30} {f'{end / SEC:.2f} s late' if isinstance(end, int) else end}")
    wrong = {name: end for name, end in ends.items() if isinstance(end, str) or not 0 <= end <= PLACES[name].late}
    assert wrong == {}
    deadline = boottime() + END
    while len(idled.events("ended")) < len(PLACES):
        assert boottime() < deadline
    assert idled.processes("alice") == idled.processes("bob") == []
    assert idled.machine.sh("pgrep --list-full tmux", check=False) == ""
    assert idled.events("activity-forged") == []


@pytest.mark.parametrize("what", DETACHED)
@pytest.mark.parametrize("extent", ["session", "connection"])
def test_what_was_detached_goes_with_its_session_or_stays_with_end_connection(
    idled: Installed, what: str, extent: str
) -> None:
    place, keys = DETACHED[what]
    idled.limits(idle="6s", more=f'end = "{extent}"\n')
    with place.enter(idled.machine) as terminal:
        typed = terminal.type(keys)
        terminal.expect("detached")
        closed = terminal.wait_closed(20)
    assert 6 * SEC <= closed - typed <= 6 * SEC + LATE
    assert number(idled.event("ended", 10, IDLED_USER="alice"), "TOOK_USEC") <= END
    left = idled.processes("alice")
    assert any(what in line.lower() for line in left) == (extent == "connection"), left


def test_who_comes_back_by_another_way_keeps_what_was_left(idled: Installed) -> None:
    """The connection hangs, one logs in anew and goes on in the tmux that the first session holds."""
    idled.limits(idle="8s")
    with DETACHED["tmux"][0].enter(idled.machine) as first, idled.login("alice") as second:
        first.stop()
        second.type("tmux -L detached attach -d\n")
        last = type_until(second, boottime() + 20 * SEC, pause=0.7)
        assert second.closed_at is None
        assert [session["state"] for session in idled.sessions()] == ["open", "open"]
        assert 8 * SEC <= second.wait_closed(30) - last <= 8 * SEC + CONSOLE_LATE
        first.cont()
        until(lambda: len(idled.events("ended")) == 2, 30)
    assert idled.events("activity-forged") == []
    assert "tmux" not in " ".join(idled.processes("alice"))


NO_PAM = "/etc/ssh/sshd_config.d/no-pam.conf"


def test_an_sshd_that_does_not_use_pam(idled: Installed) -> None:
    """Nobody tells of its sessions. They are found when all is looked through: at the start, and each minute."""
    idled.limits(idle="1h")
    idled.machine.sh(f"echo 'UsePAM no' >{NO_PAM}; {SSHD_ANEW}")
    try:
        with idled.machine.login("alice") as terminal:
            terminal.expect(PROMPT_ON_SCREEN)
            idled.machine.sh("systemctl restart idled")
            session = idled.session("alice", terminals=1)
            assert (session["service"], session["ageUSec"] > 0) == ("sshd", True)
            with typing(terminal, 0.5):
                idled.limits(idle=f"{IDLE}s")
            last = type_until(terminal, boottime() + (IDLE + 4) * SEC, pause=1.0)
            assert terminal.closed_at is None
            assert IDLE * SEC <= terminal.wait_closed(30) - last <= IDLE * SEC + LATE
    finally:
        idled.machine.sh(f"rm {NO_PAM}; {SSHD_ANEW}")
    idled.wait_ended("alice")
    assert idled.processes("alice") == []


# On the console


class Console:
    """The guest's own console. The other side of it is systemd-nspawn's: one can type there, and not see."""

    closed_at = None

    def __init__(self, machine: Machine) -> None:
        (nspawn,) = (int(pid) for pid in Path(f"/proc/{machine.pid}/stat").read_text().rpartition(")")[2].split()[1:2])
        (fd,) = (path.name for path in Path(f"/proc/{nspawn}/fdinfo").iterdir() if "tty-index:" in path.read_text())
        self._machine = machine
        self._master = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, os.pidfd_open(nspawn), int(fd), 0)
        assert self._master >= 0, os.strerror(ctypes.get_errno())

    def type(self, text: str) -> int:
        """Type text and return when that was."""
        os.write(self._master, text.encode())
        return boottime()

    def log_in(self, user: str) -> None:
        """Log in; a getty that starts may throw away what was typed before."""
        self._wait_for("agetty")
        while not self._wait_for("login", patience=2):
            self.type(f"{user}\n")
        self.type(f"{user}\n")

    def is_free(self) -> bool:
        """Whether the next one can log in."""
        return self._wait_for("agetty")

    def _wait_for(self, program: str, *, patience: int = 20) -> bool:
        """Whether a program has the console in time."""
        fact = f"pgrep -t pts/0 -x {program} && stty -F /dev/console -a | grep -q -e '-echo '"
        wait = ("timeout", str(patience), "sh", "-c", f"until {fact}; do sleep 0.05; done")
        return self._machine.run(*wait, check=False).returncode == 0


def test_a_getty_of_systemd_on_the_console(idled: Installed) -> None:
    rule = f'[[rule]]\nname = "console"\nmatch = {{ service = "login", tty = "pts/0" }}\nidle_timeout = "{IDLE}s"\n'
    idled.limits(idle="1h", more=rule)
    console = Console(idled.machine)
    console.log_in("alice")
    session = idled.session("alice", terminals=1)
    assert (session["service"], session["terminals"], session["idleRule"]) == ("login", ["pts/0"], "console")
    last = type_until(console, boottime() + (IDLE + 8) * SEC, pause=1.0)
    assert idled.events("ended") == []
    ended = idled.event("ended", 30, IDLED_USER="alice")
    assert IDLE * SEC <= received_at(ended) - last <= IDLE * SEC + CONSOLE_LATE + END
    assert idled.processes("alice") == []
    assert console.is_free()


# By mosh


UPGRADE = "cp /usr/bin/mosh-server /usr/bin/new; mv /usr/bin/new /usr/bin/mosh-server"


def mosh_session(idled: Installed) -> dict[str, Any]:
    """The session once mosh-server leads it."""
    deadline = boottime() + 10 * SEC
    while (found := idled.session("alice", terminals=1))["service"] != "mosh":
        assert boottime() < deadline, found
    return found


def test_a_mosh_session_is_the_one_that_ssh_opened(idled: Installed) -> None:
    idled.limits(absolute="15s", more='[[rule]]\nname = "roaming"\nmatch = { service = "mosh" }\nidle_timeout = "1h"\n')
    before = boottime()
    with PLACES["mosh"].enter(idled.machine) as terminal:
        session = mosh_session(idled)
        assert session["remote"] == "127.0.0.1"
        assert session["idleRule"] == "roaming"
        opened = idled.event("session-opened", IDLED_USER="alice", IDLED_SERVICE="sshd")
        closed = terminal.wait_closed(30)
    ended = idled.event("ended", IDLED_USER="alice")
    assert (ended["IDLED_SERVICE"], ended["IDLED_REASON"], ended["IDLED_SESSION"]) == (
        "mosh",
        "absolute",
        session["id"],
    )
    assert closed - before >= 15 * SEC
    assert number(ended, "LATE_USEC") <= ABSOLUTE_LATE
    assert received_at(ended) - received_at(opened) <= 15 * SEC + ABSOLUTE_LATE + END
    listed = "loginctl list-sessions --no-legend | grep alice | grep -vc manager"
    until(lambda: idled.machine.sh(listed, check=False) == "0")


@pytest.mark.parametrize("remembered", [True, False], ids=["restarted", "started later, mosh upgraded"])
def test_a_mosh_session_is_found_by_a_daemon_that_was_away(idled: Installed, remembered: bool) -> None:
    idled.limits(idle=f"{IDLE}s")
    forget = "" if remembered else f"rm -r /run/idled/sessions; {UPGRADE};"
    with PLACES["mosh"].enter(idled.machine) as terminal:
        with typing(terminal, 0.5):
            was = mosh_session(idled)
            idled.machine.sh(f"systemctl stop idled; {forget} systemctl start idled")
            now = mosh_session(idled)
        same = ("id", "name", "user", "service", "remote", "terminals")
        assert [now[key] for key in same] == [was[key] for key in same]
        assert now["ageUSec"] > was["ageUSec"]
        last = type_until(terminal, boottime() + (IDLE + 8) * SEC, pause=1.0)
        assert terminal.closed_at is None
        assert IDLE * SEC <= terminal.wait_closed(30) - last <= IDLE * SEC + CONSOLE_LATE
    idled.wait_ended("alice")
    assert idled.processes("alice") == []


def test_a_mosh_server_whose_client_is_gone_is_ended(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    with PLACES["mosh"].enter(idled.machine) as terminal:
        mosh_session(idled)
        typed = terminal.type("echo $((40+2))\n")
        terminal.expect("42")
        idled.machine.sh("pkill -KILL mosh-client")
    ended = idled.event("ended", 30, IDLED_USER="alice")
    began = received_at(ended) - number(ended, "TOOK_USEC")
    assert IDLE * SEC <= began - typed <= IDLE * SEC + CONSOLE_LATE
    assert number(ended, "TOOK_USEC") <= END
    assert idled.processes("alice") == []


def test_who_types_by_mosh_beside_an_idle_connection_stays(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s")
    with idled.login("alice") as ssh:
        ssh.type("mosh-server new -s\n")
        port, key = ssh.expect(r"MOSH CONNECT (\d+) (\S+)").groups()
        with idled.machine.terminal("env", f"MOSH_KEY={key}", "mosh-client", "127.0.0.1", port) as terminal:
            terminal.expect(PROMPT_ON_SCREEN)
            last = type_until(terminal, boottime() + (IDLE + 8) * SEC, pause=1.0)
            assert ssh.closed_at is None
            closed = terminal.wait_closed(30)
        assert IDLE * SEC <= closed - last <= IDLE * SEC + CONSOLE_LATE
        ssh.wait_closed(10)


def test_what_only_looks_like_mosh_makes_no_session(idled: Installed) -> None:
    idled.limits(idle="1h")
    with idled.login("alice") as terminal:
        terminal.type(
            "cp /bin/sleep mosh-server; setsid ./mosh-server 1020 & exec -a mosh-server setsid sleep 1021 &\n"
        )
        terminal.type("echo here-$((40+2))\n")
        terminal.expect("here-42")
        terminal.type("exit\nexit\n")
        terminal.wait_closed()
    idled.event("session-closed", IDLED_USER="alice")
    assert len(idled.processes("alice")) == 2
    assert idled.sessions() == []
    assert len(idled.events("session-opened")) == 1


def test_what_root_left_detached_is_no_session(idled: Installed) -> None:
    """On Debian 12 tmux writes a record of its own into utmp, which would be taken for a login of root's."""
    idled.limits(idle="4s", more='end = "connection"\n')
    with idled.login("root") as terminal:
        terminal.type("tmux -L left new-session -d\nexit\n")
        terminal.wait_closed(10)
    idled.machine.run("tmux", "-L", "outside", "new-session", "-d")
    idled.machine.run("systemctl", "restart", "idled")  # it asks utmp at its start
    idled.event("started", 10)
    assert idled.sessions() == []
    idled.machine.sh("tmux -L left kill-server; tmux -L outside kill-server")
