# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever an unprivileged user asks for, a limit moves only as the rule's ``extend`` says, and never afterwards.

The oracle knows nothing of the engine. It keeps, for each session, what the policy says and what it has seen granted;
whenever a limit has moved it looks at who just asked for what, and says whether that was allowed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, TypeAlias
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from idled.core.events import Closed, Event
from idled.core.model import Allowance, Mode, Reason, SessionId
from idled.core.policy import Policy
from idled.core.span import DAY, HOUR, MIN, SEC, Usec

from ..unit.core.driver import T0, policy
from ..unit.office import UIDS, Office, password_of

AskPam: TypeAlias = Callable[[str, bytearray], Awaitable[int]]

PEOPLE = ("alice", "bob")
LIMITED = (Reason.IDLE, Reason.ABSOLUTE)
#: What logind is to leave idled for an end.
MARGIN = 2 * MIN


@dataclass(frozen=True)
class Rule:
    """What the policy says, as the oracle has it."""

    idle: Usec | None
    absolute: Usec | None
    limit: str | None  # that may be extended; None: none
    by: Usec
    times: int
    password: bool
    enforce: bool

    def policy(self) -> Policy:
        extend = None
        if self.limit is not None:
            extend = Allowance(
                limit=Reason(self.limit), by_at_most=self.by, times=self.times, reauthenticate=self.password
            )
        mode = Mode.ENFORCE if self.enforce else Mode.OBSERVE
        values = {"idle_timeout": self.idle, "absolute_timeout": self.absolute, "extend": extend}
        return policy(mode, warn_before=(), **values)

    def timeout(self, limit: str) -> Usec | None:
        return self.idle if limit == "idle" else self.absolute


@dataclass
class Seen:
    """A session, and what was granted to it."""

    user: str
    opened_at: Usec
    last_resort: Usec | None
    moved: dict[str, Usec] = field(default_factory=lambda: {"idle": 0, "absolute": 0})
    grants: dict[str, int] = field(default_factory=lambda: {"idle": 0, "absolute": 0})
    closed: bool = False


@dataclass(frozen=True)
class Asked:
    """A call that is under way."""

    who: str
    parameters: dict[str, Any]
    by: Usec  # what is meant where nothing is said: as the rule was when it began


NOW_ASKING: ContextVar[Asked | None] = ContextVar("now asking", default=None)

