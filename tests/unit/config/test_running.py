# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon itself, as a process: what a broken file, and floods of bad packets, do to one that runs.

It runs without a bus and a journal (in a mount namespace with a /run of its own) and under a policy without limits, so
that it ends nobody here.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idled.control.client import call

from ..peer import needs_root

pytestmark = needs_root
ROOT = Path(__file__).resolve().parents[3]
ENFORCE = 'mode = "enforce"\n'
BROKEN = 'mode = "enforce"\n[defaults]\nidle_timeuot = "1s"\n'


class Running:
    """A daemon and what it has logged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = os.environ | {"RUNTIME_DIRECTORY": str(folder / "run"), "STATE_DIRECTORY": str(folder / "lib")}
        daemon = [sys.executable, "-m", "idled", "--config", str(folder / "idled.toml")]
        enter = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
        self.process = subprocess.Popen([*enter, *daemon], cwd=ROOT, stderr=subprocess.PIPE, env=environment)

    def next(self) -> dict[str, Any]:
        assert self.process.stderr
        line = self.process.stderr.readline()
        if line.startswith((b"unshare:", b"mount:")):
            pytest.skip("needs to be allowed a mount namespace")
        assert line, "it ended"
        record: dict[str, Any] = json.loads(line)
        return record

    def until(self, event: str) -> list[dict[str, Any]]:
        """The records up to the next of this event."""
        records = [self.next()]
        while records[-1]["IDLED_EVENT"] != event:
            records.append(self.next())
        return records

    def mode(self) -> str:
        return str(call(str(self.folder / "run" / "io.idled"), "io.idled.ListSessions")["mode"])

    def reload(self, text: str) -> None:
        (self.folder / "idled.toml").write_text(text)
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def running(folder: Path, text: str) -> Iterator[Running]:
    (folder / "idled.toml").write_text(text)
    daemon = Running(folder)
    try:
        yield daemon
        daemon.process.send_signal(signal.SIGTERM)
        daemon.until("stopping")
        assert daemon.process.wait(10) == 0
    finally:
        daemon.process.kill()
        daemon.process.communicate()


def events(records: list[dict[str, Any]]) -> list[str]:
    return [record["IDLED_EVENT"] for record in records if record["IDLED_EVENT"].startswith("config")]


def test_a_running_daemon_keeps_its_policy_until_a_better_one_comes(tmp_path: Path) -> None:
    with running(tmp_path, ENFORCE) as daemon:
        assert events(daemon.until("started")) == ["config-loaded"]
        daemon.reload(BROKEN)
        rejected = daemon.until("config-rejected")[-1]
        assert rejected["MESSAGE"] == (
            f"Policy rejected: {tmp_path}/idled.toml: defaults.idle_timeuot: unknown key; did you mean idle_timeout?"
        )
        assert rejected["PRIORITY"] == 3
        assert daemon.mode() == "enforce"
        daemon.reload('mode = "observe"\n')
        daemon.until("config-loaded")
        assert daemon.mode() == "observe"


@pytest.mark.parametrize(("before", "mode"), [(ENFORCE, "enforce"), (None, "observe")])
def test_a_start_with_a_broken_file_is_loud_and_uses_what_it_can(tmp_path: Path, before: str | None, mode: str) -> None:
    if before is not None:
        with running(tmp_path, before) as daemon:
            daemon.until("started")
    with running(tmp_path, BROKEN) as daemon:
        records = daemon.until("started")
        assert events(records) == ["config-rejected", "config-loaded"]
        (trouble,) = (record for record in records if "another policy stands in" in record["MESSAGE"])
        assert trouble["PRIORITY"] == 4
        assert daemon.mode() == mode


def test_a_flood_of_bad_packets_is_counted_and_logged_at_most_once_a_second(tmp_path: Path) -> None:
    with running(tmp_path, ENFORCE) as daemon:
        daemon.until("started")
        began = time.monotonic()
        for _ in range(300):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
                link.settimeout(10)
                link.connect(str(tmp_path / "run" / "pam"))
                link.send(b"VERSION=1\0USER=\x1b[31m\0")
                assert link.recv(1024) == b""
        took = time.monotonic() - began
        daemon.process.send_signal(signal.SIGHUP)
        records = daemon.until("config-loaded")
        refused = [record for record in records if record["IDLED_EVENT"] == "input-refused"]
        assert 1 <= len(refused) <= took + 1
        assert refused[0]["MESSAGE"] == "Refused input: PAM packet: no VERSION=1, USER and SERVICE"
        time.sleep(1.05)  # the second since the last record must pass
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.connect(str(tmp_path / "run" / "pam"))
            link.send(b"\0")
        assert "more since the last record)" in daemon.until("input-refused")[-1]["MESSAGE"]
        assert daemon.mode() == "enforce"
