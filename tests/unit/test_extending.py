# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asking for an extension: who is heard, in which order, what is answered and what is recorded."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from idled.core.events import Closed, Kind, Record
from idled.core.model import Allowance, Reason
from idled.core.policy import Access, Policy
from idled.core.span import HOUR, MIN

from .core.driver import policy
from .office import Office

ALLOWED = Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR, times=2)
RULES = replace(
    policy(absolute_timeout=8 * HOUR, idle_timeout=HOUR, extend=ALLOWED), access=Access(extend=("user:helper",))
)
RIGHT, WRONG = {"password": "ecila"}, {"password": "alice"}
WANTED = "AuthenticationRequired: alice"


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office(RULES)
    with office.made_up():
        office.place = office.open("alice")
        yield office


def asks(office: Office, *calls: Coroutine[Any, Any, str]) -> list[str]:
    """What comes of calls that are made at the same time."""

    async def together() -> list[str]:
        await office.access.refresh()
        return await asyncio.gather(*calls)

    return asyncio.run(together())


def extra(office: Office, reason: Reason = Reason.ABSOLUTE) -> int:
    assert office.place is not None
    return office.driver.status(office.place).extra[reason]


def records(office: Office, kind: Kind) -> list[Record]:
    return [record for record in office.driver.records if record.kind is kind]


def without_password(**changes: Any) -> Policy:
    return policy(absolute_timeout=8 * HOUR, extend=replace(ALLOWED, reauthenticate=False), **changes)


def test_a_person_extends_the_own_session_with_the_password(office: Office) -> None:
    assert asks(office, office.ask("alice")) == [WANTED]
    assert asks(office, office.ask("alice", **RIGHT, reason="a long build\x1b")) == [""]
    assert extra(office) == HOUR
    (granted,) = records(office, Kind.EXTENDED)
    assert (granted.by, granted.by_uid, granted.asked, granted.note) == ("alice", 1000, HOUR, "a long build?")
    assert records(office, Kind.EXTENSION_REFUSED) == [], "that a password is wanted refuses nothing"


def test_limit_and_span_may_be_said(office: Office) -> None:
    assert asks(office, office.ask("alice", **RIGHT, limit="absolute", byUSec=MIN)) == [""]
    assert extra(office) == MIN


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"byUSec": HOUR + 1}, "at most 1h at a time may be asked for"),
        ({"byUSec": -HOUR}, "a span between 1s and 30d was expected"),
        ({"byUSec": 2**63 - 1}, "at most 1h at a time may be asked for"),
        ({"limit": "idle"}, "only the absolute timeout may be extended"),
    ],
)
def test_what_is_refused_anyway_is_refused_before_a_password_is_asked_for(
    office: Office, parameters: dict[str, Any], said: str
) -> None:
    assert asks(office, office.ask("alice", **parameters)) == [f"ExtensionRefused: {said}"]
    assert asks(office, office.ask("alice", **parameters, **RIGHT)) == [f"ExtensionRefused: {said}"]
    assert office.asked == []
    assert [record.note for record in records(office, Kind.EXTENSION_REFUSED)] == [said] * 2


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"byUSec": True}, "byUSec"),
        ({"byUSec": 60.0}, "byUSec"),
        ({"byUSec": "1h"}, "byUSec"),
        ({"byUSec": 2**63}, "byUSec"),
        ({"byUSec": -(2**63) - 1}, "byUSec"),
        ({"limit": "request"}, "limit"),
        ({"limit": "user"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": 1}, "limit"),
        ({"reason": ["x"]}, "reason"),
        ({"password": 5}, "password"),
        ({"session": 7}, "session"),
        ({"privileged": True}, "privileged"),
        ({"uid": 0}, "uid"),
    ],
)
def test_what_is_no_call(office: Office, parameters: dict[str, Any], name: str) -> None:
    assert asks(office, office.ask("alice", **(RIGHT | parameters))) == [f"InvalidParameter: {name}"]
    assert extra(office) == 0


def test_a_wrong_password_is_refused_and_recorded(office: Office) -> None:
    assert asks(office, office.ask("alice", **WRONG)) == ["ExtensionRefused: wrong password"]
    (refused,) = records(office, Kind.EXTENSION_REFUSED)
    assert (refused.by, refused.by_uid, refused.asked, refused.note) == ("alice", 1000, HOUR, "wrong password")
    assert extra(office) == 0
    assert "alice" not in refused.note


def test_after_too_many_wrong_ones_no_password_is_asked_for(office: Office) -> None:
    asks(office, *[office.ask("alice", **WRONG) for _ in range(5)])
    assert len(office.asked) == 3
    for parameters in (RIGHT, {}):
        (said,) = asks(office, office.ask("alice", **parameters))
        assert said.startswith("ExtensionRefused: too many wrong passwords; try again in ")
    assert len(records(office, Kind.EXTENSION_REFUSED)) == 7


@pytest.mark.parametrize("who", ["bob", "a stranger"])
def test_the_session_of_another(office: Office, who: str) -> None:
    office.place = None
    for parameters in ({}, RIGHT, {"byUSec": 2**62}):
        assert asks(office, office.ask(who, session="p100", **parameters)) == ["NotPermitted"]
    assert office.asked == []
    refused = records(office, Kind.EXTENSION_REFUSED)
    assert {record.note for record in refused} == {"not permitted"}
    assert {record.by for record in refused} == {"bob" if who == "bob" else "uid 4000"}


@pytest.mark.parametrize("session", ["", "nobody's", "100", "100-8", "p1000", "P100", "alice"])
def test_no_such_session(office: Office, session: str) -> None:
    assert asks(office, office.ask("alice", **RIGHT, session=session)) == [f"NoSuchSession: {session}"]


