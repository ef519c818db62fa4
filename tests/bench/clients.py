# SPDX-License-Identifier: LGPL-2.1-or-later
"""The clients of thousands of sessions, in one process: they come, type at random or all at once, and see their end.

Runs in the guest as a program of its own and imports nothing of the project. A command is a line of JSON, and so is its
answer. Moments are microseconds of CLOCK_BOOTTIME.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

AT_ONCE = 8  # logins under way; logind and systemd are no faster with more
PATIENCE = 60
PROMPT = b"$ "


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@dataclass(eq=False)
class Client:
    """One client. `closed_at` is when its session was gone."""

    connection: socket.socket
    typed_at: int
    closed_at: int | None = None


class Clients:
    """All of them, and what they are told to do."""

    def __init__(self, port: int, users: int, seed: int) -> None:
        self._port, self._users = port, users
        self._chance = random.Random(seed)
        self._all: list[Client] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._pause = 0.0  # mean seconds between two keys of one person; 0: nobody types
        self._keys: list[tuple[float, int]] = []
        self._commands = b""
        methods = (self.open, self.type, self.key, self.tell, self.leave)
        self._does: dict[str, Callable[..., Any]] = {method.__name__: method for method in methods}

    def run(self) -> None:
        """Do as told until there is nobody to tell."""
        while True:
            wait = max(0.0, self._keys[0][0] - time.monotonic()) if self._keys else None
            for key, _ in self._selector.select(wait):
                if isinstance(key.data, Client):
                    self._read(key.data)
                elif not self._obey():
                    return
            self._type()

    def _obey(self) -> bool:
        data = os.read(0, 65536)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            name, *values = json.loads(line)
            print(json.dumps(self._does[name](*values)), flush=True)
        return bool(data)

    # What they can be told

    def open(self, count: int) -> tuple[int, float]:
        """Open sessions until so many are open; how many came, and the seconds it took."""
        self._all = [client for client in self._all if client.closed_at is None]
        before, began = len(self._all), time.monotonic()
        while len(self._all) < count:
            numbers = range(len(self._all), min(len(self._all) + AT_ONCE, count))
            links = [self._come(number % self._users) for number in numbers]
            for link in links:
                self._take_in(link)
        return len(self._all) - before, time.monotonic() - began

    def type(self, pause: float) -> None:
        """Type at random from now on, everybody with such pauses in the mean; 0: stop."""
        self._pause = pause
        keys = [(time.monotonic() + self._chance.uniform(0, 2 * pause), n) for n in range(len(self._all))]
        self._keys = keys if pause else []
        heapq.heapify(self._keys)

    def key(self) -> None:
        """One key of everybody, now."""
        for client in self._all:
            self._press(client)

    def tell(self) -> list[tuple[int, int | None]]:
        """Of each, when it typed last and when its session was gone."""
        return [(client.typed_at, client.closed_at) for client in self._all]

    def leave(self) -> None:
        """Everybody goes, and is forgotten."""
        for client in self._all:
            self._gone(client)
        self._all.clear()
        self._keys.clear()

    # How

    def _come(self, user: int) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self._port), PATIENCE)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sendall(b"u%02d\n" % user)
        return link

    def _take_in(self, link: socket.socket) -> None:
        said = b""
        while PROMPT not in said:
            data = link.recv(4096)
            if not data:
                raise ConnectionError(f"no session came after {len(self._all)}")
            said += data
        link.setblocking(False)
        client = Client(link, now())
        self._all.append(client)
        self._selector.register(link, selectors.EVENT_READ, client)

    def _type(self) -> None:
        while self._keys and self._keys[0][0] <= time.monotonic():
            at, number = self._keys[0]
            self._press(self._all[number])
            heapq.heapreplace(self._keys, (at + self._chance.uniform(0, 2 * self._pause), number))

    def _press(self, client: Client) -> None:
        if client.closed_at is None:
            with suppress(OSError):  # it was cut off, and that is still to be read
                client.typed_at = now()
                client.connection.send(b"x")

    def _read(self, client: Client) -> None:
        try:
            data = client.connection.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._gone(client)

    def _gone(self, client: Client) -> None:
        if client.closed_at is None:
            client.closed_at = now()
            self._selector.unregister(client.connection)
            client.connection.close()


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Clients(*map(int, sys.argv[1:])).run()