RULES = st.builds(
    Rule,
    idle=st.sampled_from([HOUR] * 4 + [10 * MIN, None]),
    absolute=st.sampled_from([8 * HOUR] * 5 + [30 * MIN, 40 * DAY, None]),
    limit=st.sampled_from(["absolute"] * 5 + ["idle"] * 2 + [None]),
    by=st.sampled_from([10 * MIN, 2 * HOUR, SEC, 60 * DAY]),
    times=st.integers(1, 4),
    password=st.sampled_from([True, True, False]),
    enforce=st.sampled_from([True, True, True, False]),
)
#: By how much the last resort of a session lies beyond its absolute timeout; None: there is none.
ROOMS = st.lists(st.sampled_from([None, 3 * HOUR, 9 * DAY, 10 * MIN, SEC, 0, -HOUR]), min_size=1, max_size=4)
ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})
)
USERS = st.sampled_from([*PEOPLE, *PEOPLE, "mallory"])
SPANS = st.sampled_from(
    [SEC, SEC - 1, 10 * MIN, 10 * MIN + 1, 2 * HOUR, 2 * HOUR + 1, 30 * DAY, 30 * DAY + 1, 60 * DAY]
    + [0, -1, -HOUR, 2**63 - 1, 2**63, -(2**63), 10**40, True, 1e9, float("inf"), "10min"]
)
#: A number stands for one of the sessions that are open.
SESSIONS = st.sampled_from([0, 1, 0, 1, 0, 1, "p100", "100-7", "", "p100 ", "nobody's", None])
CALLS = st.fixed_dictionaries(
    {"session": SESSIONS},
    optional={
        "limit": st.sampled_from(["absolute"] * 6 + ["idle"] * 3 + ["request", "user", "", None, 1, True]),
        "byUSec": SPANS | st.integers(0, 3 * HOUR) | st.none(),
        "reason": st.sampled_from(["", "why not", "\x1b[2J", "x" * 5000, None]),
        "password": st.sampled_from([*map(password_of, PEOPLE * 3), "wrong", "", "\0", "\ud800", "x" * 600, None]),
    },
)
ODD_CALLS = st.dictionaries(
    st.sampled_from(["session", "limit", "byUSec", "reason", "password", "uid", "privileged"]), ANYTHING
)
#: How a call differs from one that is right. Few of those that are made up at random come near.
TWISTS = st.sampled_from(
    ["", "", "", "a little more", "the room", "more than the room", "into the margin", "another limit"]
    + ["a wrong password", "no password", "somebody else", "nothing said"]
)
SEVERAL = st.lists(st.tuples(USERS, CALLS), min_size=2, max_size=6)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.loop = self.stack.enter_context(asyncio.Runner())
        self.seen: dict[SessionId, Seen] = {}
        self.wrong: dict[str, list[Usec]] = {}  # moments at which PAM was given a wrong password

    def teardown(self) -> None:
        self.stack.close()

    @initialize(rule=RULES, rooms=ROOMS)
    def begin(self, rule: Rule, rooms: list[Usec | None]) -> None:
        self.rule, self.rooms = rule, cycle(rooms)
        self.office = Office(rule.policy())
        self.driver = self.office.driver
        self.stack.enter_context(self.office.made_up())
        # What the engine is told, and what PAM is asked, passes by the oracle.
        told = partial(self.watched, self.office.handle)
        asked = partial(self.counted, self.office.ask_pam)
        self.stack.enter_context(patch.object(self.office, "handle", told))
        self.stack.enter_context(patch("idled.reauthenticate._ask_pam", asked))
        self.office.start()
        self.everybody_comes()

    # The oracle

    def watched(self, tell: Callable[[Event], None], event: Event) -> None:
        before = self.extras()
        tell(event)
        for (id, limit), extra in self.extras().items():
            by = extra - before.get((id, limit), 0)
            if by:
                self.moved(self.seen[id], limit, by)

    async def counted(self, ask_pam: AskPam, user: str, password: bytearray) -> int:
        recent = [at for at in self.wrong.get(user, []) if self.driver.now < at + 10 * MIN]
        assert len(recent) < 3, "a fourth password after three wrong ones in ten minutes"
        status = await ask_pam(user, password)
        self.wrong[user] = [] if status == 0 else [*recent, self.driver.now]
        return status

    def extras(self) -> dict[tuple[SessionId, str], Usec]:
        statuses = [self.driver.engine.status(id, self.driver.now) for id in self.seen]
        found = [status for status in statuses if status is not None]
        return {(status.session.id, limit.value): status.extra[limit] for status in found for limit in LIMITED}

    def moved(self, session: Seen, limit: str, by: Usec) -> None:
        """A limit has moved: was that allowed?"""
        asked, rule, now = NOW_ASKING.get(), self.rule, self.driver.now
        assert asked is not None, "nobody asked"
        assert asked.who == session.user, "it is not theirs"
        assert limit == rule.limit and rule.timeout(limit) is not None
        assert SEC <= by <= min(rule.by, 30 * DAY)
        wanted = asked.parameters.get("byUSec")
        assert by == (asked.by if wanted is None else wanted) and not isinstance(wanted, bool | float)
        assert asked.parameters.get("limit") in (None, limit)
        session.grants[limit] += 1
        session.moved[limit] += by
        assert session.grants[limit] <= rule.times
        assert not session.closed
        if rule.password:
            assert asked.parameters.get("password") == password_of(session.user)
        if rule.absolute is not None:
            before = rule.absolute + session.moved["absolute"] - (by if limit == "absolute" else 0)
            assert not rule.enforce or now < session.opened_at + before, "after expiry"
            if limit == "absolute" and session.last_resort is not None:
                assert before + by <= session.last_resort - MARGIN, "logind would end it"

    # What happens

    def everybody_comes(self) -> None:
        """Who has no session opens one."""
        for user in PEOPLE:
            if not any(session.user == user and id in self.driver.engine for id, session in self.seen.items()):
                room = next(self.rooms)
                last_resort = None if room is None else (self.rule.absolute or 8 * HOUR) + room + MARGIN
                id = self.office.open(user, last_resort=last_resort)
                self.seen[id] = Seen(user, self.driver.now, last_resort)

    @rule(who=USERS, place=st.none() | st.integers(0, 2), call=CALLS | ODD_CALLS)
    def ask(self, who: str, place: int | None, call: dict[str, Any]) -> None:
        self.everybody_comes()
        self.office.place = self.place(place)
        self.loop.run(self.call(who, call))

    @rule(
        calls=SEVERAL,
        place=st.integers(0, 2),
        turns=st.integers(0, 4),
        meanwhile=st.sampled_from(["", "logout"]) | RULES,
    )
    def ask_at_once(
        self, calls: list[tuple[str, dict[str, Any]]], place: int, turns: int, meanwhile: Rule | str
    ) -> None:
        self.everybody_comes()
        self.office.place, self.office.turns = self.place(place), turns
        self.loop.run(_together(*[self.call(who, call) for who, call in calls], self.later(meanwhile, place)))

    @rule(
        which=st.integers(0, 2),
        twist=TWISTS,
        late=st.sampled_from([None] * 12 + [-1, 0, 1, SEC]),
        times=st.integers(1, 3),
    )
    def ask_nearly_right(self, which: int, twist: str, late: Usec | None, times: int) -> None:
        self.everybody_comes()
        id = self.place(which)
        assert id is not None
        session, absolute = self.seen[id], self.rule.absolute
        if late is not None and absolute is not None:  # when it ends, and nobody has noticed yet
            end = session.opened_at + absolute + session.moved["absolute"] + late
            self.driver.jump((max(end, self.driver.now) - T0) / SEC)
        who, call = self.nearly_right(id, session, twist)
        self.loop.run(_together(*[self.call(who, call) for _ in range(times)]))

    def nearly_right(self, id: SessionId, session: Seen, twist: str) -> tuple[str, dict[str, Any]]:
        who, rule, limit = session.user, self.rule, self.rule.limit or "absolute"
        call = {"session": str(id), "limit": limit, "byUSec": rule.by, "password": password_of(who)}
        room = (session.last_resort or 0) - MARGIN - (rule.absolute or 0) - session.moved["absolute"]
        if twist == "nothing said":
            return who, {"session": str(id), "password": password_of(who)}
        if twist == "somebody else":
            return "bob" if who == "alice" else "alice", call
        changes: dict[str, dict[str, Any]] = {
            "a little more": {"byUSec": rule.by + 1},
            "the room": {"byUSec": room},
            "more than the room": {"byUSec": room + 1},
            "into the margin": {"byUSec": room + MARGIN},
            "another limit": {"limit": "idle" if limit == "absolute" else "absolute"},
            "a wrong password": {"password": "wrong"},
            "no password": {"password": None},
        }
        return who, call | changes.get(twist, {})

    @rule(call=CALLS, times=st.integers(2, 6))
    def replay(self, call: dict[str, Any], times: int) -> None:
        self.everybody_comes()
        for who in PEOPLE:
            self.loop.run(_together(*[self.call(who, call) for _ in range(times)]))

    @rule(rule=RULES)
    def reload(self, rule: Rule) -> None:
        self.rule = rule
        self.driver.reload(rule.policy())

    @rule()
    def restart(self) -> None:
        self.wrong = {}
        self.driver.restart(self.rule.policy())
        self.office.start()

    @rule(span=st.sampled_from([SEC, MIN, 5 * MIN, 11 * MIN, 29 * MIN, 8 * HOUR]), noticed=st.booleans())
    def wait(self, span: Usec, noticed: bool) -> None:
        until = (self.driver.now + span - T0) / SEC
        if noticed:
            self.driver.until(until)
        else:  # the daemon is slow, or the machine slept
            self.driver.jump(until)

    @rule(which=st.integers(0, 2))
    def type(self, which: int) -> None:
        id = self.place(which)
        if id is not None:
            self.driver.active(id)

    @rule(which=st.integers(0, 2))
    def logout(self, which: int) -> None:
        self.close(which)

    # What holds

    @invariant()
    def limits_are_what_was_granted(self) -> None:
        for (id, limit), extra in self.extras().items() if self.seen else ():
            assert extra == self.seen[id].moved[limit]

    @invariant()
    def an_absolute_timeout_ends_what_it_ends(self) -> None:
        if not self.seen:
            return
        self.driver.until((self.driver.now - T0) / SEC)
        for id, session in self.seen.items():
            if id in self.driver.engine and self.rule.enforce and self.rule.absolute is not None:
                assert self.driver.now < session.opened_at + self.rule.absolute + session.moved["absolute"]

    # How it is done

    def place(self, which: int | None) -> SessionId | None:
        open_ones = [id for id in self.seen if id in self.driver.engine]
        return open_ones[which % len(open_ones)] if open_ones and which is not None else None

    async def call(self, who: str, parameters: dict[str, Any]) -> None:
        named = parameters.get("session")
        if type(named) is int and named in (0, 1):
            parameters = parameters | {"session": str(self.place(named))}
        NOW_ASKING.set(Asked(who, dict(parameters), self.rule.by))
        assert UIDS.get(who) != 0
        before = self.extras() if self.seen else {}
        said = await self.office.ask(who, **parameters)
        assert said or self.extras() != before

    async def later(self, what: Rule | str, which: int) -> None:
        """Something that happens while calls are under way."""
        for _ in range(3):
            await asyncio.sleep(0)
        if isinstance(what, Rule):
            self.rule = what
            self.driver.reload(what.policy())
        elif what == "logout":
            self.close(which)

    def close(self, which: int) -> None:
        id = self.place(which)
        if id is not None:
            self.seen[id].closed = True
            self.driver.tell(Closed(id=id))


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(*work)


Machine.TestCase.settings = settings(
    max_examples=1000,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestMachine = pytest.mark.timeout(1200)(Machine.TestCase)
