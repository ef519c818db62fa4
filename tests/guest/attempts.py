# SPDX-License-Identifier: LGPL-2.1-or-later
"""What hostile users do in their sessions before they walk away, and how each attempt is seen to have taken effect."""

from __future__ import annotations

from dataclasses import dataclass

#: Goes on in a new process of a new process group and session all the time, immune to all but SIGKILL.
HOPS = """
import os, signal, time
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
    with open("/tmp/hopper", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(0.005)
"""
#: Three hundred processes, each of which makes more whenever one is gone. (A limit of the user's would be one for all
#: guests together.)
BOMB = """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
left, more = os.pipe()
os.set_blocking(left, False)
os.write(more, b"x" * 300)
while True:
    try:
        os.read(left, 1)
        os.fork()
    except BlockingIOError:
        time.sleep(0.2)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            os.write(more, b"x")
    except ChildProcessError:
        pass
"""
#: Calls itself many things, one after the other, in all ways in which /proc shows a name.
NAMES = r"""
import ctypes, os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
for name in (b"x) Z 1 1 1", b"\rUid:\t0\n0\n0", b"\x1b[2J\x07\xff\n", b"sshd: a [priv]"):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, name)
        time.sleep(1000)
if os.fork() == 0:
    open("/proc/self/comm", "wb").write(b"\x9b2J\n\x1b]0;x\x07")
    time.sleep(1000)
os.execv("/usr/bin/sleep", [b"sshd: root [priv]\n\x1b[2J\xff", b"1000"])
"""
#: Asks the user manager to take the connection's own sshd and the shell.
MOVE = r"""
import os, socket, sys
from jeepney import DBusAddress, new_method_call
manager = DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")
moved = ("moved.scope", "fail", [("PIDs", ("au", [int(pid) for pid in sys.argv[1:]]))], [])
link = socket.socket(socket.AF_UNIX)
link.connect(f"/run/user/{os.getuid()}/systemd/private")
link.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
link.recv(1000)
link.sendall(b"BEGIN\r\n" + new_method_call(manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", moved).serialise(1))
link.recv(1000)
"""
#: Stops the own sshd all the time, but for moments in which it may be looked at.
FLICKER = """
import os, signal, sys, time
sshd = int(sys.argv[1])
while True:
    os.kill(sshd, signal.SIGCONT)
    os.kill(sshd, signal.SIGSTOP)
    time.sleep(0.001)
"""
#: Holds a process stopped, and would hold it when it exits (PTRACE_SEIZE with PTRACE_O_TRACEEXIT, PTRACE_INTERRUPT).
TRACE = """
import ctypes, signal, sys, time
libc, pid = ctypes.CDLL(None), int(sys.argv[1])
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
libc.ptrace(0x4206, pid, 0, 0x40)
libc.ptrace(0x4207, pid, 0, 0)
time.sleep(1000)
"""
#: A terminal of its own in packet mode, whose other side takes nothing, with a program on it that fills it.
PACKETS = """
import fcntl, os, pty, struct, termios, time
pid, master = pty.fork()
if pid == 0:
    os.execvp("yes", ["yes", "packets"])
fcntl.ioctl(master, termios.TIOCPKT, struct.pack("i", 1))
time.sleep(1000)
"""
#: In /tmp, with the ending .py.
SCRIPTS = {
    "hops": HOPS,
    "bomb": BOMB,
    "names": NAMES,
    "move": MOVE,
    "flicker": FLICKER,
    "trace": TRACE,
    "packets": PACKETS,
}


@dataclass(frozen=True)
class Attempt:
    """What somebody types before walking away, and a command of root's that shows that it took effect.

    In it `of` gives files of /proc of the processes of the user `$user` whose command lines match.
    """

    user: str
    command: str
    shown: str


