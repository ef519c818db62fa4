# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is installed beside the program agrees with it: the policy file, the message catalog, the versions."""

import re
from collections import Counter
from pathlib import Path

import pytest

from idled import __version__
from idled.config.files import Source
from idled.config.loader import parse
from idled.config.schema import MATCH, SETTINGS
from idled.core.events import Kind
from idled.core.model import Mode
from idled.journal import MESSAGE_IDS

#: How names of files end that can have a comment.
CODE = [
    ".bash",
    ".c",
    ".catalog",
    ".conf",
    ".fc",
    ".fish",
    ".h",
    ".if",
    ".postinst",
    ".postrm",
    ".prerm",
    ".py",
    ".service",
    ".socket",
    ".spec",
    ".te",
    ".toml",
    ".yml",
    ".zsh",
]
FOLDERS = ("idled", "generate", "demo", "pam", "packaging", "systemd", "tests")
ROOT = Path(__file__).resolve().parents[2]
INSTALLED = (ROOT / "packaging" / "idled.toml").read_text()
UNCOMMENTED = re.sub(r"^#(?=[\w\[])", "", INSTALLED, flags=re.MULTILINE)
CATALOG = (ROOT / "systemd" / "idled.catalog").read_text()


def test_the_installed_policy_is_right_and_ends_nobody() -> None:
    loaded = parse([Source("idled.toml", INSTALLED)])
    assert not loaded.warnings
    assert loaded.policy.mode is Mode.OBSERVE
    assert len(loaded.policy.rules) == 1


def test_its_examples_are_right_when_they_are_uncommented() -> None:
    loaded = parse([Source("idled.toml", UNCOMMENTED)])
    assert [warning.key for warning in loaded.warnings] == ["rule[2].match.group"]  # contractors exist elsewhere
    console, contractors, defaults = loaded.policy.rules
    assert console.values == {"idle_timeout": None}
    assert set(contractors.values) == {"idle_timeout", "end"}
    assert set(defaults.values) == set(SETTINGS), "every setting is shown there"


@pytest.mark.parametrize("name", [*MATCH, *(mode.value for mode in Mode)])
def test_it_names_what_may_be_said(name: str) -> None:
    assert re.search(rf"\b{name}\b", INSTALLED)


def entries() -> list[tuple[str, str]]:
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_the_catalog_explains_each_record_once() -> None:
    assert Counter(found for found, _ in entries()) == Counter(MESSAGE_IDS.values())
    assert set(MESSAGE_IDS) == set(Kind)


@pytest.mark.parametrize(("id", "text"), entries())
def test_an_explanation_has_the_form_that_journalctl_wants(id: str, text: str) -> None:
    head, _, body = text.partition("\n\n")
    assert re.fullmatch(r"Subject: \S.*\nDefined-By: idled\nDocumentation: man:\S+\(\d\)", head), id
    assert body.strip(), id


def test_the_catalog_shows_only_fields_that_records_have() -> None:
    source = (ROOT / "idled" / "journal.py").read_text()
    for name in set(re.findall(r"\bIDLED_([A-Z_]+)", CATALOG)):
        assert f'"{name}"' in source, name


@pytest.mark.parametrize(
    ("file", "line"), [("pyproject.toml", r'version = "(.+)"'), ("packaging/debian/changelog", r"idled \(([^)]+)\)")]
)
def test_there_is_one_version(file: str, line: str) -> None:
    found = re.search(rf"^{line}", (ROOT / file).read_text(), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__


def test_all_code_and_configuration_says_its_licence() -> None:
    """Papers are covered by LICENSE alone."""
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.suffix in CODE]
    code = [file.relative_to(ROOT) for file in files if not {"build", "corpus"} & set(file.parts[len(ROOT.parts) :])]
    assert len(code) > 200
    missing = [str(file) for file in code if "SPDX-License-Identifier" not in (ROOT / file).read_text()[:400]]
    assert missing == ["packaging/idled.toml"]  # the administrator's own
