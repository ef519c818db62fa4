# SPDX-License-Identifier: LGPL-2.1-or-later
"""Registrations from pam_idled.so: one packet in, one packet out, on a SOCK_SEQPACKET socket.

A packet is NUL-terminated KEY=VALUE strings, VERSION=1 first. It counts only if it comes from root, names the process
that sent it, and that process lives; everything else is refused. Who a peer is, the kernel says (SO_PEERCRED).
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from .. import procfs

MAX_PACKET: Final = 4096
#: A peer that connects and says nothing is dropped after this many seconds.
_PATIENCE: Final = 2.0
_MOST_PEERS: Final = 512
_ROOT: Final = 0


class RefusedPacket(Exception):
    """The packet is not one to act on; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What pam_idled.so says of the session that is being opened."""

    pid: int
    start: int
    user: str
    service: str
    tty: str = ""  # empty for SSH
    rhost: str = ""
    connection: str = ""  # SSH_CONNECTION
    is_ssh: bool = False  # a session of its own, wherever its sshd runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the module is told: a line for the person, and the last-resort limit for logind in seconds."""

    text: str = ""
    runtime_max_sec: int | None = None

    def packet(self) -> bytes:
        """As it goes over the socket."""
        fields = ["VERSION=1"]
        if self.text:
            fields.append(f"TEXT={self.text}")
        if self.runtime_max_sec is not None:
            fields.append(f"RUNTIME_MAX_SEC={self.runtime_max_sec}")
        return "".join(f"{field}\0" for field in fields).encode()


def parse(packet: bytes, peer_pid: int, peer_uid: int) -> Registration:
    """The registration in a packet, or RefusedPacket. The sender must be root and the very process it names."""
    if peer_uid != _ROOT:
        raise RefusedPacket(f"from uid {peer_uid}, which is not root")
    if not packet.endswith(b"\0") or len(packet) > MAX_PACKET:
        raise RefusedPacket(f"{len(packet)} bytes that are not whole strings")
    try:
        fields = dict(text.split("=", 1) for text in packet[:-1].decode().split("\0"))
    except ValueError:  # of which UnicodeDecodeError is one
        raise RefusedPacket("not KEY=VALUE in UTF-8") from None
    if fields.get("VERSION") != "1" or not fields.get("USER") or not fields.get("SERVICE"):
        raise RefusedPacket("no VERSION=1, USER and SERVICE")
    if not all(fields.get(key, "").isascii() and fields.get(key, "").isdigit() for key in ("PID", "START")):
        raise RefusedPacket("PID and START are not numbers")
    if int(fields["PID"]) != peer_pid:
        raise RefusedPacket(f"names process {fields['PID'][:12]}, comes from {peer_pid}")
    tty = fields.get("TTY", "")
    return Registration(
        pid=peer_pid,
        start=int(fields["START"]),
        user=fields["USER"],
        service=fields["SERVICE"],
        tty="" if tty == "ssh" else tty.removeprefix("/dev/"),
        rhost=fields.get("RHOST", ""),
        connection=fields.get("SSH_CONNECTION", ""),
        is_ssh=tty == "ssh" or bool(fields.get("SSH_CONNECTION")),
    )


class Registrations:
    """The listening end. `register` answers each good packet; `refuse` is told of each bad one.

    `missed` is called where somebody may have come and gone on unknown, for no fault of the packet.
    """

    def __init__(
        self,
        listener: socket.socket,
        register: Callable[[Registration], Awaitable[Answer]],
        refuse: Callable[[str], None],
        missed: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._register = register
        self._refuse = refuse
        self._missed = missed
        self._peers: set[asyncio.Task[None]] = set()
        listener.setblocking(False)

    async def run(self) -> None:
        """Accept until cancelled, and serve all that were accepted."""
        try:
            await self._accept_all()
        finally:
            if self._peers:
                await asyncio.wait(self._peers)

    async def _accept_all(self) -> None:
        while True:
            while len(self._peers) >= _MOST_PEERS:
                await asyncio.wait(self._peers, return_when=asyncio.FIRST_COMPLETED)
            try:
                peer = await self._accept()
            except OSError as error:  # out of descriptors, or the peer left already
                self._refuse(f"PAM socket: {error}")
                self._missed()
                await asyncio.sleep(0.1)
                continue
            pid, uid, _ = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            task = asyncio.create_task(self._serve(peer, pid, uid))
            self._peers.add(task)
            task.add_done_callback(partial(self._over, f"process {pid} of uid {uid}"))

    async def _accept(self) -> socket.socket:
        """The next peer. A cancellation loses none that was accepted already, as in sock_accept() it can."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._listener, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self._listener)
        return self._listener.accept()[0]

    def _over(self, who: str, task: asyncio.Task[None]) -> None:
        """What nobody foresaw costs this peer the connection, and others nothing, as in the control service."""
        self._peers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._missed()
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the registration", "exception": error, "peer": who}
            )

    async def _serve(self, peer: socket.socket, pid: int, uid: int) -> None:
        with peer:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._answer(peer, pid, uid)
            except RefusedPacket as error:
                self._refuse(f"PAM packet: {error}")
            except (OSError, TimeoutError) as error:
                self._refuse(f"PAM packet: {str(error) or 'none came'}")
                self._missed()

    async def _answer(self, peer: socket.socket, pid: int, uid: int) -> None:
        peer.setblocking(False)
        packet = await asyncio.get_running_loop().sock_recv(peer, MAX_PACKET + 1)
        registration = parse(packet, pid, uid)
        process = procfs.process(pid)
        if process is None or process.start != registration.start or not process.alive:
            raise RefusedPacket(f"names process {pid} as of {registration.start}, which is gone")
        answer = await self._register(registration)
        try:
            await asyncio.get_running_loop().sock_sendall(peer, answer.packet())
        except (BrokenPipeError, ConnectionResetError):
            pass  # the module's patience was over; the session is registered all the same