AGAIN = "stops its sshd again and again"
#: Of somebody whose client sends keepalives.
READS_NOTHING = {
    "has the user manager take its sshd, and freezes it": Attempt(
        "alice",
        "python3 /tmp/move.py $PPID; until moved=$(sed -n s/^0:://p /proc/$PPID/cgroup | grep moved.scope); do :; done;"
        " echo 1 >/sys/fs/cgroup$moved/cgroup.freeze; sleep 1009",
        "grep -q 'frozen 1' $(sed -n 's,^0::\\(.*moved.scope\\),/sys/fs/cgroup\\1/cgroup.events,p' $(of ^sshd cgroup))",
    ),
    AGAIN: Attempt("alice", "python3 /tmp/flicker.py $PPID", "grep -q 'State:.T' $(of ^sshd status)"),
}
FORK_BOMB = "a fork bomb"
STAYS_ON = {
    "hops from process to process": Attempt(
        "alice",
        "python3 /tmp/hops.py &",
        'a=$(cat /tmp/hopper); sleep 0.05; b=$(cat /tmp/hopper); [ "$a" ] && [ "$b" ] && [ "$a" != "$b" ]',
    ),
    FORK_BOMB: Attempt("carol", "nice -n 19 python3 /tmp/bomb.py &", "[ $(of bomb.py stat | wc -l) -ge 200 ]"),
    "names of its own": Attempt(
        "alice",
        "python3 /tmp/names.py &",
        "names=$(cat $(of . comm)); args=$(of 'sshd: root .priv' stat);"
        " for name in 'x) Z 1 1 1' $'\\rUid:\\t0' $'\\e[2J' 'sshd: a [priv]' $'\\e]0;x';"
        ' do [[ $names = *"$name"* ]] || args=; done; [ "$args" ]',
    ),
    "a screen of its own": Attempt("alice", "screen -d -m sleep 1001", "[ $(of 'sleep 1001' stat | wc -l) -ge 2 ]"),
    "root of its own namespaces, with a /proc of its own": Attempt(
        "alice",
        "unshare -Urpfm sh -c 'mount -t tmpfs none /proc; trap \"\" HUP TERM; while :; do sleep 1; done' &",
        "grep -q '^none /proc tmpfs' $(of 'while :; do sleep' mounts) &&"
        " grep -q '^ *0 *1001 ' $(of 'while :; do sleep' uid_map) &&"
        r" grep -q $'^NSpid:\t[0-9]*\t1$' $(of 'while :; do sleep' status)",
    ),
    "another group": Attempt(
        "alice",
        "newgrp crew\ntrap '' HUP; sg crew 'sleep 1002; sleep 1002'",
        "grep -q \"^Gid:.$(getent group crew | cut -d: -f3)\" $(of 'sleep 1002' status)",
    ),
    "a shell in the user manager, and output": Attempt(
        "alice",
        "exec systemd-run --user --scope --quiet sh -c 'while sleep 1; do date; done'",
        "grep -q user@1001 $(of 'sleep 1; do date' cgroup)",
    ),
    "its sshd and its shell in the user manager": Attempt(
        "alice",
        "python3 /tmp/move.py $PPID $$; while read x; do :; done",
        "[ $(grep -l /moved.scope $(of . cgroup) | wc -l) -ge 2 ]",
    ),
    "a service of the user manager": Attempt(
        "carol", "systemd-run --user --quiet sleep 1234", "grep -q user@1003 $(of 'sleep 1234' cgroup)"
    ),
    "a debugger that holds the shell": Attempt(
        "alice",
        "python3 /tmp/trace.py $$",
        "of 'trace.py [0-9]' stat | grep -q . && grep -q 'State:.t' $(of bash status)",
    ),
    "a debugger outside of the session": Attempt(
        "alice",
        "sleep 1003 & systemd-run --user --quiet python3 /tmp/trace.py $!",
        "grep -q 'State:.t' $(of 'sleep 1003' status)",
    ),
    "stops all that is its own": Attempt(
        "bob", "(sleep 0.5; kill -STOP -1) & sleep 1000", "! grep -L 'State:.[TZ]' $(of . status) | grep ."
    ),
}

# Terminals that are wedged

#: N_NULL, which takes neither input nor output, and of which nothing can be asked.
NO_DISCIPLINE = "import fcntl, struct, termios; fcntl.ioctl(0, termios.TIOCSETD, struct.pack('i', 27))"
EXCLUSIVE = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCEXCL)"
STOPPED = "import termios; termios.tcflow(0, termios.TCOOFF)"
BLOCKED = 'a=$(grep wchar $(of {} io)); sleep 0.3; [ "$a" ] && [ "$a" = "$(grep wchar $(of {} io))" ]'
#: Of this one the client is stopped as soon as it has shown something.
FULL = "full, and the client takes nothing"

WEDGED = {
    "stopped by its program": Attempt(
        "alice",
        f'python3 -c "{STOPPED}"; sleep 1000',
        "echo | dd of=/dev/$terminal oflag=nonblock conv=notrunc 2>&1 | grep 'temporarily unavailable'",
    ),
    "nobody else may open it": Attempt(
        "alice",
        f'python3 -c "{EXCLUSIVE}"; sleep 1000',
        'setpriv --reuid=$user --clear-groups sh -c ": </dev/$terminal" 2>&1 | grep busy',
    ),
    "without a line discipline": Attempt(
        "alice", f'python3 -c "{NO_DISCIPLINE}"; sleep 1000', "stty -F /dev/$terminal 2>&1 | grep 'Invalid argument'"
    ),
    "raw and silent": Attempt(
        "alice",
        "stty raw -echo; sleep 1000",
        "stty -a -F /dev/$terminal | grep -e '-icanon' && stty -a -F /dev/$terminal | grep -e '-echo '",
    ),
    "stops who writes from the background": Attempt(
        "alice", "stty tostop; yes & sleep 1000", "grep 'State:.T' $(of '^yes$' status)"
    ),
    "in packet mode and full": Attempt("carol", "python3 /tmp/packets.py", BLOCKED.format("packets$", "packets$")),
    FULL: Attempt("carol", "stty -ixon; yes", BLOCKED.format("^yes$", "^yes$")),
}
