# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an unprivileged user with the source in hand does to stay or to harm others, and what comes of it.

The table of all attempts, with the tests elsewhere that show the rest, is docs/security.md.
"""

from __future__ import annotations

import errno
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.terminal.bench import until

from .attempts import AGAIN, FORK_BOMB, FULL, READS_NOTHING, SCRIPTS, STAYS_ON, WEDGED, Attempt
from .installed import END, LATE, SEC, Installed, number
from .machine import CLIENT_ALIVE, Entry, received_at
from .terminal import Terminal

#: Long enough to see meanwhile that each attempt took effect.
IDLE = 20

#: What an end may wait for an sshd that does not read what has arrived, and is not seen to be stopped.
UNREAD = 2_550_000

#: Each in a session of its own; all at once.
ATTEMPTS = STAYS_ON | WEDGED


def test_nobody_stays_and_nobody_is_late(idled: Installed) -> None:
    bring_scripts(idled)
    idled.machine.sh("groupadd --force crew; gpasswd --add alice crew")
    left = try_all(idled)
    assert any("killed to end it" in entry["MESSAGE"] for entry in idled.events("trouble"))
    assert left["alice"] == left["bob"] == []
    assert left["carol"] == ["/usr/bin/sleep 1234"], "which is not of a session: see end = user"
    for entry in idled.machine.journal(idled.since):
        if "IDLED_EVENT" in entry:
            assert all(isinstance(value, str) and value.isprintable() for value in entry.values()), entry


def bring_scripts(idled: Installed) -> None:
    for name, text in SCRIPTS.items():
        idled.machine.write(f"/tmp/{name}.py", text)


def name_of(client: Terminal) -> str:
    """What the terminal of a client is called in the guest."""
    client.type("tty\n")
    return client.expect(r"/dev/(pts/\d+)\r")[1]


def ids_by_terminal(idled: Installed) -> dict[str, str]:
    return {terminal: one["id"] for one in idled.sessions() for terminal in one["terminals"]}


def try_all(idled: Installed) -> dict[str, list[str]]:
    """Have people try, each in a session of its own, and see that each is ended on time; what is left of each user."""
    terminals, known, typed = dict[str, str](), dict[str, str](), dict[str, int]()
    with ExitStack() as stack:
        clients = {what: stack.enter_context(idled.login(attempt.user)) for what, attempt in ATTEMPTS.items()}
        for what, client in clients.items():
            terminals[what] = name_of(client)
        until(lambda: set(terminals.values()) <= ids_by_terminal(idled).keys())
        ids = ids_by_terminal(idled)
        for client in clients.values():
            client.type("\n")
        idled.limits(idle=f"{IDLE}s", warn='["2s"]')
        for what, attempt in ATTEMPTS.items():
            known[what] = ids[terminals[what]]
            typed[what] = clients[what].type(f"{attempt.command}\n")
        clients[FULL].expect("y\r\ny\r")
        clients[FULL].stop()
        with ThreadPoolExecutor(4) as lookers:
            list(lookers.map(lambda what: until_shown(idled, ATTEMPTS[what], terminals[what]), ATTEMPTS))
        until(lambda: not idled.sessions(), 2 * IDLE + 20)
        # At once, since logind takes the user manager away ten seconds after the last session, and what is in it.
        left = {user: idled.processes(user) for user in ("alice", "bob", "carol")}
        for what, moment in typed.items():
            ended = idled.event("ended", timeout=IDLE + 20, IDLED_SESSION=known[what])
            took = number(ended, "TOOK_USEC")
            assert time_of_daemon(idled, ended, what) <= END, what
            assert ended["IDLED_SURVIVORS"] == "0"
            assert IDLE * SEC <= received_at(ended) - moment <= IDLE * SEC + LATE + took, what
        clients[FULL].cont()
    assert {entry["IDLED_SESSION"] for entry in idled.events("warned")} == set(known.values())
    return left


def time_of_daemon(idled: Installed, ended: Entry, what: str) -> int:
    """What an end took; of the bomb until SIGKILL: at nice 19 three hundred processes go when the machine has time."""
    killed = idled.event("end-escalated", IDLED_SESSION=ended["IDLED_SESSION"]) if what == FORK_BOMB else ended
    return number(killed, "TOOK_USEC")


@pytest.mark.parametrize("what", READS_NOTHING)
def test_who_lets_keepalives_wait_is_not_late_for_long(idled: Installed, what: str) -> None:
    attempt = READS_NOTHING[what]
    bring_scripts(idled)
    idled.limits(idle=f"{IDLE}s")
    with idled.login(attempt.user, *CLIENT_ALIVE) as client:
        terminal = name_of(client)
        typed = client.type(f"{attempt.command}\n")
        until_shown(idled, attempt, terminal)
        closed = client.wait_closed(IDLE + 20)
        idled.wait_ended(attempt.user)
    assert IDLE * SEC <= closed - typed <= IDLE * SEC + LATE + (UNREAD if what == AGAIN else END)
    assert idled.processes(attempt.user) == []


#: $1 the user, $2 the terminal, $3 what is to be so.
SHOWN = """
user=$1 terminal=$2
of() { pgrep -u "$user" -f -- "$1" | sed "s,.*,/proc/&/$2,"; }
until eval "$3"; do sleep 0.1; done 2>/dev/null
"""


def until_shown(idled: Installed, attempt: Attempt, terminal: str) -> None:
    """Wait until it is so: before the session is ended."""
    command = ("timeout", str(IDLE), "bash", "-c", SHOWN, "shown", attempt.user, terminal, attempt.shown)
    assert idled.machine.run(*command, check=False).returncode == 0, f"in vain, so it shows nothing: {attempt}"


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
