# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guests' root file systems: made once per release and recipe, kept in the cache, never written to again.

Whatever changes what an image holds is hashed into its name, so a changed recipe makes a new image beside the
old one. An image appears under its name only when it is whole, and a lock keeps two runs from making it twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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
# the first and enables every unit it finds. A tool beside which idled is measured runs only when it is.
RECIPE = """
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
END
for entry; do
    user=${entry%%:*}
    chroot "$root" useradd --create-home --uid "${entry##*:}" --shell /bin/bash "$user"
    chroot "$root" mkdir -m 0700 "/home/$user/.ssh"
    cp "$root/root/.ssh/id_ed25519.pub" "$root/home/$user/.ssh/authorized_keys"
    chroot "$root" chown -R "$user:$user" "/home/$user/.ssh"
    printf '%s:%s\\n' "$user" "$user" | chroot "$root" chpasswd
done
chroot "$root" systemctl --quiet disable autolog.service cron.service nftables.service 2>&1
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root/etc/machine-id"
: >"$root/etc/default/locale"
printf '127.0.0.1 localhost\\n::1 localhost\\n' >"$root/etc/hosts"
"""


class ImageError(Exception):
    """An image could not be made; the message ends with what the maker said last."""


def image(release: str) -> Path:
    """Return the root directory of the release's image, made now if the cache has none."""
    home = _cache()
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{release}-{_digest()}"
    with _locked(home / f"{path.name}.lock"):
        if not path.exists():
            _make(release, path)
    return path


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "idled" / "guests"


def _digest() -> str:
    """Name everything that decides what an image holds."""
    return hashlib.sha256(repr((PACKAGES, USERS, RECIPE)).encode()).hexdigest()[:12]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(release: str, path: Path) -> None:
    """Make the image under another name, and rename it when it is whole."""
    growing = path.with_name(f"{path.name}.part")
    shutil.rmtree(growing, ignore_errors=True)
    log = path.with_name(f"{path.name}.log")
    with log.open("w") as output:
        made = subprocess.run(
            ["mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release, growing],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        if made.returncode == 0:
            users = [f"{name}:{uid}" for name, uid in USERS.items()]
            made = subprocess.run(
                ["sh", "-c", RECIPE, "recipe", growing, *users],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    if made.returncode != 0:
        shutil.rmtree(growing, ignore_errors=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ImageError(f"the {release} image could not be made, see {log}:\n{tail}")
    growing.rename(path)
