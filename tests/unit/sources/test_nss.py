# SPDX-License-Identifier: LGPL-2.1-or-later
"""What NSS is asked, and how it is waited for."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from idled.sources import nss


@pytest.mark.parametrize("user", [entry.pw_name for entry in pwd.getpwall()[:5]])
def test_groups_are_those_that_python_tells(user: str) -> None:
    numbers = os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    assert nss._numbers(user, pwd.getpwnam(user).pw_gid) == numbers
    assert len(nss.groups(user)) == len(set(numbers))


def test_groups_of_a_user() -> None:
    assert nss.groups("root") >= {"root"}
    with pytest.raises(OSError, match="no user"):
        nss.groups("no such user")


#: In place of libc's: of more groups than there is room for first; and one that waits for its server.
LIBC = """
#include <unistd.h>
int getgrouplist(const char *user, unsigned gid, unsigned *found, int *count)
{
    int room = *count;
    if (user[0] == 's')
        sleep(3);
    *count = 1000;
    for (int n = 0; n < room && n < 1000; n++)
        found[n] = 70000 + n;
    return room < 1000 ? -1 : 1000;
}
"""
ASKS = """
import sys, threading, time
from idled.sources import nss
asking = threading.Thread(target=lambda: print(len(set(nss._numbers(sys.argv[1], 0))), flush=True))
began, longest = time.monotonic(), 0.0
asking.start()
while asking.is_alive():
    time.sleep(0.01)
    now = time.monotonic()
    began, longest = now, max(longest, now - began)
print(longest)
"""


@pytest.mark.parametrize("user", ["many", "slow"])
def test_groups_are_many_and_their_server_is_slow_and_nobody_waits_for_it(tmp_path: Path, user: str) -> None:
    (tmp_path / "libc.c").write_text(LIBC)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "libc.so", tmp_path / "libc.c"], check=True)
    asked = subprocess.run(
        [sys.executable, "-c", ASKS, user],
        env=os.environ | {"LD_PRELOAD": str(tmp_path / "libc.so")},
        capture_output=True,
        text=True,
        check=True,
    )
    groups, longest = asked.stdout.split()
    assert groups == "1000"
    assert float(longest) < 1.5


def test_what_is_answered_late_is_there_for_who_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And asked once, however many ask; not kept for ever, nor after it was given."""
    monkeypatch.setattr(nss, "PATIENCE", 0.05)
    release, asked = threading.Event(), list[str]()

    def late(key: str) -> str:
        asked.append(key)
        release.wait(20)
        return key.upper()

    async def story() -> None:
        nobody = nss.Nss()
        assert await asyncio.gather(*(nobody.ask(late, "a") for _ in range(5))) == [None] * 5
        assert await nobody.ask(late, "b") is None
        assert asked == ["a", "b"]
        release.set()
        await until_done(nobody)
        assert await nobody.ask(late, "a") == "A"
        assert asked == ["a", "b"]
        assert await nobody.ask(late, "a") == "A"
        assert asked == ["a", "b", "a"]

    async def until_done(nobody: nss.Nss) -> None:
        while not all(answer.done() for answer in nobody._pending.values()):
            await asyncio.sleep(0.01)

    asyncio.run(story())


def test_an_answer_that_nobody_asks_for_again_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nss, "PATIENCE", 0.05)
    monkeypatch.setattr(nss, "KEPT", 0.05)
    complaints = list[object]()

    def fails(key: str) -> str:
        time.sleep(0.3)
        raise KeyError(key)

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        nobody = nss.Nss()
        assert await nobody.ask(fails, "a") is None
        async with asyncio.timeout(10):
            while nobody._pending:
                await asyncio.sleep(0.01)

    asyncio.run(story())
    assert complaints == []


def test_what_is_never_answered_is_asked_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nss, "PATIENCE", 0.05)
    monkeypatch.setattr(nss, "KEPT", 0.1)
    release, asked = threading.Event(), list[str]()

    def hangs_once(key: str) -> str:
        asked.append(key)
        return key if len(asked) > 1 or release.wait(20) else ""

    async def story() -> None:
        nobody = nss.Nss()
        assert await nobody.ask(hangs_once, "a") is None
        async with asyncio.timeout(10):
            while nobody._pending:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(nss, "PATIENCE", 10)
        assert await nobody.ask(hangs_once, "a") == "a"
        release.set()

    asyncio.run(story())


def test_a_few_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nss, "PATIENCE", 0.2)
    release, asked = threading.Event(), list[int]()

    def ask(key: int) -> int:
        asked.append(key)
        release.wait(20)
        return key

    async def story() -> None:
        nobody = nss.Nss()
        assert await asyncio.gather(*(nobody.ask(ask, key) for key in range(10))) == [None] * 10
        assert len(asked) == 4
        release.set()
        monkeypatch.setattr(nss, "PATIENCE", 10)
        assert await asyncio.gather(*(nobody.ask(ask, key) for key in range(10))) == list(range(10))
        assert len(asked) == 10

    asyncio.run(story())
