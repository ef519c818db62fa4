# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian packages of the project, built by `./dev deb` in a throw-away system of each release, without a network.

What was built is kept in the cache by the content of the tree, so that tests that run side by side build it once.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .image import Recipe, cache, image, locked
from .machine import PROJECT

CONTROL = PROJECT / "packaging" / "debian" / "control"
#: What reads packages, and what else is packaged: the papers for AppArmor, RPM and SELinux.
READERS = ("lintian", "apparmor", "rpm", "selinux-policy-dev")
#: What decides nothing of what is in the packages, so that a changed test builds no new ones.
BESIDE = ("tests/", "demo/", "docs/")

# $1 image, $2 the folder that is /src and the current one inside, the rest: what to run. In a mount namespace of its
# own, so that nothing stays. nspawn wants a tmpfs on /run/systemd/nspawn where /run is none, and gives a NOTIFY_SOCKET
# that is none of the programs' business.
INSIDE = """
set -eu
image=$1 folder=$2
shift 2
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 idled-builder /run/systemd/nspawn
base=/run/systemd/nspawn/idled
mkdir -p "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=$image,upperdir=$base/upper,workdir=$base/work" idled-builder "$base/root"
exec systemd-nspawn --quiet --register=no --keep-unit --as-pid2 --private-network --resolv-conf=off --timezone=off \\
    --link-journal=no --directory="$base/root" --bind="$folder:/src" --chdir=/src \\
    env --unset=NOTIFY_SOCKET "$@"
"""


class BuildError(Exception):
    """A program in the builder failed; the message ends with what it said last."""


def packages(release: str) -> Path:
    """Return the folder with the packages of the tree as it is, built now (without their tests) if need be."""
    root = builder(release)
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        tree = Path(folder)
        copy_tree(tree)  # somebody may be at work in the tree itself
        path = cache() / f"packages-{root.name}-{_digest(tree)}"
        with locked(path):
            if not path.exists():
                inside(root, tree, "env", "DEB_BUILD_OPTIONS=nocheck", "./dev", "deb")
                (tree / "dist").rename(path)
    return path


def builder(release: str) -> Path:
    """Return the root directory of the image that holds what debian/control wants for a build, and READERS."""
    wanted = re.search(r"^Build-Depends:((?:\n .+)+)", CONTROL.read_text(), re.MULTILINE)
    assert wanted is not None
    names = {name.replace("-compat", "") for name in re.findall(r"^ ([\w.+-]+)", wanted[1], re.MULTILINE)}
    return image(release, Recipe(("build-essential", *READERS, *sorted(names))))


def inside(root: Path, folder: Path, *argv: str, timeout: float = 600) -> str:
    """Run a program as root in a copy of an image, with the folder as /src; return what it said."""
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", INSIDE, "inside", root, folder, *argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-60:])
        raise BuildError(f"{root.name}: {argv} gave {done.returncode}:\n{tail}")
    return done.stdout


def copy_tree(folder: Path) -> None:
    """Copy the project's files into a folder; their times are those of now."""
    listed = subprocess.run([PROJECT / "dev", "sources"], stdout=subprocess.PIPE, text=True, check=True)
    for name in listed.stdout.splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, target)


def _digest(tree: Path) -> str:
    """Name everything that decides what the packages of a tree hold."""
    found = hashlib.sha256()
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        name = str(path.relative_to(tree))
        if not name.startswith(BESIDE):
            found.update(repr((name, path.stat().st_mode & 0o100, path.read_bytes())).encode())
    return found.hexdigest()[:12]
