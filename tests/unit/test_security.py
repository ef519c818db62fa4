# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/security.md says is shown by a test is shown by one that there is."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
HEADS = ("| attempt | outcome | test |", "| --- | --- | --- |")


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (PROJECT / "docs/security.md").read_text())
    assert len(named) > 30
    assert [name for path, name in named if f"def {name}(" not in (PROJECT / path).read_text()] == []


def test_each_attempt_has_a_test() -> None:
    attempts = (PROJECT / "docs/security.md").read_text().split("## To stay")[1].split("## What cannot")[0]
    rows = [line for line in attempts.splitlines() if line.startswith("| ")]
    assert [row for row in rows if "::test_" not in row and row not in HEADS] == []


def test_each_test_of_hostile_users_is_told() -> None:
    told = (PROJECT / "docs/security.md").read_text()
    files = sorted((PROJECT / "tests/guest").glob("test_hostile*.py"))
    tests = [f"`{file.relative_to(PROJECT)}::{name}`" for file in files for name in _tests_in(file)]
    assert len(tests) > 6
    assert [test for test in tests if test not in told] == []


def _tests_in(file: Path) -> list[str]:
    return re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
