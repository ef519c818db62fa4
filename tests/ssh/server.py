# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private sshd on loopback and clients of it.

It runs in a mount namespace of its own, where nobody has a shell and nothing of it (logins, logs, pid files) gets into
the machine's files; and in a cgroup of its own, with which all that it started goes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from idled import procfs
from idled.core.activity import ConnectionLook
from idled.evidence.connections import Connections, user_side
from idled.sources import sshd
from idled.sources.sighting import Sighting
from tests.guest.terminal import Terminal
from tests.terminal.bench import Cgroup, until

SSHD = "/usr/sbin/sshd"
PASSPHRASE = "only for tests"
USERS = ("nobody", "root")

_SETUP = """
set -eu
mount -t tmpfs -o mode=0755 none /run
mkdir /run/sshd
mount -t tmpfs -o mode=0755 none /var/log
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/shadow" /etc/shadow
echo $$ >"$2/cgroup.procs"
exec "$3" -D -e -f "$1/sshd_config"
"""

_CONFIG = """
Port {port}
ListenAddress {address}
{host_keys}
PidFile none
UsePAM no
StrictModes no
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 200
MaxAuthTries 50
MaxSessions 50
Ciphers {ciphers}
MACs {macs}
KexAlgorithms {kex}
Subsystem sftp internal-sftp
{more}
"""


def why_not() -> str:
    """Why there can be no such sshd here; empty when there can be one."""
    if os.geteuid() != 0:
        return "needs root: an sshd that logs other users in"
    missing = [program for program in (SSHD, "ssh", "sftp", "ssh-keygen", "unshare") if not shutil.which(program)]
    return f"needs {', '.join(missing)}" if missing else ""


