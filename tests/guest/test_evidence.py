# SPDX-License-Identifier: LGPL-2.1-or-later
"""What fools or blinds other tools: forged stamps, injected input, output, keepalives, sessions without a terminal."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.terminal.bench import until

from .installed import CONSOLE_LATE, LATE, SEC, Installed
from .machine import CLIENT_ALIVE, received_at
from .terminal import PROMPT, Unseen, boottime
from .test_ends import type_until
from .test_faults import passes

IDLE = 8
LONG = 28

#: Of a person who then walks away; True where it is to be recorded as forged.
WALKS_AWAY = {
    "touch loop": ("while sleep 2; do touch -a $(tty); done &", (), True),
    "touch one day ahead": ("sleep 2; touch -a -d '+1 day' $(tty)", (), False),
    "touch to an exact step": ("while sleep 2; do touch -a -d @$(($(date +%s) / 8 * 8)) $(tty); done &", (), True),
    "injected input": ("python3 /tmp/inject.py &", (), True),
    "output only": ("while :; do date; sleep 1; done", (), False),
    "foreground job, nobody types": ("sleep 1000", (), False),
    "client keepalives": ("", CLIENT_ALIVE, False),
    "resized window": ("", (), False),
    "agent asked in a loop": ("while sleep 1; do ssh-add -l >/dev/null 2>&1; done &", ("-A",), False),
    "detached tmux": ("tmux new-session -d 'while :; do date; sleep 1; done'", (), False),
}
INJECT = 'import fcntl,termios,time\nwhile True:\n    time.sleep(1)\n    fcntl.ioctl(0, termios.TIOCSTI, b"#")\n'


@pytest.mark.parametrize("what", WALKS_AWAY)
def test_who_walked_away_is_ended_on_time(idled: Installed, what: str) -> None:
    command, options, forged = WALKS_AWAY[what]
    idle = LONG if what == "injected input" else IDLE  # its first sign can be the reading of what was typed before
    idled.machine.write("/tmp/inject.py", INJECT)
    idled.limits(idle=f"{idle}s", warn='["3s"]')
    with idled.login("alice", *options) as terminal:
        typed = terminal.type(command + "\n")
        if what == "resized window":
            for columns in range(60, 66):
                terminal.resize(24, columns)
        closed = terminal.wait_closed(40)
    late = CONSOLE_LATE if "agent" in what else LATE  # its answers are bytes all the time, so the stamp alone tells
    assert idle * SEC <= closed - typed <= idle * SEC + late, terminal.text
    assert len(idled.events("activity-forged", IDLED_USER="alice")) in ((1,) if forged else (0, 1))


def test_normal_login_and_mesg_are_no_forgery(idled: Installed) -> None:
    idled.limits(idle="5s")
    with idled.login("alice") as terminal:
        for word in ("n", "y", "n"):
            terminal.type(f"mesg {word}\n")
            last = type_until(terminal, boottime() + 3 * SEC, pause=0.7)
            terminal.type("\x15")
        last = terminal.type("x")
        assert terminal.closed_at is None
        assert 5 * SEC <= terminal.wait_closed(20) - last <= 5 * SEC + LATE
    assert idled.events("activity-forged") == []


def test_enter_under_a_job_that_reads_nothing(idled: Installed) -> None:
    idled.limits(idle="5s")
    with idled.login("alice") as terminal:
        terminal.type("sleep 1000\n")
        before, last = boottime(), 0
        while boottime() < before + 14 * SEC:
            last = terminal.type("\n")
            with suppress(Unseen):
                terminal.wait_closed(2)
        assert terminal.closed_at is None
        assert 5 * SEC <= terminal.wait_closed(20) - last <= 5 * SEC + LATE


@pytest.mark.parametrize("options", [(), CLIENT_ALIVE], ids=["quiet", "keepalives"])
@pytest.mark.parametrize("command", [None, "sleep 10000", "cat"], ids=["-N", "command", "cat"])
def test_session_without_terminal_is_ended(idled: Installed, command: str | None, options: tuple[str, ...]) -> None:
    idled.limits(idle=f"{IDLE}s")
    more = ("-T",) if command else ("-N", "-L", "2222:127.0.0.1:22")
    before = boottime()
    with idled.machine.login("alice", command, options=(*options, *more)) as terminal:
        idled.session("alice")
        known = boottime()
        closed = terminal.wait_closed(40)
    assert closed - before >= IDLE * SEC
    assert closed - known <= IDLE * SEC + LATE


def test_slow_transfer_stays(idled: Installed) -> None:
    idled.limits(idle="4s")
    transfer = "while sleep 1; do head -c 1000 /dev/zero; done"
    with idled.machine.login("alice", transfer, options=("-T",)) as terminal, pytest.raises(Unseen):
        terminal.wait_closed(14)


#: As the server of an editor, which is talked to through the connection, and has a shell on a terminal of its own.
EDITOR = "(sleep 1000 | script -q /dev/null -c 'bash -i') & echo rea''dy; exec cat >/dev/null"


def test_who_edits_by_a_server_that_has_a_terminal_of_its_own_stays(idled: Installed) -> None:
    idled.limits(idle=f"{IDLE}s", warn='["3s"]')
    with idled.machine.login("alice", EDITOR, options=("-T",)) as terminal:
        terminal.expect("ready")
        until(lambda: idled.session("alice")["terminals"])
        begin, last = boottime(), 0
        while terminal.closed_at is None and boottime() < begin + 2 * IDLE * SEC:
            last = terminal.type("an edit of some bytes\n")
            with suppress(Unseen):
                terminal.wait_closed(1)
        assert terminal.closed_at is None
        assert IDLE * SEC <= terminal.wait_closed(20) - last <= IDLE * SEC + LATE
    idled.wait_ended("alice")
    assert idled.processes("alice") == []


def test_output_stays_where_the_rule_says_so(idled: Installed) -> None:
    rule = '[[rule]]\nname = "jobs"\nmatch = { user = "bob" }\nactivity = ["input", "output"]\n'
    with idled.login("bob") as stays, idled.login("bob") as silent, idled.login("alice") as ends:
        idled.limits(idle="6s", warn='["3s"]', more=rule)
        for terminal in (stays, ends):
            typed = terminal.type("while :; do date; sleep 1; done\n")
        assert 6 * SEC <= ends.wait_closed(20) - typed + SEC <= 7 * SEC + LATE
        silent.expect("Press a key to stay")  # which is output, and does not count
        silent.wait_closed(10)
        with pytest.raises(Unseen):
            stays.wait_closed(8)


@pytest.fixture
def blind(idled: Installed) -> Iterator[None]:
    """A daemon that may not read the counters of others' processes."""
    drop_in = "[Service]\nCapabilityBoundingSet=~CAP_SYS_PTRACE\n"
    idled.machine.write("/run/systemd/system/idled.service.d/blind.conf", drop_in)
    idled.machine.sh("systemctl daemon-reload; systemctl restart idled")
    yield
    idled.machine.sh("rm -r /run/systemd/system/idled.service.d; systemctl daemon-reload; systemctl restart idled")


