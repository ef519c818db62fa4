# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults that a guest can have, each made for real: it is there inside of a `with`, and over and mended after it.

What a fault may cost an end is said with it, in `FAULTS`; `excuse` makes of that how much later a session may end for
the faults that it met. Nothing excuses an early end.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.terminal.bench import until

from .clocks import step_wall
from .installed import END, SEC
from .machine import Machine, cut
from .metronome import Metronome
from .people import Visit
from .terminal import boottime

RESTART = 2 * SEC  # half a second on an idle machine

# Until there is a daemon that enforces, and it is not the one of that pid.
BACK = """
while [ "$(systemctl show -P ActiveState idled)" != active ] || [ "$(systemctl show -P MainPID idled)" = "$1" ]; do
    sleep 0.05
done
"""
UNLIMITED = 'prlimit --pid="$1" "$2=$(prlimit --pid="$1" "$2" --noheadings --output=HARD | tr -d " "):" 2>/dev/null'
KILL_AGAIN_AND_AGAIN = "echo up; while :; do systemctl kill --signal=KILL idled; sleep 2; done"
# A tmpfs that is as large as what it holds takes no more.
FULL = 'mount -o remount,size="$(df --output=used -k /run | tail -n 1 | tr -d " ")k" /run'
SPIN = 'for number in $(seq "$1"); do while :; do :; done & done; wait'
# What is next in the guest is what is set in a /proc of its own; that of the container cannot be written.
OWN_PROC = ("unshare", "--mount", "sh", "-c", 'mount -t proc proc /proc && eval "$1"', "sh")
LAST_PID = "/proc/sys/kernel/ns_last_pid"
REWIND = f"echo up; while sleep 0.1; do echo 300 >{LAST_PID}; done"

FILL_BACKLOG = """
import resource, signal, socket
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
held = []
try:
    while True:
        held.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        held[-1].setblocking(False)
        held[-1].connect("/run/idled/pam")
except BlockingIOError:
    print("up", flush=True)
signal.pause()
"""

# Anybody may do this. One socket can hold less under way than the journal's can take.
FILL_JOURNAL = """
import socket
sent = 1
while sent:
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.connect("/run/systemd/journal/socket")
    sent = 0
    try:
        while True:
            sender.send(b"MESSAGE=one of many")
            sent += 1
    except BlockingIOError:
        pass
"""

# A file server that takes each request and never answers: FUSE, of which it speaks the first exchange (linux/fuse.h).
# Who asks it sleeps until it is gone; no signal wakes them.
SILENT_SERVER = """
import ctypes, os, struct
os.path.exists("/dev/fuse") or os.mknod("/dev/fuse", 0o020600, os.makedev(10, 229))
os.makedirs("/silent", exist_ok=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"silent", b"/silent", b"fuse", 0, options):
    raise OSError(ctypes.get_errno(), "mount")
unique = struct.unpack_from("=Q", os.read(fd, 1 << 17), 8)[0]
os.write(fd, struct.pack("=IiQ IIII 48x", 80, 0, unique, 7, 31, 0, 0))
print("up", flush=True)
while True:
    os.read(fd, 1 << 17)
"""

# One file after the other: cut short, garbage, of another boot.
DAMAGE = """
cd /run/idled/sessions
number=0
for file in *.json; do
    number=$((number + 1))
    case $((number % 3)) in
        0) truncate --size=$(($(stat --format=%s "$file") / 2)) "$file" ;;
        1) head -c 1000 /dev/urandom >"$file" ;;
        2) sed -i 's/"boot": "[^"]*"/"boot": "another"/' "$file" ;;
    esac
done
"""


# Who writes a line just then has a socket started again, and systemd takes the stop back.
STOP = """
for try in $(seq 50); do
    systemctl stop "$@" && exit
    sleep 0.1
done
exit 1
"""
#: The same while the daemon says nothing.
STOP_UNHEARD = f"""
trap 'systemctl kill --signal=CONT idled || true' EXIT
systemctl kill --signal=STOP idled || true
{STOP}"""


