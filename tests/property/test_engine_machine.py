# SPDX-License-Identifier: LGPL-2.1-or-later
"""The engine against a made-up machine: whatever happens, nobody is ended early, unwarned or (beyond the bound) late.

Bounds, on top of the limit: an absolute end 0; the idle end of a console one 8 s block, a 10 ms tick and what the wall
clock was set by; of a quiet SSH session 20 ms; of one whose client sends keepalives 3 s more; of one whose client says
something else, too, until the look after the last input, which is no more than a console's bound where a terminal's
stamp tells of that input (`Login.slack`).
"""

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from idled.core.model import Extent, Mode, Reason
from idled.core.span import DAY, HOUR, MIN, MSEC, SEC, Usec

from .world import UNREAD, Login, Setting, World

TIMEOUTS = st.none() | st.integers(5 * SEC, 15 * MIN)
LEADS = st.sampled_from([(), (30 * SEC,), (2 * MIN, 30 * SEC), (10 * SEC, 5 * SEC, 1 * SEC)])
SETTINGS = st.builds(Setting, idle=TIMEOUTS, absolute=TIMEOUTS, leads=LEADS, end=st.sampled_from(list(Extent)))
POLICIES = st.fixed_dictionaries({"sshd": SETTINGS, "login": SETTINGS})
SPANS = st.integers(0, 3 * SEC) | st.integers(0, 20 * SEC) | st.integers(0, 10 * MIN)
STEPS = st.sampled_from([-DAY, -HOUR, HOUR, DAY]) | st.integers(-20, 20).map(lambda n: n * SEC)
STEPS = STEPS | st.integers(-20 * MIN, 20 * MIN)
TOUCHES = st.none() | st.just(0) | st.integers(-DAY, DAY) | st.integers(-10 * SEC, 10 * SEC)
WHO = st.integers(0, 5)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.may_step = True

    def pick(self, who: int, *, forger: bool | None = None) -> Login | None:
        """One of the open sessions; those of uid 3 forge, the others do not."""
        logins = [login for login in self.world.open() if forger in (None, login.session.uid == 3)]
        return logins[who % len(logins)] if logins else None

    @initialize(mode=st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE]), policy=POLICIES)
    def configure(self, mode: Mode, policy: dict[str, Setting]) -> None:
        self.world.reload(mode, policy)

    @rule(
        service=st.sampled_from(["sshd", "login"]),
        uid=st.integers(1, 3),
        terminal=st.sampled_from([True, True, True, False]),
        stubborn=st.sampled_from([0, 0, 2, 15]),
        alive=st.none() | st.integers(2 * SEC, 10 * MIN),
    )
    def login(self, service: str, uid: int, terminal: bool, stubborn: int, alive: Usec | None) -> None:
        if len(self.world.open()) < 5:
            self.world.login(service=service, uid=uid, terminal=terminal, stubborn=stubborn, alive=alive)

    @rule(span=SPANS)
    def wait(self, span: Usec) -> None:
        self.world.advance(span)

    @rule(who=WHO, which=WHO, keys=st.sampled_from([1, 3, 9]), read=st.sampled_from([True, True, False]))
    def type(self, who: int, which: int, keys: int, read: bool) -> None:
        login = self.pick(who)
        if login is not None and login.observable:
            pty = login.ptys[which % len(login.ptys)] if login.ptys else None
            self.world.type(login, pty, keys=keys, read=read)

    @rule(
        who=WHO,
        which=WHO,
        keys=st.sampled_from([0, 1, 9]),
        busy=st.integers(0, UNREAD - MSEC),
        before=st.integers(0, 3 * SEC),
        until=st.booleans(),
    )
    def arrive(self, who: int, which: int, keys: int, busy: Usec, before: Usec, until: bool) -> None:
        """To an sshd that is busy for a moment; often just before the session is due."""
        login = self.pick(who, forger=False)
        if login is None or login.wire is None:
            return
        status = self.world.engine.status(login.id, self.world.now) if self.world.up else None
        if until and status is not None and status.due_at is not None:
            self.world.advance(max(0, status.due_at - self.world.now - before))
        if login in self.world.open():
            self.world.arrive(login, keys)
            self.world.advance(busy)
        if login in self.world.open():
            self.world.be_read(login, login.ptys[which % len(login.ptys)] if login.ptys else None, keys)
            self.world.advance(UNREAD)  # whoever was due is decided on then

    @rule(who=WHO, which=WHO, pauses=st.lists(SPANS, min_size=2, max_size=6))
    def work(self, who: int, which: int, pauses: list[Usec]) -> None:
        for pause in pauses:
            self.type(who, which, 9, True)
            self.world.advance(pause)

    @rule(
        alive=st.integers(2 * SEC, 10 * MIN),
        terminal=st.booleans(),
        keys=st.sampled_from([1, 9]),
        pauses=st.lists(st.integers(SEC, 3 * MIN), min_size=1, max_size=8),
    )
    def visit(self, alive: Usec, terminal: bool, keys: int, pauses: list[Usec]) -> None:
        """Somebody comes, types now and then, and walks away from a client that goes on sending keepalives."""
        if len(self.world.open()) >= 5:
            return
        login = self.world.login(service="sshd", uid=1, terminal=terminal, stubborn=0, alive=alive)
        for pause in pauses:
            self.world.advance(pause)
            if login in self.world.open():
                self.world.type(login, login.ptys[0] if login.ptys else None, keys=keys)
        self.world.advance(15 * MIN)

    @rule(who=WHO, which=WHO)
    def read_on(self, who: int, which: int) -> None:
        """A program comes back and reads what was typed ahead."""
        login = self.pick(who)
        if login is not None and login.ptys:
            pty = login.ptys[which % len(login.ptys)]
            if pty.queued:
                pty.read(self.world.wall)
                login.reads_late(self.world.now)

    @rule(who=WHO, every=st.integers(2 * SEC, 90 * SEC), times=st.integers(1, 12))
    def keepalives(self, who: int, every: Usec, times: int) -> None:
        login = self.pick(who)
        for _ in range(times):
            if login is not None:
                self.world.chatter(login)
            self.world.advance(every)

    @rule(who=WHO, amid=st.integers(0, 5))
    def rekey(self, who: int, amid: int) -> None:
        login = self.pick(who)
        if login is not None:
            self.world.rekey(login, amid)

    @rule(who=WHO, what=st.sampled_from(["terminals", "connection", "counters"]), looks=st.integers(1, 5))
    def miss(self, who: int, what: str, looks: int) -> None:
        login = self.pick(who)
        if login is not None:
            self.world.miss(login, what, looks)

    @rule(who=WHO, by=TOUCHES)
    def forge(self, who: int, by: Usec | None) -> None:
        login = self.pick(who, forger=True)
        if login is not None and login.ptys:
            self.world.forge(login, by)

    @rule(who=WHO)
    def multiplex(self, who: int) -> None:
        login = self.pick(who, forger=False)
        if login is not None and login.wire is not None and 1 <= len(login.ptys) < 3:
            self.world.multiplex(login)

    @rule(who=WHO)
    def close_terminal(self, who: int) -> None:
        login = self.pick(who, forger=False)
        if login is not None and len(login.ptys) > 1:
            self.world.close(login, login.ptys[-1])

    @rule(who=WHO, which=WHO, lines=st.booleans())
    def take_lines(self, who: int, which: int, lines: bool) -> None:
        login = self.pick(who)
        if login is not None and login.ptys:
            self.world.take_lines(login, login.ptys[which % len(login.ptys)], lines)

    @rule(who=WHO, which=WHO, span=SPANS)
    def run_and_interrupt(self, who: int, which: int, span: Usec) -> None:
        """A command is typed, runs, and is stopped."""
        login = self.pick(who, forger=False)
        if login is not None and login.ptys:
            pty = login.ptys[which % len(login.ptys)]
            self.world.take_lines(login, pty, False)
            self.world.type(login, pty, keys=9)
            self.world.take_lines(login, pty, True)
            self.world.advance(span)
            if login in self.world.open() and pty in login.ptys:
                self.world.interrupt(login, pty)

    @precondition(lambda self: self.may_step)
    @rule(by=STEPS)
    def set_clock(self, by: Usec) -> None:
        self.world.step(by)
        self.may_step = self.world.up  # at most once while nobody sees it

    @rule(span=st.integers(SEC, 30 * MIN))
    def suspend(self, span: Usec) -> None:
        self.world.sleep(span)

    @rule(mode=st.sampled_from([Mode.ENFORCE, Mode.ENFORCE, Mode.OBSERVE]), policy=POLICIES)
    def reload(self, mode: Mode, policy: dict[str, Setting]) -> None:
        self.world.reload(mode, policy)

    @rule(who=WHO)
    def logout(self, who: int) -> None:
        login = self.pick(who)
        if login is not None:
            self.world.logout(login)

    @precondition(lambda self: self.world.up)
    @rule()
    def crash(self) -> None:
        self.world.stop()

    @precondition(lambda self: not self.world.up)
    @rule()
    def start(self) -> None:
        self.world.start()
        self.may_step = True

    @invariant()
    def nothing_is_overdue(self) -> None:
        world = self.world
        if not world.up:
            return
        world.advance(0)
        assert world.engine.deadline is None or world.engine.deadline > world.now
        for login in world.open():
            for reason in (Reason.IDLE, Reason.ABSOLUTE):
                latest = world.latest(login, reason)
                assert latest is None or world.now <= latest, f"{login} not ended by {reason.value}"

    @invariant()
    def it_will_be_looked_at(self) -> None:
        world = self.world
        for login in world.open() if world.up else ():
            status = world.engine.status(login.id, world.now)
            assert status is not None and status.ending is None
            limited = [reason for reason in (Reason.IDLE, Reason.ABSOLUTE) if world.latest(login, reason)]
            if login.amid and world.mode is Mode.ENFORCE:
                assert world.engine.deadline is not None and world.engine.deadline <= world.now + UNREAD
            elif limited:
                assert status.due_at is not None and status.due_at > world.now
                assert world.engine.deadline is not None and world.engine.deadline <= status.due_at


Machine.TestCase.settings = settings(
    max_examples=int(os.environ.get("IDLED_EXAMPLES", "2000")),
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
TestMachine = pytest.mark.timeout(1200)(Machine.TestCase)
