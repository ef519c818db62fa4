# SPDX-License-Identifier: LGPL-2.1-or-later
"""A record is a line that people can read and fields that programs can, in the journal or as JSON on stderr."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from idled.core.events import Kind, Record
from idled.core.model import Limits, Reason, Session, SessionId
from idled.core.span import HOUR, MIN, SEC
from idled.journal import MESSAGE_IDS, fields_of, render

ROOT = Path(__file__).resolve().parents[2]
SESSION = Session(
    id=SessionId("b", 7, 70), user="alice", uid=1000, opened_at=0, service="sshd", remote="10.0.0.1", logind="12"
)
LIMITS = Limits(
    idle_timeout=15 * MIN,
    absolute_timeout=12 * HOUR,
    origin={"idle_timeout": "contractors", "absolute_timeout": "defaults"},
)
FULL = Record(
    kind=Kind.ENDED,
    session=SESSION,
    limits=LIMITS,
    reason=Reason.IDLE,
    idle=15 * MIN + SEC,
    age=HOUR,
    late=0,
    took=50_000,
    survivors=(),
    terminals=("pts/1", "pts/2"),
)


def test_an_end_has_every_field() -> None:
    assert fields_of(FULL) == {
        "IDLED_EVENT": "ended",
        "IDLED_SESSION": "7-70",
        "IDLED_LOGIND": "12",
        "IDLED_USER": "alice",
        "IDLED_UID": "1000",
        "IDLED_SERVICE": "sshd",
        "IDLED_TTY": "pts/1 pts/2",
        "IDLED_REMOTE": "10.0.0.1",
        "IDLED_RULE": "contractors",
        "IDLED_REASON": "idle",
        "IDLED_LIMIT_USEC": "900000000",
        "IDLED_IDLE_USEC": "901000000",
        "IDLED_AGE_USEC": "3600000000",
        "IDLED_LATE_USEC": "0",
        "IDLED_TOOK_USEC": "50000",
        "IDLED_SURVIVORS": "0",
    }


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (Record(kind=Kind.STARTED), {"IDLED_EVENT": "started"}),
        (
            Record(
                kind=Kind.SESSION_OPENED, session=Session(id=SESSION.id, user="root", uid=0, opened_at=0, tty="tty1")
            ),
            {
                "IDLED_EVENT": "session-opened",
                "IDLED_SESSION": "7-70",
                "IDLED_USER": "root",
                "IDLED_UID": "0",
                "IDLED_TTY": "tty1",
            },
        ),
        (
            Record(kind=Kind.WOULD_END, limits=LIMITS, reason=Reason.ABSOLUTE),
            {
                "IDLED_EVENT": "would-end",
                "IDLED_RULE": "defaults",
                "IDLED_REASON": "absolute",
                "IDLED_LIMIT_USEC": "43200000000",
            },
        ),
        (
            Record(kind=Kind.ENDED, limits=LIMITS, reason=Reason.USER),
            {"IDLED_EVENT": "ended", "IDLED_REASON": "user"},
        ),
        (
            Record(kind=Kind.END_FAILED, survivors=("a", "b")),
            {"IDLED_EVENT": "end-failed", "IDLED_SURVIVORS": "2"},
        ),
    ],
)
def test_what_is_not_known_is_left_out_and_zero_is_not(record: Record, fields: dict[str, str]) -> None:
    assert fields_of(record) == fields


WHO = "session 12 of alice from 10.0.0.1"
IDLE = "(idle limit 15min, rule 'contractors')"


@pytest.mark.parametrize(
    ("kind", "reason", "more", "line"),
    [
        (Kind.SESSION_OPENED, None, {}, f"S{WHO[1:]} opened"),
        (
            Kind.LIMITS_SET,
            None,
            {},
            f"Limits of {WHO}: idle 15min, absolute 12h (rules contractors, defaults)",
        ),
        (Kind.LIMITS_SET, None, {"limits": Limits()}, f"Limits of {WHO}: idle off, absolute off"),
        (
            Kind.WARNED,
            Reason.IDLE,
            {"idle": 13 * MIN, "ends_in": 2 * MIN},
            f"Warned {WHO}, ends in 2min: idle for 13min {IDLE}",
        ),
        (
            Kind.ENDED,
            Reason.IDLE,
            {"idle": 15 * MIN, "took": 50_000},
            f"Ended {WHO}: idle for 15min {IDLE}, took 50ms",
        ),
        (
            Kind.WOULD_END,
            Reason.ABSOLUTE,
            {"age": 12 * HOUR},
            f"Would end {WHO}: open for 12h (absolute limit 12h, rule 'defaults')",
        ),
        (Kind.ENDED, Reason.USER, {"took": 0}, f"Ended {WHO}: with another session of the user, took 0s"),
        (Kind.SESSION_CLOSED, None, {"age": 90 * SEC}, f"S{WHO[1:]} closed after 1min 30s"),
        (
            Kind.END_ESCALATED,
            Reason.IDLE,
            {"survivors": ("bash 5", "\x1b[2Jevil 6")},
            f"SIGKILL for {WHO}: 2 processes left (bash 5, ?[2Jevil 6)",
        ),
    ],
)
def test_a_record_is_a_line_for_people(kind: Kind, reason: Reason | None, more: dict[str, object], line: str) -> None:
    record = Record(**{"kind": kind, "session": SESSION, "limits": LIMITS, "reason": reason} | more)  # type: ignore[arg-type]
    assert render(record) == line


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("full", [False, True])
def test_every_kind_can_be_said_whatever_is_known(kind: Kind, full: bool) -> None:
    record = Record(**vars_of(FULL) | {"kind": kind}) if full else Record(kind=kind)
    line = render(record)
    assert line.isprintable()
    assert line[0].isupper()
    assert "None" not in line
    assert render(Record(kind=kind, note="why")).endswith(": why")
    assert fields_of(record)["IDLED_EVENT"] == kind.value
    assert all(re.fullmatch(r"IDLED_[A-Z_]+", name) for name in fields_of(record))


def vars_of(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def test_message_ids_are_ids_and_each_is_another() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{32}", id) for id in MESSAGE_IDS.values())
    assert len(set(MESSAGE_IDS.values())) == len(Kind)


_WRITE = """
from idled.core.events import Kind, Record
from idled.journal import Journal
journal = Journal()
journal.write(Record(kind=Kind.CONFIG_REJECTED, note="naïve"))
journal.write(Record(kind=Kind.STARTED))
"""


def without_journal(code: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    """Run it where there is no /run/systemd/journal: in a mount namespace with a /run of its own."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/run"]
    if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("needs to be allowed a mount namespace")
    call = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh", sys.executable, "-c", code]
    return subprocess.run(call, cwd=ROOT, timeout=20, check=False, **options)  # type: ignore


