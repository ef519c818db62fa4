# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions that logind knows, over the system bus: all that are there, then each new one.

Terminals are not asked for here: on Debian 13 logind knows those of no SSH session. When the bus or logind goes away
the connection is made anew, and everything is listed again.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any, Final

from jeepney import DBusAddress, HeaderFields, MatchRule, Message, MessageType, new_method_call
from jeepney.bus_messages import message_bus
from jeepney.io.asyncio import DBusConnection, open_dbus_connection
from jeepney.io.common import RouterClosed
from jeepney.wrappers import unwrap_msg

from .. import clock, procfs
from ..core.span import SEC, Usec
from . import mosh
from .sighting import Sighting

_NAME: Final = "org.freedesktop.login1"
_MANAGER: Final = DBusAddress("/org/freedesktop/login1", _NAME, "org.freedesktop.login1.Manager")
_PATIENCE: Final = 10.0
_LAST_PATIENCE: Final = 1.0
_AGAIN_AFTER: Final = 2.0
#: Calls under way; the bus lets a connection wait for 128 answers.
_MOST_ASKED: Final = 64
_MOST_LET_GO: Final = 32
_SESSION_CLASSES: Final = {"user", "user-early", "user-light", "user-early-light", "user-incomplete"}
_SESSION_TYPES: Final = {"tty", "unspecified"}


class LogindError(Exception):
    """logind or the bus did not do what it was asked; the message says what."""


#: What a bus that is going, or that answers otherwise than logind does, can raise.
_FAILURES: Final = (
    OSError,
    EOFError,
    TimeoutError,
    LogindError,
    RouterClosed,
    LookupError,
    TypeError,
    ValueError,  # a refused authentication, too
    struct.error,
)


