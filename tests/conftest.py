# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for every test: it leaves no child behind, a busy machine is no failure of it, and CI skips none."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pluggy
import pytest
from hypothesis import settings

# By default an example that takes 200 ms fails. Where nobody looks on, the examples are the same each time.
settings.register_profile("patient", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("patient")

# What a shell runs in the background ignores Ctrl-C, and so would all that it starts: a test that types it would hang.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# What people read is in local time. Here it is noon when the tests begin, so that what was an hour ago was today.
os.environ["TZ"] = f"NOON{time.gmtime().tm_hour - 12:+d}"
time.tzset()

# A process that was told to end may need a moment; one that was forgotten does not use it.
GRACE = 10.0

#: What a kernel or an ssh client may lack where all is shown that can be. Anything else can be installed or allowed.
LACKING = (
    "before Linux 6.14",
    "no IPv6 loopback",
    "this client cannot obscure keystrokes",  # that of a guest can: tests/guest/test_connections.py
    "this kernel has no audit",
    "this machine has no tty",
)


@pytest.hookimpl(hookwrapper=True)  # the newer way of it is not known to Debian 12's pytest
def pytest_runtest_makereport() -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """In CI a test that is skipped fails, with the reason."""
    report = (yield).get_result()
    if report.skipped and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(LACKING):
            report.outcome, report.longrepr = "failed", f"CI skips nothing. {reason}"


@pytest.fixture(autouse=True)
def no_child_left() -> Iterator[None]:
    """Fail a test that leaves a child; what a wider fixture started before it is none of its."""
    before = _children()
    yield
    deadline = time.monotonic() + GRACE
    while (left := _children() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    if left:
        shown = ", ".join(f"{pid} ({_command(pid)})" for pid in left)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        pytest.fail(f"left behind: {shown}")


def _children() -> set[int]:
    """Return the children of all our threads, dead ones that nobody waited for included."""
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        # A thread may end between the listing and the reading; its children are then another's.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.update(int(pid) for pid in path.read_text().split())
    return found


def _command(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b" ".join(words).decode(errors="replace").strip() or "dead, not waited for"
