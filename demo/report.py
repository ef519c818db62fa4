# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table at the end, and the verdict in words."""

from collections.abc import Sequence
from typing import Final, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from . import plan
from .verdict import Finding

_COLUMNS: Final[tuple[tuple[str, Literal["left", "right"]], ...]] = (
    ("session", "left"),
    ("limit", "left"),
    ("due", "right"),
    ("closed", "right"),
    ("late", "right"),
    ("idled says", "right"),
    ("survivors", "right"),
    ("verdict", "left"),
)
_LIMITS: Final = {"idle": f"idle {plan.IDLE} s", "absolute": f"absolute {plan.ABSOLUTE} s"}


def report(findings: Sequence[Finding], problems: Sequence[str], start: float) -> Group:
    """All of it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, justify in _COLUMNS:
        table.add_column(name, justify=justify, no_wrap=True)
    for finding in findings:
        table.add_row(*_cells(finding, start))
    return Group(table, Text(), Text(_LEGEND, style="dim"), Text(), *_verdict(problems))


_LEGEND: Final = (
    "In seconds; due and closed since the start, as the person's ssh client saw it:\n"
    "due is its last key or its login plus the limit, closed the end of its terminal."
)


def _cells(finding: Finding, start: float) -> tuple[str | Text, ...]:
    good = not finding.problems
    return (
        Text(finding.role.name, "bold"),
        _LIMITS.get(finding.role.ended_by or "", "none reached"),
        _seconds(finding.due_at, start, 1),
        _seconds(finding.closed_at, start, 1),
        _seconds(finding.late, 0, 2),
        _seconds(finding.said_late, 0, 2),
        str(len(finding.left)),
        Text("good" if good else "WRONG", "green" if good else "red"),
    )


def _seconds(moment: float | None, start: float, digits: int) -> str:
    return "-" if moment is None else f"{moment - start:.{digits}f}"


def _verdict(problems: Sequence[str]) -> list[Text]:
    if not problems:
        return [Text("Each session went as the policy says.", style="green")]
    return [
        Text("It did not go as the policy says:", style="bold red"),
        *(Text(f"- {problem}") for problem in problems),
    ]
