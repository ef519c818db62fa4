# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the administrator wrote, frozen: rules in order, the first that sets a value gives it.

How it is read from files, and every complaint about it, is not here but in ``config``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final, TypeAlias

from .model import Limits, Mode, Session

Network: TypeAlias = IPv4Network | IPv6Network
#: Names of terminals without /dev/.
Terminals: TypeAlias = tuple[str, ...]

#: The settings that end a session.
LIMITS: Final = ("idle_timeout", "absolute_timeout")
#: The name under which values of [defaults] appear as origin.
DEFAULTS: Final = "defaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One key of a match: any of its values, or with `negated` none of them."""

    key: str
    values: tuple[Any, ...]
    negated: bool = False

    def holds(self, session: Session, terminals: Terminals) -> bool:
        """Whether it is true of the session, which has these terminals just now."""
        test = _TESTS[self.key]
        return any(test(session, terminals, value) for value in self.values) != self.negated


def _remote(session: Session, _terminals: Terminals, network: Network) -> bool:
    try:
        address = ip_address(session.remote.partition("%")[0])
    except ValueError:  # a host name, or none: it is in no network
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address) in network


_TESTS: Final[Mapping[str, Callable[[Session, Terminals, Any], bool]]] = {
    "user": lambda session, _, value: session.user == value,
    "group": lambda session, _, value: value in session.groups,
    "service": lambda session, _, value: session.service == value,
    "remote": _remote,
    "tty": lambda _, terminals, value: any(fnmatchcase(name, value.removeprefix("/dev/")) for name in terminals),
    "terminal": lambda _, terminals, value: bool(terminals) == value,
}

#: The keys a match may have, each also with ``not_`` before it.
MATCH_KEYS: Final = tuple(_TESTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One block of policy: what it matches and which values it sets (keyed as the fields of `Limits`)."""

    name: str
    match: tuple[Condition, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def missed(self, session: Session, terminals: Terminals) -> Condition | None:
        """The first condition that does not hold; None: it matches."""
        return next((condition for condition in self.match if not condition.holds(session, terminals)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a rule said when it was asked about a session."""

    rule: Rule
    missed: Condition | None = None  # why it does not match
    gives: tuple[str, ...] = ()  # the keys whose values it gives the session
    overruled: tuple[str, ...] = ()  # those that an earlier rule gave


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who, besides root, may do what with the sessions of others: names like ``user:alice`` and ``group:helpdesk``."""

    view: tuple[str, ...] = ()
    extend: tuple[str, ...] = ()
    end: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The whole policy. `rules` ends with the defaults, a rule that matches everything."""

    mode: Mode = Mode.OBSERVE
    access: Access = Access()
    rules: tuple[Rule, ...] = ()
    _made: dict[tuple[bool, ...], Limits] = field(default_factory=dict, init=False, compare=False, repr=False)

    def limits(self, session: Session, terminals: Terminals) -> Limits:
        """The limits of a session, each value with the rule it came from; one object for all that match alike."""
        matched = tuple(rule.missed(session, terminals) is None for rule in self.rules)
        if matched not in self._made:
            rules = [rule for rule, matches in zip(self.rules, matched, strict=True) if matches]
            values = {key: (value, rule.name) for rule in reversed(rules) for key, value in rule.values.items()}
            origin = {key: name for key, (_, name) in values.items()}
            self._made[matched] = Limits(**{key: value for key, (value, _) in values.items()}, origin=origin)
        return self._made[matched]

    def ask(self, session: Session, terminals: Terminals) -> Iterator[Asked]:
        """What each rule says about a session, in the order in which they are asked."""
        given: set[str] = set()
        for rule in self.rules:
            missed = rule.missed(session, terminals)
            if missed is not None:
                yield Asked(rule=rule, missed=missed)
                continue
            gives = tuple(key for key in rule.values if key not in given)
            yield Asked(rule=rule, gives=gives, overruled=tuple(key for key in rule.values if key in given))
            given.update(gives)

    def sets_limits(self) -> bool:
        """Whether any session can come to have a limit."""
        return any(rule.values.get(key) is not None for rule in self.rules for key in LIMITS)

    def wants_groups(self) -> bool:
        """Whether any rule asks for groups, whose look-up may go over a network."""
        return any(condition.key == "group" for rule in self.rules for condition in rule.match)
