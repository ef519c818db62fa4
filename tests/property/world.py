# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine to enforce on, made up: clocks, terminals as the kernel stamps them, connections, people.

Beside what the engine may look at it knows the truth (`Login.typed_at`), and judges by it what the engine does. Nothing
here is taken from the engine's own rules; the bounds it claims are written out in `Login.slack`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from idled.core.activity import ConnectionLook, Look
from idled.core.engine import Engine
from idled.core.events import (
    Action,
    Closed,
    Event,
    Forget,
    Gone,
    HangUp,
    Kill,
    Kind,
    LookAt,
    Looked,
    Memory,
    Opened,
    Record,
    Release,
    Reloaded,
    Remember,
    Restored,
    Stepped,
    Survived,
    Warn,
    Withdraw,
    Woken,
)
from idled.core.model import Extent, Mode, Reason, Session, SessionId
from idled.core.policy import Condition, Policy, Rule
from idled.core.span import DAY, MSEC, SEC, Usec
from idled.core.stamps import TerminalLook

BLOCK = 8 * SEC
TICK = 10 * MSEC
JIFFY = 4 * MSEC
#: Of its own doubts about a console (`activity`, rule 6) the engine believes this many.
DOUBTS = 3
#: Looks that are not clear are taken again so often at most, and put off no longer than this in all.
AGAIN, AMID = 5, 310 * MSEC
#: And those that find something to be read yet by sshd, when the session is due.
UNREAD_AGAIN, UNREAD = 8, 2_550 * MSEC
#: Fewer bytes than these may be keys that a terminal takes for itself.
FEW = 5
#: The longest time between two looks at a connection of which it is not known how long its client can be silent.
LOOK = 3 * SEC
EPOCH = 1_790_000_000 * SEC
FAR = 10_000 * DAY


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The limits of one service."""

    idle: Usec | None = None
    absolute: Usec | None = None
    leads: tuple[Usec, ...] = ()
    end: Extent = Extent.SESSION

    def timeout(self, reason: Reason) -> Usec | None:
        return self.idle if reason is Reason.IDLE else self.absolute

    def warned(self, reason: Reason) -> Usec:
        """The longest lead time there is room for."""
        return max((lead for lead in self.leads if lead < (self.timeout(reason) or 0)), default=0)

    def rule(self, service: str) -> Rule:
        values = {"idle_timeout": self.idle, "absolute_timeout": self.absolute}
        match = (Condition(key="service", values=(service,)),)
        return Rule(name=service, match=match, values=values | {"warn_before": self.leads, "end": self.end})


@dataclass(kw_only=True)
class Pty:
    """One terminal, stamped as drivers/tty/tty_io.c and utimensat(2) do it."""

    device: int
    atime: Usec
    ctime: Usec
    mtime: Usec
    queued: int = 0
    lines: bool = False  # it takes input line by line
    seen_lines: bool = False
    unseen: bool = True  # no look was taken yet
    used: bool = False  # somebody typed on it
    tainted: bool = False  # its stamp came with a moved ctime
    seen: tuple[Usec, Usec, int] = (0, 0, 0)

    def read(self, wall: Usec) -> bool:
        """A program reads: whether that left a trace."""
        second = wall // SEC
        self.queued = 0
        if (second ^ self.atime // SEC) & ~7 == 0:
            return False
        self.atime = second * SEC
        return True

    def write(self, wall: Usec) -> None:
        """A program writes."""
        second = wall // SEC
        if (second ^ self.mtime // SEC) & ~7:
            self.mtime = second * SEC

    def look(self) -> TerminalLook:
        return TerminalLook(
            name=f"pts/{self.device}",
            device=self.device,
            atime=self.atime,
            ctime=self.ctime,
            mtime=self.mtime,
            queued=self.queued,
            canonical=self.lines,
        )


@dataclass(kw_only=True)
class Wire:
    """The connection of an SSH session."""

    received_at: Usec
    sent_at: Usec
    wire_in: int = 3_000
    wire_out: int = 4_000
    delivered: int = 0
    issued: int = 0
    asked: int = 0
    answered: int = 0
    unread: int = 0  # bytes that have arrived, and that sshd has not read
    amid: int = 0  # so many looks yet find the two sshd in the midst of it
    was_amid: bool = False  # the last one did

    def move(self, now: Usec, *, delivered: int = 0, issued: int = 0, wire: int = 36) -> None:
        self.received_at = self.sent_at = now
        self.wire_in += wire
        self.wire_out += wire
        self.delivered += delivered
        self.issued += issued

    def rekey(self, now: Usec, amid: int) -> None:
        """The sshd of the user asks the privileged one; while they talk, it has asked and the other has not read."""
        self.move(now, delivered=115, issued=92, wire=2_500)
        self.asked += 115
        self.answered += 92
        self.amid = amid

    def look(self, now: Usec) -> ConnectionLook:
        """The kernel tells in jiffies how long ago it was."""

        def told(at: Usec) -> Usec:
            return now - (now // JIFFY - at // JIFFY) * JIFFY

        self.was_amid = self.amid > 0
        self.amid -= self.was_amid
        return ConnectionLook(
            received_at=told(self.received_at),
            sent_at=told(self.sent_at),
            wire_in=self.wire_in,
            wire_out=self.wire_out,
            unread=self.unread,
            counted=4711,
            delivered=self.delivered,
            issued=self.issued - 92 * self.was_amid,
            asked=self.asked - 115 * self.was_amid,
            answered=self.answered - 92 * self.was_amid,
            moving=self.was_amid,
        )


@dataclass(kw_only=True)
class Login:
    """One session, what the engine said to it, and the truth about it."""

    session: Session
    ptys: list[Pty] = field(default_factory=list)
    wire: Wire | None = None
    alive: Usec | None = None  # its client sends a keepalive whenever nothing came or went for so long
    stubborn: int = 0  # so many SIGKILLs does it survive
    ending: Reason | None = None
    over: bool = False
    left: bool = False  # closed, and the engine has not been told
    # the truth
    typed_at: Usec = 0  # the last input there was
    sure_at: Usec = 0  # the last input that cannot have gone under in what the person forged
    fresh_at: Usec = 0  # the last such since the last look
    looked_at: Usec = 0
    seen_at: Usec | None = None  # the first look after `typed_at`
    unseen_at: Usec = 0  # the last look before `typed_at`
    keys: int = 0  # how many since that look
    blurred: bool = False  # the client said something else since `typed_at`,
    steady: bool = True  # which was no more than its keepalives at any time,
    watched: bool = False  # and a daemon has been there that had an idle timeout to look for
    pretended_at: Usec = 0  # the last look at what had to be taken for input: a forgery, or what still waits
    doubts: int = 0
    loose_at: Usec = -1  # when a terminal last showed what was no input, or input without a moment
    unseen: bool = True  # no look was taken yet
    unclear: bool = False  # something happened for which looks are taken again
    missed: int = 0  # so many looks yet do not find what is there,
    missing: str = ""  # which is this
    lost: bool = False  # a terminal that was seen was closed since
    lacked: bool = False  # the last look that counted found less than one before
    read_at: Usec = -FAR  # when sshd last read what had waited
    amid: bool = False  # the last look is to be taken again: it fell amid a rekey, or found less, or bytes wait
    again: int = 0  # so many in a row were
    stray: bool = False  # a terminal showed what may have been typed in another session of the user
    # what the engine said
    in_force: dict[Reason, Usec | None] = field(default_factory=dict)
    respite: dict[Reason, Usec] = field(default_factory=dict)  # the longest that was granted
    promised: dict[Reason, Usec] = field(default_factory=dict)  # the last
    warned: dict[Reason, Usec] = field(default_factory=dict)

    @property
    def id(self) -> SessionId:
        return self.session.id

    @property
    def observable(self) -> bool:
        return bool(self.ptys) or self.wire is not None

    def typed(self, now: Usec, keys: int, *, sure: bool = True) -> None:
        self.keys = keys + (self.keys if self.seen_at is None else 0)
        self.typed_at, self.unseen_at, self.seen_at, self.blurred = now, self.looked_at, None, False
        if sure:
            self.fresh_at = now

    def reads_late(self, now: Usec) -> None:
        """What was typed ahead is read: the stamp cannot tell that from typing, the connection can."""
        self.stray = True
        if self.wire is None:
            self.pretended_at = now

    def slack(self, now: Usec, jumps: Usec) -> Usec:
        """How late an idle end may honestly be.

        Of a console: the block of the last stamp, a tick, and what the wall clock was set by since. Of a quiet
        connection: two ticks. When it said something else after the last input, that is not told apart from input
        before the next look, so: until that look, which keepalives do not find far away; with a terminal no more than
        the terminal's bound, unless another terminal came or went, or was forged, or has input waiting, which only
        that look tells of, or one takes input line by line, or few keys were pressed: those may be of the kind that
        leaves no stamp (Ctrl-C).
        """
        lines = any(pty.lines for pty in self.ptys)
        told = self.keys >= FEW and self.loose_at < self.unseen_at and not lines
        clear = self.ptys and (self.wire is None or told)
        stamps = BLOCK + TICK + jumps if clear else FAR
        if self.wire is None:
            return stamps
        exact = (now if self.seen_at is None else self.seen_at) - self.typed_at if self.blurred else 0
        if self.steady and self.watched:
            exact = min(exact, LOOK)
        return min(stamps, exact + 2 * TICK)


class World:
    """All of it, and the driver of the engine."""

    def __init__(self) -> None:
        self.now: Usec = 40_000 * SEC
        self.offset: Usec = EPOCH
        self.mode = Mode.OBSERVE
        self.settings = {"sshd": Setting(), "login": Setting()}
        self.engine = Engine(self.policy())
        self.up = True
        self.back_at: Usec = 0  # when the machine last woke up, or the daemon last started
        self.steps: list[tuple[Usec, Usec]] = []
        self.logins: dict[SessionId, Login] = {}
        self.disk: dict[SessionId, Memory] = {}
        self.news: list[Event] = []  # what nobody was there to be told
        self.hung_up: list[Login] = []  # by the event in hand
        self.count = 0

    @property
    def wall(self) -> Usec:
        """As the kernel stamps with it: coarse."""
        return self.now // JIFFY * JIFFY + self.offset

    def open(self) -> list[Login]:
        return [login for login in self.logins.values() if not (login.over or login.left or login.ending)]

    def policy(self) -> Policy:
        rules = tuple(setting.rule(service) for service, setting in self.settings.items())
        return Policy(mode=self.mode, rules=rules)

    # What the engine is told, and what it does

    def tell(self, event: Event) -> None:
        """What happened, and what is due by then because of it."""
        if not self.up:
            return
        self._tell(event)
        if isinstance(event, (Reloaded, Restored, Stepped)):
            while (at := self.engine.deadline) is not None and at <= self.now:
                self._tell(Woken())

    def _tell(self, event: Event) -> None:
        queue, self.hung_up = [event], []
        while queue:
            for action in self.engine.handle(queue.pop(0), self.now):
                queue.extend(self._perform(action))

    def _perform(self, action: Action) -> Iterator[Event]:
        if isinstance(action, Record):
            self._recorded(action)
            return
        login = self.logins[action.memory.session.id if isinstance(action, Remember) else action.id]
        assert not login.over, f"{action} for a session that is over"
        match action:
            case LookAt():
                yield Looked(id=login.id, look=self._look(login))
            case Remember():
                self.disk[login.id] = action.memory
            case Forget():
                del self.disk[login.id]
                login.over = True
            case Warn():
                self._warned(login, action)
            case Withdraw():
                assert login.warned, "withdrawn without a warning"
            case HangUp():
                self._hung_up(login, action)
                if not login.stubborn:
                    yield Gone(id=login.id)
            case Kill():
                yield from self._killed(login)
            case Release():
                assert login.ending is not None and login.stubborn == 0

    def _killed(self, login: Login) -> Iterator[Event]:
        assert login.ending is not None
        login.stubborn -= 1
        yield Survived(id=login.id, processes=("sleep",))
        if login.stubborn <= 0:
            login.stubborn = 0
            yield Gone(id=login.id)

    def _look(self, login: Login) -> Look:
        look = Look(
            at=self.now,
            offset=self.offset,
            terminals=tuple(pty.look() for pty in login.ptys),
            connection=login.wire.look(self.now) if login.wire else None,
        )
        found = self._found(login, look)
        moving, lacking = look.connection is not None and look.connection.moving, login.lost or found != look
        unclear = moving or (lacking and not login.lacked)
        most = UNREAD_AGAIN if self._waits(login, found) else AGAIN if unclear else 0
        login.amid = not login.unseen and login.again < most
        login.again = login.again + 1 if login.amid else 0
        if not login.amid:
            login.lacked, login.lost = lacking, False
            self._see(login)
        return found

    def _waits(self, login: Login, look: Look) -> bool:
        """Whether the session is due while sshd has yet to read something."""
        status = self.engine.status(login.id, self.now)
        due = status is not None and status.due_at is not None and status.due_at <= self.now
        return due and self.mode is Mode.ENFORCE and look.connection is not None and look.connection.unread > 0

    def _found(self, login: Login, look: Look) -> Look:
        """What is read of /proc, which may leave out what is there."""
        if not login.missed or login.unseen:
            return look
        login.missed -= 1
        if login.missing == "terminals":
            new = {pty.device for pty in login.ptys if pty.unseen}
            return replace(look, terminals=tuple(terminal for terminal in look.terminals if terminal.device in new))
        if login.missing == "connection" or look.connection is None:
            return replace(look, connection=None)
        return replace(look, connection=replace(look.connection, counted=None, delivered=None, issued=None))

    def _see(self, login: Login) -> None:
        """A look that counts tells all that happened since the last one."""
        doubtful = False
        for pty in login.ptys:
            moved = (pty.atime != pty.seen[0], pty.ctime != pty.seen[1])
            if not pty.unseen and moved[0]:
                pty.tainted = moved[1]
                doubtful = doubtful or moved[1]
            elif pty.unseen and pty.atime > self.wall + TICK:
                pty.tainted = doubtful = True
            elif pty.unseen and pty.tainted:
                login.pretended_at = self.now  # there is nothing to tell by that nobody typed there
            if pty.queued and self._may_be_new(login, pty):
                login.pretended_at = login.loose_at = self.now
            pty.seen, pty.unseen, pty.seen_lines = (pty.atime, pty.ctime, pty.queued), False, pty.lines
        self._looked(login, doubtful)

    def _may_be_new(self, login: Login, pty: Pty) -> bool:
        """Whether what waits can have been typed since the last look: read then, without a trace, is what waited."""
        same_block = login.looked_at + self.offset <= (pty.atime // SEC | 7) * SEC + SEC + TICK
        return same_block or bool(self.steps) or (pty.atime, pty.queued) != pty.seen[::2]

    def _looked(self, login: Login, doubtful: bool) -> None:
        login.unseen = False
        login.looked_at = self.now
        if login.seen_at is None and not (login.wire and login.wire.unread):
            login.seen_at = self.now
        believed = not doubtful or login.wire is not None or login.doubts < DOUBTS
        login.sure_at = max(login.sure_at, login.fresh_at) if believed else login.sure_at
        login.fresh_at = 0
        if doubtful:
            login.doubts += 1
            login.pretended_at = self.now if believed else login.pretended_at

    # What is checked of it

    def setting(self, login: Login) -> Setting:
        return self.settings[login.session.service]

    def earliest(self, login: Login, reason: Reason) -> Usec:
        """No end by this limit is right before then."""
        timeout = self.setting(login).timeout(reason)
        assert timeout is not None, "a limit there is not"
        return timeout + (login.sure_at if reason is Reason.IDLE else login.session.opened_at)

    def latest(self, login: Login, reason: Reason) -> Usec | None:
        """No end by this limit is right after then; None: never."""
        timeout = self.setting(login).timeout(reason)
        if timeout is None or self.mode is Mode.OBSERVE or (reason is Reason.IDLE and not login.observable):
            return None
        due = login.session.opened_at + timeout
        if reason is Reason.IDLE:
            due = self._last_activity(login) + timeout
            if login.stray:
                others = [other for other in self.logins.values() if other.session.uid == login.session.uid]
                due = max(due, *(self._last_activity(other) + timeout for other in others))
        return max(due, login.respite.get(reason, 0), self.back_at) + self._put_off(login, reason)

    def _put_off(self, login: Login, reason: Reason) -> Usec:
        """How long an end may wait until it is clear what is to be seen."""
        if reason is Reason.ABSOLUTE:
            return 0
        if login.wire is not None and (login.wire.unread or self.now - login.read_at < UNREAD):
            return UNREAD
        return AMID if login.unclear or login.stray else 0

    def _last_activity(self, login: Login) -> Usec:
        """Until when it may honestly seem to have been active."""
        jumps = sum(size for at, size in self.steps if at >= login.unseen_at)
        until = login.typed_at + login.slack(self.now, jumps)
        if login.wire is None and login.pretended_at:
            jumps = sum(size for _, size in self.steps)
            until = max(until, login.pretended_at + BLOCK + TICK + jumps)
        return until

    def _hung_up(self, login: Login, action: HangUp) -> None:
        reason = action.reason
        assert self.mode is Mode.ENFORCE or login.ending is not None
        memory = self.disk[login.id]
        assert memory.ending is not None and memory.ending.reason is reason, "hung up before it was remembered"
        if login.ending is None:
            self._judge(login, reason)
        login.ending = reason
        self.hung_up.append(login)

    def _judge(self, login: Login, reason: Reason) -> None:
        if reason is Reason.USER:
            wide = [other for other in self.hung_up if self.setting(other).end is Extent.USER]
            assert login.session.uid in [other.session.uid for other in wide]
            return
        if login.left:
            return  # nobody is there any more, which the engine has not been told
        early = self.earliest(login, reason) - self.now
        if self.setting(login).absolute is not None:
            early = min(early, self.earliest(login, Reason.ABSOLUTE) - self.now)  # it is over either way
        assert early <= 0, f"{reason.value} end {early} us early"
        assert self.now >= login.promised.get(reason, 0), "ended within the respite"
        latest = self.latest(login, reason)
        assert latest is not None and self.now <= latest, f"{reason.value} end {self.now - (latest or 0)} us late"
        if self.setting(login).warned(reason) and self.now > self.back_at + self._put_off(login, reason):
            assert reason in login.warned, "ended without a warning"

    def _warned(self, login: Login, action: Warn) -> None:
        left = action.ends_at - self.now
        assert self.mode is Mode.ENFORCE and login.ending is None
        assert 0 < left <= max(self.setting(login).leads)
        assert action.reason not in login.warned or left < login.warned[action.reason], "warned twice"
        login.warned[action.reason] = left

    def _recorded(self, record: Record) -> None:
        if record.session is not None:
            assert not self.logins[record.session.id].over
        if record.kind is Kind.WARNING_CLEARED:
            assert record.session is not None and record.reason is not None
            del self.logins[record.session.id].warned[record.reason]
        if record.kind is Kind.WOULD_END:
            assert record.session is not None and record.reason is not None and self.mode is Mode.OBSERVE
            login = self.logins[record.session.id]
            assert login.left or self.now >= self.earliest(login, record.reason)

    def put_in_force(self, login: Login, *, found: bool = True) -> None:
        """Take note of which limits came late, and so leave a respite."""
        setting = self.setting(login)
        for reason in (Reason.IDLE, Reason.ABSOLUTE):
            new = setting.timeout(reason) if self.mode is Mode.ENFORCE else None
            old = login.in_force.get(reason)
            login.in_force[reason] = new
            if found and new is not None and (old is None or new < old):
                login.promised[reason] = until = self.now + setting.warned(reason)
                login.respite[reason] = max(login.respite.get(reason, 0), until)  # what was granted stays granted
                if reason in login.warned:
                    login.warned[reason] = FAR  # the respite can be longer than what was left

    # What happens

    def advance(self, span: Usec) -> None:
        """Time passes, clients send keepalives, and the daemon is woken when it asked for it."""
        until = self.now + span
        while (login := self._quietest()) is not None and self._keepalive_at(login) <= until:
            self._wake(max(self.now, self._keepalive_at(login)))
            if not (login.over or login.ending):
                self._keep_alive(login)
        self._wake(until)

    def _wake(self, until: Usec) -> None:
        rounds = 0
        while self.up and (at := self.engine.deadline) is not None and at <= until:
            rounds = rounds + 1 if at <= self.now else 0
            assert rounds < 5, "it does not come to rest"
            self.now = max(self.now, at)
            self.tell(Woken())
        self.now = until

    def _quietest(self) -> Login | None:
        return min((login for login in self.open() if login.alive), key=self._keepalive_at, default=None)

    def _keepalive_at(self, login: Login) -> Usec:
        assert login.wire is not None and login.alive is not None
        return login.wire.received_at + login.alive

    def _keep_alive(self, login: Login) -> None:
        assert login.wire is not None
        login.blurred = True
        login.wire.move(self.now, wire=52)

    def sleep(self, span: Usec) -> None:
        """The machine is suspended."""
        self.now += span
        self.back_at = self.now
        for login in self.open():
            login.steady = False
        self.tell(Stepped(by=0))

    def step(self, by: Usec) -> None:
        """The wall clock is set."""
        self.offset += by
        self.steps.append((self.now, abs(by)))
        for login in self.open():
            if not self.up and login.id not in self.disk:  # nobody knows what the clock said when it was typed on
                login.fresh_at = 0
        self.tell(Stepped(by=by))

    def new_pty(self) -> Pty:
        self.count += 1
        return Pty(device=34_816 + self.count, atime=self.wall, ctime=self.wall, mtime=self.wall)

    def login(self, *, service: str, uid: int, terminal: bool, stubborn: int, alive: Usec | None = None) -> Login:
        self.count += 1
        session = Session(
            id=SessionId("boot", self.count, self.now), user=f"u{uid}", uid=uid, opened_at=self.now, service=service
        )
        login = Login(session=session, stubborn=stubborn, typed_at=self.now, sure_at=self.now)
        login.looked_at = login.unseen_at = self.now
        login.ptys = [self.new_pty()] if terminal else []
        if service == "sshd":
            login.wire, login.alive = Wire(received_at=self.now, sent_at=self.now), alive
        login.watched = self._watches(login)
        self.logins[login.id] = login
        if self.up:
            self.put_in_force(login, found=False)
            self.tell(Opened(session=session))
        else:
            self.news.append(Opened(session=session, found=True))
        return login

    def logout(self, login: Login) -> None:
        if self.up:
            self.tell(Closed(id=login.id))
            assert login.over
        else:
            login.left = True
            self.news.append(Closed(id=login.id))

    def reload(self, mode: Mode, settings: dict[str, Setting]) -> None:
        self.mode, self.settings = mode, settings
        self._watch_on()
        if self.up:
            for login in self.open():
                self.put_in_force(login)
            self.tell(Reloaded(policy=self.policy()))

    def stop(self) -> None:
        self.up = False
        self._watch_on()

    def _watch_on(self) -> None:
        for login in self.open():
            login.watched = login.watched and self._watches(login)

    def _watches(self, login: Login) -> bool:
        return self.up and self.mode is Mode.ENFORCE and self.setting(login).idle is not None

    def start(self) -> None:
        """A new daemon, which knows what the old one wrote down."""
        self.up, self.back_at = True, self.now
        self.engine = Engine(self.policy())
        for login in self.logins.values():
            login.again, login.lacked = 0, False
            if not login.over:
                self.put_in_force(login)
        for memory in list(self.disk.values()):
            self.tell(Restored(memory=memory))
        news, self.news = self.news, []
        for event in news:
            if isinstance(event, Closed) and event.id not in self.engine:
                self.logins[event.id].over = True
            else:
                self.tell(event)

    def type(self, login: Login, pty: Pty | None, *, keys: int = 1, read: bool = True) -> None:
        """A person presses keys; a program reads them, or they wait."""
        sure = True
        if pty is not None:
            pty.used = True
            if pty.lines and not read:  # no Enter yet: it leaves no trace there
                sure = login.wire is not None
            elif read:
                sure = pty.read(self.wall) or not pty.tainted
                pty.write(self.wall)
            else:
                pty.queued += keys
        if login.wire is not None:
            login.wire.move(self.now, delivered=keys, issued=keys)
        login.typed(self.now, keys, sure=sure)
        login.watched = self._watches(login)

    def arrive(self, login: Login, keys: int) -> None:
        """Keys, or what no person said (0), come to an sshd that is too busy to read them; `be_read` has them read."""
        assert login.wire is not None
        login.wire.move(self.now, wire=36)
        login.wire.unread += 36
        login.loose_at = self.now
        login.typed(self.now, keys, sure=keys > 0)  # without keys it may seem so
        if keys and self.up:
            login.sure_at = self.now  # whatever a look finds meanwhile
        login.watched = self._watches(login)

    def be_read(self, login: Login, pty: Pty | None, keys: int) -> None:
        assert login.wire is not None
        login.wire.unread, login.read_at, login.loose_at = 0, self.now, self.now
        login.wire.delivered += keys
        if keys and pty is not None:
            pty.used = True
            pty.read(self.wall)
            pty.write(self.wall)

    def chatter(self, login: Login) -> None:
        """The client says something that no person said."""
        if login.wire is not None:
            login.blurred, login.steady = True, False
            login.wire.move(self.now, wire=52)

    def rekey(self, login: Login, amid: int) -> None:
        """The client wants new keys; so many looks find the two sshd talking about it."""
        if login.wire is not None:
            login.blurred = login.unclear = True
            login.steady = False
            login.wire.rekey(self.now, 0 if login.amid else amid)

    def miss(self, login: Login, what: str, looks: int) -> None:
        """So many looks do not find what is there, and no more than are taken again."""
        if not (login.amid or login.lacked):
            login.missing, login.missed, login.unclear, login.steady = what, looks, True, False

    def forge(self, login: Login, by: Usec | None) -> None:
        """touch(1) to another time; or chmod(1), which leaves atime alone."""
        pty, login.loose_at, login.stray = login.ptys[0], self.now, True
        pty.ctime = self.wall
        if by is not None:
            pty.atime = self.wall + by
            pty.tainted = True

    def multiplex(self, login: Login) -> None:
        """One more terminal on the same connection."""
        login.loose_at = self.now
        login.ptys.append(self.new_pty())

    def take_lines(self, login: Login, pty: Pty, lines: bool) -> None:
        """A program sets the terminal's mode; what no look saw of that can have hidden input."""
        if pty.lines and not pty.seen_lines:
            login.fresh_at = 0
        login.loose_at = self.now
        pty.lines = lines

    def interrupt(self, login: Login, pty: Pty) -> None:
        """Ctrl-C: the terminal itself takes the key, and the shell, which reads key by key, writes its prompt."""
        self.take_lines(login, pty, False)
        pty.write(self.wall)
        pty.queued = 0
        if login.wire is not None:
            login.wire.move(self.now, delivered=1, issued=30)
        login.typed(self.now, 1, sure=login.wire is not None)
        login.watched = self._watches(login)

    def close(self, login: Login, pty: Pty) -> None:
        """A further terminal of the connection is closed; one nobody looked at can take its input with it."""
        login.loose_at = self.now
        login.unclear, login.lost = True, login.lost or not pty.unseen
        login.ptys.remove(pty)
        if pty.unseen and pty.used:
            login.fresh_at = 0
