# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is measured in a guest with many sessions. Each quantity is a name, and has its samples for each size."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Final

from ..guest.installed import SEC, Installed
from ..guest.machine import Machine
from ..guest.pam_logins import login_times
from ..guest.terminal import boottime
from .lateness import say
from .sessions import Crowd
from .units import Unit

#: Quantity -> size -> samples.
Samples = dict[str, dict[int, list[float]]]

RUNS: Final = 5
WINDOW: Final = 12  # seconds; RUNS of them hold one scan
YOUNG: Final = 60  # until then a session is looked at every few seconds; so long all are silent before they type
SHORT: Final = 6  # RUNS of them lie between two scans
LIMIT: Final = 20  # of the idle timeout while everybody types
PAUSE: Final = 4  # mean seconds between two keys, which come after 0 to 8 s
DUE: Final = 20  # the limit when all are to end
WARNED: Final = 8  # for so long they are warned
PATIENCE: Final = 120
OTHERS_AT: Final = 1_000  # sessions that other tools get, too

STOPPED: Final = "systemctl stop idled.socket idled-varlink.socket idled"
#: What is counted is what the user waits for: from the command to its end.
TIMED: Final = """
import resource, subprocess, sys, time
began = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
spent = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - began, spent.ru_utime + spent.ru_stime)
"""
LOGIND = "/etc/systemd/logind.conf.d/bench.conf"


