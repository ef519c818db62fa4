# SPDX-License-Identifier: LGPL-2.1-or-later
"""The serving end of varlink: connections, bounds, and the methods every service has.

Who the peer is, the kernel says (SO_PEERCRED), at the time it connected. What the methods of an interface do is given
by whoever makes the service. A peer that hangs or floods costs others nothing: connections of one uid, the length of a
call and the time for an answer to be taken are bounded, and each peer's calls are answered one after the other.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .wire import MAX_CALL, Malformed, VarlinkError, call_of, decode, encode

_MOST_OF_ONE_UID: Final = 32
_MOST: Final = 256
_ANSWER_PATIENCE: Final = 10.0
_IDLE_PATIENCE: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is calling, by the kernel's word."""

    pid: int
    uid: int


Method: TypeAlias = Callable[[Peer, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface: its description, and what does its methods."""

    name: str
    description: str
    methods: Mapping[str, Method]


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
        self._peers: Counter[int] = Counter()

    async def listen(self, listener: socket.socket) -> asyncio.Server:
        """Serve on this socket from now on."""
        # Not start_unix_server(): from Python 3.13 on it unlinks the path at the end, which systemd wants to keep.
        return await asyncio.start_server(self._serve, sock=listener, limit=MAX_CALL)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, _ = struct.unpack("iII", credentials)
        peer = Peer(pid=pid, uid=uid)
        self._peers[uid] += 1
        try:
            if self._peers[uid] <= _MOST_OF_ONE_UID and (uid == 0 or self._peers.total() <= _MOST):
                await self._converse(peer, reader, writer)
        except (TimeoutError, OSError, Malformed, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whatever it was, it was this peer's; the others go on
        finally:
            self._peers[uid] -= 1
            if not self._peers[uid]:
                del self._peers[uid]
            writer.transport.abort()

    async def _converse(self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE_PATIENCE):
                data = await reader.readuntil(b"\0")
            method, parameters, oneway = call_of(decode(data[:-1]))
            try:
                answer: dict[str, Any] = {"parameters": self._call(peer, method, parameters)}
            except VarlinkError as error:
                answer = {"error": error.name, "parameters": error.parameters}
            if not oneway:
                writer.write(encode(answer))
                async with asyncio.timeout(_ANSWER_PATIENCE):
                    await writer.drain()

    def _call(self, peer: Peer, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        interface, _, method = name.rpartition(".")
        if interface not in self._interfaces:
            raise VarlinkError("org.varlink.service.InterfaceNotFound", interface=interface)
        found = self._interfaces[interface].methods.get(method)
        if found is None:
            raise VarlinkError("org.varlink.service.MethodNotFound", method=name)
        return found(peer, parameters)

    def _get_info(self, _peer: Peer, parameters: dict[str, Any]) -> dict[str, Any]:
        no_parameters(parameters)
        return {**self._info, "interfaces": list(self._interfaces)}

    def _get_description(self, _peer: Peer, parameters: dict[str, Any]) -> dict[str, Any]:
        name = parameters.get("interface")
        if not isinstance(name, str) or len(parameters) != 1:
            raise VarlinkError("org.varlink.service.InvalidParameter", parameter="interface")
        if name not in self._interfaces:
            raise VarlinkError("org.varlink.service.InterfaceNotFound", interface=name)
        return {"description": self._interfaces[name].description}


def no_parameters(parameters: dict[str, Any]) -> None:
    """For methods that take none."""
    for name in parameters:
        raise VarlinkError("org.varlink.service.InvalidParameter", parameter=name)
