# SPDX-License-Identifier: LGPL-2.1-or-later
"""Floods a varlink socket: `python3 flood.py SOCKET CONNECTIONS MESSAGES SEED`. Needs nothing but Python.

It holds so many connections open, each with a call that it never finishes, and sends so many messages, whole, random,
cut or changed, on ever new ones, a batch at a time. At each batch it says how many it has sent. It is a program of its
own, so that it runs as any user and takes no time from what it floods.
"""

import json
import random
import resource
import socket
import sys

BATCH = 100
CALLS = [
    {"method": "org.varlink.service.GetInfo"},
    {"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": "io.idled"}},
    {"method": "io.idled.ListSessions", "parameters": {}},
    {"method": "io.idled.GetSession", "parameters": {"session": "1"}},
    {"method": "io.idled.Explain", "parameters": {"session": None}},
    {"method": "io.idled.Extend", "parameters": {"byUSec": 3600000000, "password": "wrong"}},
    {"method": "io.idled.End", "parameters": {"session": "1", "reason": "\u202e\x1b[31m"}, "oneway": True},
    {"method": "io.idled.Monitor", "more": True},
    {"method": "io.idled.GetStatus"},
    {"method": "io.idled.Reload", "oneway": True},
]


def message(chance: random.Random) -> bytes:
    """Something that is a call, or was one."""
    data = bytearray(json.dumps(chance.choice(CALLS)).encode() + b"\0")
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 200)) + b"\0" * chance.randrange(2)
    if kind == 1:
        return bytes(data[: chance.randrange(len(data))])
    if kind == 2:
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    if kind == 3:
        return bytes(data) * chance.randrange(1, 50)
    if kind == 4:
        return chance.choice([b"[" * 5000, b'{"a":' * 3000, b"9" * 70000, b"\0" * 50, b'"' + b"\\u0000" * 5000]) + b"\0"
    return bytes(data)


def link(path: str) -> socket.socket | None:
    """A connection that waits for nothing; None when there is no room in the queue."""
    found = socket.socket(socket.AF_UNIX)
    found.setblocking(False)
    try:
        found.connect(path)
    except OSError:
        found.close()
        return None
    return found


def main(path: str, connections: int, messages: int, chance: random.Random) -> None:
    """Flood, and say so."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = [link(path) for _ in range(connections)]
    for number in range(0, messages, BATCH):
        some = chance.randrange(len(held)) if held else 0
        if held:  # who was hung up on comes again
            old = held[some]
            if old is not None:
                old.close()
            held[some] = link(path)
        for at in range(some, some + 20):
            send(held[at % len(held)], b'{"method": "io.idled.Lis') if held else None
        for _ in range(BATCH):
            found = link(path)
            send(found, message(chance))
            if found is not None:
                found.close()
        print(number + BATCH, flush=True)


def send(found: socket.socket | None, data: bytes) -> None:
    """Say it, whether it is heard or not."""
    if found is not None:
        try:
            found.send(data)
        except OSError:
            pass


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4])))
