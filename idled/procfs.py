# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading /proc and the cgroup tree. Races with the kernel are mapped here and nowhere else: what is gone is None.

What cannot be read for want of descriptors or memory raises OSError (see ``shortage``).

psutil knows neither the session's terminal group nor the audit session nor cgroups and costs six times as much a
process, so the few fields that matter are read here.
"""

import errno
import fnmatch
import os
import signal
import socket
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, Self

from .core.span import SEC, Usec
from .shortage import tolerant

#: Microseconds in a clock tick, the unit of a process's start.
TICK: Final[Usec] = SEC // os.sysconf("SC_CLK_TCK")
#: The kernel's value of loginuid and sessionid for "not set".
UNSET: Final = 2**32 - 1
#: The mount namespace that no user has a hand in.
_MOUNTS: Final = "/proc/1/ns/mnt"
#: TCP_ESTABLISHED of the kernel, as /proc/net/tcp has it.
_ESTABLISHED: Final = b"01"
#: Lists of all processes that are read for one another; no fork bomb keeps the reader at it for longer.
_MOST_LISTS: Final = 8
_GONE: Final = (FileNotFoundError, ProcessLookupError)
#: What pidfd_open says of a number that is nobody's, or by now that of a thread: then EINVAL, of late ENOENT.
_NO_PROCESS: Final = (errno.ESRCH, errno.EINVAL, errno.ENOENT)


class Process(NamedTuple):
    """A process as /proc/PID/stat gives it, see proc_pid_stat(5)."""

    pid: int
    comm: str
    state: str
    ppid: int
    sid: int
    tty: int  # device number of the controlling terminal, 0 for none
    start: int  # clock ticks since boot
    threads: int = 1
    foreground: bool = False  # in the foreground process group of its terminal

    @property
    def alive(self) -> bool:
        """Zombies have ended; nobody has picked up their status yet.

        A process whose main thread alone has ended shows the same state, and lives on in the others.
        """
        return self.state not in "ZX" or self.threads > 1


def _read(path: str) -> bytes | None:
    """What stands in a file of the kernel's; each look reads dozens, and file objects cost as much as the kernel."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except _GONE:
        return None
    try:
        data = b""
        while more := os.read(fd, 65536):
            data += more
        return data
    except _GONE:
        return None
    finally:
        os.close(fd)


def _lines(path: str) -> list[bytes]:
    """Of a file; none of one that is gone. Names in it may hold anything but the newline, carriage returns too."""
    return (_read(path) or b"").split(b"\n")


@cache
def boot_id() -> str:
    """The kernel's name for the time since it was booted."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process(pid: int) -> Process | None:
    """The process of that number, if there is one."""
    data = _read(f"/proc/{pid}/stat")
    return parse_stat(data) if data else None


def parse_stat(data: bytes) -> Process:
    """Parse /proc/PID/stat; the name, in parentheses, may hold anything."""
    pid, rest = data.split(b" (", 1)
    comm, rest = rest.rsplit(b") ", 1)
    fields = rest.split()
    tty = int(fields[4]) & 0xFFFFFFFF
    return Process(
        pid=int(pid),
        comm=comm.decode(errors="replace"),
        state=fields[0].decode(),
        ppid=int(fields[1]),
        sid=int(fields[3]),
        tty=os.makedev(tty >> 8 & 0xFFF, tty & 0xFF | tty >> 12 & 0xFFF00) if tty else 0,
        start=int(fields[19]),
        threads=int(fields[17]),
        foreground=bool(tty) and fields[2] == fields[5],
    )


def processes() -> Generator[Process, None, bool]:
    """All processes of the machine.

    What had ended when its turn came may have started another before, which no list had: then those are read, too, that
    have come since. Each list is shorter and sooner read, and what does nothing but fork is met in one of them,
    almost always. Returns whether it was not, and there may be such a one: in each list something had ended.
    """
    seen = set[int]()
    for _ in range(_MOST_LISTS):
        pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if pid not in seen]
        seen.update(pids)
        alive = 0
        for found in filter(None, map(process, pids)):
            alive += found.alive
            yield found
        if alive == len(pids):
            return False
    return True


def children(pid: int) -> Iterator[Process]:
    """The children of a process."""
    with suppress(*_GONE):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in (_read(f"/proc/{pid}/task/{task}/children") or b"").split():
                if found := process(int(child)):
                    yield found


def descendants(pid: int) -> Iterator[Process]:
    """The children of a process, theirs, and so on, however deep; not the process itself."""
    parents = [pid]
    while parents:
        for child in children(parents.pop()):
            parents.append(child.pid)
            yield child


def twin(parent: Process, uid: int) -> Process | None:
    """The child that runs the same file as its parent, as that user."""
    file = executable(parent.pid)
    for child in children(parent.pid):
        if real_uid(child.pid) == uid and file is not None and executable(child.pid) == file:
            return child
    return None


def audit_session(pid: int) -> int | None:
    """The audit session, which is inherited and cannot be shed; UNSET when it has none, None where nothing is known."""
    number = _read(f"/proc/{pid}/sessionid")
    return int(number) if number else None


def real_uid(pid: int) -> int | None:
    """The real user id."""
    uid = _field(_lines(f"/proc/{pid}/status"), b"Uid:")
    return int(uid) if uid else None


def _field(status: list[bytes], name: bytes) -> bytes:
    """The first value of that name in the lines of /proc/PID/status; none where the process is gone."""
    return next((line.split()[1] for line in status if line.startswith(name)), b"")


def holders(held: Process) -> list[Process]:
    """The debuggers that hold a thread of exactly that process stopped just now."""
    found = [holder for pid in _holding(held.pid) if (holder := process(pid)) is not None]
    still, now = _holding(held.pid), process(held.pid)  # so that none of the numbers is another's by now
    same = now is not None and now.start == held.start
    return [holder for holder in found if same and holder.pid in still]


def _holding(pid: int) -> set[int]:
    """Their pids. The kernel names the thread that traces."""
    found = set()
    with suppress(*_GONE):
        for task in os.listdir(f"/proc/{pid}/task"):
            status = _lines(f"/proc/{pid}/task/{task}/status")
            if _field(status, b"State:") == b"t":
                tracer = _field(status, b"TracerPid:").decode()
                found.add(int(_field(_lines(f"/proc/{tracer}/status"), b"Tgid:") or 0))
    return found


class Io(NamedTuple):
    """Bytes a process has read and written in all, by any call but sendto() and its like."""

    read: int
    written: int


def io(pid: int) -> Io | None:
    """What it has read and written; None also where that may not be seen."""
    try:
        lines = (_read(f"/proc/{pid}/io") or b"").split()
    except PermissionError:
        return None
    return Io(int(lines[1]), int(lines[3])) if len(lines) > 3 else None


def executable(pid: int) -> str | None:
    """The path of the file it runs, by the kernel's link; None also for kernel threads."""
    with tolerant:
        return os.readlink(f"/proc/{pid}/exe")
    return None