@pytest.mark.usefixtures("blind")
def test_unobserved_session_follows_its_rule(idled: Installed) -> None:
    """Without its counters and without a terminal nothing can be seen of a session."""
    rule = '[[rule]]\nname = "blind"\nmatch = { user = "bob" }\nunobserved = "idle-from-start"\n'
    idled.limits(idle="6s", more=rule)
    before = boottime()
    with idled.machine.login("alice", "sleep 100", options=("-T",)) as stays:
        with idled.machine.login("bob", "sleep 100", options=("-T",)) as ends:
            idled.session("bob")
            known = boottime()
            closed = ends.wait_closed(20)
        assert closed - before >= 6 * SEC
        assert closed - known <= 6 * SEC + LATE
        session = idled.session("alice")
        assert (session["observed"], session["state"]) == (False, "open")
        with pytest.raises(Unseen):
            stays.wait_closed(4)


@pytest.mark.usefixtures("blind")
def test_without_counters_stamps_and_the_last_packet_must_do(idled: Installed) -> None:
    idled.limits(idle="12s", warn='["3s"]')
    with idled.login("alice") as quiet, idled.login("alice", *CLIENT_ALIVE) as chatty:
        typed = [type_until(terminal, boottime() + 6 * SEC) for terminal in (quiet, chatty)]
        assert 12 * SEC <= quiet.wait_closed(40) - typed[0] <= 12 * SEC + LATE
        assert 12 * SEC <= chatty.wait_closed(40) - typed[1] <= 12 * SEC + CONSOLE_LATE
    said = idled.events("trouble", IDLED_USER="alice")
    assert len(said) == 2
    assert all("cannot be counted" in entry["MESSAGE"] for entry in said)


#: Of OpenSSH 9.5 and later; what it sends by itself after a key makes a session chatty.
NO_CHAFF = ("-o", "IgnoreUnknown=ObscureKeystrokeTiming", "-o", "ObscureKeystrokeTiming=no")
#: The sshd that moves the bytes of a user does nothing more, since its user stopped it.
STUCK = "pkill -STOP -u alice '^sshd'"
#: The same, as where it waits for a journal or a disk or has no time: by the freezer. $1 is 1, and 0 for the end of it.
BUSY = """
scope=$(sed -n s/^0:://p /proc/$(pgrep -n -u alice '^sshd')/cgroup)
echo "$1" >"/sys/fs/cgroup$scope/cgroup.freeze"
"""