class Measures:
    """All measurements of one guest, and what they found. What no other guest may disturb is done `alone`."""

    def __init__(self, machine: Machine, crowd: Crowd, alone: threading.Lock) -> None:
        self._alone = alone
        self.found: Samples = {}
        self._machine, self._crowd = machine, crowd
        self._idled = Installed(machine)
        self._unit = Unit(machine, "idled")

    def _note(self, name: str, size: int, *values: float) -> None:
        self.found.setdefault(name, {}).setdefault(size, []).extend(values)

    # Without sessions

    def empty(self) -> None:
        """What it costs when nobody is there, and what a login pays for it."""
        self._idled.limits(idle="15min", absolute="12h")
        with self._alone:
            self._logins()
            self._starts(0)
        self._spent("idle", 0, self._unit, WINDOW)

    def _logins(self) -> None:
        for name, module, rounds in (("nothing", "pam_permit.so", 200), ("up", "pam_idled.so", 200)):
            self._note(f"login {name}", 0, *login_times(self._idled, module, rounds))
        self._machine.sh("systemctl kill --signal=STOP idled")
        self._note("login hung", 0, *login_times(self._idled, "pam_idled.so", 10))
        self._machine.sh(f"systemctl kill --signal=CONT idled; {STOPPED}")
        self._note("login down", 0, *login_times(self._idled, "pam_idled.so", 200))
        self._machine.sh("systemctl start idled.socket idled-varlink.socket idled")

    # With many

    def of(self, size: int) -> None:
        """All that does not end many of them."""
        self._idled.limits(idle="1h")
        self._note("opening", size, self._crowd.open(size))
        time.sleep(YOUNG)
        with self._alone:
            self._starts(size)
        self._crowd.keep_typing(PAUSE)
        time.sleep(2 * PAUSE)  # by then everybody has typed a key
        self._idled.limits(idle=f"{LIMIT}s")
        self._machine.sh("systemctl restart idled", timeout=PATIENCE)  # so the next scan is a minute away
        time.sleep(LIMIT)
        self._spent("typing", size, self._unit, SHORT)
        if size == OTHERS_AT:
            self._others(size)
        self._crowd.keep_typing(0)
        self._idled.limits(idle="1h")
        self._note("ended while typing", size, self._gone())
        self._spent("idle", size, self._unit, WINDOW)
        with self._alone:
            self._list(size)
            self._note("login up", size, *login_times(self._idled, "pam_idled.so", 50))
            self._ends(size)

    def _spent(self, name: str, size: int, unit: Unit, seconds: float) -> None:
        for spent in unit.windows(RUNS, seconds):
            self._note(f"{name} cpu", size, spent.cpu)
            self._note(f"{name} wakeups", size, spent.wakeups)
            if unit is self._unit:
                self._note("rss", size, unit.rss())

    def _others(self, size: int) -> None:
        """The same sessions under systemd-logind; then what autolog takes to look at them all once."""
        self._idled.limits(idle="1h")  # nobody types when it is started again
        self._machine.sh(STOPPED)
        logind = Unit(self._machine, "systemd-logind")
        for name, limit in (("logind typing", f"{LIMIT}s"), ("logind idle", "1h")):
            self._machine.write(LOGIND, f"[Login]\nStopIdleSessionSec={limit}\n")
            self._machine.sh("systemctl restart systemd-logind", timeout=PATIENCE)
            time.sleep(LIMIT)
            self._spent(name, size, logind, SHORT)
            self._crowd.keep_typing(0)
        self._machine.sh(f"rm {LOGIND}; systemctl restart systemd-logind", timeout=PATIENCE)
        self._autolog(size)
        self._machine.sh("systemctl start idled.socket idled-varlink.socket idled", timeout=PATIENCE)

    def _autolog(self, size: int) -> None:
        self._machine.write("/etc/autolog.conf", "nolostkill\nidle=1000 grace=1 nomail nolog\n")
        for _ in range(RUNS):
            self._machine.sh("systemctl restart autolog")
            time.sleep(3)
            self._note("autolog cpu", size, Unit(self._machine, "autolog").cpu())
        self._machine.sh("systemctl stop autolog")

    def _list(self, size: int) -> None:
        for _ in range(RUNS):
            before = self._unit.cpu()
            said = self._machine.run("python3", "-c", TIMED, "idlectl", "list", timeout=PATIENCE).stdout
            wall, cpu = map(float, said.split())
            self._note("list wall", size, wall)
            self._note("list cpu", size, cpu)
            self._note("list daemon", size, self._unit.cpu() - before)

    def _starts(self, size: int) -> None:
        forget = "systemctl stop idled; rm -r /run/idled/sessions; systemctl start idled"
        for name, command in (("start anew", forget), ("start", "systemctl restart idled")):
            for _ in range(RUNS):
                self._note(name, size, self._started(command))

    def _started(self, command: str) -> float:
        """Seconds from the start of the process until it enforces."""
        self._machine.sh(command, timeout=PATIENCE)
        names = ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        began, ready = (int(self._machine.run("systemctl", "show", "idled", "-P", name).stdout) for name in names)
        return (ready - began) / SEC

    def _ends(self, size: int) -> None:
        """Ending some of them, one after the other."""
        gone = self._gone()
        for session in self._idled.sessions()[:RUNS]:
            cpu, asked, gone = self._unit.cpu(), boottime(), gone + 1
            self._machine.run("idlectl", "end", session["id"])
            while self._gone() < gone:
                time.sleep(0.02)
            closed = max(closed or 0 for _, closed in self._crowd.seen())
            time.sleep(0.3)  # logind forgets it, and so does idled
            self._note("one end", size, (closed - asked) / SEC)
            self._note("one end cpu", size, self._unit.cpu() - cpu)

    def _gone(self) -> int:
        return sum(closed is not None for _, closed in self._crowd.seen())

    # All at once

    def all_at_once(self, sizes: Sequence[int]) -> None:
        """Everybody has typed the last key at the same moment, is warned, and ends."""
        for size in sorted(sizes, reverse=True):  # the most are there already
            for _ in range(RUNS):
                with self._alone:
                    self._expire(size)

    def _expire(self, size: int) -> None:
        say(f"{self._machine.release}: {size} sessions end at once")
        self._idled.limits(idle="1h")
        if took := self._crowd.open(size):
            self._note("opening", size, took)
        self._crowd.key()
        began, typed_at = time.time(), boottime()
        self._idled.limits(idle=f"{DUE}s", warn=f'["{WARNED}s"]')
        self._until(typed_at + (DUE - WARNED + 1) * SEC)
        before, since = self._unit.cpu(), time.monotonic()
        self._until(typed_at + (DUE - 1) * SEC)
        self._note("warned cpu", size, (self._unit.cpu() - before) / (time.monotonic() - since))
        deadline = time.monotonic() + PATIENCE
        while self._gone() < size and time.monotonic() < deadline:
            time.sleep(1)
        while len(gone := dict(told := self._ended_since(began))) < size and time.monotonic() < deadline:
            time.sleep(1)
        late = [(closed - typed) / SEC - DUE for typed, closed in self._crowd.seen() if closed is not None]
        self._note("late", size, *late)
        self._note("gone", size, *gone.values())
        self._note("last late", size, max(late))
        self._note("last gone", size, max(gone.values()))
        self._note("not ended", size, size - len(late))
        self._note("not recorded", size, size - len(gone))
        self._note("recorded again", size, len(told) - len(gone))
        self._crowd.leave()

    def _ended_since(self, moment: float) -> list[tuple[str, float]]:
        """Each record since then of a session that was idle: how long after it was due nothing of it was left."""
        fields = ("IDLED_EVENT", "IDLED_REASON", "IDLED_SESSION", "IDLED_LATE_USEC", "IDLED_TOOK_USEC")
        words = ("--quiet", "--output=json", f"--output-fields={','.join(fields)}", f"--since=@{moment:.6f}")
        said = self._machine.run("journalctl", *words, timeout=PATIENCE).stdout
        entries = [json.loads(line) for line in said.splitlines()]
        ended = [one for one in entries if (one.get("IDLED_EVENT"), one.get("IDLED_REASON")) == ("ended", "idle")]
        return [(one["IDLED_SESSION"], sum(int(one[field]) for field in fields[3:]) / SEC) for one in ended]

    @staticmethod
    def _until(moment: int) -> None:
        time.sleep(max(0, moment - boottime()) / SEC)