def program(pid: int) -> str | None:
    """The path of the file it runs, where that can be believed and nobody but root can write the file.

    The kernel's link is a path in the process's own mount namespace, in which a user can be root and mount what he
    likes: there it must be the same file for us. In that of PID 1 he cannot; there what an upgrade has put another
    file in place of is still what it was. (By its links a file is not always known to be gone: on overlayfs it has
    them still.)
    """
    link, file = executable(pid) or "", _status(f"/proc/{pid}/exe")
    if file is None or file.st_uid != 0 or file.st_mode & 0o022:
        return None
    if _same(file, _status(link)):
        return link
    return link.removesuffix(" (deleted)") if _same(_status(f"/proc/{pid}/ns/mnt"), _status(_MOUNTS)) else None


def _status(path: str) -> os.stat_result | None:
    """Of what may lie on a file server of the user's, who answers with any error he likes: none is believed."""
    with suppress(OSError):
        return os.stat(path)
    return None


def _same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    return one is not None and other is not None and os.path.samestat(one, other)


def title(pid: int) -> str:
    """Its command line as one text."""
    return (_read(f"/proc/{pid}/cmdline") or b"").replace(b"\0", b" ").decode(errors="replace").strip()


def ptys_held(pid: int) -> set[int] | None:
    """Device numbers of the pseudo-terminals whose master side the process holds; None where that may not be seen."""
    found = set()
    with tolerant:
        for name, link in _descriptors(pid).items():
            for line in _lines(f"/proc/{pid}/fdinfo/{name}") if link.endswith("ptmx") else ():
                if line.startswith(b"tty-index:"):
                    index = int(line.split()[1])
                    found.add(os.makedev(136 + (index >> 20), index & 0xFFFFF))
        return found
    return None


def sockets_held(pid: int) -> set[int]:
    """Inodes of the sockets that a process holds; none also where that may not be seen."""
    found = set()
    with tolerant:
        for link in _descriptors(pid).values():
            if link.startswith("socket:["):
                found.add(int(link[len("socket:[") : -1]))
    return found


def _descriptors(pid: int) -> dict[str, str]:
    """What each of its descriptors leads to."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found[name] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


class TcpConnection(NamedTuple):
    """As /proc/net/tcp has its two sides: of the thousands that are listed few are asked for."""

    remote: bytes
    local: bytes

    def __str__(self) -> str:
        """Remote address and port, local address and port, as in SSH_CONNECTION."""
        return f"{_address(self.remote)} {_address(self.local)}"


def tcp_connections() -> dict[int, TcpConnection]:
    """Those that are established, by inode, see proc_pid_net(5)."""
    found = {}
    for path in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        for line in _lines(path)[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _ESTABLISHED:
                found[int(fields[9])] = TcpConnection(fields[2], fields[1])
    return found


def _address(field: bytes) -> str:
    """An address of 4 or 16 bytes, in words of this machine's order, and a port."""
    words, port = field.split(b":")
    raw = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    return f"{socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)} {int(port, 16)}"


