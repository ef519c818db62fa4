# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a login is told, and that it is taken in: the PAM module's question and its answer, without the socket."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from idled import procfs, reception
from idled.core.model import Session
from idled.sources import nss
from idled.sources.registrations import Answer, Registration

from .front_office import FrontOffice, acting

POLICY = """
mode = "enforce"
[defaults]
idle_timeout = "15min"
absolute_timeout = "12h"
[[rule]]
name = "bare"
match.terminal = false
absolute_timeout = "14h"
idle_timeout = "off"
"""
HOUR = 3600
MARGIN = 120


@asynccontextmanager
async def login(**what: Any) -> AsyncIterator[Registration]:
    """What PAM says of a process that lives for so long."""
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        found = procfs.process(process.pid)
        assert found is not None
        given = {"user": "root", "service": "sshd"} | what
        yield Registration(pid=process.pid, start=found.start, **given)
    finally:
        process.kill()
        await process.wait()


async def sessions(office: FrontOffice, number: int) -> list[Session]:
    """Those that are known, once there are so many."""
    async with asyncio.timeout(10):
        while len(found := office.engine.sessions()) != number:
            await asyncio.sleep(0.01)
    return found


def test_who_logs_in_is_told_the_limits_and_is_known_until_the_leader_has_gone(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        async with login(tty="tty") as registration:
            answer = await office.reception.register(registration)
            assert answer.text.startswith("This session ends after 15min without input and ends at ")
            assert answer.runtime_max_sec == 12 * HOUR + MARGIN
            (session,) = await sessions(office, 1)
            assert (session.user, session.uid, session.service, session.tty) == ("root", 0, "sshd", "tty")
            assert not office.hands.registry.missed.is_set()
            assert session.last_resort == (12 * HOUR + MARGIN) * 1_000_000
        await sessions(office, 0)

    acting(tmp_path, story, POLICY)


def test_logind_waits_for_the_longer_of_the_limits_with_a_terminal_and_without(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        async with login(is_ssh=True, rhost="192.0.2.7") as registration:
            answer = await office.reception.register(registration)
            assert answer.text.startswith("This session ends after 15min without input and ends at ")
            assert answer.runtime_max_sec == 14 * HOUR + MARGIN
            await sessions(office, 1)
        await sessions(office, 0)

    acting(tmp_path, story, POLICY)


def test_where_nobody_is_ended_nobody_is_told_so(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        async with login(is_ssh=True) as registration:
            assert await office.reception.register(registration) == Answer()
            (session,) = await sessions(office, 1)
            assert session.last_resort is None
        await sessions(office, 0)

    acting(tmp_path, story, POLICY.replace("enforce", "observe"))


def test_a_user_whom_nss_does_not_know_yet_is_told_once_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom PAM let in is somebody: a directory server may be away, or there was no descriptor to ask."""
    asked, said, uids, knows = list[str](), list[str](), nss.uids, threading.Event()

    def ask(user: str) -> tuple[int, ...]:
        asked.append(user)
        return uids("root") if knows.is_set() else ()

    async def story(office: FrontOffice) -> None:
        monkeypatch.setattr(office.reception, "_refuse", said.append)
        async with login(user="ann", tty="tty") as registration, asyncio.timeout(10):
            assert (await office.reception.register(registration)).runtime_max_sec == 12 * HOUR + MARGIN
            while len(asked) < 3:
                await asyncio.sleep(0.01)
            assert said == ["PAM packet: NSS knows no user ann yet, asking again"]
            assert office.hands.registry.missed.is_set()
            assert office.engine.sessions() == []
            knows.set()
            (session,) = await sessions(office, 1)
            assert (session.user, session.uid) == ("ann", 0)
        await sessions(office, 0)

    monkeypatch.setattr(nss, "uids", ask)
    monkeypatch.setattr(reception, "_ASK_AGAIN", 0.05)
    acting(tmp_path, story, POLICY)


@pytest.mark.parametrize("slow", [False, True], ids=["for a while", "ever in time"])
def test_a_user_of_whom_nss_does_not_tell_is_taken_in_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """A directory server that hangs cannot be had here; the question to it is held instead."""
    release, uids = threading.Event(), nss.uids

    def hang(user: str) -> tuple[int, ...]:
        release.wait(0.5 if slow else 20)
        return uids(user)

    async def story(office: FrontOffice) -> None:
        said = list[str]()
        monkeypatch.setattr(office.reception, "_refuse", said.append)
        async with login(tty="tty") as registration:
            await office.reception.register(registration)
            async with asyncio.timeout(10):
                while not said:
                    await asyncio.sleep(0.01)
            if not slow:
                release.set()
            (session,) = await sessions(office, 1)
            assert (session.user, session.uid) == ("root", 0)
        await sessions(office, 0)

    monkeypatch.setattr(nss, "uids", hang)
    monkeypatch.setattr(nss, "PATIENCE", 0.05)
    monkeypatch.setattr(reception, "_ASK_AGAIN", 0.1)
    acting(tmp_path, story, POLICY)


def test_who_is_gone_before_nss_knows_is_not_asked_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    def ask(user: str) -> tuple[int, ...]:
        asked.append(user)
        return ()

    async def story(office: FrontOffice) -> None:
        async with login(tty="tty") as registration:
            await office.reception.register(registration)
            while not asked:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        before = len(asked)
        await asyncio.sleep(0.5)
        assert len(asked) == before
        assert office.engine.sessions() == []

    monkeypatch.setattr(nss, "uids", ask)
    monkeypatch.setattr(reception, "_ASK_AGAIN", 0.05)
    acting(tmp_path, story, POLICY)


def test_what_is_opened_within_a_session_is_a_part_of_it(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        async with login(tty="tty") as outer:
            await office.reception.register(outer)
            await sessions(office, 1)
            within = Registration(pid=outer.pid, start=outer.start, user="root", service="su", tty="tty")
            assert await office.reception.register(within) == Answer()
            assert office.reception.registered == 1
        await sessions(office, 0)

    acting(tmp_path, story, POLICY)


@pytest.mark.parametrize(
    ("service", "tty"),
    [
        ("su", ""),
        ("runuser", ""),
        ("gdm-password", ":0"),
        ("vsftpd", "ftp"),
        ("su", "../proc/1/mem"),
        ("su", "pts/999"),
    ],
)
def test_what_has_neither_a_terminal_nor_a_connection_is_left_alone(tmp_path: Path, service: str, tty: str) -> None:
    async def story(office: FrontOffice) -> None:
        async with login(service=service, tty=tty) as registration:
            assert await office.reception.register(registration) == Answer()
            assert office.reception.registered == 0
            assert office.engine.sessions() == []

    acting(tmp_path, story, POLICY)
