# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tiny driver of the engine: a virtual clock, sessions that show what a test says, and the story as short lines.

Moments are seconds since the first session was opened. A line is ``SECONDS what [why] [more]``, as in ``780 warn idle
120``. Sessions have a connection with exact counters and no terminal, unless a test says otherwise: so activity is
known to the microsecond.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Final

from idled.core.activity import ConnectionLook, Look
from idled.core.engine import Engine
from idled.core.events import (
    Action,
    Closed,
    Event,
    ExtensionAsked,
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
    Scanned,
    Stepped,
    Survived,
    Warn,
    Withdraw,
    Woken,
)
from idled.core.extension import Request
from idled.core.model import Mode, Session, SessionId
from idled.core.policy import DEFAULTS, Condition, Policy, Rule
from idled.core.span import MIN, SEC, Usec
from idled.core.stamps import TICK, TerminalLook
from idled.core.watch import Status

T0: Final = 50_000 * SEC
OFFSET: Final = 1_790_000_000 * SEC
LEADS: Final = (2 * MIN, 30 * SEC)


def policy(mode: Mode = Mode.ENFORCE, /, **values: Any) -> Policy:
    """One rule for all; where a user is named ``special_…``, those values are first."""
    special = {key.removeprefix("special_"): values.pop(key) for key in list(values) if key.startswith("special_")}
    match = (Condition(key="user", values=("special",)),)
    first = Rule(name="special", match=match, values=special)
    return Policy(mode=mode, rules=(first, Rule(name=DEFAULTS, values={"warn_before": LEADS} | values)))


@dataclass(kw_only=True)
class Shown:
    """What a session shows when it is looked at."""

    active_at: Usec
    chatter_at: Usec = 0
    sent: int = 0
    exact: bool = True
    connection: ConnectionLook | None = None  # in place of what follows from the above
    unread: int = 0  # so many bytes wait to be read by sshd
    stopped: bool = False  # which was stopped
    amid: int = 0  # so many looks yet find the two sshd of its connection in the midst of something
    terminals: tuple[TerminalLook, ...] = ()
    instead: list[dict[str, Any]] = field(default_factory=list)  # what the next looks show in place of that, one each
    holder: str = ""  # path of a program that holds it
    blind: bool = False  # nothing at all can be seen
    gone: bool = True  # hanging up is enough
    left: tuple[str, ...] = ("2001 vim",)  # what survives SIGKILL
    said: list[str] = field(default_factory=list)


