# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an unprivileged user with the source in hand does to stay or to harm others, and what comes of it.

The table of all attempts, with the tests elsewhere that show the rest, is docs/security.md.
"""

from __future__ import annotations

import errno
import re
from contextlib import ExitStack

from .installed import END, LATE, SEC, Installed, number
from .machine import received_at

IDLE = 8

#: Goes on in a new process of a new process group and session all the time, immune to all but SIGKILL.
HOPS = """
import os, signal, time
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
    time.sleep(0.005)
"""
#: As many processes as it may have, each of which makes more whenever it can.
BOMB = """
import os, resource, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_NPROC, (300, 300))
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.2)
"""
#: Calls itself many things, one after the other, in all ways in which /proc shows a name.
NAMES = r"""
import ctypes, os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
for name in (b"x) Z 1 1 1", b"\rUid:\t0\n0\n0", b"\x1b[2J\x07\xff\n", b"sshd: a [priv]"):
    if os.fork():
        ctypes.CDLL(None).prctl(15, name)
        break
time.sleep(1000)
"""
HOARD = """
import os, resource, time
ptys = [os.openpty() for _ in range(300)]
time.sleep(1000)
"""
#: Asks the user manager to take the connection's own sshd and the shell, and says when it has.
MOVE = r"""
import os, socket, sys, time
from jeepney import DBusAddress, new_method_call
manager = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
moved = ("moved.scope", "fail", [("PIDs", ("au", [int(pid) for pid in sys.argv[1:]]))], [])
link = socket.socket(socket.AF_UNIX)
link.connect(f"/run/user/{os.getuid()}/systemd/private")
link.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
link.recv(1000)
link.sendall(b"BEGIN\r\n" + new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", moved).serialise(1))
while not all("moved.scope" in open(f"/proc/{pid}/cgroup").read() for pid in sys.argv[1:]):
    time.sleep(0.05)
print("mov" + "ed")
"""
EXCLUSIVE = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCEXCL)"

#: Who does what before walking away, in a session of its own; all at once.
STAYS_ON = {
    "hops from process to process": ("alice", "python3 /tmp/hops.py &"),
    "a fork bomb": ("carol", "nice -n 19 python3 /tmp/bomb.py &"),
    "names of its own": ("alice", "python3 /tmp/names.py &"),
    "hoards terminals": ("alice", "python3 /tmp/hoard.py &"),
    "nobody else may open its terminal": ("alice", f"python3 -c '{EXCLUSIVE}'; sleep 1000"),
    "a screen of its own": ("alice", "screen -d -m sleep 1000"),
    "root of its own namespaces, with a /proc of its own": (
        "alice",
        "unshare -Urpfm sh -c 'mount -t tmpfs none /proc; trap \"\" HUP TERM; while :; do sleep 1; done' &",
    ),
    "a shell in the user manager, and output": (
        "alice",
        "exec systemd-run --user --scope --quiet sh -c 'while sleep 1; do date; done'",
    ),
    "its sshd and its shell in the user manager": ("alice", "python3 /tmp/move.py $PPID $$; while read x; do :; done"),
    "a service of the user manager": ("carol", "systemd-run --user --quiet sleep 1234"),
    "stops all that is its own": ("bob", "(sleep 0.5; kill -STOP -1) & sleep 1000"),
    "does not take output": ("alice", "stty -ixon; yes"),
}


def test_nobody_stays_and_nobody_is_late(idled: Installed) -> None:
    for name, text in {"hops": HOPS, "bomb": BOMB, "names": NAMES, "hoard": HOARD, "move": MOVE}.items():
        idled.machine.write(f"/tmp/{name}.py", text)
    known, typed = dict[str, str](), dict[str, int]()
    with ExitStack() as stack:
        clients = {what: stack.enter_context(idled.login(who)) for what, (who, _) in STAYS_ON.items()}
        for what, client in clients.items():
            client.type("tty\n")
            terminal = client.expect(r"/dev/(pts/\d+)\r")[1]
            known[what] = next(one["id"] for one in idled.sessions() if one["terminals"] == [terminal])
        idled.limits(idle=f"{IDLE}s", warn='["2s"]')
        for what, (_, command) in STAYS_ON.items():
            typed[what] = clients[what].type(f"{command}\n")
        clients["its sshd and its shell in the user manager"].expect("moved")
        clients["does not take output"].stop()
        for what, moment in typed.items():
            ended = idled.event("ended", timeout=30, IDLED_SESSION=known[what])
            took = number(ended, "TOOK_USEC")
            assert took <= END, what
            assert ended["IDLED_SURVIVORS"] == "0"
            assert IDLE * SEC <= received_at(ended) - moment <= IDLE * SEC + LATE + took, what
        clients["does not take output"].cont()
    assert idled.processes("alice") == idled.processes("bob") == []
    assert idled.processes("carol") == ["/usr/bin/sleep 1234"], "which is not of a session: see end = user"
    said = [entry["MESSAGE"] for entry in idled.machine.journal(idled.since) if "IDLED_EVENT" in entry]
    assert [line for line in said if not line.isprintable()] == []


#: Each prints what it was refused with.
DENIED = r"""
import ctypes, os, signal, socket
libc, sshd = ctypes.CDLL(None, use_errno=True), os.getppid()
while b"sshd" not in open(f"/proc/{sshd}/comm", "rb").read():
    sshd = int(open(f"/proc/{sshd}/stat").read().rsplit(")", 1)[1].split()[1])
scope = "/sys/fs/cgroup" + [line for line in open("/proc/self/cgroup") if line.startswith("0::")][0][3:-1]
manager = f"{os.path.dirname(scope)}/user@{os.getuid()}.service"
def ptrace(pid):
    if libc.ptrace(0x4206, pid, 0, 0):  # PTRACE_SEIZE
        raise OSError(ctypes.get_errno(), "")
def into(path, text):
    with open(path, "w") as file:
        file.write(text)
TRIES = {
    "register a session": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect("/run/idled/pam"),
    "read what it remembers": lambda: os.listdir("/run/idled/sessions"),
    "put a socket in the place of its own": lambda: os.rename("/run/idled/io.idled", "/run/idled/other"),
    "put a link where it writes": lambda: os.symlink("/etc/shadow", "/run/idled/sessions.new"),
    "write the policy": lambda: into("/etc/idled/idled.toml", ""),
    "drive the own sshd": lambda: ptrace(sshd),
    "write into the own sshd": lambda: open(f"/proc/{sshd}/mem", "wb"),
    "read the counters of the own sshd": lambda: open(f"/proc/{sshd}/io").read(),
    "stop the leader": lambda: os.kill(int(open(f"/proc/{sshd}/stat").read().rsplit(")", 1)[1].split()[1]), 19),
    "leave the session's cgroup": lambda: into(f"{manager}/cgroup.procs", str(os.getpid())),
    "leave it for an own one inside": lambda: os.mkdir(f"{scope}/inside"),
    "freeze it": lambda: into(f"{scope}/cgroup.freeze", "1"),
    "shed the audit session": lambda: into("/proc/self/loginuid", "4294967295"),
}
print()
for what, act in TRIES.items():
    try:
        act()
    except OSError as error:
        print(f"{what}: {error.errno}")
    else:
        print(f"{what}: done")
print("ov" + "er")
"""


REFUSED = (str(errno.EPERM), str(errno.EACCES))


def test_what_a_user_is_refused(idled: Installed) -> None:
    idled.machine.write("/tmp/denied.py", DENIED)
    idled.limits(idle="1h")
    with idled.login("alice") as terminal:
        terminal.type("python3 /tmp/denied.py\n")
        terminal.expect("over\r")
        answers = dict(re.findall(r"^([a-z' ]+): (\w+)\r$", terminal.text, re.MULTILINE))
        assert idled.session("alice")["state"] == "open"
    assert {what: answer for what, answer in answers.items() if answer not in REFUSED} == {}
    assert len(answers) == 13
