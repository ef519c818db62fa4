# SPDX-License-Identifier: LGPL-2.1-or-later
"""A booted guest: a container with its own systemd, logind, sshd and journal, thrown away after use.

    with Machine("trixie") as machine, machine.login("alice") as terminal:
        terminal.expect(PROMPT)
        machine.wait_journal(5, IDLED_EVENT="session-opened")

How it stands: a keeper process (a shell, below) holds a mount namespace with an overlay over the release's image,
boots systemd-nspawn in a cgroup of its own, and undoes everything when its standard input closes. So nothing stays
behind, however the test ended, be it by SIGKILL; and no mount is ever seen by the rest of the machine.

`python -m tests.guest.machine RELEASE` boots one and gives a root shell in it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from .image import GUEST, RELEASES, USERS, Recipe, image
from .terminal import Terminal, children, kill

PROJECT = Path(__file__).parents[2]
#: Has sshd read its configuration, and is back when it listens; a reload is back before, and sessions survive both.
SSHD_ANEW = "systemctl reset-failed ssh; systemctl restart ssh"
#: Options of a client that asks the server each second whether it is there, and waits for a busy one for a minute.
CLIENT_ALIVE = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=60")
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "setsid", "ssh-keygen")

# $1 mount point, $2 image, $3 cgroup, $4 machine name, the rest: what to run on the guest's root before it boots.
# In a namespace of its own. The tmpfs on /run/systemd/nspawn is what nspawn wants where /run is none.
# Where the host has the old name=systemd hierarchy beside cgroup v2, nspawn makes the cgroup's folders there, too.
# The machine id is new for each guest: with an empty one systemd would take the boot for the first.
KEEPER = """
set -eu
base=$1 image=$2 cgroup=$3 name=$4
shift 4
clean() {
    [ ! -d "$cgroup" ] || echo 1 >"$cgroup/cgroup.kill"
    wait
    for folder in "$cgroup" "/sys/fs/cgroup/systemd/$name"; do
        while [ -d "$folder" ] && ! find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null; do
            sleep 0.01
        done
    done
    umount --lazy "$base" || true
    rmdir "$base"
}
mkdir -m 0700 "$base"
trap clean EXIT
trap '' INT HUP
mount -t tmpfs -o mode=0755 idled-guest "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=$image,upperdir=$base/upper,workdir=$base/work" idled-guest "$base/root"
tr -d - </proc/sys/kernel/random/uuid >"$base/root/etc/machine-id"
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 idled-guest /run/systemd/nspawn
[ $# -eq 0 ] || "$@" "$base/root"
mkdir "$cgroup"
(
    echo 0 >"$cgroup/cgroup.procs"
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    exec systemd-nspawn --quiet --register=no --keep-unit --boot --private-network --resolv-conf=off \\
        --link-journal=no --timezone=off --machine="$name" --directory="$base/root" </dev/null
) &
cat >/dev/null
"""

# Joins a cgroup of the guest's first: what runs there dies with the guest, and the guest's systemd may move it.
# A program whose way in is cut (nsenter killed, say by a timeout) is killed too.
JOIN = 'echo 0 >"$0" && exec "$@"'
INSIDE = ("nsenter", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
LEASH = ("setpriv", "--pdeathsig", "KILL")

# Clients come from outside: with the guest's files and network, but not among its processes. Inside, the device
# number of a client's terminal would be taken for that of a terminal of the guest.
OUTSIDE = ("nsenter", "--mount", "--net", "--uts")

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "TERM": "xterm",
}

# Every session ends and every user's process is gone, also those that ignore signals.
LOGOUT = """
left() { pgrep -u "$1" || loginctl list-sessions --no-legend | grep .; }
while left "$1" >/dev/null; do
    for id in $(loginctl list-sessions --no-legend | awk '{print $1}'); do
        loginctl kill-session --signal=KILL "$id"
    done
    pkill -KILL -u "$1"
    for user in $(loginctl list-users --no-legend | awk '{print $1}'); do
        loginctl terminate-user "$user"
    done
    sleep 0.05
done 2>/dev/null
"""

# Of <asm/ioctls.h>, not in termios: unlock a pty, open its other side.
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441

Entry = dict[str, Any]
T = TypeVar("T")


class BootError(Exception):
    """A guest did not come up; the message ends with what it said last."""


def why_not() -> str | None:
    """Return the reason for which no guest can boot here, or None."""
    if os.geteuid() != 0:
        return "guests need root"
    if missing := [tool for tool in TOOLS if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None]:
        return f"guests need {', '.join(missing)}"
    try:
        _hierarchy()
    except BootError as error:
        return str(error)
    return None


def cut(process: subprocess.Popen[Any]) -> None:
    """Kill a program in a guest. Its nsenter goes by itself then: killed first, it would leave a zombie there."""
    for pid in children(process.pid):
        kill(pid)
    if not children(process.pid):
        process.kill()


def received_at(entry: Entry) -> int:
    """Return when the journal got an entry, on the clock of the terminals (CLOCK_BOOTTIME, microseconds)."""
    suspended = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return int(entry["__MONOTONIC_TIMESTAMP"]) + suspended // 1000


class Machine:
    """A guest of one release, booted, with the project installed unless `install` is False.

    `recipe` says what else is in it. `prepare` is a command that is given the guest's root directory before the guest
    boots.
    """

    def __init__(
        self,
        release: str,
        *,
        install: bool = True,
        recipe: Recipe = GUEST,
        prepare: Sequence[str] = (),
        timeout: float = 180,
    ) -> None:
        self.release = release
        self._terminals: list[Terminal] = []
        self.name = f"idled-{release}-{uuid.uuid4().hex[:8]}"
        self.base = Path(tempfile.gettempdir()) / self.name
        self.cgroup, lower = _hierarchy() / self.name, image(release, recipe)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed in close()
        prepare = prepare or ((str(PROJECT / "dev"), "install") if install else ())
        self._keeper = self._keep(lower, prepare)
        try:
            self._boot(time.monotonic() + timeout)
        except BaseException:
            self.close()
            raise

    # Running things in it

    def run(
        self, *argv: str, check: bool = True, input: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as root and return what it said; a failure shows it."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.popen(*argv, stdin=stdin, stderr=subprocess.PIPE) as process:
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                cut(process)
                raise
        if check and process.returncode != 0:
            raise AssertionError(f"{argv} gave {process.returncode}:\n{out}{err}")
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def sh(self, script: str, *args: str, check: bool = True, timeout: float = 60) -> str:
        """Run a shell script as root and return its standard output without the last newline."""
        return self.run("sh", "-c", script, "sh", *args, check=check, timeout=timeout).stdout.rstrip("\n")

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program as root; the caller waits for it, or ends it with `cut`. Options are Popen's."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        text = {"encoding": "utf-8", "errors": "replace"}
        return subprocess.Popen([*self._way_in(), *argv], env=ENVIRONMENT, **(streams | text | options))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's, with its directories."""
        self.run("install", "-D", f"--mode={mode:04o}", "/dev/stdin", path, input=text)

    # The journal

    def cursor(self) -> str:
        """Return the journal's present end, to look at what comes after it."""
        return str(_entries(self._journalctl("--lines=1", "--sync"))[-1]["__CURSOR"])

    def journal(self, since: str | None = None, **matches: str) -> list[Entry]:
        """Return the entries after a cursor (or since boot) whose fields have these values."""
        entries = _entries(self._journalctl(*_selection(since, matches), "--sync"))
        return [entry for entry in entries if _has(entry, matches)]

    def wait_journal(self, timeout: float, *, since: str | None = None, **matches: str) -> Entry:
        """Return the first such entry, waiting for it at most so many seconds."""
        follow = ("journalctl", "--output=json", "--all", "--quiet", "--follow", "--no-tail")
        with self.popen(*follow, *_selection(since, matches), stderr=subprocess.DEVNULL) as journalctl:
            try:
                for line in _lines(journalctl, timeout):
                    entry: Entry = json.loads(line)
                    if _has(entry, matches):
                        return entry
            finally:
                cut(journalctl)
        raise AssertionError(f"no entry with {matches} came within {timeout} s")

    def journal_tail(self, lines: int = 60) -> str:
        """Return the journal's last lines as people read them."""
        shown = ("--no-pager", "--output=short-monotonic", f"--lines={lines}")
        return self.run("journalctl", *shown, check=False).stdout

    # People

    def login(self, user: str, command: str | None = None, options: Sequence[str] = ()) -> Terminal:
        """Log in with ssh: a client on a terminal outside of the guest; with an agent to forward where -A is given."""
        agent = ["ssh-agent"] if "-A" in options else []
        return self.client(*agent, "ssh", *options, f"{user}@127.0.0.1", *([command] if command is not None else []))

    def client(self, *argv: str) -> Terminal:
        """Run a client, of root's, on a terminal outside of the guest."""
        prefix = self._enter(self.cgroup / "clients", OUTSIDE)
        return self._kept(Terminal(argv, prefix=prefix, env=ENVIRONMENT))

    def console(self, user: str, password: str | None = None, timeout: float = 20) -> Terminal:
        """Log in with login(1), on a terminal of the guest's own; the password is the user's name if not given."""
        terminal = self.terminal("login", user)
        terminal.expect("[Pp]assword: ", timeout)
        terminal.type(f"{user if password is None else password}\n")
        return terminal

    def terminal(self, *argv: str) -> Terminal:
        """Run a program as root in the guest, on a terminal of the guest's own."""
        pty = self._guest_pty()
        return self._kept(Terminal(argv, prefix=self._way_in(), forks=True, env=ENVIRONMENT, pty=pty))

    def logout_all(self, timeout: float = 60) -> None:
        """End every session and every process of a user, without the project's help."""
        self._close_terminals()
        self.sh(LOGOUT, ",".join(map(str, USERS.values())), check=False, timeout=timeout)

    # Its end

    def poweroff(self, timeout: float = 60) -> None:
        """Shut down as an administrator does, wait for it, and clean up."""
        self._close_terminals()
        for pid in _members(self.root / "harness"):  # a process on its way in, stopped by systemd-shutdown
            if _is_inner(pid):  # together with its nsenter, would keep the namespace open
                kill(pid)
        self.run("systemctl", "poweroff", check=False)
        try:
            _until(lambda: not self.alive, time.monotonic() + timeout, "the guest does not power off")
        finally:
            self.close()

    @property
    def alive(self) -> bool:
        """Whether the guest's PID 1 runs."""
        return _is_init(self.pid)

    def close(self) -> None:
        """Kill the guest, if it is there still, and leave nothing of it."""
        self._close_terminals()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait(timeout=30)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and self.alive:
            print(f"journal of {self.release}:\n{self.journal_tail()}", file=sys.stderr)
        self.close()

    # How it is done

    def _keep(self, lower: Path, prepare: Sequence[str]) -> subprocess.Popen[bytes]:
        places = (self.base, lower, self.cgroup)
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", KEEPER, "keeper", *places, self.name, *prepare],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def _boot(self, deadline: float) -> None:
        try:
            self.pid = _until(self._find_init, deadline, "no PID 1 in sight")
            self.root = _until(self._guest_cgroup, deadline, "PID 1 did not take its place")
            (self.root / "harness").mkdir()
            (self.cgroup / "clients").mkdir()
            _until(self._is_running, deadline, "the guest is not up in time")
        except BootError as error:
            raise BootError(f"{self.release}: {error}\n{self._last_words()}") from None

    def _find_init(self) -> int | None:
        if self._keeper.poll() is not None:
            raise BootError(f"the keeper ended with {self._keeper.returncode}")
        return next((pid for pid in _members(self.cgroup) if _is_init(pid)), None)

    def _guest_cgroup(self) -> Path | None:
        """Return the folder that the guest sees as the root of its cgroups, once PID 1 has made its own in it."""
        return next((path.parent for path in self.cgroup.glob("**/init.scope")), None)

    def _is_running(self) -> bool:
        if not self.alive:
            raise BootError("PID 1 is gone")
        asked = self.run("systemctl", "is-system-running", "--wait", check=False)
        return asked.stdout.strip() in ("running", "degraded")

    def _last_words(self) -> str:
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-30:])

    def _way_in(self) -> list[str]:
        return [*self._enter(self.root / "harness", INSIDE), *LEASH]

    def _enter(self, cgroup: Path, nsenter: Sequence[str]) -> list[str]:
        return ["sh", "-c", JOIN, str(cgroup / "cgroup.procs"), *nsenter, f"--target={self.pid}", "--"]

    def _journalctl(self, *options: str) -> str:
        """Read the journal, after the journal has taken in all that was sent to it if --sync is among the options."""
        rest = [option for option in options if option != "--sync"]
        if len(rest) < len(options):
            self.run("journalctl", "--sync")
        return self.run("journalctl", "--output=json", "--all", "--quiet", *rest, timeout=120).stdout

    def _guest_pty(self) -> tuple[int, int]:
        """Open a pty of the guest's devpts: both ends are held here, and the guest knows it as /dev/pts/N."""
        flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
        master = os.open(f"/proc/{self.pid}/root/dev/pts/ptmx", flags)
        fcntl.ioctl(master, TIOCSPTLCK, bytes(4))
        return master, fcntl.ioctl(master, TIOCGPTPEER, flags)

    def _kept(self, terminal: Terminal) -> Terminal:
        """Remember a terminal, to close it with the machine at the latest."""
        self._terminals.append(terminal)
        return terminal

    def _close_terminals(self) -> None:
        while self._terminals:
            self._terminals.pop().close()


