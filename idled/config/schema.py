# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every setting and match key there is, with what it takes. One table each; parser, hints and manual follow it."""

import grp
import ipaddress
import os
import pwd
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ..core.model import Activity, Allowance, Extent, Mode, Reason, Unobserved
from ..core.span import SEC, SpanError, Usec, format_span, parse_span
from .files import at_once
from .problems import nearest, shown

#: Seconds for NSS to say whether there is such a name, and as many times that for all names of a load together.
_NSS_PATIENCE: Final = 0.5
_NSS_AT_MOST: Final = 10
#: Seconds from the first of them after which it is another load.
_NSS_AGAIN: Final = 10.0


class Unfit(ValueError):
    """A value is not what was expected; the message says what was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key: what it does, how its value is read (Unfit when it cannot be), and an example for the manual.

    `suspect` says what is odd about a value that is not wrong.
    """

    does: str
    read: Callable[[Any], Any]
    example: str
    suspect: Callable[[Any], str] = lambda _value: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchKey:
    """One key of a match. `suspect` says what is odd about a value that is not wrong."""

    does: str
    read: Callable[[Any], Any]
    suspect: Callable[[Any], str] = lambda _value: ""


def _span(value: Any) -> Usec:
    expected = 'expected a time span such as "15min"'
    if not isinstance(value, str):
        raise Unfit(f"{expected}, in quotes")
    if value.strip().startswith("-"):
        raise Unfit(f"{expected}, not a negative one")
    try:
        span = parse_span(value)
    except SpanError as error:
        raise Unfit(f"{expected} ({error})") from None
    except ArithmeticError:
        raise Unfit(f"{expected}, not a number of {len(value)} digits") from None
    if span < SEC:
        raise Unfit(f"{expected}, at least 1s")
    return span


def _limit(value: Any) -> Usec | None:
    if value == "off":
        return None
    try:
        return _span(value)
    except Unfit as error:
        raise Unfit(f'{error}, or "off"') from None


def _spans(value: Any) -> tuple[Usec, ...]:
    if not isinstance(value, list):
        raise Unfit('expected a list of time spans such as ["2min", "30s"]')
    return tuple(sorted({_span(item) for item in value}, reverse=True))


def _one_of(kind: type[Enum]) -> Callable[[Any], Any]:
    names = [member.value for member in kind]

    def read(value: Any) -> Any:
        if value not in names:
            raise Unfit("expected one of " + ", ".join(f'"{name}"' for name in names))
        return kind(value)

    return read


def _some_of(kind: type[Activity]) -> Callable[[Any], Any]:
    one = _one_of(kind)

    def read(value: Any) -> Any:
        if not isinstance(value, list) or not value:
            raise Unfit(f"expected a list with some of {', '.join(shown(member.value) for member in kind)}")
        return frozenset(one(item) for item in value)

    return read