class Logind:
    """The source, and the one who lets logind forget a session. `missed` is called where a new one cannot be seen."""

    def __init__(
        self, see: Callable[[Sighting], Awaitable[object]], trouble: Callable[[str], None], missed: Callable[[], None]
    ) -> None:
        self._see = see
        self._trouble = trouble
        self._missed = missed
        self._bus: DBusConnection | None = None
        self._serials = count(1)
        self._replies: dict[int, asyncio.Future[Message]] = {}
        self._asking, self._letting_go = asyncio.Semaphore(_MOST_ASKED), asyncio.Semaphore(_MOST_LET_GO)
        self._listing = asyncio.Lock()
        self._listed: set[str] = set()  # ids of the sessions that need not be asked for again
        self._unseen: set[str] = set()  # those that were asked for once, and not seen then
        self.health = "not connected"
        #: Set once the first attempt to list the sessions has come to its end, well or not.
        self.first_listed = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether logind can be asked just now."""
        return self._bus is not None

    @property
    def listing(self) -> bool:
        """Whether it is just being asked for all sessions; of thousands a busy logind may take minutes to tell."""
        return self._listing.locked()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        said, task = "", asyncio.current_task()
        # A connection that is lost in the moment of a cancellation can raise in its stead.
        while task is None or not task.cancelling():
            try:
                await self._stay_connected()
            except _FAILURES as error:
                self.health = f"not reachable: {_said(error)}"
                if self.health != said:
                    self._trouble(f"logind {self.health}; known sessions stay under watch, trying again")
                    said = self.health
            finally:
                self._hang_up()
            self.first_listed.set()
            if task is None or not task.cancelling():
                await asyncio.sleep(_AGAIN_AFTER)

    async def _stay_connected(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            bus = await open_dbus_connection(bus="SYSTEM")
        self._bus = bus
        receiver = asyncio.create_task(self._receive(bus))
        try:
            await self._call(message_bus.AddMatch(_signals("SessionNew")))
            await self._call(message_bus.AddMatch(_owner_changes()))
            await self.list_all()
            self.health = "ok"
            self.first_listed.set()
            await receiver
        finally:
            receiver.cancel()
            with suppress(OSError, TimeoutError):  # how it was lost must not take the place of a cancellation
                async with asyncio.timeout(_LAST_PATIENCE):
                    await bus.close()

    def _hang_up(self) -> None:
        self._bus = None
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(LogindError("the bus went away"))
        self._replies.clear()

    async def list_all(self) -> None:
        """See every session that is new to us. Once at a time, or what is asked twice makes a slow logind slower."""
        async with self._listing:
            (sessions,) = await self._call(new_method_call(_MANAGER, "ListSessions"))
            new = [row[4] for row in sessions if row[0] not in self._listed]
            self._listed &= {row[0] for row in sessions}
            self._unseen &= {row[0] for row in sessions}
            await asyncio.gather(*(self._session(path, found=True) for path in new))

    async def terminate(self, logind_id: str) -> None:
        """Let logind end and forget a session; one it does not know is fine."""
        await self._let_go(new_method_call(_MANAGER, "TerminateSession", "s", (logind_id,)), f"session {logind_id}")

    async def terminate_user(self, uid: int) -> None:
        """Let logind end and forget all of a user, the user manager included."""
        await self._let_go(new_method_call(_MANAGER, "TerminateUser", "u", (uid,)), f"uid {uid}")

    async def _let_go(self, call: Message, of: str) -> None:
        if self._bus is None:
            return
        try:
            async with self._letting_go:
                await self._call(call)
        except _FAILURES as error:
            if "NoSuch" not in str(error):
                self._trouble(f"logind does not let go of {of}: {_said(error)}, ignoring")

    async def _call(self, call: Message) -> Any:
        if self._bus is None:
            raise LogindError("not connected")
        serial = next(self._serials)
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[serial] = reply
        try:
            await self._bus.send(call, serial=serial)
            async with asyncio.timeout(_PATIENCE):
                answer = await reply
        finally:
            self._replies.pop(serial, None)
        if answer.header.message_type is MessageType.error:
            raise LogindError(f"{answer.header.fields.get(HeaderFields.error_name)} {answer.body}")
        return unwrap_msg(answer)

    async def _receive(self, bus: DBusConnection) -> None:
        tasks = set[asyncio.Task[None]]()
        while True:
            # No message is kept until the next: one that tells of thousands of sessions is megabytes.
            if (news := self._taken(await bus.receive())) is not None:
                task = asyncio.create_task(news)
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    def _taken(self, message: Message) -> Coroutine[Any, Any, None] | None:
        """Give an answer to who waits for it; what is to be done about news."""
        kind, fields, body = message.header.message_type, message.header.fields, message.body
        member = fields.get(HeaderFields.member) if kind is MessageType.signal else None
        if kind in (MessageType.method_return, MessageType.error):
            reply = self._replies.get(fields.get(HeaderFields.reply_serial, 0))
            if reply is not None and not reply.done():
                reply.set_result(message)
        elif member == "SessionNew":
            return self._news(body[1])
        elif member == "NameOwnerChanged" and body[0] == _NAME and body[2]:
            return self.relist()
        return None

    async def relist(self) -> None:
        """See every session there is, also when logind cannot be asked just now."""
        try:
            await self.list_all()
        except _FAILURES as error:
            self._trouble(f"logind: {_said(error)}; trying again at the next scan")

    async def _news(self, path: str) -> None:
        try:
            await self._session(path, found=False)
        except _FAILURES as error:
            self._trouble(f"logind: {_said(error)}; the new session {path} is looked for again soon")
            self._missed()

    async def _session(self, path: str, *, found: bool) -> None:
        address = DBusAddress(path, _NAME, "org.freedesktop.DBus.Properties")
        call = new_method_call(address, "GetAll", "s", ("org.freedesktop.login1.Session",))
        try:
            async with self._asking:
                (properties,) = await self._call(call)
        except LogindError:  # it was over before it could be asked
            return
        told = {key: value[1] for key, value in properties.items()}
        sighting, id = sighting_of(told, found=found), told["Id"]
        seen = sighting is not None and await self._see(sighting) is not None
        if seen or id in self._unseen:
            self._listed.add(id)
        else:
            self._unseen.add(id)

    def need_not_ask(self, id: str) -> None:
        """What logind tells of this session was told the daemon before this one; it need not be asked for."""
        if id:
            self._listed.add(id)

    def ask_again(self, id: str) -> None:
        """At the next scan, about a session that is over for us: somebody may be in it yet, by mosh."""
        self._listed.discard(id)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _signals(member: str) -> MatchRule:
    return MatchRule(
        type="signal",
        sender=_NAME,
        interface="org.freedesktop.login1.Manager",
        member=member,
        path=_MANAGER.object_path,
    )


def _owner_changes() -> MatchRule:
    rule = MatchRule(
        type="signal",
        sender="org.freedesktop.DBus",
        interface="org.freedesktop.DBus",
        member="NameOwnerChanged",
        path="/org/freedesktop/DBus",
    )
    rule.add_arg_condition(0, _NAME)
    return rule


def sighting_of(properties: dict[str, Any], *, found: bool) -> Sighting | None:
    """What a session's D-Bus properties say; None for one that is not a login on a terminal or by SSH, or is over."""
    if properties["Class"] not in _SESSION_CLASSES or properties["Type"] not in _SESSION_TYPES:
        return None
    if properties["Service"] == "systemd-user":
        return None
    opened_at = _boottime(properties["TimestampMonotonic"])
    uid, scope, service = properties["User"][0], properties["Scope"], properties["Service"]
    leader = _leader(properties["Leader"], opened_at)
    if leader is None:
        leader, service = mosh.server_of(uid, scope), mosh.SERVICE
    if leader is None:
        return None
    return Sighting(
        pid=leader.pid,
        start=leader.start,
        user=properties["Name"],
        uid=uid,
        opened_at=opened_at,
        offset=_offset(properties["Timestamp"], opened_at),
        service=service,
        tty="" if properties["Remote"] else properties["TTY"].removeprefix("/dev/"),
        remote=properties["RemoteHost"],
        logind=properties["Id"],
        scope=scope,
        found=found,
    )


def _leader(pid: int, opened_at: Usec) -> procfs.Process | None:
    """The process of that number, unless the leader has gone and a later one has it: a leader opens its session."""
    found = procfs.process(pid) if pid else None
    return found if found is not None and found.start * procfs.TICK <= opened_at else None


def _offset(wall: Usec, opened_at: Usec) -> Usec | None:
    """Wall clock minus CLOCK_BOOTTIME when a session was opened; not known where the machine may have slept since."""
    return wall - opened_at if clock.asleep() < SEC else None


def _boottime(monotonic: Usec) -> Usec:
    """CLOCK_MONOTONIC as CLOCK_BOOTTIME: right unless the machine slept in between, then too late, never early."""
    return monotonic + clock.asleep()
