# SPDX-License-Identifier: LGPL-2.1-or-later
"""The serving end of varlink: connections, bounds, and the methods every service has.

To add a method: describe it in the interface's description, write

    async def get_thing(call: Call) -> dict[str, Any]:
        given = call.take(name=str, length=int | None)
        if given["name"] not in things:
            raise VarlinkError("io.example.NoSuchThing", name=given["name"])
        return {"thing": ...}

and name it in `Interface.methods`. What is described and not named there answers MethodNotImplemented. An asynchronous
generator makes a stream: a call with ``more`` gets all that it yields, any other call the first. A stream goes on until
one of the two ends hangs up or the generator raises a VarlinkError; bytes from the caller end it too. A ``oneway`` call
is done and not answered. A method may await whatever it likes; it holds up nothing but its own connection.

A method that fails in a way that nobody foresaw costs its caller the connection, and others nothing: the loop's
exception handler is told, with `peer` among what it is told, who it was.

A peer that hangs or floods costs others nothing. Bounded are the connections of one uid (one more is hung up on) and of
all but root together (who has the most gives way to who has fewer, the one that was silent for longest first), the
length of a call and the time until it is whole, the time until the next one and for an answer to be taken. A connection
has one call under way; calls of a uid, or of all but root, that come too fast wait for their turn.
"""

import asyncio
import re
import select
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, TypeAlias

from .peer import Peer, peer_of, uid_of
from .wire import MAX_CALL, CallMessage, Malformed, VarlinkError, call_of, decode, encode

_MOST_OF_ONE_UID: Final = 32
_MOST: Final = 256
#: Connections taken in one turn of the loop, so that other work has its turn.
_MOST_AT_ONCE: Final = 64
#: Seconds: for an answer to be taken, for a call to be whole once it has begun, for the next one to begin.
_ANSWER_PATIENCE: Final = 10.0
_CALL_PATIENCE: Final = 10.0
_IDLE_PATIENCE: Final = 300.0
#: Seconds between the calls of one uid, and of all together, when they had that many without a pause. Not root's.
_PACE: Final = 0.01
_PACE_OF_ALL: Final = 0.0025
_BURST: Final = 100
_EVERYBODY: Final = -1
_ACCEPT_AGAIN: Final = 1.0
_LISTEN_EVERY: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a method."""

    peer: Peer
    parameters: dict[str, Any] = field(repr=False)  # there may be a password among them
    more: bool = False
    hang_up: Callable[[], None] = lambda: None  # end the connection, taken or not what was written on it

    def take(self, **kinds: Any) -> dict[str, Any]:
        """The parameters, each of its kind; None is missing, where the kind allows for it. No others may be given."""
        for name in self.parameters.keys() - kinds.keys():
            raise invalid(name)
        given = {name: self.parameters.get(name) for name in kinds}
        for name, value in given.items():
            if not isinstance(value, kinds[name]) or isinstance(value, bool):  # which Python takes for an int
                raise invalid(name)
        return given


Answer: TypeAlias = dict[str, Any]
Method: TypeAlias = Callable[[Call], Awaitable[Answer] | AsyncGenerator[Answer, None]]


def invalid(parameter: str) -> VarlinkError:
    """What to raise where a parameter is not what it should be."""
    return VarlinkError("org.varlink.service.InvalidParameter", parameter=parameter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface: its description, and what does its methods."""

    name: str
    description: str
    methods: Mapping[str, Method]

    def method(self, name: str) -> Method:
        """What does the method."""
        if name in self.methods:
            return self.methods[name]
        described = re.findall(r"^method (\w+)\(", self.description, flags=re.MULTILINE)
        missing = "MethodNotImplemented" if name in described else "MethodNotFound"
        raise VarlinkError(f"org.varlink.service.{missing}", method=f"{self.name}.{name}")


@dataclass(eq=False, slots=True, kw_only=True)
class _Link:
    """One connection."""

    peer: Peer
    socket: socket.socket
    heard_at: float  # when its last call came in, or itself
    task: asyncio.Task[None] | None = None
    begun: bytes = b""  # of the next call, read already
    asked: str = "no method yet"  # that of its last call

    def hang_up(self) -> None:
        """End it, whatever it is at."""
        if self.task is not None:
            self.task.cancel()


