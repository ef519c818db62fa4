# SPDX-License-Identifier: LGPL-2.1-or-later
"""People who log in in every way there is, type at random, walk away, and write down what really happened.

Each person's own record of the last input is the oracle: it knows nothing of what watches the session. The soak and
the bench live with these people.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from .installed import CONSOLE_LATE, LATE, SEC
from .machine import SSHD_ANEW, Machine
from .metronome import Metronome
from .terminal import PROMPT, Terminal, Unseen, boottime

LINES = ("x\n",)
UP = "up\r?\n"
COMING = 60  # seconds that a login may take where many come at once
FORWARDED = "127.0.0.1:7777"
LISTENING = "00010000"  # __SO_ACCEPTCON among the flags in /proc/net/unix
ALIVE_PORT = 2200
REKEYS = ("-o", "RekeyLimit=default 12")
PINGS = ("-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=30")

# What the guest needs for all kinds. On a port of its own, sshd asks the client whether it is alive, too. Neither side
# gives up within the minute that a busy machine may take to answer.
SSHD = f"""
Port 22
Port {ALIVE_PORT}
MaxStartups 100
Match LocalPort {ALIVE_PORT}
    ClientAliveInterval 3
    ClientAliveCountMax 20
"""
INJECT = "import fcntl,termios,time\nwhile True:\n    time.sleep(1)\n    fcntl.ioctl(0, termios.TIOCSTI, b'#')\n"
ECHO = ("systemd-socket-activate", f"--listen={FORWARDED}", "--accept", "--inetd", "cat")


@dataclass(frozen=True)
class Kind:
    """A way of being logged in, and how late its end may be.

    `{path}` in options stands for a new name in the guest's /tmp. Who has no keys uses the forward that listens there.
    """

    name: str
    options: tuple[str, ...] = ()
    command: str | None = None
    program: str = "ssh"  # or "sftp", "login"
    ready: str = PROMPT  # what comes when one can type
    first: str = ""  # what is typed first
    keys: tuple[str, ...] = ("x", "y", "\n", "z")
    gone: str = ""  # what a client says that stays when its session has ended
    second: tuple[str, ...] = ()  # options of a second client, whose terminal is used as well
    resized: bool = False  # each second, by nobody's hand
    late: int = LATE

    @property
    def talks(self) -> bool:
        """Whether client or server say by themselves what is no input."""
        return self.resized or any(option in self.options for option in (*PINGS, str(ALIVE_PORT), *REKEYS, "-A"))


KINDS = (
    Kind("ssh"),
    Kind("ssh, client's keepalives", PINGS),
    Kind("ssh, keepalives both ways", ("-p", str(ALIVE_PORT), *PINGS)),
    Kind("ssh, rekeys", REKEYS),
    Kind("ssh, window resized", resized=True),
    Kind("ssh, output", first="(while sleep 1; do date; done) &\n"),
    Kind("ssh, touch loop", first="while sleep 2; do touch -a $(tty); done &\n"),
    Kind("ssh, injected input", first="python3 /tmp/inject.py &\n"),
    # Its client never stops to deliver, so only the step of the terminal's stamp tells, as on the console.
    Kind(
        "ssh, agent loop",
        ("-A",),
        first="while sleep 1; do ssh-add -l >/dev/null 2>&1; done &\n",
        late=CONSOLE_LATE,
    ),
    Kind("ssh, cat", first="cat >/dev/null\n"),
    Kind("ssh, job that reads nothing", first="sleep 10000\n"),
    Kind("ssh -tt, job that reads nothing", ("-tt",), "echo up; sleep 10000", ready=UP),
    # While the same user is active elsewhere, an inner terminal is judged by the step of its stamp (activity, 11).
    Kind("ssh, tmux", first="tmux -L $$ new-session\n", late=CONSOLE_LATE),
    Kind("ssh, screen", first="screen -S $$\n", late=CONSOLE_LATE),
    Kind("ssh, script", first="script -q /dev/null\n", late=CONSOLE_LATE),
    Kind("ssh, root's shell by sudo", first="sudo -s\n"),
    Kind("ssh, two terminals on one connection", ("-M", "-S", "{path}"), second=("-S", "{path}")),
    # Without a terminal there, the one here sends whole lines.
    Kind("no terminal", ("-T",), "echo up; cat >/dev/null", ready=UP, keys=LINES),
    Kind("no terminal, client's keepalives", ("-T", *PINGS), "echo up; cat >/dev/null", ready=UP, keys=LINES),
    Kind(
        "no terminal, keepalives both ways",
        ("-T", "-p", str(ALIVE_PORT), *PINGS),
        "echo up; cat >/dev/null",
        ready=UP,
        keys=LINES,
    ),
    Kind("no terminal, rekeys", ("-T", *REKEYS), "echo up; cat >/dev/null", ready=UP, keys=LINES),
    Kind("sftp", program="sftp", ready="sftp> ", keys=("ls\n", "ls -l /etc\n"), gone="Connection closed"),
    Kind("ssh -N, a forward", ("-N", "-L", f"{{path}}:{FORWARDED}"), keys=()),
    Kind("console", program="login", late=CONSOLE_LATE),
)


@contextmanager
def prepared(machine: Machine) -> Iterator[None]:
    """Give a guest what the kinds need, for as long as people live there."""
    machine.write("/tmp/inject.py", INJECT)
    machine.write("/etc/sudoers.d/people", "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    machine.write("/etc/ssh/sshd_config.d/people.conf", SSHD)
    machine.sh(SSHD_ANEW)
    machine.run("systemd-run", "--quiet", "--unit=people-echo", *ECHO)
    yield
    machine.sh("rm /etc/ssh/sshd_config.d/people.conf /etc/sudoers.d/people")
    machine.sh(SSHD_ANEW)
    machine.run("systemctl", "stop", "people-echo")


@dataclass
class Visit:
    """One session from login to end, as its person lived it; `closed` is None when nothing ended it."""

    kind: Kind
    last_input: int
    closed: int | None

    def late(self, limit: int) -> int | None:
        """How long after the limit it ended; negative: too early."""
        return None if self.closed is None else self.closed - self.last_input - limit

    def in_time(self, limit: int, metronome: Metronome) -> bool:
        """Whether it ended within the bounds of its kind, where the machine may add what it took at each turn of
        the way: twice for the key to get in, as the client takes it and what is inside hands it on; then for what ends
        the session, and for the client to go."""
        late = self.late(limit)
        if late is None:
            return False
        into = metronome.late(self.last_input, self.last_input + SEC)
        out = metronome.late(self.last_input + limit, self.last_input + limit + max(late, 0))
        return 0 <= late <= self.kind.late + 2 * (into + out)


@dataclass
class Person:
    """Somebody who logs in again and again until the time is over, and waits patiently for each end."""

    machine: Machine
    user: str
    kind: Kind
    limit: int
    chance: random.Random
    comes_within: int
    until: int = 0
    patience: int = 30 * SEC
    visits: list[Visit] = field(default_factory=list)
    trouble: str = ""

    def live(self) -> None:
        """Visit after visit, on a thread of its own; one at least."""
        try:
            time.sleep(self.chance.uniform(0, self.comes_within / SEC))
            self.visits.append(self._visit())
            while boottime() < self.until:
                time.sleep(self.chance.uniform(0, 2))
                self.visits.append(self._visit())
        except Exception as error:  # noqa: BLE001, told by the test
            self.trouble = f"{self.kind.name} of {self.user}: {error!r}"

    def _visit(self) -> Visit:
        with ExitStack() as stack:
            seat = Seat(self, stack)
            last = seat.begin()
            for _ in range(self.chance.randrange(0, self.chance.choice((12, 40)))):
                pause = self.chance.uniform(0.05, 1) if self.chance.random() < 0.5 else self.chance.uniform(1, 9)
                if seat.closed_within(pause) or boottime() - last > self.limit * 95 // 100:
                    break  # early, and the visit tells; or the machine let the person sleep too long
                last = seat.input()
            closed = seat.closed_within((self.limit + self.patience) / SEC)
            return Visit(self.kind, last, closed)


class Seat:
    """Where a person sits during one visit: the clients' terminals, or the forward that a client listens for."""

    def __init__(self, person: Person, stack: ExitStack) -> None:
        self._person, self._kind, self._chance = person, person.kind, person.chance
        self._path = f"/tmp/{person.user}-{boottime()}"
        self._guest = Path(f"/proc/{person.machine.pid}")
        self._closed: int | None = None
        self._terminals = [self._come(stack, self._kind.options)]
        if self._kind.second:
            self._terminals.append(self._come(stack, self._kind.second))

    def begin(self) -> int:
        """Do what the kind does first; when that was."""
        return self._terminals[0].type(self._kind.first) if self._kind.first else self.input()

    def input(self) -> int:
        """Give some input; when that was. 0 when one can not any more, since the session was ended."""
        try:
            if not self._kind.keys:
                return self._use_forward()
            return self._chance.choice(self._terminals).type(self._chance.choice(self._kind.keys))
        except (Unseen, OSError):
            if self.closed_within(1) is None:
                raise
            return 0

    def closed_within(self, seconds: float) -> int | None:
        """When the session was ended, if it is within so many seconds or was before."""
        if self._closed is None:
            self._closed = self._wait_closed(seconds)
        return self._closed

    def _wait_closed(self, seconds: float) -> int | None:
        terminal, deadline = self._terminals[0], time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with suppress(Unseen):
                if self._kind.gone and terminal.closed_at is None:
                    return terminal.moment(terminal.expect(self._kind.gone, min(1, left)))
                return terminal.wait_closed(min(1, left))
            if self._kind.resized:
                self._resize()
        return None

    def _come(self, stack: ExitStack, options: tuple[str, ...]) -> Terminal:
        machine, user, kind = self._person.machine, self._person.user, self._kind
        words = [option.format(path=self._path) for option in options]
        if kind.program == "login":
            terminal = machine.console(user, timeout=COMING)
        elif kind.program == "sftp":
            terminal = machine.client("sftp", *words, f"{user}@127.0.0.1")
        else:
            terminal = machine.login(user, kind.command, options=words)
        stack.enter_context(terminal)
        if kind.keys:
            terminal.expect(kind.ready, timeout=COMING)
        else:
            self._wait_for_forward(terminal)
        return terminal

    def _wait_for_forward(self, terminal: Terminal) -> None:
        deadline = time.monotonic() + COMING
        while not self._listens():
            assert terminal.closed_at is None and time.monotonic() < deadline, terminal.text
            time.sleep(0.02)

    def _listens(self) -> bool:
        """Whether the forward can be used; its name is there a moment before."""
        sockets = (line.split() for line in (self._guest / "net/unix").read_text().splitlines())
        return any(words[-1] == self._path and words[3] == LISTENING for words in sockets)

    def _use_forward(self) -> int:
        with socket.socket(socket.AF_UNIX) as forward:
            forward.settimeout(COMING)
            forward.connect(f"{self._guest}/root{self._path}")
            forward.sendall(b"x")
            used = boottime()
            forward.recv(1)
        return used

    def _resize(self) -> None:
        with suppress(OSError, ValueError):  # it can be gone by now
            self._terminals[0].resize(24, self._chance.randrange(60, 100))


def crowd(people: Sequence[Person]) -> None:
    """Let people live side by side; back when all have gone."""
    threads = [threading.Thread(target=person.live) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
