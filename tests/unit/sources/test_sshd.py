# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the titles of sshd's processes say. Of real ones: tests/ssh/test_sightings.py."""

from __future__ import annotations

import os

import pytest

from idled import procfs
from idled.sources import sshd

LEADER = procfs.Process(pid=os.getpid(), comm="sshd", state="S", ppid=1, sid=1, tty=0, start=1)


def read(title: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, bool] | None:
    """The user, and whether a privileged sshd is apart, as told by the title of a process of sshd's."""
    monkeypatch.setattr(sshd, "_is_sshd_of_root", lambda _: True)
    monkeypatch.setattr(procfs, "title", lambda _: title)
    found = sshd.candidate(LEADER)
    return None if found is None else (found.user, found.guarded)


@pytest.mark.parametrize(
    ("title", "user", "guarded"),
    [
        ("sshd: alice [priv]", "alice", True),
        ("sshd-session: alice [priv]", "alice", True),
        ("sshd: alice@example.com [priv]", "alice@example.com", True),
        ("sshd-session: alice@example.com [priv]", "alice@example.com", True),
        ("sshd: unknown [priv]", "unknown", True),  # there is no such user, or one of that name
        ("sshd: root", "root", False),
        ("sshd: root@notty", "root", False),
        ("sshd: root@pts/0", "root", False),
        ("sshd: root@pts/0,pts/1", "root", False),
        ("sshd-session: root@pts/0", "root", False),
    ],
)
def test_a_connection(title: str, user: str, guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(title, monkeypatch) == (user, guarded)


@pytest.mark.parametrize(
    "title",
    [
        "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
        "sshd: [accepted]",
        "sshd: [net]",
        "sshd: [priv]",
        "sshd: alice [net]",
        "sshd: alice@example.com [net]",
        "sshd: @example.com [priv]",
        "sshd: @pts/0",
        "sshd: root@",
        "sshd-auth: alice [priv]",
        "sshd",
        "",
    ],
)
def test_what_is_none(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(title, monkeypatch) is None
