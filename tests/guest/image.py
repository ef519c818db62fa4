# SPDX-License-Identifier: LGPL-2.1-or-later
"""Root file systems, of the guests and others: made once per release and recipe, kept in the cache, never written to
again.

Whatever changes what an image holds is hashed into its name, so a changed recipe makes a new image beside the
old one. An image appears under its name only when it is whole, and a lock keeps two runs from making it twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

RELEASES = ("bookworm", "trixie")

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "libpam-runtime",
    "libpam-modules",
    "openssh-server",
    "openssh-client",
    "openssh-sftp-server",
    "python3",
    "python3-systemd",
    "python3-psutil",
    "python3-jeepney",
    "python3-rich",
    "iproute2",
    "procps",
    "tmux",
    "screen",
    "util-linux",
    "passwd",
    "login",
    "sudo",
    "rsync",
    "git",
    "mosh",
    "systemd-container",
    "libfaketime",
    "autolog",
    "nftables",
    "python3-pampy",
    "python3-six",  # which python3-pampy of Debian 12 needs and does not name
    "python3-pamela",
)

USERS = {"alice": 1001, "bob": 1002, "carol": 1003}

# Runs on the machine that makes the image, with the new root as $1. Every user's password is the user's name.
# Root has a key that opens every account, and its client asks nothing. The maker's own host name and resolver
# are none of the guest's business, and its machine id is given at boot: without one systemd takes the boot for
# the first and enables every unit it finds. A tool beside which idled is measured runs only when it is. Tests log the
# same people in and out, restart what idled lives with, and install and purge packages, faster than people do: systemd,
# which starts no unit more than five times in ten seconds, would give no scope then, or no logind, and fail to set
# what packages have in /usr/lib/sysctl.d. The key exchange that a client of Debian 12 likes best (sntrup761) costs a
# tenth of a second of CPU at each login, before there is a session; in guests test_exact has it, with the others.
PEOPLE = """
set -eu
root=$1
shift
mkdir -p -m 0700 "$root/root/.ssh"
ssh-keygen -q -t ed25519 -N '' -C root@guest -f "$root/root/.ssh/id_ed25519"
cp "$root/root/.ssh/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
cat >"$root/root/.ssh/config" <<'END'
Host *
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    IdentitiesOnly yes
    IdentityFile /root/.ssh/id_ed25519
    KexAlgorithms -sntrup761*
END
for entry; do
    user=${entry%%:*}
    chroot "$root" useradd --create-home --uid "${entry##*:}" --shell /bin/bash "$user"
    chroot "$root" mkdir -m 0700 "/home/$user/.ssh"
    cp "$root/root/.ssh/id_ed25519.pub" "$root/home/$user/.ssh/authorized_keys"
    chroot "$root" chown -R "$user:$user" "/home/$user/.ssh"
    printf '%s:%s\\n' "$user" "$user" | chroot "$root" chpasswd
done
"""
TOOLS = """chroot "$root" systemctl --quiet disable autolog.service cron.service nftables.service 2>&1
"""
OFTEN = """for unit in user@ user-runtime-dir@ systemd-logind systemd-journald systemd-sysctl dbus; do
    mkdir -p "$root/etc/systemd/system/$unit.service.d"
    printf '[Unit]\\nStartLimitIntervalSec=0\\n' >"$root/etc/systemd/system/$unit.service.d/often.conf"
done
"""
HOST = """rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root/etc/machine-id"
: >"$root/etc/default/locale"
printf '127.0.0.1 localhost\\n::1 localhost\\n' >"$root/etc/hosts"
"""


@dataclass(frozen=True)
class Recipe:
    """What an image holds: packages, people with their uids, and what a script does to it, given root and people."""

    packages: tuple[str, ...]
    users: dict[str, int] = field(default_factory=dict)
    script: str = ""

    def digest(self) -> str:
        """Name everything that decides what an image holds."""
        return hashlib.sha256(repr((self.packages, self.users, self.script)).encode()).hexdigest()[:12]


GUEST = Recipe(PACKAGES, USERS, PEOPLE + TOOLS + OFTEN + HOST)


class ImageError(Exception):
    """An image could not be made; the message ends with what the maker said last."""


def image(release: str, recipe: Recipe = GUEST) -> Path:
    """Return the root directory of the release's image, made now if the cache has none."""
    path = cache() / f"{release}-{recipe.digest()}"
    with locked(path):
        if not path.exists():
            _make(release, recipe, path)
    return path


def cache() -> Path:
    """Return the folder in which all that takes long to make is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "idled" / "guests"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others from making the same at the same time, in this run or another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(release: str, recipe: Recipe, path: Path) -> None:
    """Make the image under another name, and rename it when it is whole."""
    growing = path.with_name(f"{path.name}.part")
    shutil.rmtree(growing, ignore_errors=True)
    log = path.with_name(f"{path.name}.log")
    # What mmdebstrap keeps in /tmp all the while has the name of all that tests keep there.
    with log.open("w") as output, tempfile.TemporaryDirectory(prefix="idled-image-") as scratch:
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={','.join(recipe.packages)}", release, growing],
            env=os.environ | {"TMPDIR": scratch},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        if made.returncode == 0:
            users = [f"{name}:{uid}" for name, uid in recipe.users.items()]
            made = subprocess.run(
                ["sh", "-c", recipe.script, "recipe", growing, *users],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    if made.returncode != 0:
        shutil.rmtree(growing, ignore_errors=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ImageError(f"the {release} image could not be made, see {log}:\n{tail}")
    growing.rename(path)