def test_a_session_has_an_id_and_a_name(office: Office) -> None:
    assert asks(office, office.ask("alice", **RIGHT, session="p100", byUSec=MIN)) == [""]
    assert asks(office, office.ask("alice", **RIGHT, session="100-7", byUSec=MIN)) == [""]


@pytest.mark.parametrize("who", ["root", "helper"])
def test_who_may_extend_for_others_gives_a_reason_and_no_password(office: Office, who: str) -> None:
    call = {"session": "p100", "limit": "idle", "byUSec": 3 * HOUR}
    for reason in ({}, {"reason": ""}):
        assert asks(office, office.ask(who, **call, **reason)) == ["ExtensionRefused: a reason was expected"]
    assert asks(office, office.ask(who, **call, reason="she asked me to")) == [""]
    assert extra(office, Reason.IDLE) == 3 * HOUR
    (granted,) = records(office, Kind.EXTENDED)
    assert granted.by.startswith(who) and granted.note == "she asked me to"
    assert asks(office, *[office.ask("alice", **RIGHT) for _ in range(2)]) == ["", ""], "it uses up nothing of hers"


def test_a_right_over_others_sessions_is_none_over_the_own(office: Office) -> None:
    office.place = office.open("helper")
    call = {"limit": "idle", "byUSec": HOUR, "reason": "mine"}
    assert asks(office, office.ask("helper", **call)) == ["ExtensionRefused: only the absolute timeout may be extended"]


def test_of_many_at_once_as_many_are_granted_as_the_rule_says(office: Office) -> None:
    said = asks(office, *[office.ask("alice", **RIGHT) for _ in range(6)])
    assert (
        sorted(said) == ["", ""] + ["ExtensionRefused: it was extended 2 times already, which is all that may be"] * 4
    )
    assert extra(office) == 2 * HOUR


@pytest.mark.parametrize(
    ("meanwhile", "said"),
    [
        ("it is closed", "the session is over"),
        ("the rule goes", "no rule lets this session be extended"),
        ("it expires", "the session is being ended"),
    ],
)
def test_what_happens_while_the_password_is_checked_counts(office: Office, meanwhile: str, said: str) -> None:
    office.turns = 5

    async def happens() -> str:
        while not office.asked:
            await asyncio.sleep(0)
        if meanwhile == "it is closed":
            assert office.place is not None
            office.driver.tell(Closed(id=office.place))
        elif meanwhile == "the rule goes":
            office.driver.reload(policy(absolute_timeout=8 * HOUR))
        else:
            office.driver.jump(8 * 3600)
        return ""

    assert asks(office, office.ask("alice", **RIGHT), happens()) == [f"ExtensionRefused: {said}", ""]
    assert records(office, Kind.EXTENDED) == []
    assert [record.note for record in records(office, Kind.EXTENSION_REFUSED)] == [said]


def test_without_reauthenticate_no_password_is_asked_for(office: Office) -> None:
    office.driver.reload(without_password())
    assert asks(office, office.ask("alice")) == [""]
    assert asks(office, office.ask("alice", **WRONG)) == [""], "one that is given all the same is not looked at"
    assert office.asked == []


def test_beyond_the_last_resort_nothing_goes(office: Office) -> None:
    office.driver.reload(without_password())
    id = office.open("alice", last_resort=8 * HOUR + 30 * MIN + 2 * MIN)
    name = office.session(id).name
    assert asks(office, office.ask("alice", session=name)) == [
        "ExtensionRefused: no more than 30min is left until logind ends the session, as was set at its login"
    ]
    assert asks(office, office.ask("alice", session=name, byUSec=30 * MIN)) == [""]
    assert asks(office, office.ask("root", session=name, byUSec=MIN, reason="please", limit="absolute")) == [
        "ExtensionRefused: nothing is left until logind ends the session, as was set at its login"
    ]


def test_without_any_rule(office: Office) -> None:
    office.driver.reload(policy(idle_timeout=HOUR))
    assert asks(office, office.ask("alice", **RIGHT)) == ["ExtensionRefused: no rule lets this session be extended"]
    assert asks(office, office.ask("root", reason="please")) == [
        "ExtensionRefused: a span between 1s and 30d was expected"
    ]
    assert asks(office, office.ask("root", reason="please", byUSec=HOUR)) == [""]
    assert extra(office, Reason.IDLE) == HOUR


def test_a_refused_call_makes_the_next_of_that_caller_wait_and_nobody_else(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idled.extending._PAUSE", 0.5)
    office.driver.reload(without_password())
    moments: dict[str, float] = {}

    async def timed(name: str, who: str, **call: Any) -> str:
        said = await office.ask(who, session="p100", **call)
        moments[name] = time.monotonic() - began
        return said

    began = time.monotonic()
    asks(
        office,
        timed("refused", "alice", byUSec=1),
        timed("next", "alice"),
        timed("root", "root", reason="r"),
        timed("stranger", "bob"),
        timed("another stranger", "mallory"),
    )
    waited = min(moments["next"], moments["another stranger"])
    assert max(moments["refused"], moments["root"], moments["stranger"]) < waited
    assert waited >= 0.5
    assert len(office.extending._turns) == 0, "nothing is kept of callers who have gone"


def test_who_hangs_up_while_waiting_gets_nothing(office: Office) -> None:
    office.turns = 50

    async def impatient() -> str:
        call = asyncio.create_task(office.ask("alice", **RIGHT))
        while not office.asked:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        return await office.ask("alice", **RIGHT)

    assert asks(office, impatient()) == [""]
    assert extra(office) == HOUR
