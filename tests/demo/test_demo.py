# SPDX-License-Identifier: LGPL-2.1-or-later
"""The demo shows what is so, fails when the policy is not carried out, and leaves nothing behind however it ends.

The two whole runs go on side by side, since each takes its three quarters of a minute.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo import stage

ROOT = Path(__file__).parents[2]
LONGEST = 120
#: For so long at most does something else that runs on this machine keep a folder in /tmp, or a mount.
STRANGE = 60


class Run(NamedTuple):
    code: int
    out: str
    table: dict[str, list[str]]
    namespace: str  # the PID namespace that it ran in


class Traces(NamedTuple):
    names: set[str]
    texts: dict[str, Any]
    mounts: set[str]


@pytest.fixture(scope="module", autouse=True)
def can_run() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: it starts sshd and the daemon, in namespaces")
    if lacking := stage.lacking():
        pytest.skip(lacking)


@pytest.fixture(scope="module")
def before(can_run: None) -> Traces:
    return traces()


@pytest.fixture(scope="module")
def runs(before: Traces) -> Iterator[dict[str, Run]]:
    started = {"enforce": start(), "observe": start("--observe")}
    namespaces = {name: namespace_of(process) for name, process in started.items()}
    yield {name: finish(process, namespaces[name]) for name, process in started.items()}


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], namespace: str) -> Run:
    out, _ = process.communicate(timeout=LONGEST)
    table = {line.split()[0]: line.split() for line in out.partition("\nsession ")[2].splitlines()[1:5]}
    return Run(process.returncode, out, table, namespace)


def namespace_of(process: subprocess.Popen[str]) -> str:
    """Wait for the child that is PID 1 of its own namespace."""
    ours = os.readlink("/proc/self/ns/pid")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                if (found := os.readlink(f"/proc/{child}/ns/pid")) != ours:
                    return found
        time.sleep(0.01)
    raise AssertionError("the demo made no PID namespace")


def inhabitants(namespace: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(path / "ns/pid") == namespace:
                found.append((path / "comm").read_text().strip())
    return found


def traces() -> Traces:
    """What a demo could have left on this machine. Guests that others boot meanwhile are not its doing."""
    folders = ("/etc", "/etc/pam.d", "/etc/ssh", "/home", "/run", "/tmp", "/var/lib", "/var/log", "/var/tmp")
    paths = (path for folder in folders if Path(folder).is_dir() for path in Path(folder).iterdir())
    names = {str(path) for path in paths if not path.name.startswith(("idled-", "pytest-"))}
    files = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/profile", "/etc/pam.d/sshd")
    texts: dict[str, Any] = {file: Path(file).read_bytes() for file in files if Path(file).exists()}
    logs = (Path("/var/log") / name for name in ("wtmp", "btmp", "lastlog"))
    texts |= {str(log): (log.stat().st_size, log.stat().st_mtime_ns) for log in logs if log.exists()}
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return Traces(names, texts, {mount for mount in mounts if "idled-" not in mount and "/nspawn" not in mount})


def assert_no_trace(before: Traces, namespace: str) -> None:
    after = traces()
    assert not inhabitants(namespace)
    assert after.texts == before.texts
    names, mounts = after.names - before.names, after.mounts - before.mounts
    deadline = time.monotonic() + STRANGE
    while (names or mounts) and time.monotonic() < deadline:  # what is another program's comes and goes
        time.sleep(0.2)
        after = traces()
        names, mounts = names & after.names, mounts & after.mounts
    assert not names
    assert not mounts


def test_each_session_goes_as_the_policy_says(runs: dict[str, Run]) -> None:
    run = runs["enforce"]
    assert run.code == 0, run.out
    assert "Each session went as the policy says." in run.out
    assert list(run.table) == ["anna", "ben", "cleo", "dave"]
    assert all(cells[-1] == "good" and cells[-2] == "0" for cells in run.table.values()), run.out
    assert run.table["anna"][1] == run.table["dave"][1] == "none"
    assert 0 <= float(run.table["ben"][6]) <= 4
    assert 0 <= float(run.table["cleo"][6]) <= 1


def test_the_events_tell_the_story(runs: dict[str, Run]) -> None:
    out = runs["enforce"].out
    for told in (
        r"ben sees +idled: this session will be ended in 6 seconds .*the idle limit is 15s\. Press a key to stay",
        r"idled +SIGKILL for session \S+ of ben .*1 process left \(sleep\[",
        r"idled +Ended session \S+ of ben .*idle limit 15s",
        r"idled +Ended session \S+ of cleo .*absolute limit 40s",
        r"dave sees +idled: you are back, so this session stays",
        r"idled +Session \S+ of anna .*closed after",
    ):
        assert re.search(told, out), f"{told!r} is not in\n{out}"
    assert "rouble" not in out, out


def test_nothing_but_text_goes_into_a_pipe(runs: dict[str, Run]) -> None:
    for run in runs.values():
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x9b]", run.out)


def test_a_policy_that_is_not_carried_out_is_a_failure(runs: dict[str, Run]) -> None:
    run = runs["observe"]
    assert run.code == 1
    assert "It did not go as the policy says:" in run.out
    assert "ben was not ended" in run.out and "cleo was not ended" in run.out
    assert [cells[-1] for cells in run.table.values()] == ["good", "WRONG", "WRONG", "WRONG"]


def test_whole_runs_leave_nothing(runs: dict[str, Run], before: Traces) -> None:
    for run in runs.values():
        assert_no_trace(before, run.namespace)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing(number: signal.Signals, before: Traces) -> None:
    process = start()
    namespace = namespace_of(process)
    assert process.stdout is not None
    for line in process.stdout:
        if "ben sees" in line:
            break
    assert "sshd" in inhabitants(namespace)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (-number if number is signal.SIGKILL else 128 + number)
    deadline = time.monotonic() + 30
    while inhabitants(namespace) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert_no_trace(before, namespace)