def offered(what: str) -> list[str]:
    """What this OpenSSH can do: cipher, mac, kex."""
    return subprocess.run(["ssh", "-Q", what], stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def free_port(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Server:
    """One sshd with keys of its own, of RSA one of so many bits."""

    def __init__(self, *, address: str = "127.0.0.1", more: str = "", rsa: int = 3072) -> None:
        self.address = address
        self._host_keys = {"ed25519": ("ed25519",), "rsa": ("rsa", f"-b{rsa}")}
        self._host_keys |= {f"nistp{bits}": ("ecdsa", f"-b{bits}") for bits in (256, 384, 521)}
        self.port = free_port(address)
        self.folder = Path(tempfile.mkdtemp(prefix="idled-sshd-"))
        self.folder.chmod(0o755)
        self.cgroup = Cgroup()
        self._make_keys()
        self._make_accounts()
        config = _CONFIG.format(
            port=self.port,
            address=address,
            folder=self.folder,
            host_keys="\n".join(f"HostKey {self.folder}/host_{name}" for name in self._host_keys),
            ciphers=",".join(offered("cipher")),
            macs=",".join(offered("mac")),
            kex=",".join(offered("kex")),
            more=more,
        )
        (self.folder / "sshd_config").write_text(config)
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", "sh", "-c", _SETUP]
                + ["sshd", str(self.folder), str(self.cgroup.path), SSHD],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._process.pid
        until(lambda: "Server listening" in self.log)

    @property
    def log(self) -> str:
        """What sshd said so far."""
        text = (self.folder / "log").read_text(errors="replace")
        assert self._process.poll() is None, f"sshd ended:\n{text}"
        return text

    def leaders(self) -> dict[int, procfs.Process]:
        """The process of each connection, logged in or not."""
        return {process.pid: process for process in procfs.children(self.pid) if process.alive}

    def command(self, user: str, *options: str, program: str = "ssh", key: str = "key") -> list[str]:
        """A client's command line without what it is to do; of two values for a setting it takes the first."""
        settings = {
            "Port": self.port,
            "IdentityFile": self.folder / key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        fixed = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        place = f"[{self.address}]" if program == "sftp" and ":" in self.address else self.address
        return [program, "-F", "none", *options, *fixed, f"{user}@{place}"]

    def login(self, user: str, *options: str, run: Sequence[str] = (), expect: str = "", **more: str) -> Login:
        """A client, logged in and its connection known. `expect`: what it says when it is ready."""
        return Login(self, user, [*self.command(user, *options, **more), *run], expect)

    def _make_keys(self) -> None:
        phrases = {"locked": PASSPHRASE}
        keys = dict.fromkeys(("key", "locked", "unknown"), ("ed25519",))
        for name, kind in (keys | {f"host_{name}": kind for name, kind in self._host_keys.items()}).items():
            make = ["ssh-keygen", "-q", "-a1", "-N", phrases.get(name, ""), "-f", self.folder / name, "-t", *kind]
            subprocess.run(make, check=True)
        known = [(self.folder / f"{name}.pub").read_text() for name in ("key", "locked")]
        (self.folder / "authorized_keys").write_text("".join(known))

    def _make_accounts(self) -> None:
        """The machine's accounts, but nobody has a shell and none is locked."""
        lines, shadow = [], []
        for account in pwd.getpwall():
            shell, home = ("/bin/sh", "/") if account.pw_name in USERS else (account.pw_shell, account.pw_dir)
            lines.append(f"{account.pw_name}:x:{account.pw_uid}:{account.pw_gid}::{home}:{shell}\n")
            shadow.append(f"{account.pw_name}:*:19000:0:99999:7:::\n")
        (self.folder / "passwd").write_text("".join(lines))
        (self.folder / "shadow").write_text("".join(shadow))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.cgroup:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder)


class Login:
    """A client on a real terminal, and its connection as the server sees it."""

    def __init__(self, server: Server, user: str, argv: list[str], expect: str) -> None:
        self.user, self.uid = user, pwd.getpwnam(user).pw_uid
        self.server = server
        self.client = Terminal(argv)
        self._looks = Connections()
        try:
            if expect:
                self.client.expect(expect, 30)
            self.connection = until(self._four_tuple)
            self.leader = until(self._leader)
            address, port, *_ = self.connection.split()
            until(lambda: f"Accepted publickey for {user} from {address} port {port} " in server.log)
            until(self._in_session)
            until(lambda: self._look().delivered is not None)
        except BaseException:
            self.close()
            raise

    def look(self) -> ConnectionLook:
        """One look at the connection, with counters."""
        found = self._look()
        assert found.delivered is not None
        assert found.issued is not None
        return found

    def _look(self) -> ConnectionLook:
        found = self._looks.look(self.connection, self.leader, self.uid)
        assert found is not None
        return found

    def freeze(self, *, thaw: bool = False) -> None:
        """Stop all of the connection's sshd, or let it go on."""
        for process in (self.leader, *procfs.children(self.leader.pid)):
            procfs.send(process, signal.SIGCONT if thaw else signal.SIGSTOP)

    def _ssh(self) -> list[int]:
        return [self.client.pid, *(process.pid for process in procfs.descendants(self.client.pid))]

    def _four_tuple(self) -> str | None:
        for pid in self._ssh():
            for found in sockets(pid):
                if found.raddr and found.raddr.port == self.server.port:
                    return f"{found.laddr.ip} {found.laddr.port} {found.raddr.ip} {found.raddr.port}"
        return None

    def _leader(self) -> procfs.Process | None:
        port = int(self.connection.split()[1])
        for process in self.server.leaders().values():
            if any(found.raddr and found.raddr.port == port for found in sockets(process.pid)):
                return process
        return None

    def _in_session(self) -> bool:
        """Whether the process that takes over after authentication has done so."""
        return user_side(self.leader, self.uid) is not None

    def close(self) -> None:
        self.client.close()
        self._looks._netlink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sockets(pid: int) -> list[Any]:
    """The TCP sockets of a process, as psutil tells (which renamed the question in version 6)."""
    try:
        process = psutil.Process(pid)
        ask = getattr(process, "net_connections", None) or process.connections
        return [found for found in ask("tcp") if found.status == "ESTABLISHED"]
    except psutil.Error:
        return []


def sightings(*, logind: bool = False) -> list[Sighting]:
    """All SSH sessions that the processes of sshd show, as the daemon's scan finds them."""
    uids = {account.pw_name: account.pw_uid for account in pwd.getpwall()}
    processes = procfs.members_of(sshd.folders({})) if logind else procfs.processes()
    candidates = filter(None, map(sshd.candidate, processes))
    shown = (sshd.sighting(one, uids[one.user]) for one in candidates if one.user in uids)
    return [sighting for sighting in shown if sighting is not None]
