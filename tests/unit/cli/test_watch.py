# SPDX-License-Identifier: LGPL-2.1-or-later
"""idlectl watch as a program on a real terminal, before a service that answers what a test wants."""

import asyncio
import os
import re
import signal
import termios
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idled.control.service import Answer, Call, Method
from idled.control.wire import VarlinkError
from idled.core.span import SEC

from ...guest.terminal import Terminal, children
from .conftest import IDLECTL, ROOT, Fake, idlectl, session

ENVIRONMENT = {"LANG": "C.UTF-8", "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
ENVIRONMENT |= {name: os.environ[name] for name in ("PATH", "TZ", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
ALT_SCREEN, NO_ALT_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


#: Runs a program, tells its exit code, and stays: with the leader of its session a terminal loses its settings.
KEEP = ("bash", "-c", '"$@"; echo "code $?"; read line', "bash")


class Watched(Fake):
    """A daemon that also tells events, to all who listen."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.events: list[dict[str, Any]] = []
        self.sessions = [session()]
        self.listed = 0
        self.listeners = 0  # so far

    def tell(self, text: str, **changes: Any) -> None:
        """Something happened."""
        self.events.append({"event": "warned", "text": text, "priority": 5, "realtimeUSec": 0} | changes)

    @contextmanager
    def watched(self, *prefix: str, pty: tuple[int, int] | None = None, **environment: str) -> Iterator[Terminal]:
        """Watch it, on a terminal."""
        with self.serving():
            argv = [*prefix, *IDLECTL, "watch", "--socket", str(self.path)]
            with Terminal(argv, env=ENVIRONMENT | environment, pty=pty) as terminal:
                self.wait_listeners(1)
                terminal.expect("quit")
                yield terminal

    def wait_listeners(self, number: int) -> None:
        """Wait until so many have begun to listen."""
        deadline = time.monotonic() + 10
        while self.listeners < number:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def serving(self) -> Any:
        """Answer, for as long as the block runs."""
        return self.answering(ListSessions=self._list, Monitor={}, End={}, Extend=self._extend)

    def _extend(self, asked: dict[str, Any]) -> Answer | VarlinkError:
        if "password" not in asked:
            return VarlinkError("io.idled.AuthenticationRequired", user="alice")
        return {"session": session(absoluteExtraUSec=3600 * SEC)}

    def _list(self, _: dict[str, Any]) -> Answer:
        self.listed += 1
        return {"mode": "enforce", "sessions": self.sessions}

    def _method(self, name: str, answer: Any) -> Method:
        async def monitor(_: Call) -> AsyncGenerator[Answer, None]:
            told = len(self.events)
            self.listeners += 1
            while True:
                for event in self.events[told:]:
                    told += 1
                    yield {"event": event}
                await asyncio.sleep(0.01)

        return monitor if name == "Monitor" else super()._method(name, answer)


@pytest.fixture
def daemon(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


@contextmanager
def kept() -> Iterator[tuple[tuple[int, int], int]]:
    """A terminal, and a descriptor of it that stays open, to look at its settings."""
    master, slave = os.openpty()
    spare = os.dup(slave)
    try:
        yield (master, slave), spare
    finally:
        os.close(spare)


def test_an_event_is_told_at_once_and_harmless(daemon: Watched) -> None:
    daemon.sessions = [session(user="al\x1b[2Jice")]
    with daemon.watched() as terminal:
        terminal.expect(r"al\?\[2Jice")
        daemon.tell("Ended \x1b]0;owned\x07session")
        terminal.expect(r"Ended \?\]0;owned\?session")
        terminal.type("q")
        terminal.wait_closed(30)
        assert terminal.returncode == 0


def test_the_list_is_asked_for_every_two_seconds_at_most(daemon: Watched) -> None:
    with daemon.watched() as terminal:
        began, listed = time.monotonic(), daemon.listed
        for _ in range(100):
            daemon.tell("Something")
            terminal.type("s")
        while daemon.listed < listed + 3:
            assert time.monotonic() < began + 20
            time.sleep(0.05)
        assert time.monotonic() - began > 4


@pytest.mark.parametrize(
    ("way", "code"), [("q", 0), ("\x03", 130), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_the_terminal_is_as_it_was_on_every_way_out(daemon: Watched, way: str | signal.Signals, code: int) -> None:
    with kept() as (pty, spare):
        before = termios.tcgetattr(spare)
        with daemon.watched(*KEEP, pty=pty) as terminal:
            assert termios.tcgetattr(spare) != before
            if isinstance(way, str):
                terminal.type(way)
            else:
                os.kill(children(terminal.pid)[0], way)
            terminal.expect(f"code {code}")
            assert termios.tcgetattr(spare) == before
            assert terminal.text.index(ALT_SCREEN) < terminal.text.index(NO_ALT_SCREEN)
            assert "\x1b[?25h" in terminal.text.rpartition("\x1b[?25l")[2], "the cursor"


def test_a_failure_leaves_the_terminal_as_it_was(daemon: Watched) -> None:
    with kept() as (pty, spare):
        before = termios.tcgetattr(spare)
        with daemon.watched(*KEEP, pty=pty) as terminal:
            daemon.events.append({"not": "an event"})
            terminal.expect("KeyError")
            terminal.expect("code 1")
            assert termios.tcgetattr(spare) == before
            assert NO_ALT_SCREEN in terminal.text


def test_it_ends_when_its_terminal_goes(daemon: Watched) -> None:
    with daemon.watched() as terminal:
        terminal.hangup()
        terminal.wait_closed(30)


def test_ctrl_z_gives_the_terminal_back_and_it_is_taken_again(daemon: Watched) -> None:
    with kept() as (pty, spare), daemon.serving():
        shell = ["bash", "--norc", "--noprofile", "-i"]
        with Terminal(shell, env=ENVIRONMENT | {"PS1": "ready> "}, pty=pty) as terminal:
            terminal.expect("ready> ")
            terminal.type(f"{' '.join(IDLECTL)} watch --socket {daemon.path}\n")
            terminal.expect("quit")
            terminal.type("\x1a")
            terminal.expect("Stopped[^$]*ready> ")
            assert NO_ALT_SCREEN in terminal.text
            terminal.type("stty -a | grep -o '.icanon'; fg\n")
            terminal.expect(" icanon")
            terminal.expect("quit")
            assert not termios.tcgetattr(spare)[3] & termios.ICANON
            terminal.type("q")
            terminal.expect("ready> ")
            assert terminal.text.count(ALT_SCREEN) == 2, "taken once, or a key may be lost"


def test_a_new_size_is_drawn_at_once(daemon: Watched) -> None:
    with daemon.watched() as terminal:
        terminal.resize(12, 40)
        os.kill(terminal.pid, signal.SIGWINCH)
        terminal.expect("ID USER  IDLE TIME LEFT")


def test_the_time_runs_in_between(daemon: Watched) -> None:
    with daemon.watched() as terminal:
        terminal.expect("2m59s")
        terminal.expect("2m5[0-8]s")  # the list is asked for anew every 2 s, so not all are shown for a second


def test_nothing_is_coloured_with_no_color(daemon: Watched) -> None:
    daemon.sessions = [session(endsInUSec=10 * SEC)]
    colour = re.compile(r"\x1b\[[0-9;]*\b3[0-7][;m]")
    with daemon.watched() as terminal:
        terminal.expect(colour.pattern)
    daemon.listeners = 0
    with daemon.watched(NO_COLOR="1") as terminal:
        terminal.expect("alice")
        terminal.type("jq")
        terminal.wait_closed(30)
        assert not colour.search(terminal.text)


def test_the_rest_of_what_was_pasted_does_not_answer_the_question(daemon: Watched) -> None:
    with daemon.watched() as terminal:
        terminal.type("jey\r")
        terminal.expect("End session 12 of alice from 192.168.1.20")
        time.sleep(0.6)  # who reads it first
        terminal.type("y")
        terminal.expect("Reason, or nothing:")
        terminal.type("lunch\r")
        terminal.expect("is being ended")
    assert [asked for asked in daemon.asked if asked[0] == "End"] == [("End", {"session": "7-70", "reason": "lunch"})]


PASTED = ("j", "e", *"yyyyyy", "\r", *"yyyyyy", "\r")


def pasted(terminal: Terminal, pause: float) -> bool:
    """Whether it came like what is pasted; on a machine that is too busy it comes like what is typed."""
    began = time.monotonic()
    for piece in PASTED:
        terminal.type(piece)
        time.sleep(pause)
    return time.monotonic() - began < len(PASTED) * pause + 0.1


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.01])
def test_nor_does_what_was_pasted_in_pieces(daemon: Watched, pause: float) -> None:
    for _ in range(20):
        daemon.listeners = 0
        daemon.asked.clear()
        with daemon.watched() as terminal:
            if not pasted(terminal, pause):
                continue
            terminal.expect("End session 12 of alice from 192.168.1.20")
            time.sleep(0.6)  # who reads it first
            terminal.type("q")
            terminal.expect("Nothing was done")
            terminal.type("q")
            terminal.wait_closed(30)
        assert [asked for asked in daemon.asked if asked[0] == "End"] == []
        return
    pytest.fail("this machine is too busy to paste on")


def test_what_was_typed_before_the_password_is_asked_for_is_no_part_of_it(daemon: Watched) -> None:
    daemon.sessions = [session(extend={"limit": "absolute", "byAtMostUSec": 3600 * SEC, "timesLeft": 1})]
    with daemon.watched() as terminal:
        terminal.type("jx")
        terminal.expect(r"Extend session 12 .* by 1h\?")
        time.sleep(0.6)  # who reads it first
        terminal.type("y")
        terminal.expect("Reason, or nothing:")
        terminal.type("\r")
        for _ in range(20):
            terminal.type("k")
            time.sleep(0.002)
        terminal.expect("Password of alice:")
        time.sleep(0.6)  # who reads it first
        terminal.type("s3cret\t\r")
        terminal.expect("its absolute timeout is now")
    extended = [asked for method, asked in daemon.asked if method == "Extend"]
    assert extended == [{"session": "7-70"}, {"session": "7-70", "password": "s3cret\t"}]


def test_when_the_daemon_goes_it_is_said_and_it_is_asked_until_it_is_back(daemon: Watched) -> None:
    with daemon.serving():
        terminal = Terminal([*IDLECTL, "watch", "--socket", str(daemon.path)], env=ENVIRONMENT)
        daemon.wait_listeners(1)
        terminal.expect("quit")
    with terminal:
        terminal.expect("The daemon cannot be asked")
        with daemon.serving():
            terminal.expect("The daemon answers again")
            daemon.wait_listeners(2)
            daemon.tell("Heard again")
            terminal.expect("Heard again")
            terminal.type("q")
            terminal.wait_closed(30)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_elsewhere_than_on_a_terminal_it_is_a_wrong_call(arguments: tuple[str, ...]) -> None:
    done = idlectl("watch", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("idlectl: watch: it ")


def test_without_a_daemon_to_begin_with_it_is_said_as_by_any_verb(tmp_path: Path) -> None:
    with Terminal([*IDLECTL, "watch", "--socket", str(tmp_path / "none")], env=ENVIRONMENT) as terminal:
        terminal.expect(r"idlectl: the daemon cannot be asked:\s+/\S+:\s+No\s+such\s+file")
        terminal.wait_closed(30)
        assert terminal.returncode == 1
        assert ALT_SCREEN not in terminal.text
