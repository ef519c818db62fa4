# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tells of logins: packets of pam_idled.so, and the file of utmp."""

import ctypes
import os
import pwd
import tempfile
from unittest.mock import patch

from idled import clock, procfs
from idled.sources import registrations, utmp

PID = 4711
UIDS = {account.pw_name: account.pw_uid for account in pwd.getpwall()}
UTMP = b"/var/run/utmp"  # where libc looks by itself


def registration(data: bytes) -> None:
    """Nobody but root, and the very process; what is taken says the same when it is written down again."""
    assert not _takes(data, PID, 1000)
    assert not (_takes(data, PID, 0) and _takes(data, PID + 1, 0))
    found = registrations.parse(data, PID, 0)
    assert found.pid == PID and found.start >= 0 and found.user and found.service
    assert not found.tty.startswith("/dev/") or "/dev//dev/" in data.decode()
    assert found.is_ssh or not found.connection
    tty = "ssh" if found.is_ssh and not found.tty else found.tty
    said = {"USER": found.user, "SERVICE": found.service, "TTY": tty, "RHOST": found.rhost}
    said |= {"SSH_CONNECTION": found.connection, "PID": str(found.pid), "START": str(found.start)}
    again = "".join(f"{key}={value}\0" for key, value in ({"VERSION": "1"} | said).items()).encode()
    if len(again) <= registrations.MAX_PACKET and not found.tty.startswith("/dev/"):
        assert registrations.parse(again, PID, 0) == found


def _takes(data: bytes, pid: int, uid: int) -> bool:
    try:
        registrations.parse(data, pid, uid)
    except registrations.RefusedPacket as error:
        assert str(error).isprintable() and len(str(error)) < 200
        return False
    return True


def _records(data: bytes) -> list[utmp.Line]:
    """What psutil, and so libc, reads in a utmp of our own."""
    libc = ctypes.CDLL(None)
    with tempfile.NamedTemporaryFile(prefix="idled-fuzz-") as file:
        file.write(data)
        file.flush()
        libc.utmpname(os.fsencode(file.name))
        try:
            return utmp.read()
        finally:
            libc.utmpname(UTMP)


def utmp_file(data: bytes) -> None:
    """Each record is a session, refused, or none. The machine's part is to say that any process is a login there."""
    refused: list[str] = []
    records = _records(data)
    uids = {record.user: UIDS.get(record.user) for record in records}
    leader = procfs.Process(pid=PID, comm="login", state="S", ppid=1, sid=PID, tty=0, start=100)
    with patch.object(utmp, "_login_on", lambda device, pid: leader if device and pid > 0 else None):
        shown = [utmp.sighting(record, uids, refused.append) for record in records]
    found = [sighting for sighting in shown if sighting is not None]
    assert len(found) + len(refused) <= len(records)
    assert all(text.isprintable() and len(text) < 300 for text in refused)
    for sighting in found:
        assert sighting.uid == pwd.getpwnam(sighting.user).pw_uid
        assert sighting.opened_at is not None
        assert leader.start * procfs.TICK <= sighting.opened_at <= max(clock.now(), leader.start * procfs.TICK)
        assert ".." not in sighting.tty.split("/") and not sighting.tty.startswith("/")
        assert not sighting.tty or os.stat(f"/dev/{sighting.tty}").st_uid == sighting.uid
