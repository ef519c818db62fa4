# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stage: what this machine looks like from inside, where the play has users, sshd and PAM files of its own.

All of it is mounted over what is really there, in a mount namespace that nobody else sees. /run is empty, so there is
no system bus, no journal, no other idled and no utmp; /var/log is empty, so nobody is written into wtmp; the network
is a loopback that nobody else can reach. The daemon and pam_idled.so find their usual paths.
"""

import grp
import os
import pwd
import shutil
import socket
import subprocess
from itertools import count, islice
from pathlib import Path
from typing import Final

from .plan import POLICY, ROLES

HERE: Final = Path("/run/demo")
SSHD: Final = "/usr/sbin/sshd"
MODULE: Final = Path(__file__).parent.parent / "pam/build/pam_idled.so"
ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "TERM": "xterm",
    "HOME": str(HERE),
    "STATE_DIRECTORY": str(HERE / "state"),
}

_EMPTY: Final = ("/run", "/var/log")
_FIRST_UID: Final = 52801

_SSHD: Final = f"""\
ListenAddress 127.0.0.1
HostKey {HERE}/host_key
AuthorizedKeysFile {HERE}/key.pub
AuthenticationMethods publickey
UsePAM yes
PrintMotd no
PrintLastLog no
PidFile none
"""

_PAM: Final = f"""\
auth    required pam_deny.so
account required pam_permit.so
session optional pam_loginuid.so
session optional {HERE}/pam_idled.so
"""


def lacking() -> str:
    """What is missing on this machine, in words; empty when nothing is."""
    for path in (SSHD, "/usr/bin/ssh", "/usr/bin/ssh-keygen", "/usr/bin/mount", "/usr/sbin/ip", str(MODULE)):
        if not Path(path).exists() and shutil.which(Path(path).name) is None:
            return f"there is no {path}; ./dev demo installs and builds what is needed"
    return ""


def build() -> dict[str, int]:
    """Build it, in namespaces of our own; the uid of each person."""
    socket.sethostname("demo")
    _run("ip", "link", "set", "lo", "up")
    _run("mount", "--make-rprivate", "/")
    _run("mount", "-t", "proc", "proc", "/proc")
    uids = _free_uids()
    passwd, group = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    for folder in _EMPTY:
        _run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder)
    for name in ("demo", "demo/home", "demo/state", "sshd", "idled"):
        Path("/run", name).mkdir()
    people = "".join(f"{name}:x:{uid}:{uid}::{HERE}/home/{name}:/bin/bash\n" for name, uid in uids.items())
    _cover("/etc/passwd", _without_people(passwd) + people)
    _cover("/etc/shadow", "".join(f"{name}:*:20000::::::\n" for name in uids), mode=0o600)
    _cover("/etc/group", _without_people(group) + "".join(f"{name}:x:{uid}:\n" for name, uid in uids.items()))
    _cover("/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n")
    _cover("/etc/profile", "PS1='\\u$ '\n")  # the host's may set TMOUT, or start who knows what
    _cover("/etc/bash.bashrc", "")
    _cover("/dev/log", "")
    _pam()
    _ssh()
    _write(HERE / "idled.toml", POLICY)
    for name, uid in uids.items():
        _home(HERE / "home" / name, uid)
    return uids


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _free_uids() -> dict[str, int]:
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.gr_gid for entry in grp.getgrall()}
    free = islice((number for number in count(_FIRST_UID) if number not in taken), len(ROLES))
    return dict(zip((role.name for role in ROLES), free, strict=True))


def _without_people(text: str) -> str:
    names = {role.name for role in ROLES}
    return "".join(f"{line}\n" for line in text.splitlines() if line.split(":")[0] not in names)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def _cover(path: str, text: str, mode: int = 0o644) -> None:
    """Put another file in the place of one, where there is one (a link into /run leads nowhere now)."""
    if Path(path).exists():
        ours = HERE / path.replace("/", "_")
        _write(ours, text, mode)
        _run("mount", "--bind", str(ours), path)


def _pam() -> None:
    shutil.copy(MODULE, HERE / "pam_idled.so")
    folder = HERE / "pam.d"
    folder.mkdir()
    _write(folder / "sshd", _PAM)
    _write(folder / "other", "".join(f"{kind} required pam_deny.so\n" for kind in ("auth", "account", "session")))
    _run("mount", "--bind", str(folder), "/etc/pam.d")


def _ssh() -> None:
    for name in ("host_key", "key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(HERE / name))
    _write(HERE / "known_hosts", "127.0.0.1 " + (HERE / "host_key.pub").read_text())
    _write(HERE / "sshd_config", _SSHD)


def _home(folder: Path, uid: int) -> None:
    folder.mkdir()
    os.chown(folder, uid, uid)
