# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy: which rules match a session, that the first value wins, and that each value remembers its rule."""

from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from idled.core.model import Extent, Limits, Mode, Reason, Session, SessionId
from idled.core.policy import DEFAULTS, MATCH_KEYS, Condition, Policy, Rule, Terminals
from idled.core.span import HOUR, MIN, SEC

ALICE = Session(
    id=SessionId("boot", 100, 1),
    user="alice",
    uid=1000,
    opened_at=0,
    groups=frozenset({"alice", "contractors"}),
    service="sshd",
    remote="10.8.3.4",
)


@pytest.mark.parametrize(
    ("key", "values", "terminals", "holds"),
    [
        ("user", ["alice"], (), True),
        ("user", ["bob", "alice"], (), True),
        ("user", ["bob"], (), False),
        ("user", ["ali*"], (), False),
        ("user", [], (), False),
        ("group", ["contractors"], (), True),
        ("group", ["wheel"], (), False),
        ("service", ["sshd"], (), True),
        ("service", ["login"], (), False),
        ("remote", [ip_network("10.8.0.0/16")], (), True),
        ("remote", [ip_network("192.168.0.0/16"), ip_network("10.8.3.4")], (), True),
        ("remote", [ip_network("10.9.0.0/16")], (), False),
        ("remote", [ip_network("::/0")], (), False),
        ("tty", ["pts/*"], ("tty1", "pts/3"), True),
        ("tty", ["/dev/pts/3"], ("pts/3",), True),
        ("tty", ["tty[0-9]"], ("tty1",), True),
        ("tty", ["tty?"], ("pts/3",), False),
        ("tty", ["*"], (), False),
        ("tty", ["PTS/3"], ("pts/3",), False),
        ("terminal", [True], ("pts/3",), True),
        ("terminal", [True], (), False),
        ("terminal", [False], (), True),
        ("terminal", [False], ("pts/3",), False),
    ],
)
def test_every_key_and_its_negation(key: str, values: list[Any], terminals: Terminals, holds: bool) -> None:
    assert Condition(key=key, values=tuple(values)).holds(ALICE, terminals) is holds
    assert Condition(key=key, values=tuple(values), negated=True).holds(ALICE, terminals) is not holds


def test_there_are_no_other_keys() -> None:
    assert MATCH_KEYS == ("user", "group", "service", "remote", "tty", "terminal")


@pytest.mark.parametrize(
    ("remote", "network", "inside"),
    [
        ("::ffff:10.8.3.4", "10.8.0.0/16", True),
        ("::ffff:10.9.3.4", "10.8.0.0/16", False),
        ("fd00::1", "fd00::/8", True),
        ("fe80::1%eth0", "fe80::/10", True),
        ("10.8.3.4", "fd00::/8", False),
        ("fd00::1", "0.0.0.0/0", False),
        ("gateway.example.org", "0.0.0.0/0", False),
        ("10.8.3.4.example.org", "0.0.0.0/0", False),
        ("", "0.0.0.0/0", False),
        ("UNKNOWN", "::/0", False),
    ],
)
def test_addresses(remote: str, network: str, inside: bool) -> None:
    session = replace(ALICE, remote=remote)
    assert Condition(key="remote", values=(ip_network(network),)).holds(session, ()) is inside


def rule(name: str, *match: Condition, **values: Any) -> Rule:
    return Rule(name=name, match=match, values=values)


DEFAULT = rule(DEFAULTS, idle_timeout=15 * MIN, absolute_timeout=12 * HOUR, warn_before=(30 * SEC,))


def test_the_first_value_wins_key_by_key() -> None:
    policy = Policy(
        rules=(
            rule("others", Condition(key="user", values=("bob",)), idle_timeout=SEC),
            rule("short", Condition(key="user", values=("alice",)), idle_timeout=5 * MIN),
            rule("later", idle_timeout=None, end=Extent.USER),
            DEFAULT,
        )
    )
    limits = policy.limits(ALICE, ())
    assert limits == Limits(
        idle_timeout=5 * MIN,
        absolute_timeout=12 * HOUR,
        warn_before=(30 * SEC,),
        end=Extent.USER,
        origin={
            "idle_timeout": "short",
            "end": "later",
            "absolute_timeout": DEFAULTS,
            "warn_before": DEFAULTS,
        },
    )
    assert limits.rule(Reason.IDLE) == "short"
    assert limits.rule(Reason.ABSOLUTE) == DEFAULTS
    assert limits.rule(Reason.USER) == ""


def test_no_limit_is_a_value_too() -> None:
    limits = Policy(rules=(rule("exempt", idle_timeout=None), DEFAULT)).limits(ALICE, ())
    assert limits.timeout(Reason.IDLE) is None
    assert limits.rule(Reason.IDLE) == "exempt"
    assert limits.timeout(Reason.ABSOLUTE) == 12 * HOUR
    assert limits.timeout(Reason.USER) is None


def test_all_conditions_of_a_rule_must_hold() -> None:
    both = rule(
        "both",
        Condition(key="user", values=("alice",)),
        Condition(key="terminal", values=(True,)),
    )
    assert both.missed(ALICE, ("pts/1",)) is None
    assert both.missed(ALICE, ()) is not None
    assert rule("all").missed(ALICE, ()) is None


def test_without_rules_nothing_is_limited() -> None:
    policy = Policy()
    assert policy.mode is Mode.OBSERVE
    assert policy.limits(ALICE, ()) == Limits()
    assert policy.limits(ALICE, ()).rule(Reason.IDLE) == ""


@pytest.mark.parametrize(("key", "wanted"), [("group", True), ("user", False)])
def test_groups_are_asked_for_only_where_a_rule_does(key: str, wanted: bool) -> None:
    policy = Policy(rules=(rule("one", Condition(key=key, values=("x",), negated=True)), DEFAULT))
    assert policy.wants_groups() is wanted
    assert (
        Policy(rules=(rule("all"), rule("user", Condition(key="user", values=("x",))), *policy.rules)).wants_groups()
        is wanted
    )


@pytest.mark.parametrize(
    ("values", "limited"),
    [({"idle_timeout": MIN}, True), ({"absolute_timeout": HOUR}, True), ({"idle_timeout": None}, False), ({}, False)],
)
def test_whether_anybody_can_have_a_limit(values: dict[str, Any], limited: bool) -> None:
    rules = (Rule(name="some", match=(Condition(key="user", values=("bob",)),), values=values), Rule(name=DEFAULTS))
    assert Policy(mode=Mode.ENFORCE, rules=rules).sets_limits() == limited


def test_leads_that_leave_no_room_are_left_out() -> None:
    limits = Limits(idle_timeout=MIN, warn_before=(2 * MIN, MIN, 30 * SEC, 10 * SEC))
    assert limits.leads(Reason.IDLE) == (30 * SEC, 10 * SEC)
    assert limits.leads(Reason.ABSOLUTE) == ()


@pytest.mark.parametrize(("logind", "name"), [("c4", "c4"), ("", "p100")])
def test_what_people_call_a_session(logind: str, name: str) -> None:
    assert replace(ALICE, logind=logind).name == name
    assert str(ALICE.id) == "100-1"