class Driver:
    """The engine with hands that only write down what they were told."""

    def __init__(self, policy: Policy) -> None:
        self.engine = Engine(policy)
        self.now = T0
        self.offset = OFFSET
        self.shown: dict[SessionId, Shown] = {}
        self.sessions: dict[SessionId, Session] = {}  # gone ones, too
        self.story: list[str] = []
        self.records: list[Record] = []
        self.actions: list[Action] = []
        self.looks: list[float] = []
        self.disk: dict[SessionId, Memory] = {}

    # What a test does

    def open(self, user: str = "alice", *, found: bool = False, age: float = 0, **shown: Any) -> SessionId:
        opened_at = self.now - round(age * SEC)
        session = Session(
            id=SessionId("boot", 100 + len(self.shown), 7),
            user=user,
            uid={"alice": 1000, "special": 1000}.get(user, 1001),
            opened_at=opened_at,
            service="sshd",
        )
        self.sessions[session.id] = session
        self.shown[session.id] = Shown(active_at=opened_at, **shown)
        self.tell(Opened(session=session, found=found))
        return session.id

    def active(self, id: SessionId) -> None:
        """The person does something."""
        self.shown[id].active_at = self.now
        self.shown[id].sent += 1

    def until(self, seconds: float) -> None:
        """Let time pass."""
        end = T0 + round(seconds * SEC)
        for _ in range(10_000):
            at = self.engine.deadline
            if at is None or at > end:
                break
            self.now = max(self.now, at)
            self.tell(Woken())
        else:
            raise AssertionError("it does not come to rest")
        self.now = end

    def jump(self, seconds: float) -> None:
        """Let time pass without anybody noticing."""
        self.now = T0 + round(seconds * SEC)

    def reload(self, policy: Policy) -> None:
        self.tell(Reloaded(policy=policy))

    def extend(self, id: SessionId, request: Request, refused: str = "") -> None:
        self.tell(ExtensionAsked(session=self.sessions[id], request=request, refused=refused))

    def gone(self, id: SessionId) -> None:
        self.tell(Gone(id=id))

    def closed(self, id: SessionId) -> None:
        self.tell(Closed(id=id))

    def restart(self, policy: Policy) -> None:
        """A new engine that knows what was remembered."""
        self.engine = Engine(policy)
        for memory in list(self.disk.values()):
            self.tell(Restored(memory=memory))

    def status(self, id: SessionId) -> Status:
        status = self.engine.status(id, self.now)
        assert status is not None
        return status

    def told(self) -> list[str]:
        """The story since this was asked last."""
        story, self.story = self.story, []
        return story

    def kinds(self) -> list[Kind]:
        return [record.kind for record in self.records]

    # What the engine is told and says

    def tell(self, event: Event) -> None:
        """What happened, and what is due by then because of it."""
        self._tell(event)
        if isinstance(event, (Reloaded, Scanned, Stepped)):
            while (at := self.engine.deadline) is not None and at <= self.now:
                self._tell(Woken())

    def _tell(self, event: Event) -> None:
        queue = deque([event])
        while queue:
            for action in self.engine.handle(queue.popleft(), self.now):
                self.actions.append(action)
                queue.extend(self._answer(action))

    def _answer(self, action: Action) -> list[Event]:
        match action:
            case LookAt():
                self.looks.append((self.now - T0) / SEC)
                return [Looked(id=action.id, look=self._look(self.shown[action.id]))]
            case Remember():
                self.disk[action.memory.session.id] = action.memory
            case Forget():
                del self.disk[action.id]
            case Record():
                self.records.append(action)
                self._say_record(action)
            case _:
                self._say(action)
        shown = None if isinstance(action, Remember | Record) else self.shown[action.id]
        if isinstance(action, HangUp) and shown and shown.gone:
            return [Gone(id=action.id)]
        if isinstance(action, Kill) and shown and shown.left:
            return [Survived(id=action.id, processes=shown.left)]
        return []

    def _look(self, shown: Shown) -> Look | None:
        if shown.blind:
            return None
        connection = shown.connection or ConnectionLook(
            received_at=max(shown.active_at - TICK, shown.chatter_at),
            sent_at=shown.active_at - TICK,
            wire_in=3_000,
            wire_out=3_000,
            unread=shown.unread,
            stopped=shown.stopped,
            counted=811,
            delivered=shown.sent,
            issued=0,
        )
        if shown.amid:
            shown.amid -= 1
            connection = replace(connection, delivered=(connection.delivered or 0) + 52, moving=True)
        look = Look(
            at=self.now,
            offset=self.offset,
            terminals=shown.terminals,
            connection=connection if shown.exact else None,
            holder=shown.holder,
        )
        return replace(look, **shown.instead.pop(0)) if shown.instead else look

    def _say(self, action: Action) -> None:
        match action:
            case Warn():
                words = ["warn", action.reason.value, seconds(action.ends_at - self.now)]
            case HangUp():
                words = ["hang-up", action.reason.value]
            case Withdraw() | Kill() | Release():
                words = [type(action).__name__.lower()]
            case _:
                raise AssertionError(action)
        self.story.append(" ".join([seconds(self.now - T0), *words]))

    def _say_record(self, record: Record) -> None:
        if record.kind in (Kind.WOULD_END, Kind.ENDED, Kind.END_ESCALATED, Kind.END_FAILED, Kind.ACTIVITY_FORGED):
            words = [record.kind.value] + ([record.reason.value] if record.reason else [])
            self.story.append(" ".join([seconds(self.now - T0), *words]))


def seconds(span: Usec) -> str:
    return f"{span / SEC:g}"


def terminal(name: str, at: Usec) -> TerminalLook:
    """A terminal that was read from at that moment of the boot clock."""
    stamp = at // SEC * SEC + OFFSET
    return TerminalLook(name=name, device=34816 + int(name.rpartition("/")[2]), atime=stamp, ctime=OFFSET)