def use(forward: str, *, waits: bool) -> int:
    """Send a byte through a forwarded connection; when that was."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(forward)
        used = boottime()
        link.sendall(b"x")
        if waits:
            link.recv(1)
    return used


@pytest.mark.parametrize("way", ["terminal", "forward"])
def test_a_key_that_sshd_has_not_read_yet_counts(idled: Installed, way: str) -> None:
    machine = idled.machine
    idled.limits(idle=f"{IDLE}s")
    with ExitStack() as stack:
        if way == "terminal":
            terminal = stack.enter_context(idled.login("alice", *NO_CHAFF))
            terminal.type("x")
            terminal.expect("x")
        else:
            terminal = stack.enter_context(machine.login("alice", options=("-N", "-L", "/tmp/forward:127.0.0.1:22")))
            forward = f"/proc/{machine.pid}/root/tmp/forward"
            idled.event("session-opened", IDLED_USER="alice")
            until(Path(forward).exists)
            use(forward, waits=True)
        passes(terminal, 3)
        machine.sh(STUCK)
        passes(terminal, 2)
        typed = terminal.type("y") if way == "terminal" else use(forward, waits=False)
        closed = terminal.wait_closed(30)
    assert IDLE * SEC <= closed - typed <= IDLE * SEC + LATE


@pytest.mark.parametrize("options", [CLIENT_ALIVE, ()], ids=["keepalives", "no keepalives"])
def test_a_key_that_sshd_reads_after_the_end_counts(idled: Installed, options: tuple[str, ...]) -> None:
    """It has no time when the session is due, and reads only then what came before."""
    idled.limits(idle=f"{IDLE}s")
    with idled.login("alice", *options) as terminal:
        due = terminal.type("x") + IDLE * SEC
        passes(terminal, (due - boottime()) / SEC - 3)
        idled.machine.sh(BUSY, "1")
        typed = terminal.type("y")
        assert typed < due
        passes(terminal, (due - boottime()) / SEC + 0.3)
        idled.machine.sh(BUSY, "0")
        closed = terminal.wait_closed(30)
    assert IDLE * SEC <= closed - typed <= IDLE * SEC + LATE


@pytest.mark.parametrize(("interval", "more"), [(1, 0), (5, 5)], ids=["seen before", "the first"])
def test_who_stops_sshd_is_ended(idled: Installed, interval: int, more: int) -> None:
    """Keepalives that wait to be read are not input; where none was seen before, the first can be."""
    options = ("-o", f"ServerAliveInterval={interval}", "-o", "ServerAliveCountMax=100")
    idled.limits(idle=f"{IDLE}s")
    with idled.machine.login("alice", options=options) as terminal:
        terminal.expect(PROMPT)
        typed = terminal.type("x")
        passes(terminal, 4)
        idled.machine.sh(STUCK)
        closed = terminal.wait_closed(60)
    assert IDLE * SEC <= closed - typed <= (IDLE + more) * SEC + LATE


def test_stopped_client_is_ended_without_its_help(idled: Installed) -> None:
    idled.limits(idle="6s")
    with idled.login("alice") as terminal:
        typed = terminal.type("x")
        terminal.expect("x")  # or it would be stopped before it sends it
        terminal.stop()
        ended = idled.event("ended", 20, IDLED_USER="alice")
        terminal.cont()
    assert 6 * SEC <= received_at(ended) - typed <= 6 * SEC + LATE


def test_keys_that_the_terminal_itself_takes_are_input(idled: Installed) -> None:
    idled.limits(idle="4s")
    with idled.login("alice") as terminal:
        before, last = boottime(), 0
        for key in ("\x03", "\x13", "\x11") * 4:  # Ctrl-C, Ctrl-S, Ctrl-Q
            last = terminal.type(key)
            with suppress(Unseen):
                terminal.wait_closed(1.2)
        assert boottime() - before > 12 * SEC
        assert terminal.closed_at is None
        assert 4 * SEC <= terminal.wait_closed(20) - last <= 4 * SEC + LATE


def test_an_interrupt_counts_beside_the_command_that_it_stops(idled: Installed) -> None:
    """Both come between two looks, the interrupt after the block of the command's stamp: only a prompt tells of it."""
    idled.limits(idle="10s")
    with idled.login("alice") as terminal:
        idled.machine.run("systemctl", "stop", "idled")
        typed = terminal.type("sleep 1000\n")
        with suppress(Unseen):
            terminal.wait_closed(9)
        interrupted = terminal.type("\x03")
        terminal.expect(PROMPT)
        idled.machine.run("systemctl", "start", "idled")
        closed = terminal.wait_closed(30)
    assert interrupted - typed > 8 * SEC
    assert 10 * SEC <= closed - interrupted <= 10 * SEC + LATE
