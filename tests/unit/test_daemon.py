# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the daemon fails. What it does otherwise is seen in guests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import Mock

import pytest

from idled import threads
from idled.daemon import Daemon
from idled.sources import sshd
from idled.threads import Threads
from tests.terminal.bench import is_root

#: A daemon of which a part fails, and whose journal says so, or cannot.
FAILS: Final = """
import sys
from idled import daemon
from idled.journal import Journal

write = Journal.write

def writes(journal, record):
    if "internal error" in record.note:
        print(record.note, flush=True)
        if sys.argv[1] == "untold":
            raise OSError("the journal cannot be written to")
    write(journal, record)

async def fails(*_):
    raise ValueError("made up")

Journal.write = writes
daemon.Daemon._scan = fails
sys.exit(daemon.main(["--observe", "--config", sys.argv[2]]))
"""
#: A daemon that waits for something that hangs.
WAITS: Final = """
import os, sys, time
from idled import daemon
from idled.sources import nss, sshd

def hangs(*_):
    os.write(1, b"asked\\n")  # not print(): an interpreter that ends meanwhile wants its lock
    time.sleep(60)
    return ()

async def nss_answers(daemon):
    await daemon._hands.registry.uids_of(["root"])

async def cgroups_are_listed(daemon):
    await daemon._folders({})

nss.uids = sshd.folders = hangs
daemon.Daemon._scan = globals()[sys.argv[1]]
daemon._LISTING_PATIENCE = 0.1
sys.exit(daemon.main(["--observe", "--config", sys.argv[2]]))
"""


@is_root
@pytest.mark.parametrize("until", ["nss_answers", "cgroups_are_listed"])
def test_what_hangs_holds_up_no_end_of_the_daemon(tmp_path: Path, until: str) -> None:
    """Neither a directory server nor a kernel that hangs can be had here; the question to it is held instead."""
    (tmp_path / "idled.toml").touch()
    folders = {"RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}
    command = [sys.executable, "-c", WAITS, until, str(tmp_path / "idled.toml")]
    with subprocess.Popen(command, env=os.environ | folders, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "asked\n"
        running.terminate()
        try:
            assert running.wait(10) == 0
        finally:
            running.kill()


def test_where_no_thread_can_be_started_cgroups_are_listed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when somebody has all the pids there are."""
    monkeypatch.setattr(threads, "start_new_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    lists: Any = SimpleNamespace(_lister=Threads(1))
    assert asyncio.run(Daemon._folders(lists, {})) == sshd.folders({})


@is_root
@pytest.mark.parametrize("told", ["told", "untold"])
def test_a_part_that_fails_takes_the_daemon_down_whether_it_can_be_told_or_not(tmp_path: Path, told: str) -> None:
    (tmp_path / "idled.toml").touch()
    folders = {"RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", FAILS, told, str(tmp_path / "idled.toml")],
        env=os.environ | folders,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 70, ran.stderr
    (said,) = ran.stdout.splitlines()
    assert said.startswith("internal error, exiting to be restarted: ValueError('made up') at ")