@contextmanager
def running(machine: Machine, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A program of root's in the guest, from when it says that it is up."""
    with machine.popen(*argv) as program:
        try:
            assert program.stdout is not None
            first = program.stdout.readline()
            assert first == "up\n", first + program.stdout.read()
            yield program
        finally:
            cut(program)


def daemon(machine: Machine) -> str:
    """Its pid, as the guest knows it."""
    return machine.run("systemctl", "show", "-P", "MainPID", "idled").stdout.strip()


def wait_back(machine: Machine, gone: str = "0") -> None:
    """Wait until a daemon enforces; another one than that which is gone."""
    machine.sh(BACK, gone, timeout=60)


# The daemon's own


@contextmanager
def killed(machine: Machine) -> Iterator[None]:
    """The daemon gets SIGKILL, as from the kernel when memory is short, each time soon after it is back."""
    with running(machine, "sh", "-c", KILL_AGAIN_AND_AGAIN):
        yield
    wait_back(machine)


@contextmanager
def hung(machine: Machine, unit: str) -> Iterator[None]:
    """A service is there and does nothing."""
    machine.run("systemctl", "kill", "--signal=STOP", unit)
    try:
        yield
    finally:
        machine.run("systemctl", "kill", "--signal=CONT", unit)


@contextmanager
def limited(machine: Machine, option: str, measure: str) -> Iterator[None]:
    """The daemon may have no more of something than it has now; what is started in its place may.

    That is the soft limit. Where root has no CAP_SYS_RESOURCE the hard one could not be raised again.
    """
    wait_back(machine)  # what a fault before this one took from it can have ended it just now
    pid = daemon(machine)
    machine.sh(f'prlimit --pid="$1" "$2=$({measure}):"', pid, option)
    try:
        yield
    finally:
        machine.sh(UNLIMITED, pid, option, check=False)  # it may be another by now
        wait_back(machine)


def without_descriptors(machine: Machine) -> AbstractContextManager[None]:
    """The daemon can open nothing more."""
    return limited(machine, "--nofile", 'ls "/proc/$1/fd" | wc -l')


def without_memory(machine: Machine) -> AbstractContextManager[None]:
    """The daemon gets no more memory of the kernel."""
    measure = """awk '$1 == "VmData:" { print $2 * 1024 }' "/proc/$1/status" """
    return limited(machine, "--data", measure)


@contextmanager
def damaged(machine: Machine) -> Iterator[None]:
    """What the daemon remembers is not what it wrote when it comes back."""
    machine.run("systemctl", "stop", "idled")
    try:
        machine.sh(DAMAGE, check=False)  # there may be no file
    finally:
        machine.run("systemctl", "start", "idled")
    yield


@contextmanager
def full_backlog(machine: Machine) -> Iterator[None]:
    """The daemon does nothing, and as many logins wait for it as can wait; they say nothing."""
    with hung(machine, "idled"), running(machine, "python3", "-c", FILL_BACKLOG):
        yield


# Those of what it relies on


@contextmanager
def restarted(machine: Machine, *units: str) -> Iterator[None]:
    """Services go and come back, one after the other."""
    for unit in units:
        machine.run("systemctl", "restart", unit)
    yield


@contextmanager
def full_journal(machine: Machine) -> Iterator[None]:
    """The journal is there and does nothing, and nothing more fits into its socket."""
    with hung(machine, "systemd-journald"):
        machine.run("setpriv", "--reuid=carol", "--clear-groups", "python3", "-c", FILL_JOURNAL)
        yield


@contextmanager
def without_journal(machine: Machine) -> Iterator[None]:
    """There is no journal, nor anything that listens in its place.

    What reaches its socket after its last look at that, and before that is closed, goes with it: no sender can know.
    """
    units = ("systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald")
    try:
        machine.sh(STOP_UNHEARD, *units)
        yield
    finally:
        machine.run("systemctl", "start", *units)


@contextmanager
def full_run(machine: Machine) -> Iterator[None]:
    """Nothing more can be written to /run."""
    size = machine.sh("df --output=size -k /run | tail -n 1")
    machine.sh(FULL)
    try:
        yield
    finally:
        machine.run("mount", "-o", f"remount,size={size.strip()}k", "/run")


# Those of the machine


@contextmanager
def load(machine: Machine, processes: int = 100) -> Iterator[None]:
    """So many processes of a user never rest."""
    machine.run("systemd-run", "--quiet", "--unit=load", "--uid=carol", "sh", "-c", SPIN, "sh", str(processes))
    try:
        yield
    finally:
        machine.run("systemctl", "stop", "load")


@contextmanager
def pids_again(machine: Machine) -> Iterator[None]:
    """Each new process gets the lowest number that is free: one that was another's a moment ago."""
    with running(machine, *OWN_PROC, REWIND):
        yield


def take_pid(machine: Machine, pid: int, script: str) -> str:
    """Run a script whose next child, or that of anybody else, gets that number; what it says."""
    return machine.run(*OWN_PROC, f"echo {pid - 1} >{LAST_PID}; {script}").stdout.strip()


def sleep_as(machine: Machine, pid: int) -> None:
    """Start a process that has that number, once who had it has gone; others may take it first, for a moment."""

    def took_it() -> bool:
        said = take_pid(machine, pid, "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
        if said != str(pid):
            machine.run("kill", said)
        return said == str(pid)

    until(took_it)


@contextmanager
def silent_server(machine: Machine) -> Iterator[None]:
    """There is a file server at /silent that never answers."""
    try:
        with running(machine, "python3", "-c", SILENT_SERVER):
            yield
    finally:
        machine.run("umount", "--lazy", "/silent", check=False)


@contextmanager
def wrong_clock(machine: Machine) -> Iterator[None]:
    """The wall clock is set to an hour later, and back; of a daemon that has one of its own (clocks.settable_wall)."""
    step_wall(machine, 3600 * SEC)
    try:
        yield
    finally:
        step_wall(machine, -3600 * SEC)


# All of them


@dataclass(frozen=True)
class Fault:
    """A fault, and what it may cost."""

    make: Callable[[Machine], AbstractContextManager[object]]
    of_daemon: bool = False
    at_once: bool = False  # it is over as soon as it is made
    stops: bool = False  # while it is there nothing can end
    slows: int = 0  # how much longer an end that meets it may take
    forgets: bool = False  # idle time may count from its end
    says: tuple[str, ...] = ()  # what the journal has of it afterwards


# Where sshd cannot tell others that a session is over it waits, until it gets SIGKILL.
FAULTS = {
    "daemon killed again and again": Fault(killed, True, slows=RESTART, says=("status=9/KILL",)),
    "daemon hung": Fault(lambda machine: hung(machine, "idled"), True, stops=True),
    "daemon restarted": Fault(lambda machine: restarted(machine, "idled"), True, at_once=True, slows=RESTART),
    "descriptors used up": Fault(
        without_descriptors, True, slows=RESTART, says=(r"exiting to be restarted: OSError\(24",)
    ),
    "memory used up": Fault(without_memory, True, slows=RESTART),
    "state damaged": Fault(
        damaged,
        True,
        at_once=True,
        slows=RESTART,
        forgets=True,
        says=("not what this daemon writes", "of another boot, ignoring"),
    ),
    "backlog full": Fault(full_backlog, True, stops=True, says=("Refused input: PAM packet",)),
    "journal hung": Fault(full_journal, slows=END),
    "journal away": Fault(without_journal, slows=END),
    "dbus hung": Fault(lambda machine: hung(machine, "dbus"), slows=END),
    "dbus and logind restarted": Fault(
        lambda machine: restarted(machine, "dbus", "systemd-logind"), at_once=True, slows=END
    ),
    "logind hung": Fault(lambda machine: hung(machine, "systemd-logind"), slows=END),
    "logind restarted": Fault(lambda machine: restarted(machine, "systemd-logind"), at_once=True, slows=END),
    "run full": Fault(full_run, says=("cannot be kept for a restart",)),
    "load of 100": Fault(load),
    "pids used again": Fault(pids_again),
    "wall clock set": Fault(wrong_clock),
}


@dataclass(frozen=True)
class Spell:
    """A fault from when it began to when it was over."""

    fault: Fault
    since: int
    until: int


@contextmanager
def under(machine: Machine, name: str, spells: list[Spell]) -> Iterator[None]:
    """A fault is there; its spell is among the others when it is over."""
    fault, since = FAULTS[name], boottime()
    with fault.make(machine):
        made = boottime()
        yield
    spells.append(Spell(fault, since, made if fault.at_once else boottime()))


def excuse(spells: Iterable[Spell], last_input: int, limit: int, late: int, *, talks: bool = False) -> int:
    """How much later than its limit and so much a session may end, for the faults that it met.

    `talks`: its client goes on sending what is no input, which cannot be told from input while nobody looks.
    """
    due, more = last_input + limit, 0
    for spell in sorted(spells, key=lambda spell: spell.since):
        fault, meets = spell.fault, spell.since < due + late + more
        if (fault.forgets or (talks and fault.of_daemon)) and meets and spell.until > last_input:
            more = max(more, spell.until + (fault.slows if talks else 0) - last_input)
        if meets and spell.until > due:
            more = max(more, spell.until - due) if fault.stops else more
            more += fault.slows
    return more


def in_time(visit: Visit, limit: int, spells: Iterable[Spell], metronome: Metronome) -> bool:
    """Whether a visit ended within its bounds: never early, and no later than the faults and the machine made it."""
    late = visit.late(limit)
    if late is None or late < 0:
        return False
    more = excuse(spells, visit.last_input, limit, visit.kind.late, talks=visit.kind.talks)
    return visit.in_time(limit + min(late, more), metronome)
