# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl log`` against a real journal: a journald of the test's own, in a mount namespace with its own /run.

Records come to it as any program's do, with the sender's uid by the kernel's word.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from idled.core.span import SEC
from tests.terminal.bench import NOBODY, is_root, until

from .conftest import IDLECTL, ROOT, Fake, _environment, session

pytestmark = is_root

JOURNALD = "/lib/systemd/systemd-journald"
#: Nothing of it is the machine's: neither where it writes, nor the kernel's messages, nor its audit.
START = f"""
mount -t tmpfs idled-test /run && mount -t tmpfs idled-test /var/log
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\\nAudit=no\\nReadKMsg=no\\nStorage=volatile\\n' >/run/systemd/journald.conf.d/test.conf
tr -d - </proc/sys/kernel/random/uuid >/run/machine-id && mount --bind /run/machine-id /etc/machine-id
exec {JOURNALD}
"""
BOB = {"IDLED_USER": "bob", "IDLED_SESSION": "7-70", "IDLED_LOGIND": "12"}
NOTHING: Mapping[str, str] = MappingProxyType({})
CAROL = {"IDLED_USER": "carol", "IDLED_SESSION": "9-90"}


class Journal:
    """The journald, and who writes to it."""

    def __init__(self) -> None:
        self._journald = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-c", START])
        until(lambda: self.ready() or self._journald.poll() is not None)
        assert self._journald.poll() is None

    def ready(self) -> bool:
        """Also that it is what it will be: before, its view of the machine is not its own."""
        if not Path(f"/proc/{self._journald.pid}/comm").read_text().startswith("systemd-journal"):
            return False
        asked = self.inside("journalctl", "--quiet", "--sync")
        return subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def inside(self, *argv: str) -> list[str]:
        return ["nsenter", "--mount", f"--target={self._journald.pid}", "env", f"--chdir={ROOT}", *argv]

    def write(self, text: str, fields: Mapping[str, str] = NOTHING, *, event: str = "ended", uid: int = 0) -> None:
        """One record, which is there when this is over."""
        told = {"MESSAGE": text, "IDLED_EVENT": event, "PRIORITY": "5"} | dict(fields)
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        lines = "".join(f"{name}={value}\n" for name, value in told.items())
        subprocess.run(self.inside(*become, "logger", "--journald"), input=lines, text=True, check=True)
        subprocess.run(self.inside("journalctl", "--sync"), check=True)

    def log(self, *arguments: str, socket: str = "/nonexistent") -> subprocess.CompletedProcess[str]:
        command = self.inside(*IDLECTL, "log", "--socket", socket, *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=_environment({}))

    def told(self, *arguments: str, socket: str = "/nonexistent") -> list[str]:
        """The texts, each without its moment, when all goes well."""
        done = self.log(*arguments, socket=socket)
        assert (done.returncode, done.stderr) == (0, "")
        return [re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)", line)[1] for line in done.stdout.splitlines()]  # type: ignore[index]

    def close(self) -> None:
        self._journald.kill()
        self._journald.wait()


@pytest.fixture
def journal() -> Iterator[Journal]:
    """An empty journal."""
    found = Journal()
    yield found
    found.close()


def test_each_event_is_a_line_in_order_and_nobody_but_root_adds_one(journal: Journal) -> None:
    assert journal.told() == []
    journal.write("Session 12 of bob opened", BOB, event="session-opened")
    journal.write("forged", BOB, uid=NOBODY)
    journal.write("of another program", BOB, event="no-such-event")
    journal.write("Started", event="started")
    journal.write("Ended session 12 of bob", BOB)
    assert journal.told() == ["Session 12 of bob opened", "Started", "Ended session 12 of bob"]


def test_of_one_session_all_is_told_whatever_it_was_called_then(journal: Journal, fake: Fake) -> None:
    unnamed = {name: value for name, value in BOB.items() if name != "IDLED_LOGIND"}
    journal.write("opened", unnamed, event="session-opened")
    journal.write("another", CAROL, event="session-opened")
    assert journal.log("--session", "12").returncode == 1
    with fake.answering(GetSession={"session": session(id="7-70", name="12")}):
        assert journal.told("--session", "12", socket=str(fake.path)) == ["opened"]
    journal.write("warned", BOB, event="warned")
    for name in ("12", "7-70", "p7"):
        assert journal.told("--session", name) == ["opened", "warned"], name
    assert journal.told("--session", "p9") == journal.told("--user", "carol") == ["another"]
    assert journal.told("--user", "dave") == []


def test_a_session_of_which_nothing_is_known_is_said(journal: Journal) -> None:
    journal.write("ended", BOB)
    done = journal.log("--session", "13\x1b[31m")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "idlectl: the journal has nothing of a session 13?[31m (see: idlectl log --help)\n"


def test_since_a_moment(journal: Journal) -> None:
    journal.write("before")
    then = time.time_ns() // 1_000_000_000 + 1
    until(lambda: time.time() > then)  # a moment is given to the second
    journal.write("after")
    assert journal.told("--since", datetime.fromtimestamp(then).isoformat(" ")) == ["after"]
    assert journal.told("--since", "1h") == ["before", "after"]
    wrong = journal.log("--since", "some day")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "'some day' is no moment; expected one as 2h (ago), 14:30 or '2026-11-23 14:30'" in wrong.stderr


def test_names_from_outside_are_harmless_to_people_and_whole_to_programs(journal: Journal) -> None:
    text = "Ended \x1b[31m\u202e of x"
    journal.write(text, CAROL | {"IDLED_USER": "a\x07b"})
    assert journal.told() == ["Ended ?[31m? of x"]
    event = json.loads(journal.log("--json").stdout)
    assert (event["text"], event["user"]) == (text, "a\x07b")


def test_json_is_one_event_in_a_line_as_the_service_tells_it(journal: Journal) -> None:
    journal.write("ended", BOB | {"PRIORITY": "4"})
    journal.write("started", event="started")
    events = [json.loads(line) for line in journal.log("--json").stdout.splitlines()]
    moments = [event.pop("realtimeUSec") for event in events]
    assert abs(moments[0] - time.time() * SEC) < 60 * SEC and moments == sorted(moments)
    assert events == [
        {"event": "ended", "text": "ended", "priority": 4, "session": "7-70", "name": "12", "user": "bob"},
        {"event": "started", "text": "started", "priority": 5},
    ]


@contextmanager
def following(journal: Journal, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Somebody who goes on reading, until the block is over at the latest."""
    command = journal.inside(*IDLECTL, "log", "--follow", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment({})) as log:
        try:
            yield log
        finally:
            log.kill()


def test_it_goes_on_until_it_is_interrupted(journal: Journal) -> None:
    journal.write("first", BOB)
    with following(journal, "--user", "bob", "--json") as log:
        assert log.stdout is not None
        heard: list[dict[str, Any]] = [json.loads(log.stdout.readline())]
        for text, fields in (("of carol", CAROL), ("second", BOB), ("third", BOB)):
            journal.write(text, fields)
            if fields is BOB:
                heard.append(json.loads(log.stdout.readline()))
        log.send_signal(signal.SIGINT)
        assert log.wait(10) == 130
    assert [event["text"] for event in heard] == ["first", "second", "third"]