def _programs(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Unfit('expected a list of absolute paths such as ["/usr/bin/apt"]')
    for path in value:
        if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
            raise Unfit(f"expected absolute paths, and {shown(path)} is none")
    return tuple(value)


def _allowance(value: Any) -> Allowance | None:
    if value == "off":
        return None
    if not isinstance(value, dict):
        raise Unfit('expected a table such as { limit = "absolute", by_at_most = "1h", times = 2 }, or "off"')
    for name in value:
        if name not in _ALLOWANCE:
            raise Unfit(f"expected no key {shown(name)}{nearest(name, _ALLOWANCE)}")
    for name in ("limit", "by_at_most"):
        if name not in value:
            raise Unfit(f"expected a key {name}")
    return Allowance(**{name: _part(name, given) for name, given in value.items()})


def _part(name: str, value: Any) -> Any:
    try:
        return _ALLOWANCE[name](value)
    except Unfit as error:
        raise Unfit(f"{error} as {name}") from None


def _extendable(value: Any) -> Reason:
    if value not in ("idle", "absolute"):
        raise Unfit('expected "idle" or "absolute"')
    return Reason(value)


def _times(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_TIMES:
        raise Unfit(f"expected a number from 1 to {_MOST_TIMES}")
    return value


def _no_program(paths: tuple[str, ...]) -> str:
    """Why the kernel will never say that one of these runs."""
    for path in paths:
        with suppress(OSError), open(path, "rb", opener=at_once) as file:
            status = os.fstat(file.fileno())
            if file.read(2) == b"#!":
                return f"{path} is a script: what the kernel sees running is its interpreter"
            if status.st_uid != 0 or status.st_mode & 0o022:
                return f"{path} is not only root's to write, so it holds nothing"
            continue
        return f"{path} cannot be read"
    return ""


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise Unfit("expected a name in quotes")
    return value


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    expected = 'expected an address or network such as "10.8.0.0/16"'
    if not isinstance(value, str):
        raise Unfit(expected)
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise Unfit(f"{expected} ({error})") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:  # addresses are compared as the IPv4 ones they are
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unfit("expected true or false")
    return value


_ALLOWANCE: Final[Mapping[str, Callable[[Any], Any]]] = {
    "limit": _extendable,
    "by_at_most": _span,
    "times": _times,
    "reauthenticate": _truth,
}
_MOST_TIMES: Final = 100


def read_names(value: Any) -> tuple[str, ...]:
    """Who has a right of [access]: users and groups."""
    if not isinstance(value, list):
        raise Unfit('expected a list such as ["user:alice", "group:helpdesk"]')
    for name in value:
        kind, _, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
        if kind not in NAME_KINDS or not rest or not rest.isprintable():
            raise Unfit(f'expected names such as "user:alice" or "group:helpdesk", and {shown(name)} is none')
    return tuple(value)


class _Patience:
    """How long NSS is waited for: it may ask a server that is slow or does not answer, and a policy hundreds of names.

    Nobody is kept waiting for a mere suspicion.
    """

    def __init__(self) -> None:
        self._left = self._until = 0.0

    def wait_for(self, ask: Callable[[], None]) -> None:
        """Ask, unless NSS has just left a question unanswered, or took too long for all before."""
        now = time.monotonic()
        if now >= self._until:
            self._left, self._until = _NSS_AT_MOST * _NSS_PATIENCE, now + _NSS_AGAIN
        answered = threading.Event()
        with suppress(RuntimeError):  # all pids are taken
            if self._left > 0:
                start_new_thread(_tell, (ask, answered))  # threading's waits for it to begin, which it may never do
                in_time = answered.wait(_NSS_PATIENCE)
                self._left = self._left - (time.monotonic() - now) if in_time else 0.0


_patience: Final = _Patience()


def _tell(ask: Callable[[], None], answered: threading.Event) -> None:
    try:
        ask()
    finally:
        answered.set()


def _unknown(find: Callable[[str], Any], what: str) -> Callable[[Any], str]:
    def suspect(name: str) -> str:
        missing = []

        def ask() -> None:
            try:
                find(name)
            except KeyError:
                missing.append(name)

        _patience.wait_for(ask)
        return f"no such {what} on this machine" if missing else ""

    return suspect


read_mode: Final = _one_of(Mode)

#: What a name in [access] begins with, and how it is found whether there is one.
NAME_KINDS: Final[Mapping[str, Callable[[str], str]]] = {
    "user": _unknown(pwd.getpwnam, "user"),
    "group": _unknown(grp.getgrnam, "group"),
}

SETTINGS: Final[Mapping[str, Setting]] = {
    "idle_timeout": Setting(does="End the session after this time without activity.", read=_limit, example='"15min"'),
    "absolute_timeout": Setting(
        does="End the session this time after it was opened, active or not.", read=_limit, example='"12h"'
    ),
    "warn_before": Setting(
        does="Warn the person this long before an end, once for each.", read=_spans, example='["2min", "30s"]'
    ),
    "end": Setting(
        does="What goes: the connection with its terminals, the whole session, or all of the user.",
        read=_one_of(Extent),
        example='"session"',
    ),
    "kill_after": Setting(
        does="How long processes may take to go after SIGHUP before they get SIGKILL.", read=_span, example='"5s"'
    ),
    "activity": Setting(
        does="What counts as activity; by itself input with a terminal, traffic without.",
        read=_some_of(Activity),
        example='["input", "output"]',
    ),
    "unobserved": Setting(
        does="What a session gets whose activity cannot be seen: no idle timeout, or idle since it was opened.",
        read=_one_of(Unobserved),
        example='"absolute-only"',
    ),
    "extend": Setting(
        does="Whether, and how far, a person may extend the own session.",
        read=_allowance,
        example='{ limit = "absolute", by_at_most = "1h", times = 2, reauthenticate = true }',
    ),
    "hold_while": Setting(
        does="Programs: while one is in the foreground of a terminal of the session, the idle timeout waits.",
        read=_programs,
        example='["/usr/bin/apt", "/usr/bin/rsync"]',
        suspect=_no_program,
    ),
}

MATCH: Final[Mapping[str, MatchKey]] = {
    "user": MatchKey(does="the user's name", read=_name, suspect=_unknown(pwd.getpwnam, "user")),
    "group": MatchKey(does="a group of the user, primary or not", read=_name, suspect=_unknown(grp.getgrnam, "group")),
    "service": MatchKey(does="the PAM service, such as sshd or login", read=_name),
    "remote": MatchKey(does="the address the person comes from", read=_network),
    "tty": MatchKey(does="a pattern for one of the session's terminals, such as tty*", read=_name),
    "terminal": MatchKey(does="whether the session has a terminal", read=_truth),
}


def fits(limits: Mapping[str, Any]) -> str:
    """What is odd about the values of one block together; empty when nothing is."""
    for key in ("idle_timeout", "absolute_timeout"):
        timeout = limits.get(key)
        if timeout is None:
            continue
        late = [lead for lead in limits.get("warn_before", ()) if lead >= timeout]
        if late:
            said = ", ".join(format_span(lead) for lead in late)
            return (
                f"warn_before {said} leaves no time before a {key} of {format_span(timeout)}; no such warning is given"
            )
    return ""
