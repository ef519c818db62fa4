# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private message bus, and something on it that answers as logind does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from tests.terminal.bench import until

NAME = "org.freedesktop.login1"
#: When its sessions were opened: this process and those it starts are older. Microseconds of CLOCK_MONOTONIC.
OPENED_AT = time.monotonic_ns() // 1000 + 3600_000_000
MANAGER = DBusAddress("/org/freedesktop/login1", NAME, "org.freedesktop.login1.Manager")

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow own="*"/><allow eavesdrop="true"/></policy>
</busconfig>
"""


class Bus:
    """A dbus-daemon that can be stopped and started again under the same address."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="idled-bus-"))
        self.socket = self.folder / "socket"
        self.address = f"unix:path={self.socket}"
        (self.folder / "config").write_text(_CONFIG.format(socket=self.socket))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self.folder}/config", "--nofork", "--nopidfile", "--nosyslog"],
            stdin=subprocess.DEVNULL,
        )
        until(self._listens)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)


def properties(id: str, leader: int, **changes: Any) -> dict[str, tuple[str, Any]]:
    """A session's properties as logind 252 gives them for an SSH login (those that are of use, and some others)."""
    known: dict[str, tuple[str, Any]] = {
        "Id": ("s", id),
        "User": ("(uo)", (1000, "/org/freedesktop/login1/user/_1000")),
        "Name": ("s", "alice"),
        "Timestamp": ("t", 1_800_000_000_000_000),
        "TimestampMonotonic": ("t", OPENED_AT),
        "VTNr": ("u", 0),
        "Seat": ("(so)", ("", "/")),
        "TTY": ("s", "pts/0"),
        "Display": ("s", ""),
        "Remote": ("b", True),
        "RemoteHost": ("s", "10.8.0.7"),
        "RemoteUser": ("s", ""),
        "Service": ("s", "sshd"),
        "Desktop": ("s", ""),
        "Scope": ("s", f"session-{id}.scope"),
        "Leader": ("u", leader),
        "Audit": ("u", 7),
        "Type": ("s", "tty"),
        "Class": ("s", "user"),
        "Active": ("b", True),
        "State": ("s", "active"),
        "IdleHint": ("b", False),
        "LockedHint": ("b", False),
    }
    return known | {name: (known[name][0], value) for name, value in changes.items()}


class FakeLogind:
    """Answers in a thread of its own. `mute`: takes every question and answers none; `slow`: takes so long for each."""

    def __init__(self, address: str, sessions: dict[str, dict[str, tuple[str, Any]]]) -> None:
        self.sessions = sessions
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.mute = False
        self.slow = 0.0  # seconds
        self._bus: DBusConnection = open_dbus_connection(bus=address)
        self._bus.send_and_get_reply(message_bus.RequestName(NAME))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def open(self, id: str, session: dict[str, tuple[str, Any]]) -> None:
        """A session is new, and everybody is told."""
        self.sessions[id] = session
        self._bus.send(new_signal(MANAGER, "SessionNew", "so", (id, path_of(id))))

    def _serve(self) -> None:
        try:
            while True:
                message = self._bus.receive()
                if message.header.message_type is MessageType.method_call:
                    self._answer(message)
        except (OSError, EOFError, ValueError):  # the bus has gone, or this was closed
            pass

    def _answer(self, message: Message) -> None:
        fields = message.header.fields
        member = str(fields[HeaderFields.member])
        self.asked.append((member, message.body))
        if self.mute:
            return
        if member == "ListSessions":
            rows = [(id, 1000, "alice", "", path_of(id)) for id in self.sessions]
            reply = new_method_return(message, "a(susso)", (rows,))
        elif member == "GetAll" and (found := self._session(str(fields[HeaderFields.path]))) is not None:
            time.sleep(self.slow)
            reply = new_method_return(message, "a{sv}", (found,))
        elif member in ("TerminateSession", "TerminateUser") and str(message.body[0]) in {*self.sessions, "1000"}:
            reply = new_method_return(message)
        else:
            reply = new_error(message, "org.freedesktop.login1.NoSuchSession", "s", ("No such session",))
        self._bus.send(reply)

    def _session(self, path: str) -> dict[str, tuple[str, Any]] | None:
        return next((session for id, session in self.sessions.items() if path_of(id) == path), None)

    def close(self) -> None:
        """Leave the bus."""
        self._bus.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._bus.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except OSError:  # the bus went first
            self._thread.join()
            self._bus.close()


def path_of(id: str) -> str:
    return f"/org/freedesktop/login1/session/_3{id}"


def here() -> str:
    """Why there can be no bus here; empty when there can be one."""
    return "" if shutil.which("dbus-daemon") and os.name == "posix" else "needs dbus-daemon"
