# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/security.md and docs/faults.md say is shown by a test is shown by one that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HEADS = ("| attempt | outcome | test |", "| fault | costs an end | test |", "| --- | --- | --- |")


SECURITY, FAULTS = ((PROJECT / "docs" / name).read_text() for name in ("security.md", "faults.md"))


@pytest.mark.parametrize("text", [SECURITY, FAULTS], ids=["security", "faults"])
def test_each_test_that_is_named_exists(text: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 20
    assert [name for path, name in named if f"def {name}(" not in (PROJECT / path).read_text()] == []


@pytest.mark.parametrize(
    "table",
    [
        SECURITY.split("## To stay")[1].split("## What cannot")[0],
        FAULTS.split("## Of the daemon")[1].split("## What was")[0],
    ],
    ids=["security", "faults"],
)
def test_each_row_has_a_test(table: str) -> None:
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert [row for row in rows if "::test_" not in row and row not in HEADS] == []


@pytest.mark.parametrize(
    ("text", "files"), [(SECURITY, "test_hostile*.py"), (FAULTS, "test_faults.py")], ids=["security", "faults"]
)
def test_each_test_of_these_is_told(text: str, files: str) -> None:
    found = sorted((PROJECT / "tests/guest").glob(files))
    tests = [f"`{file.relative_to(PROJECT)}::{name}`" for file in found for name in _tests_in(file)]
    assert len(tests) > 6
    assert [test for test in tests if test not in text] == []


def _tests_in(file: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