class Service:
    """A varlink service on a listening socket."""

    def __init__(self, info: Mapping[str, str], interfaces: tuple[Interface, ...], service_description: str) -> None:
        own = Interface(
            name="org.varlink.service",
            description=service_description,
            methods={"GetInfo": self._get_info, "GetInterfaceDescription": self._get_description},
        )
        self._info = info
        self._interfaces = {interface.name: interface for interface in (own, *interfaces)}
        self._listener: socket.socket | None = None
        self._links: dict[int, list[_Link]] = {}  # by uid
        self._turns: dict[int, float] = {}  # when the last call of each uid had, or has, its turn

    def listen(self, listener: socket.socket) -> None:
        """Serve on this socket from now on, in the loop that runs."""
        listener.setblocking(False)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Serve nobody any more."""
        if self._listener is None:
            return
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for link in self._all(uid for uid in self._links):
            link.hang_up()

    # Who is let in

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                found, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptors are left; who comes waits, and the loop is not to spin meanwhile
                self._loop.remove_reader(listener)
                self._loop.call_later(_ACCEPT_AGAIN, self._accept_again, listener)
                return
            self._admit(found)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener, self._accept, listener)

    def _admit(self, found: socket.socket) -> None:
        uid = uid_of(found)
        if len(self._links.get(uid, ())) >= _MOST_OF_ONE_UID or (uid and not self._make_room(uid)):
            found.close()
            return
        found.setblocking(False)
        link = _Link(peer=peer_of(found), socket=found, heard_at=self._loop.time())
        self._links.setdefault(uid, []).append(link)
        link.task = self._loop.create_task(self._serve(link))
        link.task.add_done_callback(lambda task: self._over(link, task))

    def _make_room(self, uid: int) -> bool:
        """For one more of a uid that is not root's: of who has most, the one that was silent for longest goes.

        Unless the uid has as many itself: then there is none for it. To say so costs next to nothing, so that a crowd
        is turned away faster than it comes, and whoever stands behind it is let in.
        """
        crowd = {other: links for other, links in self._links.items() if other}
        if sum(map(len, crowd.values())) < _MOST:
            return True
        most = max(map(len, crowd.values()))
        if len(crowd.get(uid, ())) >= most:
            return False
        last = min(self._all(other for other in crowd if len(crowd[other]) == most), key=lambda link: link.heard_at)
        self._drop(last)
        last.hang_up()
        return True

    def _all(self, uids: Iterable[int]) -> list[_Link]:
        return [link for uid in uids for link in self._links[uid]]

    def _drop(self, link: _Link) -> None:
        uid = link.peer.uid
        links = self._links.get(uid, [])
        if link in links:
            links.remove(link)
            if not links:
                del self._links[uid]
                self._loop.call_later(_BURST * _PACE, self._forget_turns)

    def _forget_turns(self) -> None:
        """Of those who are gone, as soon as it makes no difference."""
        past = self._loop.time() - _BURST * _PACE
        self._turns = {uid: turn for uid, turn in self._turns.items() if uid in self._links or turn > past}

    def _over(self, link: _Link, task: asyncio.Task[None]) -> None:
        self._drop(link)
        link.socket.close()
        link.peer.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            who = f"process {link.peer.pid} of uid {link.peer.uid}"
            self._loop.call_exception_handler({"message": f"the call of {link.asked}", "exception": error, "peer": who})

    # One connection

    async def _serve(self, link: _Link) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=link.socket, limit=MAX_CALL)
        try:
            while True:
                data = await _receive(link, reader)
                link.heard_at = self._loop.time()
                await self._turn(link.peer.uid)
                asked = call_of(decode(data))
                del data  # there may be a password in it
                link.asked = asked.method
                await self._answer(link, asked, reader, writer)
        except (TimeoutError, OSError, Malformed, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whatever it was, it was this peer's; the others go on
        finally:
            writer.transport.abort()

    async def _turn(self, uid: int) -> None:
        """Wait until it is this uid's turn: at once but for who calls too often, and where too many do."""
        if uid:
            await asyncio.sleep(max(self._due(uid, _PACE), self._due(_EVERYBODY, _PACE_OF_ALL)))

    def _due(self, who: int, pace: float) -> float:
        now = self._loop.time()
        self._turns[who] = turn = max(self._turns.get(who, -inf), now - _BURST * pace) + pace
        return max(0.0, turn - now)

    async def _answer(
        self, link: _Link, asked: CallMessage, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        call = Call(peer=link.peer, parameters=asked.parameters, more=asked.more, hang_up=link.hang_up)
        try:
            found = self._method(asked.method)(call)
            if not isinstance(found, AsyncGenerator):
                answer: dict[str, Any] = {
                    "parameters": await (found if asked.oneway else _unless_gone(found, link.socket))
                }
            elif asked.oneway:
                return  # nothing of it would be told to anybody
            else:
                telling = _tell(found, writer) if asked.more else _next(found)
                answer = {"parameters": await self._while_heard(link, telling, reader, more=asked.more)}
        except VarlinkError as error:
            answer = {"error": error.name, "parameters": error.parameters}
        if not asked.oneway:
            await _send(writer, answer)

    async def _while_heard(
        self, link: _Link, telling: Coroutine[Any, Any, Answer], reader: asyncio.StreamReader, *, more: bool
    ) -> Answer:
        """Tell for as long as the caller is there. With `more`, whatever it says means that it has heard enough."""
        told, heard = self._loop.create_task(telling), self._loop.create_task(reader.read(1))
        try:
            await asyncio.wait((told, heard), return_when=asyncio.FIRST_COMPLETED)
            if heard.done() and (more or not heard.result()):
                raise Malformed("the caller does not listen any more")
            return await told
        finally:
            await _stop(told, heard)
            if not heard.cancelled() and not heard.exception():
                link.begun = heard.result()  # of the next call

    def _method(self, name: str) -> Method:
        interface, _, method = name.rpartition(".")
        if interface not in self._interfaces:
            raise VarlinkError("org.varlink.service.InterfaceNotFound", interface=interface)
        return self._interfaces[interface].method(method)

    # The interface of every service

    async def _get_info(self, call: Call) -> Answer:
        call.take()
        return {**self._info, "interfaces": list(self._interfaces)}

    async def _get_description(self, call: Call) -> Answer:
        name = call.take(interface=str)["interface"]
        if name not in self._interfaces:
            raise VarlinkError("org.varlink.service.InterfaceNotFound", interface=name)
        return {"description": self._interfaces[name].description}


async def _receive(link: _Link, reader: asyncio.StreamReader) -> bytes:
    begun, link.begun = link.begun, b""
    if not begun:
        async with asyncio.timeout(_IDLE_PATIENCE):
            begun = await reader.readexactly(1)
    if begun == b"\0":
        raise Malformed("an empty call")
    async with asyncio.timeout(_CALL_PATIENCE):
        return begun + (await reader.readuntil(b"\0"))[:-1]


async def _send(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(encode(answer))
    async with asyncio.timeout(_ANSWER_PATIENCE):
        await writer.drain()


async def _unless_gone(answer: Awaitable[Answer], caller: socket.socket) -> Answer:
    """The answer; when the caller closes its end before it is there, the method is cancelled."""
    work, poll = asyncio.ensure_future(answer), select.poll()
    try:
        if caller.fileno() < 0:  # gone while it waited for its turn, and what it was answered before could not be sent
            raise Malformed("the caller is not there any more")
        poll.register(caller, 0)  # only POLLHUP is told then, which one who merely stops talking does not cause
        while not (await asyncio.wait((work,), timeout=_LISTEN_EVERY))[0]:
            if poll.poll(0):
                raise Malformed("the caller does not listen any more")
        return work.result()
    finally:
        await _stop(work)


async def _stop(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks that nobody waits for any more. How they end must be asked, or the loop takes it for a failure."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


async def _next(answers: AsyncGenerator[Answer, None]) -> Answer:
    """The first answer of a stream, and the end of it."""
    async with aclosing(answers):
        async for answer in answers:
            return answer
    raise Malformed("a stream without an answer")


async def _tell(answers: AsyncGenerator[Answer, None], writer: asyncio.StreamWriter) -> Answer:
    """Give answer after answer, as fast as they are taken. Comes back only by an error."""
    async with aclosing(answers):
        async for answer in answers:
            writer.write(encode({"parameters": answer, "continues": True}))
            await writer.drain()
    raise Malformed("a stream that came to its end")