def _hierarchy() -> Path:
    """Find the cgroup v2 hierarchy: /sys/fs/cgroup itself, or a folder in it beside the old controllers."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise BootError("guests need a mounted cgroup v2 hierarchy")


def _members(cgroup: Path) -> Iterator[int]:
    """Yield every process in a cgroup and those under it; what vanishes meanwhile was none."""
    for procs in cgroup.glob("**/cgroup.procs"):
        try:
            yield from map(int, procs.read_text().split())
        except OSError:
            continue


def _is_init(pid: int) -> bool:
    """Say whether a process is there and PID 1 of a namespace below ours."""
    return _pids(pid)[1:][-1:] == ["1"]


def _is_inner(pid: int) -> bool:
    """Say whether a process is there and in a pid namespace below ours."""
    return len(_pids(pid)) > 1


def _pids(pid: int) -> list[str]:
    """Return a living process's pid in each of its namespaces, ours first."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return []
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return [] if fields["State"].split()[0] == "Z" else fields["NSpid"].split()


def _until(fact: Callable[[], T | None], deadline: float, otherwise: str) -> T:
    """Look for a fact until it is one."""
    while not (found := fact()):
        if time.monotonic() > deadline:
            raise BootError(otherwise)
        time.sleep(0.01)
    return found