def test_without_a_journal_records_are_json_lines_on_stderr() -> None:
    done = without_journal(_WRITE, capture_output=True)
    rejected, started = (json.loads(line) for line in done.stderr.splitlines())
    assert (done.returncode, done.stdout) == (0, b"")
    assert abs(rejected.pop("REALTIME_USEC") / SEC - os.stat("/proc/self").st_ctime) < HOUR
    assert rejected == {"MESSAGE": "Policy rejected: naïve", "PRIORITY": 3, "IDLED_EVENT": "config-rejected"}
    assert (started["IDLED_EVENT"], started["PRIORITY"]) == ("started", 6)


def test_a_stderr_that_nobody_reads_is_no_reason_to_stop() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stderr:
        done = without_journal(
            _WRITE + "print('still here', flush=True)\nimport os\nos._exit(0)", stdout=-1, stderr=stderr
        )
    assert done.stdout == b"still here\n"


_NATIVE = """
import os, socket
os.makedirs("/run/systemd/journal")
inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
inbox.bind("/run/systemd/journal/socket")
"""


def test_with_a_journal_records_go_there_in_its_protocol() -> None:
    code = _NATIVE + _WRITE + "import sys\nsys.stdout.buffer.write(inbox.recv(65536))"
    done = without_journal(code, capture_output=True)
    assert done.stderr == b""
    fields = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    assert fields["MESSAGE"] == "Policy rejected: naïve"
    assert fields["MESSAGE_ID"] == MESSAGE_IDS[Kind.CONFIG_REJECTED]
    assert (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == ("3", "idled")
    assert fields["IDLED_EVENT"] == "config-rejected"


def test_a_journal_that_takes_nothing_is_no_reason_to_stop() -> None:
    code = _NATIVE + _WRITE.replace("journal = Journal()", "journal = Journal()\ninbox.close()") + "print('still here')"
    done = without_journal(code, capture_output=True)
    assert (done.stdout, done.stderr) == (b"still here\n", b"")
