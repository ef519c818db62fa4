# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of cases: what a session shows from its first second on, and the moment at which it is ended for it.

Each row is a scenario: what was seen when, and what follows under an idle timeout of one minute that is warned of ten
seconds before. Moments are seconds since the session was opened. The sizes that matter were seen on real sessions (see
docs/evidence.md): bytes into and out of the session, bytes on the wire, stamps in blocks of 8 s that begin at 0, 8, 16.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import pytest

from idled.core.events import Kind, Opened, Scanned, Stepped, Woken
from idled.core.model import Activity, Reason
from idled.core.span import DAY, HOUR, SEC, Usec

from .driver import T0, Driver, policy
from .test_activity import Seen, usec

IDLE: Final = 60
WARNED_BEFORE: Final = 10
START: Final = T0 / SEC

#: How long after the limit: the kernel's tick; the rest of the stamp's block; obscuring, which goes on for 2 s after a
#: key; what else is received, which blurs a key until the next look, 3 s later.
TICK: Final = 0.01
BLOCK: Final = 8 + TICK
OBSCURED: Final = 2 + TICK
LOOK: Final = 3 + TICK


# What is seen


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the kernel's counters and stamps show of one moment."""

    into: int = 0  # bytes that the client delivered into the session
    out: int = 0  # bytes that came out of it
    wire: tuple[int, int] = (0, 0)  # bytes received and sent on the connection
    asked: int = 0  # bytes that the privileged sshd read, and
    answered: int = 0  # wrote
    read: bool = False  # a program read from the terminal
    wrote: bool = False  # and wrote on it
    queued: int = 0  # bytes typed that no program reads
    touch: Usec | None = None  # the access time was set, so far ahead of the wall clock
    step: Usec = 1  # to a whole one of these
    chmod: bool = False
    terminal: int = 0


@dataclass(frozen=True)
class SetClock:
    """The wall clock is set; `told`: the kernel says so."""

    by: Usec
    told: bool = True