def _selection(since: str | None, matches: dict[str, str]) -> list[str]:
    """Tell journalctl what to show. In systemd 252 a cursor together with matches skips the first match."""
    if since is not None:
        return [f"--after-cursor={since}"]
    return ["--boot", *(f"{field}={value}" for field, value in matches.items())]


def _has(entry: Entry, matches: dict[str, str]) -> bool:
    """Say whether an entry has all these values; a field given more than once is a list."""
    return all(
        value in found if isinstance(found := entry.get(field), list) else value == found
        for field, value in matches.items()
    )


def _entries(lines: str) -> list[Entry]:
    return [json.loads(line) for line in lines.splitlines()]


def _lines(process: subprocess.Popen[str], timeout: float) -> Iterator[str]:
    """Yield the lines that a process writes within so many seconds."""
    assert process.stdout is not None
    deadline = time.monotonic() + timeout
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            if not (data := os.read(process.stdout.fileno(), 65536)):
                return
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)


def main() -> int:
    """Boot one guest and give a root shell in it; the guest goes when the shell does."""
    parser = argparse.ArgumentParser(prog="python -m tests.guest.machine", description=main.__doc__)
    parser.add_argument("release", choices=RELEASES)
    parser.add_argument("--bare", action="store_true", help="without the project")
    arguments = parser.parse_args()
    if reason := why_not():
        print(f"machine: {reason}", file=sys.stderr)
        return 1
    try:
        with Machine(arguments.release, install=not arguments.bare) as machine:
            return subprocess.call([*machine._way_in(), "bash", "--login"], env=ENVIRONMENT)
    except BootError as error:
        print(f"machine: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
