# SPDX-License-Identifier: LGPL-2.1-or-later
"""The files' text -> one frozen Policy.

``mode`` and the keys of ``[defaults]`` and ``[access]`` are taken from the last file that has them; rules are kept in
the order in which they are read, since the first that sets a value gives it. All problems are collected, so that one
look shows all.
"""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from ..core.model import Mode
from ..core.policy import DEFAULTS, Access, Condition, Policy, Rule
from ..core.span import HOUR, MIN
from .files import Source, read_all
from .problems import ConfigError, Problem, nearest, shown
from .schema import MATCH, NAME_KINDS, SETTINGS, Unfit, fits, read_mode, read_names

#: Used when there is no policy at all that could be used: it says what would be done and does nothing.
BUILT_IN: Final = Policy(
    mode=Mode.OBSERVE,
    rules=(Rule(name="built-in", values={"idle_timeout": 15 * MIN, "absolute_timeout": 12 * HOUR}),),
)

_TOP: Final = ("mode", "access", "defaults", "rule")
_ACCESS: Final = tuple(field.name for field in fields(Access))
_RULE: Final = ("name", "match", *SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A policy, where it came from, and what is odd about it."""

    policy: Policy
    sources: tuple[Source, ...]
    warnings: tuple[Problem, ...]


def load(main: Path) -> Loaded:
    """The policy of the main file and its drop-ins. Raises ConfigError."""
    return parse(read_all(main))


def parse(sources: Iterable[Source]) -> Loaded:
    """The policy in these texts. Raises ConfigError with all that is wrong."""
    sources = tuple(sources)
    reader = _Reader()
    for source in sources:
        reader.take(source)
    if any(problem.fatal for problem in reader.problems):
        raise ConfigError(problem for problem in reader.problems if problem.fatal)
    rules = (*reader.rules, Rule(name=DEFAULTS, values=reader.defaults))
    policy = Policy(mode=reader.mode, access=Access(**reader.access), rules=rules)
    return Loaded(policy=policy, sources=sources, warnings=tuple(reader.problems))


@dataclass(slots=True)
class _Reader:
    mode: Mode = Mode.OBSERVE
    access: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    file: str = ""

    def take(self, source: Source) -> None:
        """Read one file on top of those before."""
        self.file = source.path
        try:
            data = tomllib.loads(source.text)
        except RecursionError:  # what Python says of it differs with the place at which it noticed
            self._wrong("", "is not TOML: nested too deeply")
            return
        except ValueError as error:  # TOMLDecodeError is one; a number of 5000 digits another
            self._wrong("", f"is not TOML: {error}")
            return
        self._no_others(data, _TOP, "")
        if "mode" in data:
            self.mode = self._read(read_mode, data["mode"], "mode") or self.mode
        self._access(self._table(data.get("access", {}), "access"))
        defaults = self._table(data.get("defaults", {}), "defaults")
        self._no_others(defaults, SETTINGS, "defaults.")
        self.defaults |= self._values(defaults, "defaults")
        rules = data.get("rule", [])
        if not isinstance(rules, list):
            self._wrong("rule", f"found {shown(rules)}, expected [[rule]] blocks")
            return
        for number, rule in enumerate(rules, 1):
            if isinstance(rule, dict):
                self._rule(rule, f"rule[{number}]")
            else:
                self._wrong(f"rule[{number}]", f"found {shown(rule)}, expected a table")

    def _access(self, table: dict[str, Any]) -> None:
        self._no_others(table, _ACCESS, "access.")
        for right in (right for right in table if right in _ACCESS):  # as they stand in the file
            names = self._read(read_names, table[right], f"access.{right}")
            self.access[right] = names or ()
            for name in names or ():
                kind, _, rest = name.partition(":")
                if suspicion := NAME_KINDS[kind](rest):
                    self._odd(f"access.{right}", f"{shown(rest)}: {suspicion}")

    def _rule(self, table: dict[str, Any], key: str) -> None:
        self._no_others(table, _RULE, f"{key}.")
        name = table.get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            self._wrong(f"{key}.name", f"found {shown(name) if name else 'nothing'}, expected a name for the journal")
            name = ""
        elif name == DEFAULTS or any(rule.name == name for rule in self.rules):
            self._wrong(f"{key}.name", f"found {shown(name)}, expected a name no other rule has")
        match = self._match(self._table(table.get("match", {}), f"{key}.match"), f"{key}.match")
        values = self._values(table, key)
        if not any(name in table for name in SETTINGS):
            self._odd(key, "sets nothing")
        new = Rule(name=name, match=match, values=values)
        if shadow := _shadow(new, self.rules):
            self._odd(key, f"has no effect: {shadow!r} before it matches the same sessions and sets all that it sets")
        self.rules.append(new)

    def _match(self, table: dict[str, Any], key: str) -> tuple[Condition, ...]:
        names = [*MATCH, *(f"not_{name}" for name in MATCH)]
        self._no_others(table, names, f"{key}.")
        conditions = []
        for name, value in table.items():
            if name in names:
                conditions.append(self._condition(name, value, f"{key}.{name}"))
        self._can_match(conditions, key)
        return tuple(conditions)

    def _condition(self, name: str, value: Any, key: str) -> Condition:
        match = MATCH[name.removeprefix("not_")]
        items = value if isinstance(value, list) else [value]
        if not items:
            self._wrong(key, "found an empty list, which can never match; expected at least one value")
        values = [self._read(match.read, item, key) for item in items]
        values = [item for item in values if item is not None]
        for item in values:
            if suspicion := match.suspect(item):
                self._odd(key, f"{shown(item)}: {suspicion}")
        return Condition(key=name.removeprefix("not_"), values=tuple(values), negated=name.startswith("not_"))

    def _can_match(self, conditions: list[Condition], key: str) -> None:
        """A rule whose match contradicts itself was meant otherwise."""
        excluded = {condition.key: condition.values for condition in conditions if condition.negated}
        for condition in conditions:
            if condition.key not in excluded or condition.negated or not condition.values:
                continue
            if all(_covered(value, excluded[condition.key]) for value in condition.values):
                self._wrong(f"{key}.{condition.key}", f"can never match: not_{condition.key} excludes all of it")
        keys = {condition.key for condition in conditions if not condition.negated}
        if "tty" in keys and _without_terminal(conditions):
            self._wrong(f"{key}.tty", "can never match: terminal asks for sessions that have none")

    def _values(self, table: dict[str, Any], key: str) -> dict[str, Any]:
        values = {}
        for name, setting in SETTINGS.items():
            if name in table:
                problems = len(self.problems)
                value = self._read(setting.read, table[name], f"{key}.{name}")
                if len(self.problems) == problems:
                    values[name] = value
                    if suspicion := setting.suspect(value):
                        self._odd(f"{key}.{name}", suspicion)
        if oddity := fits(values):
            self._odd(key, oddity)
        return values

    def _read(self, read: Callable[[Any], Any], value: Any, key: str) -> Any:
        try:
            return read(value)
        except Unfit as error:
            self._wrong(key, f"found {shown(value)}, {error}")
            return None

    def _table(self, value: Any, key: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(key, f"found {shown(value)}, expected a table")
        return {}

    def _no_others(self, table: dict[str, Any], names: Iterable[str], prefix: str) -> None:
        for name in table:
            if name not in names:
                key = name if name.isprintable() else shown(name)
                self._wrong(f"{prefix}{key}", f"unknown key{nearest(name, names)}")

    def _wrong(self, key: str, text: str) -> None:
        self.problems.append(Problem(file=self.file, key=key, text=text))

    def _odd(self, key: str, text: str) -> None:
        self.problems.append(Problem(file=self.file, key=key, text=text, fatal=False))


def _without_terminal(conditions: Iterable[Condition]) -> bool:
    """Whether they ask for sessions that have no terminal."""
    asked = [condition for condition in conditions if condition.key == "terminal" and condition.values]
    return any(all(value is condition.negated for value in condition.values) for condition in asked)


def _shadow(rule: Rule, before: Iterable[Rule]) -> str:
    """Name of an earlier rule that leaves nothing for this one to set; empty when there is none."""
    for other in before:
        if rule.values and rule.values.keys() <= other.values.keys() and set(other.match) <= set(rule.match):
            return other.name
    return ""


def _covered(value: Any, excluded: tuple[Any, ...]) -> bool:
    """Whether a negated key with these values excludes this one."""
    if hasattr(value, "subnet_of"):
        return any(value.version == other.version and value.subnet_of(other) for other in excluded)
    return value in excluded