def open_process(pid: int, start: int) -> int | None:
    """A pidfd of exactly that process; None when it is gone, even if its number is in use again."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in _NO_PROCESS:
            raise
        return None
    found = process(pid)
    if found is None or found.start != start:
        os.close(pidfd)
        return None
    return pidfd


def send(target: Process, *signals: signal.Signals) -> bool:
    """Signal exactly that process; False when it is gone. PermissionError where a security module forbids it."""
    pidfd = open_process(target.pid, target.start)
    if pidfd is None:
        return False
    try:
        for number in signals:
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


@cache
def cgroup_root() -> Path | None:
    """Where the cgroup v2 tree is mounted; None when there is none."""
    for line in _lines("/proc/self/mountinfo"):
        fields, _, rest = line.partition(b" - ")
        if rest.startswith(b"cgroup2 "):
            return Path(os.fsdecode(fields.split(b" ")[4]))
    return None


def cgroup(pid: int) -> str | None:
    """The path of its cgroup in the v2 tree.

    None also where it is too long to be told (ENAMETOOLONG, where the kernel does not cut it off): users may nest the
    cgroups below their user manager as deep as they like.
    """
    with tolerant:
        for line in _lines(f"/proc/{pid}/cgroup"):
            if line.startswith(b"0::"):
                return os.fsdecode(line[3:])
    return None


def cgroup_path(name: str) -> Path | None:
    """The folder of a cgroup named as in /proc/PID/cgroup; None when it is the root or there is no v2 tree."""
    root = cgroup_root()
    parts = Path(name).parts
    if root is None or len(parts) < 2 or parts[0] != "/" or ".." in parts:
        return None
    return root.joinpath(*parts[1:])


def inode(folder: str | Path) -> int:
    """What tells a cgroup from all others, later ones too; 0 where there is none."""
    with tolerant:
        return os.stat(folder).st_ino
    return 0


class Cgroup(NamedTuple):
    """One cgroup: its path, which another may have later, and its inode, which no other ever has."""

    path: str
    inode: int

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The one that has that path just now."""
        return cls(str(path), inode(path))

    def stands(self) -> bool:
        """Whether it is there still."""
        return inode(self.path) == self.inode

    def members(self) -> list[Process]:
        """Every process in it and below it; what is at its path when all is read was there all the time."""
        found = list(cgroup_members(self.path))
        return found if self.stands() else []

    def populated(self) -> bool:
        """Whether any process that has not ended is in it or below it; one look, however many there are."""
        with tolerant:  # ENODEV: removed between open and read
            return b"populated 1" in (_read(f"{self.path}/cgroup.events") or b"") and self.stands()
        return False

    def kill(self) -> None:
        """SIGKILL to all in it and below at once, where the kernel can (5.14)."""
        with tolerant, _opened(self.path, os.O_PATH) as at:
            if os.fstat(at).st_ino == self.inode:
                with _opened("cgroup.kill", os.O_WRONLY, at) as fd:
                    os.write(fd, b"1")


@contextmanager
def _opened(path: str, flags: int, folder: int | None = None) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def cgroup_members(folder: str | Path) -> Iterator[Process]:
    """Every process in a cgroup and those below it, however deep."""
    return members_of(cgroup_tree(folder))


def members_of(folders: Iterable[str]) -> Iterator[Process]:
    """Every process in those cgroups themselves.

    What cannot be read was removed meanwhile (ENODEV), or is threaded (EOPNOTSUPP) and has its processes listed in a
    cgroup above.
    """
    for folder in folders:
        pids = b""
        with tolerant:
            pids = _read(f"{folder}/cgroup.procs") or b""
        yield from filter(None, map(process, map(int, pids.split())))


def cgroup_tree(folder: str | Path, *, but: str = "") -> Iterator[str]:
    """A cgroup and all below it, however deep, except what is at the top and named `but`. Each before those in it."""
    folders, left_out = [str(folder)], f"{folder}/{but}"
    while folders:
        yield (path := folders.pop())
        folders += [below for below in _subfolders(path) if below != left_out]


def _subfolders(path: str) -> list[str]:
    """The cgroups in one. Where there are none it is not listed, since who lists it waits for who removes it just then.

    That takes long where many others are moved, see ``actions.end``. Two of the links of a folder are its own.
    """
    with tolerant:  # it was removed meanwhile
        if os.stat(path).st_nlink > 2:
            with os.scandir(path) as entries:
                return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def cgroups(folder: str, pattern: str) -> Iterator[str]:
    """The cgroups below one whose names, one for each level, match those of a pattern."""
    first, _, rest = pattern.partition("/")
    for path in _subfolders(folder):
        if not fnmatch.fnmatch(path.rpartition("/")[2], first):
            continue
        if rest:
            yield from cgroups(path, rest)
        else:
            yield path
