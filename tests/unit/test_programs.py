# SPDX-License-Identifier: LGPL-2.1-or-later
"""What runs in a session beside its terminals, told of real processes. Of real sshd: tests/guest/test_kinds.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from idled.members import Handle
from idled.programs import beside_terminals
from tests.terminal.bench import NOBODY, Child, Pty, handle_of, python, shell, until

NAMED = """
open("/proc/self/comm", "w").write(sys.argv[1])
print("ready", flush=True)
time.sleep(1000)
"""


@contextmanager
def session(argv: list[str]) -> Iterator[Handle]:
    """A session whose leader runs that, and what it starts with it."""
    with Child(argv) as child:
        try:
            yield handle_of(child.process)
        finally:
            os.killpg(child.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("echo ready; read line", []),
        ("sleep 1000 & sleep 1000 & tail -f /dev/null & echo ready; wait", ["sleep", "tail"]),
        ("sh -c 'sleep 1000; true' & echo ready; wait", ["sleep"]),
        ("sh -c 'sh -c \"sleep 1000; true\"; true' & echo ready; wait", ["sleep"]),
        ("sh -c 'sleep 1000 & tail -f /dev/null & wait' & echo ready; wait", ["sh"]),
        ("env sleep 1000 & echo ready; wait", ["sleep"]),
    ],
    ids=["nothing", "two of a kind", "by a shell", "by two shells", "a shell at work", "by env"],
)
def test_what_the_leader_has_started_is_named(script: str, names: list[str]) -> None:
    with session(["sh", "-c", script]) as handle:
        until(lambda: beside_terminals(handle) == names)


def test_what_has_a_terminal_is_not_beside_it() -> None:
    with Pty() as pty, session(["sh", "-c", 'setsid --ctty sleep 1000 <"$0" & echo; wait', str(pty.path)]) as handle:
        until(lambda: beside_terminals(handle) == [])


def test_a_name_that_somebody_chose_is_made_harmless() -> None:
    with session(shell('"$@" & wait')[:3] + ["sh", *python(NAMED, "\x1b[31m\u202e sshd")]) as handle:
        until(lambda: beside_terminals(handle) == ["?[31m? sshd"])


def test_what_calls_itself_sshd_is_not_taken_for_its_file_server() -> None:
    with session(shell('"$@" & wait')[:3] + ["sh", *python(NAMED, "sshd-session")]) as handle:
        until(lambda: beside_terminals(handle) == ["sshd-session"])


def test_without_a_leader_or_its_sshd_nothing_is_told() -> None:
    with session(shell("sleep 1000 & echo ready")) as handle:
        of_ssh = replace(handle.session, service="sshd", uid=NOBODY)
        assert beside_terminals(replace(handle, session=of_ssh)) is None
    until(lambda: beside_terminals(handle) is None)
