# SPDX-License-Identifier: LGPL-2.1-or-later
"""Complaints about configuration: each names the file, the full key path, what stood there and what was expected."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, or with `fatal` unset only suspicious."""

    file: str
    key: str = ""
    text: str
    fatal: bool = True

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.text) if part)


class ConfigError(Exception):
    """The configuration cannot be used; all that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def shown(value: Any) -> str:
    """What stood there, as TOML writes it, cut where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "[" + ", ".join(shown(item) for item in value) + "]"
    elif isinstance(value, int) and abs(value) >= 1 << 64:
        text = hex(value)  # of thousands of digits str() makes an error
    else:
        text = str(value)
    return printable(text if len(text) <= 80 else text[:77] + "...")


def printable(text: str) -> str:
    """A text that may come from anybody, as the name of a file does, safe on a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was probably meant; empty when none is near."""
    close = get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""