@dataclass(frozen=True)
class Asleep:
    """The machine sleeps for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Away:
    """The daemon is not there for so many seconds, and then another that knows what it remembered."""

    seconds: float


@dataclass(frozen=True)
class Relisted:
    """logind was away: its sessions are told anew, and a scan goes over all."""


What: TypeAlias = Facts | SetClock | Asleep | Away | Relisted
Scene: TypeAlias = tuple[tuple[float, What], ...]

KEY: Final = Facts(into=1, out=1, wire=(36, 36), read=True)
OTHER_KEY: Final = replace(KEY, terminal=1)
NO_ECHO: Final = Facts(into=1, wire=(36, 0), read=True)
CONSOLE_KEY: Final = Facts(read=True)
MESG: Final = Facts(into=7, out=30, wire=(252, 240), read=True, chmod=True)  # mesg n, Enter
UNREAD_ENTER: Final = Facts(into=1, out=2, wire=(36, 36), queued=1)
CTRL_C: Final = Facts(into=1, out=2, wire=(36, 36))
COMMAND: Final = Facts(into=10, out=10, wire=(360, 360), read=True, wrote=True)
INTERRUPT: Final = Facts(into=1, out=30, wire=(36, 68), wrote=True)  # Ctrl-C, and the shell's prompt
LINE: Final = Facts(out=30, wire=(0, 68), wrote=True)  # of output
TYPED_AHEAD: Final = Facts(into=6, out=8, wire=(216, 36), queued=6)
TOUCH: Final = Facts(touch=0)
TO_STEP: Final = Facts(touch=0, step=8 * SEC)
TO_TOMORROW: Final = Facts(touch=DAY)
INJECTED: Final = Facts(out=1, wire=(0, 36), read=True)
OUTPUT: Final = Facts(out=30, wire=(0, 68))
SERVER_ALIVE: Final = Facts(wire=(52, 28))
CLIENT_ALIVE: Final = Facts(wire=(36, 56))
CLIENT_ALIVE_N: Final = Facts(wire=(28, 52))
CHAFF: Final = Facts(wire=(36, 36))
FORWARDED: Final = Facts(into=40, wire=(76, 0))
FORWARDED_BACK: Final = Facts(out=40, wire=(0, 76))
REKEY_12: Final = Facts(into=96, out=92, asked=96, answered=92, wire=(2_336, 2_540))
REKEY_13: Final = Facts(into=115, out=92, asked=115, answered=92, wire=(2_900, 2_350))
RESIZED: Final = Facts(out=93, wire=(60, 128))
AGENT: Final = Facts(into=9, out=35, wire=(84, 92))
SFTP_READ: Final = Facts(into=29, out=32_781, wire=(64, 32_816))
TRICKLE: Final = Facts(out=1_000, wire=(0, 1_036))
DETACH: Final = Facts(into=2, out=120, wire=(72, 160), read=True, chmod=True)  # tmux restores the mode


def every(seconds: float, facts: Facts, begin: float, end: float) -> Scene:
    count = round((end - begin) / seconds) + 1
    return tuple((begin + n * seconds, facts) for n in range(count))


def once(at: float, what: What) -> Scene:
    return ((at, what),)


# The table

FORGED, STEPPED, WARNED = Kind.ACTIVITY_FORGED, Kind.CLOCK_STEPPED, Kind.WARNED
CLEARED, ENDED = Kind.WARNING_CLEARED, Kind.ENDED


@dataclass(frozen=True, kw_only=True)
class Row:
    """A scenario. It is ended at the moment `end` or up to `late` later, and these are all the records on the way."""

    seen: Scene
    end: float
    late: float = TICK
    records: tuple[Kind, ...] = (WARNED, ENDED)
    reason: Reason = Reason.IDLE
    terminals: int = 1
    ssh: bool = True
    limits: Mapping[str, Any] = field(default_factory=dict)


INPUT_OUTPUT: Final = {"activity": frozenset({Activity.INPUT, Activity.OUTPUT})}
AT_100: Final = every(20, KEY, 20, 100)  # a person types now and then until 100, and has walked away
AT_140: Final = every(20, KEY, 20, 140)
ON_CONSOLE: Final = every(20, CONSOLE_KEY, 20, 100)
TYPING: Final = every(5, KEY, 5, 200)

FORGERIES: Final = {
    "touch loop": Row(seen=AT_100 + every(2, TOUCH, 101, 300), end=160, records=(FORGED, WARNED, ENDED)),
    "touch one day ahead": Row(seen=AT_100 + once(140, TO_TOMORROW), end=160, records=(FORGED, WARNED, ENDED)),
    "touch one day ahead, soon after a key": Row(
        seen=AT_100 + once(105, TO_TOMORROW), end=160, records=(FORGED, WARNED, ENDED)
    ),
    "touch one day ahead, beside a key": Row(seen=AT_100 + once(100.5, TO_TOMORROW), end=160),
    "touch loop, one day ahead": Row(
        seen=AT_100 + every(2, TO_TOMORROW, 101, 300), end=160, records=(FORGED, WARNED, ENDED)
    ),
    "touch loop, exact step": Row(seen=AT_100 + every(2, TO_STEP, 101, 300), end=160, records=(FORGED, WARNED, ENDED)),
    "TIOCSTI loop": Row(seen=AT_100 + every(1, INJECTED, 101, 300), end=160, records=(FORGED, WARNED, ENDED)),
    "touch loop, console": Row(  # believed by the first three looks that see it: at 114, 117 and 120
        seen=ON_CONSOLE + every(2, TOUCH, 101, 300), ssh=False, end=180, records=(FORGED, WARNED, ENDED)
    ),
    "touch one day ahead, console": Row(  # taken for input when it was made, the first three times
        seen=ON_CONSOLE + once(105, TO_TOMORROW), ssh=False, end=165, late=BLOCK
    ),
    "TIOCSTI loop, console": Row(
        seen=ON_CONSOLE + every(1, CONSOLE_KEY, 101, 300),
        ssh=False,
        limits={"absolute_timeout": 250 * SEC},
        end=250,
        reason=Reason.ABSOLUTE,
    ),
}

PEOPLE: Final = {
    "keys": Row(seen=AT_100, end=160),
    "keys, echo off": Row(seen=every(20, NO_ECHO, 20, 100), end=160),
    "keys, console": Row(seen=ON_CONSOLE, ssh=False, end=160, late=BLOCK),
    "typing": Row(seen=TYPING, end=260),
    "typing, console": Row(seen=every(5, CONSOLE_KEY, 5, 200), ssh=False, end=260, late=BLOCK),
    "key after the warning": Row(seen=AT_100 + once(155, KEY), end=215, records=(WARNED, CLEARED, WARNED, ENDED)),
    "mesg": Row(seen=every(10, MESG, 20, 100), end=160),
    "mesg, console": Row(seen=ON_CONSOLE + once(108, Facts(read=True, chmod=True)), ssh=False, end=168, late=BLOCK),
    "job that reads nothing": Row(seen=AT_100 + every(1, OUTPUT, 100.5, 130), end=160),
    "job that reads nothing, Enter": Row(seen=AT_100 + every(20, UNREAD_ENTER, 120, 220), end=280),
    "job that reads nothing, command and Enter": Row(seen=AT_100 + every(20, TYPED_AHEAD, 120, 220), end=280),
    "Ctrl-C": Row(seen=AT_100 + every(20, CTRL_C, 120, 220), end=280),
    # Both since the same look, that of 150.
    "Ctrl-C after a command": Row(seen=AT_140 + once(151, COMMAND) + once(185, INTERRUPT), end=245),
    "Ctrl-C after a command and its output": Row(
        seen=AT_140 + once(151, COMMAND) + every(1, LINE, 152, 184) + once(185, INTERRUPT), end=245
    ),
    "multiplexed, the second used": Row(seen=once(20, KEY) + every(10, OTHER_KEY, 30, 100), terminals=2, end=160),
    "obscured keystrokes": Row(seen=AT_100 + every(0.02, CHAFF, 100.02, 101.9), end=160, late=OBSCURED),
    "obscured keystrokes, typing": Row(seen=TYPING + every(0.02, CHAFF, 5.02, 201.9), end=260, late=OBSCURED),
    "stopped client": Row(seen=AT_100 + every(1, replace(OUTPUT, wire=(0, 0)), 100.2, 110), end=160),
}

NOBODY: Final = {
    "output": Row(seen=AT_100 + every(1, OUTPUT, 100.5, 300), end=160),
    "output that counts": Row(seen=AT_100 + every(1, OUTPUT, 100.5, 300.5), limits=INPUT_OUTPUT, end=360.5),
    "no output, where it would count": Row(seen=AT_100, limits=INPUT_OUTPUT, end=160),
    "ServerAlive": Row(seen=AT_100 + every(15, SERVER_ALIVE, 11, 300), end=160, late=LOOK),
    "ServerAlive each second": Row(seen=AT_100 + every(1, SERVER_ALIVE, 0.5, 300), end=160, late=LOOK),
    "ClientAlive": Row(seen=AT_100 + every(15, CLIENT_ALIVE, 11, 300), end=160, late=LOOK),
    "rekey, 12": Row(seen=AT_100 + every(20, REKEY_12, 10, 300), end=160, late=LOOK),
    "rekey, 13": Row(seen=AT_100 + every(20, REKEY_13, 10, 300), end=160, late=LOOK),
    "rekey after a look": Row(seen=AT_100 + once(140, REKEY_13), end=160),
    "window resized": Row(seen=AT_100 + every(0.5, RESIZED, 100.5, 103), end=160, late=LOOK),
    "window resized after a look": Row(seen=AT_100 + every(0.5, RESIZED, 140, 145), end=160),
    "agent loop": Row(seen=AT_100 + every(1, AGENT, 101, 300), end=160, late=BLOCK),
    "a keepalive after a command": Row(seen=AT_140 + once(151, COMMAND) + once(185, SERVER_ALIVE), end=211, late=BLOCK),
    "the agent asked after a command": Row(seen=AT_140 + once(151, COMMAND) + once(185, AGENT), end=211, late=BLOCK),
    "tmux detached": Row(seen=AT_100 + once(101, DETACH), end=161),
}

WITHOUT_TERMINAL: Final = {
    "forward, then ServerAlive for the first time": Row(
        seen=every(10, FORWARDED, 10, 100) + every(30, SERVER_ALIVE, 130, 300), terminals=0, end=160, late=LOOK
    ),
    "-N unused": Row(seen=(), terminals=0, end=60),
    "-N unused, ServerAlive": Row(seen=every(15, SERVER_ALIVE, 11, 300), terminals=0, end=60),
    "-N unused, ClientAlive": Row(seen=every(15, CLIENT_ALIVE_N, 11, 300), terminals=0, end=60),
    "-N unused, rekey, 12": Row(seen=every(20, REKEY_12, 11, 300), terminals=0, end=60),
    "-N unused, rekey, 13": Row(seen=every(20, REKEY_13, 11, 300), terminals=0, end=60),
    "forward, 40 bytes each 4 s": Row(seen=every(4, FORWARDED, 4, 200), terminals=0, end=260),
    "forward, 40 bytes back each 4 s": Row(seen=every(4, FORWARDED_BACK, 4, 200), terminals=0, end=260),
    "sftp, then idle": Row(seen=every(0.1, SFTP_READ, 2, 20), terminals=0, end=80),
    "slow transfer": Row(seen=every(5, TRICKLE, 2, 302), terminals=0, end=362),
    "ssh host sleep": Row(seen=(), terminals=0, end=60),
    "ssh -t host sleep": Row(seen=(), end=60),
}

STEPS: Final = {"+1 h": HOUR, "-1 h": -HOUR, "+1 day": DAY}
CLOCKS: Final = {
    f"wall clock {name}{'' if told else ', not told'}, {what}{'' if ssh else ', console'}": Row(
        seen=every(5, KEY if ssh else CONSOLE_KEY, 5, last) + once(set_at, SetClock(by, told)),
        ssh=ssh,
        end=last + IDLE,
        late=TICK if ssh else BLOCK,
        records=(STEPPED, WARNED, ENDED) if told else (WARNED, ENDED),
    )
    for name, by in STEPS.items()
    for told in (True, False)
    for ssh in (True, False)
    for what, last, set_at in [
        ("typing", 200, 121),
        ("idle", 100, 121),
        ("in the block of the last key", 100, 101),
        ("just before the last key", 100, 99),
    ]
}

SLEEPS: Final = {
    "past the limit": Row(seen=AT_100 + once(120, Asleep(3600)), end=3720, records=(STEPPED, ENDED)),
    "past the limit, console": Row(
        seen=ON_CONSOLE + once(120, Asleep(3600)), ssh=False, end=3720, records=(STEPPED, ENDED)
    ),
    "past the limit, warned": Row(seen=AT_100 + once(155, Asleep(3600)), end=3755, records=(WARNED, STEPPED, ENDED)),
    "past the limit, no terminal": Row(
        seen=once(20, FORWARDED) + once(40, Asleep(3600)), terminals=0, end=3640, records=(STEPPED, ENDED)
    ),
    "past the absolute limit": Row(
        seen=AT_100 + once(110, Asleep(3600)),
        limits={"absolute_timeout": 150 * SEC},
        end=3710,
        reason=Reason.ABSOLUTE,
        records=(STEPPED, ENDED),
    ),
    "less than is left": Row(seen=AT_100 + once(110, Asleep(20)), end=160, records=(STEPPED, WARNED, ENDED)),
    "past the warning": Row(seen=AT_100 + once(120, Asleep(35)), end=160, records=(STEPPED, WARNED, ENDED)),
}

SOURCES: Final = {
    "logind lost": Row(seen=AT_100 + once(120, Relisted()), end=160),
    "logind lost while warned": Row(seen=AT_100 + once(155, Relisted()), end=160),
}

RESTARTS: Final = {
    "idle": Row(seen=AT_100 + once(120, Away(5)), end=160),
    "idle, console": Row(seen=ON_CONSOLE + once(120, Away(5)), ssh=False, end=160, late=BLOCK),
    "idle, no terminal": Row(seen=once(20, FORWARDED) + once(30, Away(5)), terminals=0, end=80),
    "past the limit": Row(seen=AT_100 + once(120, Away(100)), end=220, records=(ENDED,)),
    "warned before": Row(seen=AT_100 + once(155, Away(1)), end=160),
    "typing meanwhile": Row(seen=AT_100 + once(120, Away(30)) + once(130, KEY), end=190),
    "typing meanwhile, console": Row(
        seen=ON_CONSOLE + once(120, Away(30)) + once(130, CONSOLE_KEY), ssh=False, end=190, late=BLOCK
    ),
    "absolute": Row(
        seen=TYPING + once(120, Away(30)),
        limits={"absolute_timeout": 150 * SEC},
        end=150,
        reason=Reason.ABSOLUTE,
        records=(ENDED,),
    ),
    "touch loop": Row(
        seen=AT_100 + every(2, TOUCH, 31, 300) + once(120, Away(5)), end=160, records=(FORGED, WARNED, ENDED)
    ),
    "touch just before": Row(
        seen=AT_100 + once(119.9, TOUCH) + once(120, Away(5)), end=160, records=(FORGED, WARNED, ENDED)
    ),
    "touch meanwhile": Row(
        seen=AT_100 + once(120, Away(5)) + once(122, TOUCH), end=160, records=(FORGED, WARNED, ENDED)
    ),
    "touch before and meanwhile": Row(
        seen=AT_100 + once(40, TOUCH) + once(120, Away(5)) + once(122, TOUCH), end=160, records=(FORGED, WARNED, ENDED)
    ),
    "wall clock set meanwhile": Row(seen=AT_100 + once(120, Away(5)) + once(122, SetClock(HOUR, False)), end=160),
}


def alive(interval: float, what: Facts, seen: Scene, end: float) -> Scene:
    """With keepalives, whenever nothing came or went for so long."""
    rest = sorted(at for at, _ in seen)
    scene, last = list(seen), 0.0
    while last < end:
        at = last + interval
        nearest = next((moment for moment in rest if last < moment <= at), None)
        if nearest is None:
            scene.append((at, what))
        last = at if nearest is None else nearest
    return tuple(scene)


#: Of a client whose interval is longer than its person paused for so far.
KEEPALIVES: Final = {
    f"{what} at {', '.join(map(str, moments))}, {name} each {interval} s": Row(
        seen=alive(interval, keepalive, tuple((at, facts) for at in moments), 1800),
        terminals=int(facts.read or facts.queued > 0),
        limits={"idle_timeout": 900 * SEC},
        end=moments[-1] + 900,
        late=LOOK,
    )
    for what, facts in {"bytes": FORWARDED, "a key": KEY, "a command": COMMAND, "typed ahead": TYPED_AHEAD}.items()
    for name, keepalive in {"ServerAlive": SERVER_ALIVE, "ClientAlive": CLIENT_ALIVE}.items()
    for interval in (1, 15, 30, 60, 61, 120, 300, 600)
    for moments in [(5, 50, 125), (1, 2, 3), (20, 40, 60, 80, 100, 120, 140, 160, 180, 200), (70, 140, 160, 400, 410)]
}

ROWS: Final = (
    FORGERIES
    | PEOPLE
    | NOBODY
    | WITHOUT_TERMINAL
    | CLOCKS
    | SOURCES
    | KEEPALIVES
    | {f"asleep {what}": row for what, row in SLEEPS.items()}
    | {f"restart, {what}": row for what, row in RESTARTS.items()}
)
LAST: Final = 4000


# How a row is played


class Stage(Seen):
    """One session as the kernel shows it, under watch."""

    def __init__(self, row: Row) -> None:
        super().__init__(ptys=row.terminals, wire=row.ssh)
        self.ptys = {device: self.pty(device, START) for device in self.ptys}
        self.wire = replace(self.wire, received_at=T0, sent_at=T0)
        self.policy = policy(**{"idle_timeout": IDLE * SEC, "warn_before": (WARNED_BEFORE * SEC,)} | dict(row.limits))
        self.run = Driver(self.policy)
        self.back: float | None = None  # nobody looks before this moment,
        self.returns: Asleep | Away | None = None  # and then it returns from this
        self.id = self.run.open(exact=row.ssh, terminals=tuple(self.ptys.values()), connection=self.wire)
        for at, what in sorted(row.seen, key=lambda pair: pair[0]):
            self.until(at)
            self.happens(at, what)
        self.until(LAST)

    def until(self, at: float) -> None:
        if self.back is not None and at >= self.back:
            self.run.jump(self.back)
            self.back = None
            self.come_back()
        if self.back is None:
            self.run.until(at)
        else:
            self.run.jump(at)

    def come_back(self) -> None:
        if isinstance(self.returns, Away):
            self.run.restart(self.policy)
        else:
            self.run.tell(Stepped(by=0))
            self.run.tell(Woken())

    def happens(self, at: float, what: What) -> None:
        match what:
            case Facts():
                self.show(START + at, what)
            case SetClock():
                self.offset += what.by
            case Asleep() | Away():
                self.back, self.returns = at + what.seconds, what
        shown = self.run.shown[self.id]
        shown.terminals, shown.connection = tuple(self.ptys.values()), self.wire
        self.run.offset = self.offset
        match what:
            case SetClock(told=True):
                self.run.tell(Stepped(by=what.by))
            case Relisted():
                (session,) = self.run.engine.sessions()
                self.run.tell(Opened(session=replace(session, logind="c7"), found=True))
                self.run.tell(Scanned())

    def show(self, at: float, facts: Facts) -> None:
        was = self.wire
        if any(facts.wire) or facts.into or facts.out:
            self.net(at, into=facts.into, out=facts.out, wire=facts.wire)
        received, sent = facts.wire
        self.wire = replace(
            self.wire,
            received_at=usec(at) if received else was.received_at,
            sent_at=usec(at) if sent else was.sent_at,
            asked=was.asked + facts.asked,
            answered=was.answered + facts.answered,
        )
        if facts.read:
            self.read(at, facts.terminal)
        if facts.wrote:
            self.write(at, facts.terminal)
        if facts.queued:
            self.change(facts.terminal, queued=self.ptys[34816 + facts.terminal].queued + facts.queued)
        if facts.touch is not None:
            stamp = (self.wall(at) + facts.touch) // facts.step * facts.step
            self.change(facts.terminal, atime=stamp, ctime=self.wall(at))
        if facts.chmod:
            self.change(facts.terminal, ctime=self.wall(at))


@pytest.mark.parametrize("what", ROWS)
def test_row(what: str) -> None:
    row = ROWS[what]
    told = (FORGED, STEPPED, WARNED, CLEARED, ENDED)
    records = [record for record in Stage(row).run.records if record.kind in told]
    (ended,) = [record for record in records if record.kind is ENDED]
    assert ended.age is not None
    assert row.end <= ended.age / SEC <= row.end + row.late
    assert ended.reason is row.reason
    assert tuple(record.kind for record in records) == row.records
