# SPDX-License-Identifier: LGPL-2.1-or-later
"""Peers of another uid: a child that the kernel knows as nobody, on a socket that it may reach."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: for files and peers of another uid")

_EXCHANGE = """
import socket, sys
with socket.socket(socket.AF_UNIX, getattr(socket, sys.argv[2])) as link:
    link.connect(sys.argv[1])
    try:
        link.send(sys.stdin.buffer.read())
        sys.stdout.buffer.write(link.recv(1 << 16))
    except ConnectionError:
        pass
"""


@contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory(prefix="idled-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def exchange_as_nobody(path: Path, data: bytes, kind: str = "SOCK_STREAM") -> bytes:
    """What a peer with uid 65534 gets for this; empty when it is hung up on."""
    return subprocess.run(
        ["/usr/bin/python3", "-I", "-c", _EXCHANGE, path, kind],
        input=data,
        stdout=subprocess.PIPE,
        check=True,
        timeout=20,
        cwd="/",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    ).stdout
