# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy as it was understood, in words: for ``idled --check`` and ``idlectl check``."""

import sys
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from ..core.model import Allowance
from ..core.policy import Condition, Policy, Rule
from ..core.span import format_span
from .loader import load
from .problems import ConfigError


def check(main: Path) -> int:
    """Print the policy of a file and its drop-ins to stdout, what is wrong with it to stderr; the exit code."""
    try:
        loaded = load(main)
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 1
    for problem in loaded.warnings:
        print(f"warning: {problem}", file=sys.stderr)
    for source in loaded.sources:
        print(f"# {source.path}")
    print("\n".join(lines(loaded.policy)))
    return 0


def lines(policy: Policy) -> Iterator[str]:
    """One block for each rule, in the order in which they are asked."""
    yield f"mode {policy.mode.value}"
    for right in fields(policy.access):
        if names := getattr(policy.access, right.name):
            yield f"may {right.name} the sessions of others: {', '.join(names)}"
    for rule in policy.rules:
        yield ""
        yield f"{rule.name}:"
        yield f"    matches  {_match(rule)}"
        for key, value in rule.values.items():
            yield f"    {setting(key, value)}"


def view(policy: Policy) -> dict[str, Any]:
    """The same for programs, in the same words."""
    rules = [
        {
            "name": rule.name,
            "matches": [condition(found) for found in rule.match],
            "gives": [f"{key} = {_value(key, value)}" for key, value in rule.values.items()],
        }
        for rule in policy.rules
    ]
    access = {right.name: list(getattr(policy.access, right.name)) for right in fields(policy.access)}
    return {"mode": policy.mode.value, "access": access, "rules": rules}


def _match(rule: Rule) -> str:
    return ", ".join(map(condition, rule.match)) or "every session"


def condition(found: Condition) -> str:
    """One condition of a match, in words."""
    values = " or ".join(_text(value) for value in found.values)
    return f"{'not ' if found.negated else ''}{found.key} {values}"


def setting(key: str, value: Any) -> str:
    """One setting, as key = value."""
    return f"{key} = {_value(key, value)}"


def _value(key: str, value: Any) -> str:
    if value is None:
        return "off"
    if isinstance(value, Allowance):
        asked = "with the password" if value.reauthenticate else "without the password"
        times = f"{value.times} time{'' if value.times == 1 else 's'}"
        return f"{value.limit.value}, {format_span(value.by_at_most)} at most, {times}, {asked}"
    if isinstance(value, tuple):
        return ", ".join(_value(key, item) for item in value) or "never"
    if isinstance(value, frozenset):
        return ", ".join(sorted(_text(item) for item in value))
    if isinstance(value, int) and not isinstance(value, bool):
        return format_span(value)
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)
