# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples give the limits that their texts tell of, whatever idled.toml says, and each names what it follows."""

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from idled.config.loader import Loaded, load
from idled.core.model import Allowance, Extent, Limits, Mode, Reason, Session, SessionId, Unobserved
from idled.core.span import DAY, HOUR, MIN, parse_span

ROOT = Path(__file__).resolve().parents[2] / "packaging"
EXAMPLES = ROOT / "examples"
FILES = sorted(path.name for path in EXAMPLES.glob("*.toml"))
INSTALLED = (ROOT / "idled.toml").read_text()
#: An idled.toml whose author forgot all that an example for a standard is there for.
LAX = """
mode = "enforce"
[defaults]
idle_timeout = "5d"
unobserved   = "absolute-only"
hold_while   = ["/bin/sh"]
extend       = { limit = "idle", by_at_most = "2h", times = 100, reauthenticate = false }
"""

#: What the comments of each file have to name.
REQUIREMENTS = {
    "pci-dss.toml": ("PCI DSS 4.0", "8.2.8"),
    "nist-800-63b-aal2.toml": ("NIST SP 800-63B-4", "2.2.3", "5.2"),
    "nist-800-63b-aal3.toml": ("NIST SP 800-63B-4", "2.3.3", "5.2"),
    "stig-rhel9.toml": ("RHEL-09-412080", "V-258077", "SRG-OS-000163-GPOS-00072", "CCI-001133"),
    "cis.toml": ("CIS", "Debian Linux 12 and 13", "5.4.3.2"),
    "bastion.toml": ("No standard asks for these values",),
    "shared-university.toml": ("No standard asks for these values",),
    "kiosk.toml": ("No standard asks for these values",),
}
#: The most that each standard allows: idle, absolute. None: it asks for none.
STANDARDS = {
    "pci-dss.toml": (15 * MIN, None),
    "nist-800-63b-aal2.toml": (1 * HOUR, 24 * HOUR),
    "nist-800-63b-aal3.toml": (15 * MIN, 12 * HOUR),
    "stig-rhel9.toml": (10 * MIN, None),
    "cis.toml": (15 * MIN, None),
}

SHELL, CONSOLE, SERIAL, NONE = ("pts/3",), ("tty1",), ("ttyS0",), ()
HOME, AWAY, LAN, CAMPUS, CAMPUS_6 = "198.51.100.7", "2001:db9::7", "10.1.2.3", "192.0.2.77", "2001:db8::7"


def by_ssh(remote: str, *groups: str, user: str = "alice") -> Session:
    return Session(
        id=SessionId("boot", 100, 1), user=user, uid=1001, opened_at=0, groups=frozenset(groups), service="sshd",
        remote=remote,
    )  # fmt: skip


def by_login(*groups: str, user: str = "alice") -> Session:
    return Session(
        id=SessionId("boot", 100, 1), user=user, uid=1001, opened_at=0, groups=frozenset(groups), service="login"
    )


#: Of each example without a standard: who, with which terminals; idle and absolute timeout. README.md has the first.
CASES = [
    ("bastion.toml", by_ssh(LAN), SHELL, 15 * MIN, 10 * HOUR),
    ("bastion.toml", by_ssh("fd00::7"), SHELL, 15 * MIN, 10 * HOUR),
    ("bastion.toml", by_ssh(LAN), NONE, 30 * MIN, 10 * HOUR),
    ("bastion.toml", by_ssh(HOME), SHELL, 5 * MIN, 4 * HOUR),
    ("bastion.toml", by_ssh(AWAY), SHELL, 5 * MIN, 4 * HOUR),
    ("bastion.toml", by_ssh(HOME), NONE, 30 * MIN, 4 * HOUR),
    ("bastion.toml", by_login(), CONSOLE, 15 * MIN, 10 * HOUR),
    ("bastion.toml", by_login(user="root"), CONSOLE, None, 10 * HOUR),
    ("bastion.toml", by_ssh(HOME, user="root"), SHELL, 5 * MIN, 4 * HOUR),
    ("shared-university.toml", by_ssh(CAMPUS), SHELL, 2 * HOUR, 24 * HOUR),
    ("shared-university.toml", by_ssh(HOME), SHELL, 30 * MIN, 24 * HOUR),
    ("shared-university.toml", by_login(), CONSOLE, 2 * HOUR, 24 * HOUR),
    ("shared-university.toml", by_ssh(CAMPUS_6, "students"), SHELL, 1 * HOUR, 12 * HOUR),
    ("shared-university.toml", by_ssh(HOME, "students"), SHELL, 30 * MIN, 12 * HOUR),
    ("shared-university.toml", by_ssh(CAMPUS, "staff"), SHELL, 8 * HOUR, 7 * DAY),
    ("shared-university.toml", by_ssh(AWAY, "staff"), SHELL, 30 * MIN, 7 * DAY),
    ("shared-university.toml", by_ssh(CAMPUS, "guests"), SHELL, 15 * MIN, 4 * HOUR),
    ("shared-university.toml", by_ssh(HOME, "guests"), SHELL, 15 * MIN, 4 * HOUR),
    ("kiosk.toml", by_login("kiosk"), CONSOLE, 3 * MIN, 1 * HOUR),
    ("kiosk.toml", by_ssh(LAN, "kiosk"), SHELL, 3 * MIN, 1 * HOUR),
    ("kiosk.toml", by_login(), CONSOLE, 5 * MIN, 12 * HOUR),
    ("kiosk.toml", by_login(), SERIAL, 5 * MIN, 12 * HOUR),
    ("kiosk.toml", by_ssh(LAN), SHELL, 15 * MIN, 12 * HOUR),
]
STUDENTS = Allowance(limit=Reason.ABSOLUTE, by_at_most=2 * HOUR, times=2, reauthenticate=True)
#: And what else they tell of.
MORE = [
    ("bastion.toml", by_ssh(HOME), "end", Extent.SESSION),
    ("bastion.toml", by_ssh(HOME), "extend", Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR, times=2)),
    ("shared-university.toml", by_ssh(HOME, "students"), "extend", STUDENTS),
    ("shared-university.toml", by_ssh(CAMPUS, "staff"), "extend", None),
    ("shared-university.toml", by_ssh(CAMPUS, "guests"), "extend", None),
    ("shared-university.toml", by_ssh(CAMPUS, "staff"), "end", Extent.CONNECTION),
    ("shared-university.toml", by_ssh(CAMPUS, "guests"), "end", Extent.USER),
    ("shared-university.toml", by_ssh(CAMPUS), "hold_while", ("/usr/bin/make", "/usr/bin/rsync")),
    ("kiosk.toml", by_login("kiosk"), "end", Extent.USER),
    ("kiosk.toml", by_login(), "end", Extent.SESSION),
]


