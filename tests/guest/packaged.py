# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests as an administrator has them before there is idled: a minimal Debian, apt, and the packages in a folder.

What the packages depend on comes from a Debian archive in a folder, since a guest has no network; so apt resolves and
configures it as it does elsewhere.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .builder import packages
from .image import HOST, OFTEN, PEOPLE, USERS, Recipe
from .installed import Installed
from .machine import Machine

NAMES = ("idled", "libpam-idled")
APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Options::=--force-confold")
DPKG = ("(Reading database", "Selecting previously", "Preparing to", "Unpacking ", "Setting up ", "Processing triggers")

MINIMAL = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "openssh-client",
    "login",
    "procps",
    "iproute2",
)

# Downloads what is wanted with all that it depends on, and makes it the only archive that apt knows.
ARCHIVE = """
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq --no-install-recommends --download-only install {wanted}
mkdir "$root/srv/archive"
mv "$root"/var/cache/apt/archives/*.deb "$root/srv/archive"
cd "$root/srv/archive"
for deb in *.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' \\
        "$deb" "$(stat --format=%s "$deb")" "$(sha256sum "$deb" | cut -d ' ' -f 1)"
done >Packages
rm -rf "$root"/var/lib/apt/lists/* "$root"/etc/apt/sources.list*
echo 'deb [trusted=yes] file:/srv/archive ./' >"$root/etc/apt/sources.list"
chroot "$root" apt-get -qq update
"""

# $1 the folder with the packages as they were built, $2 the guest's root: puts them there, as this version and, with
# one more line in the policy that they bring, as the next.
VERSIONS = """
set -eu
mkdir "$2/srv/this" "$2/srv/next"
for name in idled libpam-idled; do
    cp "$1/$name"_*.deb "$2/srv/this/$name.deb"
    dpkg-deb --raw-extract "$2/srv/this/$name.deb" "$2/srv/next/$name"
    sed -i 's/^Version: .*/&+next/' "$2/srv/next/$name/DEBIAN/control"
    [ "$name" != idled ] || echo '# The next version.' >>"$2/srv/next/$name/etc/idled/idled.toml"
    dpkg-deb --root-owner-group --build "$2/srv/next/$name" "$2/srv/next/$name.deb"
    rm -r "$2/srv/next/$name"
done
"""


# As an installer does it: before the system that is installed has ever run.
OFFLINE = """
mount -t proc proc "$2/proc"
chroot "$2" env DEBIAN_FRONTEND=noninteractive apt-get -qq install /srv/this/idled.deb /srv/this/libpam-idled.deb
umount "$2/proc"
"""

# One line for each file: its path, a tab, and what it is. What a running system changes by itself is left out, as is
# what dpkg and apt know, but for its traces of us.
FILES = r"""
cd /
set -- -path ./var/log -o -path ./var/cache -o -path ./var/lib/apt -o -path ./var/lib/dpkg -o -path ./tmp \
    -o -path ./var/tmp -o -path ./root -o -path ./home -o -path ./var/lib/systemd/random-seed -o -path ./etc/ld.so.cache
find . -xdev \( "$@" \) -prune -o -printf '%p\t%y %#m %u:%g %l\n'
find ./run ./var/lib/dpkg -name '*idled*' -printf '%p\t%y\n'
find ./etc ./var/lib ./usr/lib/systemd ./usr/lib/sysctl.d \( "$@" \) -prune -o -type f -exec sha256sum {} + |
    sed -E 's/^(\w+)  (.*)/\2\t\1/'
"""

UNITS = ("idled.service", "idled.socket", "idled-varlink.socket")


class Host(Installed):
    """A guest in which packages come and go."""

    def apt(self, *words: str) -> str:
        """Run apt-get; what it and the packages said, less what dpkg says by itself."""
        said = self.machine.run(*APT, *words, timeout=120).stdout.splitlines()
        return "\n".join(line for line in said if line and not line.startswith(DPKG))

    def install(self, version: str = "this", *names: str) -> str:
        """Install packages (both if none is named) out of their files, as an administrator does."""
        return self.apt("install", *(f"/srv/{version}/{name}.deb" for name in names or NAMES))

    def purge(self) -> str:
        """Remove all of both."""
        return self.apt("purge", *NAMES)

    def states(self, verb: str) -> set[str]:
        """What `systemctl is-active` and the like say of our units."""
        return set(self.machine.run("systemctl", verb, *UNITS, check=False).stdout.split())

    def files(self) -> dict[str, str]:
        """Every file of the system: what it is."""
        told: dict[str, str] = {}
        for line in self.machine.sh(FILES).splitlines():
            path, _, what = line.removeprefix(".").partition("\t")
            told[path] = f"{told.get(path, '')}{what} "
        return told

    def packages(self) -> set[str]:
        """The packages that are installed."""
        return set(self.machine.sh("dpkg-query --show --showformat '${binary:Package}\\n'").splitlines())


def minimal(release: str, more: str = "") -> Machine:
    """Boot a minimal guest with the packages in /srv, none of them installed unless the script that is more does."""
    built = packages(release)
    recipe = Recipe(MINIMAL, USERS, PEOPLE + ARCHIVE.format(wanted=" ".join(_depends(built))) + OFTEN + HOST)
    prepare = ("sh", "-c", VERSIONS + more, "versions", str(built))
    return Machine(release, recipe=recipe, prepare=prepare, timeout=180)


def _depends(built: Path) -> list[str]:
    """Name the packages that ours depend on."""
    debs = [next(built.glob(f"{name}_*.deb")) for name in NAMES]
    fields = [subprocess.check_output(["dpkg-deb", "--field", deb, "Depends"], text=True) for deb in debs]
    return sorted({re.split(r"[ :]", name)[0] for field in fields for name in field.strip().split(", ")})
