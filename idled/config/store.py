# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which policy is in force: a broken configuration never means no enforcement.

At reload the old policy stays; at start the last good one is used, of which a copy of the texts is kept; without one,
the built-in policy, which only observes. Each is said.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from ..core.events import Kind, Record
from ..core.model import Mode
from ..core.policy import Policy
from ..shortage import is_shortage
from .files import Source
from .loader import BUILT_IN, Loaded, load, parse
from .problems import ConfigError, Problem


class Store:
    """The configuration of one daemon. `observe` overrides the mode that is configured."""

    def __init__(self, main: Path, folder: Path, *, observe: bool) -> None:
        self._main = main
        self._kept = folder / "last-good.json"
        self.observe = observe
        self.files: tuple[str, ...] = ()  # those that the policy in force comes from
        self.problems: tuple[str, ...] = ()  # why those that are there now cannot be used
        self.warnings: tuple[str, ...] = ()

    def start(self) -> tuple[Policy, list[Record]]:
        """The policy to start with, and what there is to say of it."""
        policy, records = self.reload()
        if policy is not None:
            return policy, records
        kept = self._last_good()
        if kept is not None:
            policy, origin = self._moded(kept.policy), f"the last good one, kept in {self._kept}"
            self.files = (str(self._kept),)
        else:
            policy, origin = BUILT_IN, "the built-in one, which ends nobody"
        trouble = f"{self._main} cannot be used; another policy stands in for it: {origin}"
        records += [Record(kind=Kind.TROUBLE, note=trouble), _loaded(policy, origin)]
        return policy, records

    def reload(self) -> tuple[Policy | None, list[Record]]:
        """The policy as the files are now, or None when they cannot be used; and what there is to say of it."""
        try:
            loaded = load(self._main)
        except ConfigError as error:
            self.problems = tuple(map(str, error.problems))
            return None, [_record(Kind.CONFIG_REJECTED, problem) for problem in error.problems]
        self.problems, self.warnings = (), tuple(map(str, loaded.warnings))
        self.files = tuple(source.path for source in loaded.sources)
        records = [_record(Kind.TROUBLE, problem) for problem in loaded.warnings]
        records += self._keep(loaded.sources)
        policy = self._moded(loaded.policy)
        return policy, [*records, _loaded(policy, ", ".join(source.path for source in loaded.sources))]

    def _moded(self, policy: Policy) -> Policy:
        return replace(policy, mode=Mode.OBSERVE) if self.observe else policy

    def _keep(self, sources: Iterable[Source]) -> list[Record]:
        new = self._kept.with_suffix(".new")
        try:
            self._kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_text(json.dumps([asdict(source) for source in sources]))
            new.replace(self._kept)
        except OSError as error:
            note = f"{self._kept}: {error.strerror}: no copy of the policy could be kept, ignoring"
            return [Record(kind=Kind.TROUBLE, note=note)]
        return []

    def _last_good(self) -> Loaded | None:
        try:
            return parse(Source(**source) for source in json.loads(self._kept.read_bytes()))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            if is_shortage(error):
                raise
            return None


def _loaded(policy: Policy, origin: str) -> Record:
    count = len(policy.rules) - 1  # the last one is the defaults
    note = f"{policy.mode.value} mode, {count} rule{'' if count == 1 else 's'}, from {origin}"
    return Record(kind=Kind.CONFIG_LOADED, note=note)


def _record(kind: Kind, problem: Problem) -> Record:
    return Record(kind=kind, note=str(problem))
