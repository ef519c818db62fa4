# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel tells: /proc, where processes have put names of their own, sockets, and addresses of connections."""

import ctypes
import functools
import os
import re
import struct
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from unittest.mock import patch

from idled import procfs
from idled.evidence import connections

PR_SET_NAME = 15
ROOT = Path("/sys/fs/cgroup")
#: Errors of numbers and fields.
GARBLED = (ValueError, IndexError, OverflowError)
#: As the kernel writes them (format), whatever the process has put at %b.
FILES: Mapping[str, bytes] = {
    "stat": b"77 (%b) S 1 77 76 34816 77 4194304 1 0 0 0 0 0 0 0 20 0 3 0 123456 1 2\n",
    "status": b"Name:\t%b\nUmask:\t0022\nUid:\t1000\t1000\t1000\t1000\n",
    "cmdline": b"%b\0",
    "cgroup": b"1:name=systemd:/x\n0::/%b\n",
}


def own_name(data: bytes) -> None:
    """A process may call itself what it likes: it is still known for what it is, by the real kernel."""
    before = procfs.process(os.getpid())
    assert before is not None
    _call_yourself(data)
    try:
        after, uid = procfs.process(os.getpid()), procfs.real_uid(os.getpid())
    finally:
        _call_yourself(before.comm.encode())
    assert after is not None and after.comm == data.partition(b"\0")[0][:15].decode(errors="replace")
    assert (after.pid, after.ppid, after.sid, after.tty) == (before.pid, before.ppid, before.sid, before.tty)
    assert after.start == before.start and after.alive
    assert uid == os.getuid()


def _call_yourself(name: bytes) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, ctypes.c_char_p(name), 0, 0, 0)


def names_in_proc(data: bytes) -> None:
    """The same of files as the kernel writes them, with any name."""
    files = {name: text % data.replace(b"\n", b"?") for name, text in FILES.items()}
    files["stat"] = FILES["stat"] % data  # elsewhere a newline is escaped, or not allowed in names
    with patch.object(procfs, "_read", lambda path: files.get(path.rpartition("/")[2])):
        found, title, cgroup, uid = procfs.process(77), procfs.title(77), procfs.cgroup(77), procfs.real_uid(77)
    assert found is not None and found.comm == data.decode(errors="replace")
    assert (found.pid, found.ppid, found.sid, found.start, found.threads) == (77, 1, 76, 123456, 3)
    assert found.tty == os.makedev(136, 0) and found.foreground and found.alive
    assert uid == 1000 and "\0" not in title
    assert cgroup is not None and os.fsencode(cgroup) == b"/" + data.replace(b"\n", b"?")
    with patch.object(procfs, "cgroup_root", lambda: ROOT):
        folder = procfs.cgroup_path(cgroup)
    if folder is not None:
        assert os.path.normpath(folder).startswith(f"{ROOT}/"), folder


def proc_files(data: bytes) -> None:
    """Bytes that no kernel writes: errors of numbers and fields, and no others."""
    with patch.object(procfs, "_read", lambda path: data):
        for look in (procfs.real_uid, procfs.io, procfs.cgroup, procfs.title, procfs.audit_session, procfs.process):
            with suppress(*GARBLED):
                look(os.getpid())
        with suppress(*GARBLED):
            for device in procfs.ptys_held(os.getpid()) or ():
                index = (os.major(device) - 136 << 20) + os.minor(device)
                assert index in map(int, re.findall(rb"[+-]?[0-9]+(?:_[0-9]+)*", data))


def socket_answer(data: bytes) -> None:
    """An answer of sock_diag: no look outside of what came."""
    found = connections._parse_answer(data)
    if found is not None:
        assert all(type(value) is int for value in found)
        assert 0 <= found.wire_in < 1 << 64 and 0 <= found.wire_out < 1 << 64
        assert found.written - found.wire_out == struct.unpack_from("I", data, 76)[0]
        assert found.wire_in - found.read == struct.unpack_from("I", data, 72)[0]


def ssh_connection(data: bytes) -> None:
    """What a packet gives as SSH_CONNECTION: the two ends, or nothing; and a look at such a one is none, no error."""
    text = data.decode()
    found = connections.parse(text)
    if found is not None:
        assert len(found.local) == len(found.remote) in (4, 16)
        client, _, server, _ = text.split(" ")
        assert ip_address(client.partition("%")[0]).packed == found.remote
        assert ip_address(server.partition("%")[0]).packed == found.local
        again = f"{ip_address(found.remote)} {found.remote_port} {ip_address(found.local)} {found.local_port}"
        assert connections.parse(again) == found
    assert _connections().look(text, None, 0) is None or found is not None


_connections = functools.cache(connections.Connections)
