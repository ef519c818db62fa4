# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit, the AppArmor profile and the SELinux module allow the same, and the RPM packages hold what Debian's do."""

import re
from pathlib import Path
from typing import Final

import pytest

from idled import __version__

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGING: Final = ROOT / "packaging"
UNIT: Final = (ROOT / "systemd" / "idled.service").read_text()
PROFILE: Final = (PACKAGING / "apparmor" / "usr.sbin.idled").read_text()
MODULE: Final = (PACKAGING / "rpm" / "selinux" / "idled.te").read_text()
SPEC: Final = (PACKAGING / "rpm" / "idled.spec").read_text()
#: The RPM packages have another of its own, or it is of use on Debian alone.
DEBIANS: Final = {"packaging/pam-configs/idled", "packaging/pam.d/idled", "packaging/apparmor/usr.sbin.idled"}


def of_the_unit() -> set[str]:
    (line,) = re.findall(r"^CapabilityBoundingSet=(.+)$", UNIT, re.MULTILINE)
    return {name.removeprefix("CAP_").lower() for name in line.split()}


def test_each_confinement_allows_the_same_capabilities() -> None:
    assert set(re.findall(r"^  capability (\w+),$", PROFILE, re.MULTILINE)) == of_the_unit()
    (line,) = re.findall(r"^allow idled_t self:capability \{ (.+) \};$", MODULE, re.MULTILINE)
    assert set(line.split()) == of_the_unit()


def installed() -> list[str]:
    lists = (path.read_text() for path in sorted((PACKAGING / "debian").glob("*.install")))
    sources = {line.split()[0] for text in lists for line in text.splitlines()}
    units = {str(path.relative_to(ROOT)) for path in (ROOT / "systemd").glob("idled*.*t")}
    return sorted((sources | units) - DEBIANS)


@pytest.mark.parametrize("source", installed())
def test_the_rpm_packages_hold_it_too(source: str) -> None:
    name = source.rpartition("/")[2]
    listed = name if "/man/" not in source else name.replace(".gz", "*")
    put = source if not source.startswith("systemd/idled.s") and "varlink" not in source else name
    install, _, files = SPEC.partition("\n%check\n")
    assert put in install
    assert re.search(rf"^%.*/{re.escape(listed)}$", files, re.MULTILINE)


def test_the_spec_is_of_this_version() -> None:
    assert re.findall(r"^Version: +(\S+)$", SPEC, re.MULTILINE) == [__version__]
    assert f"- {__version__}-1\n" in SPEC
