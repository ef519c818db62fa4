# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian packages: built on each release, the same bytes each time, with what is meant and nothing else in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from .builder import builder, copy_tree, inside, packages
from .machine import PROJECT

# Built as somebody else would, elsewhere and with the tests; nothing but dist/ is new in the tree afterwards.
ELSEWHERE = """
mkdir -p /var/tmp/deep/er
umask 077
cp -r /src /var/tmp/deep/er/idled
cd /var/tmp/deep/er/idled
find . -exec touch -d @1234567890 {} +
find . | sort >/tmp/before
TMPDIR=/var/tmp/deep TZ=Asia/Kathmandu LC_ALL=C HOME=/nonexistent ./dev deb
find . -path ./dist -prune -o -print | sort | diff /tmp/before -
cp dist/*.deb /src/
"""

# The first run makes the images that the packages are built in.
pytestmark = pytest.mark.timeout(1200)

DAEMON = {
    "/etc/apparmor.d/usr.sbin.idled",
    "/etc/idled/conf.d/",
    "/etc/idled/idled.toml",
    "/etc/pam.d/idled",
    "/usr/bin/idlectl",
    "/usr/lib/idled/conf.d/",
    "/usr/lib/sysctl.d/50-idled.conf",
    "/usr/lib/systemd/catalog/idled.catalog",
    "/usr/lib/systemd/system/idled-varlink.socket",
    "/usr/lib/systemd/system/idled.service",
    "/usr/lib/systemd/system/idled.socket",
    "/usr/sbin/idled",
    "/usr/share/bash-completion/completions/idlectl",
    "/usr/share/doc/idled/README.Debian",
    "/usr/share/doc/idled/changelog.gz",
    "/usr/share/doc/idled/copyright",
    "/usr/share/fish/vendor_completions.d/idlectl.fish",
    "/usr/share/man/man1/idlectl.1.gz",
    "/usr/share/man/man5/idled.toml.5.gz",
    "/usr/share/man/man8/idled.8.gz",
    "/usr/share/zsh/vendor-completions/_idlectl",
}
MODULE = {
    "/usr/lib/MULTIARCH/security/pam_idled.so",
    "/usr/share/doc/libpam-idled/changelog.gz",
    "/usr/share/doc/libpam-idled/copyright",
    "/usr/share/man/man8/pam_idled.8.gz",
    "/usr/share/pam-configs/idled",
}
EXECUTABLE = {"/usr/bin/idlectl", "/usr/sbin/idled"}


@pytest.fixture(scope="module")
def debs(guests: None, release: str) -> Path:
    """The folder with the release's packages."""
    return packages(release)


def deb(folder: Path, name: str) -> Path:
    found = list(folder.glob(f"{name}_*.deb"))
    assert len(found) == 1, found
    return found[0]


def field(package: Path, name: str) -> str:
    return subprocess.run(["dpkg-deb", "--field", package, name], capture_output=True, text=True, check=True).stdout


def contents(package: Path) -> dict[str, str]:
    """The paths of a package, with their modes and owners; folders only where nothing is in them."""
    listed = subprocess.run(["dpkg-deb", "--contents", package], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=5) for line in listed.splitlines()]
    paths = {row[5].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}
    return {
        # Debian 12 has its units in /lib, which is a link to /usr/lib there, too.
        re.sub(r"^/lib/", "/usr/lib/", path): about
        for path, about in paths.items()
        if not path.endswith("/") or sum(other.startswith(path) for other in paths) == 1
    }


def test_built_elsewhere_with_their_tests_they_are_the_same(debs: Path, release: str, tmp_path: Path) -> None:
    copy_tree(tmp_path / "src")
    said = inside(builder(release), tmp_path / "src", "sh", "-euc", ELSEWHERE)
    assert re.search(r"\d{4} passed", said), "the unit tests were run"
    first = {path.name: path.read_bytes() for path in debs.glob("*.deb")}
    again = {path.name: path.read_bytes() for path in (tmp_path / "src").glob("*.deb")}
    assert first == again


def test_lintian_has_neither_errors_nor_warnings(debs: Path, release: str) -> None:
    said = inside(builder(release), debs, "sh", "-c", "lintian --allow-root --fail-on error,warning *.changes")
    assert said.strip() == ""


def test_the_daemon_and_what_belongs_to_it(debs: Path) -> None:
    found = contents(deb(debs, "idled"))
    python = {f"/usr/lib/python3/dist-packages/{path.relative_to(PROJECT)}" for path in modules()}
    examples = {f"/usr/share/doc/idled/examples/{name}" for name in example_files()}
    assert {path for path in found if ".dist-info/" not in path} == DAEMON | python | examples
    check_modes(found)


def test_the_module_and_what_belongs_to_it(debs: Path) -> None:
    package = deb(debs, "libpam-idled")
    found = contents(package)
    assert {re.sub(r"/lib/[\w-]+-linux-gnu\w*/", "/lib/MULTIARCH/", path) for path in found} == MODULE
    check_modes(found)


def check_modes(found: dict[str, str]) -> None:
    for path, about in found.items():
        mode = "drwxr-xr-x" if path.endswith("/") else "-rwxr-xr-x" if path in EXECUTABLE else "-rw-r--r--"
        assert about == f"{mode} root/root", path


def modules() -> list[Path]:
    return [path for path in (PROJECT / "idled").rglob("*.py") if "__pycache__" not in path.parts]


def example_files() -> list[str]:
    folder = PROJECT / "packaging" / "examples"
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_each_can_be_installed_beside_the_other_of_another_architecture(debs: Path) -> None:
    assert field(deb(debs, "idled"), "Architecture") == "all\n"
    assert field(deb(debs, "idled"), "Multi-Arch") == "foreign\n"
    assert field(deb(debs, "libpam-idled"), "Multi-Arch") == "same\n"