def in_force(folder: Path, main: str, *examples: str) -> Loaded:
    """The policy of an idled.toml with these examples, read in this order."""
    (folder / "conf.d").mkdir()
    (folder / "idled.toml").write_text(main)
    for number, name in enumerate(examples):
        (folder / "conf.d" / f"{number}-{name}").write_text((EXAMPLES / name).read_text())
    return load(folder / "idled.toml")


def limits(folder: Path, main: str, name: str, session: Session, terminals: tuple[str, ...] = SHELL) -> Limits:
    return in_force(folder, main, name).policy.limits(session, terminals)


def comments(name: str) -> str:
    """All of them as one line."""
    lines = (EXAMPLES / name).read_text().splitlines()
    return " ".join(line.partition("#")[2].strip() for line in lines if "#" in line)


def test_every_example_is_looked_at_here() -> None:
    assert set(FILES) == REQUIREMENTS.keys() == STANDARDS.keys() | {name for name, *_ in CASES}


@pytest.mark.parametrize("order", [*permutations(FILES, 1), *permutations(FILES, 2), FILES, FILES[::-1]])
def test_they_are_right_in_any_order_and_leave_the_mode_to_idled_toml(tmp_path: Path, order: list[str]) -> None:
    for mode in Mode:
        folder = tmp_path / mode.value
        folder.mkdir()
        loaded = in_force(folder, INSTALLED.replace('mode = "observe"', f'mode = "{mode.value}"'), *order)
        assert loaded.policy.mode is mode
        of_this_machine = ("no such group on this machine", "cannot be read")
        assert not [str(odd) for odd in loaded.warnings if not odd.text.endswith(of_this_machine)]


@pytest.mark.parametrize("main", [INSTALLED, LAX], ids=["installed", "lax"])
@pytest.mark.parametrize("session", [by_ssh(HOME, "staff"), by_login(), by_login(user="root")])
@pytest.mark.parametrize("terminals", [SHELL, CONSOLE, NONE])
@pytest.mark.parametrize("name", STANDARDS)
def test_a_standard_holds_for_everybody_whatever_idled_toml_allows(
    tmp_path: Path, name: str, session: Session, terminals: tuple[str, ...], main: str
) -> None:
    idle, absolute = STANDARDS[name]
    found = limits(tmp_path, main, name, session, terminals)
    assert found.idle_timeout == idle
    assert found.absolute_timeout == (absolute or {INSTALLED: 12 * HOUR, LAX: None}[main])
    assert found.unobserved is Unobserved.IDLE_FROM_START
    assert found.extend is None
    if name != "cis.toml":  # TMOUT ends no program either
        assert found.hold_while == ()


@pytest.mark.parametrize(("name", "session", "terminals", "idle", "absolute"), CASES)
def test_everybody_has_the_limits_that_the_text_tells(
    tmp_path: Path, name: str, session: Session, terminals: tuple[str, ...], idle: int | None, absolute: int
) -> None:
    found = limits(tmp_path, INSTALLED, name, session, terminals)
    assert (found.idle_timeout, found.absolute_timeout) == (idle, absolute)


@pytest.mark.parametrize(("name", "session", "key", "value"), MORE)
def test_what_else_is_told_holds_as_well(tmp_path: Path, name: str, session: Session, key: str, value: Any) -> None:
    assert getattr(limits(tmp_path, INSTALLED, name, session), key) == value


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_each_names_its_requirement_and_what_remains_to_be_done(name: str) -> None:
    said = comments(name)
    for words in (
        *REQUIREMENTS[name],
        "/etc/idled/conf.d",
        "What remains to be done",
        'mode = "enforce" in idled.toml',
    ):
        assert words in said


def test_the_table_in_the_readme_has_the_same_limits() -> None:
    rows = re.findall(
        r"^\| (\S+\.toml) \|.*\| ([^|]+) \| ([^|]+) \|$", (EXAMPLES / "README.md").read_text(), flags=re.M
    )
    shown = {name: tuple(_span(cell) for cell in cells) for name, *cells in rows}
    first = {name: (idle, absolute) for name, _, _, idle, absolute in reversed(CASES)}
    assert shown == STANDARDS | first


def _span(cell: str) -> int | None:
    """What stands in a cell before its exceptions; nothing where nothing is asked for."""
    return None if cell == "–" else parse_span(cell.partition(";")[0])
