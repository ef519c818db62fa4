# SPDX-License-Identifier: LGPL-2.1-or-later
"""What callers get and cause: by the methods themselves, and over a real socket while somebody floods it."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from idled import clock, desk, hands, journal
from idled.control import interface
from idled.control.peer import Peer
from idled.control.service import Call
from idled.control.wire import VarlinkError
from idled.core.events import Kind, Record
from idled.core.model import Reason, SessionId
from idled.core.span import MIN, SEC

from .front_office import POLICY, FrontOffice, acting, serving

ROOT = Peer(pid=0, uid=0)
FLOOD = Path(__file__).parents[1] / "flood.py"


# End


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_an_end_that_was_asked_for_begins_in_either_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(hands, "_LAST_WORDS", 60)  # or it is over before it is looked at

    async def story(office: FrontOffice) -> None:
        session = office.open(41, 5000)
        assert await office.ask(ROOT, "End", session="41", reason="disk \u202e\n full " + "x" * 1000) == {}
        watch = office.engine.watch(session.id)
        assert watch is not None and watch.memory.ending is not None
        ending = watch.memory.ending
        assert (ending.reason, ending.by) == (Reason.REQUEST, "root")
        assert ending.note.startswith("disk ?? full xxx") and len(ending.note) == 200
        assert (await office.ask(ROOT, "GetSession", session="41"))["session"]["state"] == "ending"

    acting(tmp_path, story, f'mode = "{mode}"\n')


@pytest.mark.parametrize(
    ("method", "given", "wrong"),
    [
        ("End", {}, "session"),
        ("End", {"session": 41}, "session"),
        ("End", {"session": "41", "reason": 7}, "reason"),
        ("End", {"session": "41", "user": "x"}, "user"),
        ("ListSessions", {"all": True}, "all"),
        ("ExplainLogin", {}, "user"),
        ("Explain", {"session": []}, "session"),
    ],
)
def test_what_is_not_as_described_is_refused(tmp_path: Path, method: str, given: dict[str, Any], wrong: str) -> None:
    async def story(office: FrontOffice) -> None:
        office.open(41, 5000)
        with pytest.raises(VarlinkError, match="InvalidParameter") as caught:
            await office.ask(ROOT, method, **given)
        assert caught.value.parameters == {"parameter": wrong}
        assert not any(record.kind is Kind.ENDED for record in office.journal.records)

    acting(tmp_path, story)


def test_what_fails_in_the_midst_of_enforcement_is_the_daemons_end_whoever_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def fail(*_: object) -> None:
        raise LookupError("half done")

    async def story(office: FrontOffice) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        office.open(41, 5000)
        monkeypatch.setattr(office.engine, "handle", fail)
        with pytest.raises(LookupError):
            await office.ask(ROOT, "End", session="41")

    acting(tmp_path, story)
    assert [("peer" in context, str(context["exception"])) for context in told] == [(False, "half done")]


# Reload and GetStatus


def test_a_reload_says_what_is_wrong_and_leaves_what_is_in_force(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        office.open(41, 5000)
        office.main.write_text(POLICY.replace("15min", "1min"))
        assert await office.ask(ROOT, "Reload") == {"warnings": []}
        session = (await office.ask(ROOT, "GetSession", session="41"))["session"]
        assert session["idleTimeoutUSec"] == MIN
        office.main.write_text(POLICY.replace("15min", "soon"))
        with pytest.raises(VarlinkError, match="PolicyRejected") as caught:
            await office.ask(ROOT, "Reload")
        (problem,) = caught.value.parameters["problems"]
        assert "defaults.idle_timeout" in problem and "soon" in problem
        status = await office.ask(ROOT, "GetStatus")
        assert (status["effective"], status["sources"][0]["works"]) == (True, False)
        assert "soon" in status["sources"][0]["note"] and "soon" in status["troubles"][0]["text"]
        assert (await office.ask(ROOT, "GetSession", session="41"))["session"]["idleTimeoutUSec"] == MIN

    acting(tmp_path, story)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (POLICY, ""),
        (POLICY.replace("enforce", "observe"), "observe mode, in which nobody is warned or ended: the policy says"),
        ('mode = "enforce"\n', "no rule sets a limit"),
        ('mode = "enforce"\n[defaults]\nidle_timeout = "off"\n', "no rule sets a limit"),
        ('mode = "enforce"\n[[rule]]\nname = "x"\nabsolute_timeout = "1h"\n', ""),
        ("nonsense", "the policy was rejected and the built-in one, which ends nobody, is in use"),
    ],
)
def test_the_status_says_whether_limits_are_enforced_and_why_not(tmp_path: Path, policy: str, why: str) -> None:
    async def story(office: FrontOffice) -> None:
        office.open(41, 5000)
        status = await office.ask(ROOT, "GetStatus")
        assert status["why"].startswith(why) and status["effective"] is (why == "")
        assert bool(status["why"]) is bool(why)

    acting(tmp_path, story, policy)


def test_what_is_wrong_in_the_policy_is_for_those_who_oversee(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        for uid, told in ((0, True), (5000, False)):
            status = await office.ask(Peer(pid=0, uid=uid), "GetStatus")
            (policy,) = (source for source in status["sources"] if source["name"] == "policy")
            assert "rejected, another is in use" in policy["note"]
            for text in (status["why"], policy["note"]):
                assert ("idled.toml" in text) is told, text

    acting(tmp_path, story, "nonsense")


def test_without_any_source_nothing_is_effective(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        assert (await office.ask(ROOT, "GetStatus"))["why"].startswith("no source tells of sessions: logind is not")
        office.reception.registered = 1
        assert (await office.ask(ROOT, "GetStatus"))["effective"]

    acting(tmp_path, story)


def test_the_answers_are_as_they_are_described(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        office.journal.write(Record(kind=Kind.TROUBLE, session=office.open(41, 5000), note="x"))
        status = await office.ask(ROOT, "GetStatus")
        described = interface.DESCRIPTION.partition("method GetStatus() -> (")[2].partition("\n)\n")[0]
        names = [line.split(":")[0].strip() for line in described.splitlines() if ":" in line and "#" not in line]
        assert list(status) == names
        (trouble,) = status["troubles"]
        assert (trouble["event"], trouble["session"], trouble["user"], trouble["priority"]) == (
            "trouble",
            "41-41",
            "u5000",
            4,
        )

    acting(tmp_path, story)


def test_troubles_of_one_kind_do_not_drive_out_others(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        office.journal.write(Record(kind=Kind.END_FAILED, session=office.open(41, 5000), reason=Reason.IDLE))
        for number in range(1000):
            office.journal.write(Record(kind=Kind.INPUT_REFUSED, note=str(number)))
        troubles = (await office.ask(ROOT, "GetStatus"))["troubles"]
        assert [trouble["event"] for trouble in troubles] == ["input-refused"] * 5 + ["end-failed"]
        assert troubles[0]["text"].endswith("999")
        mine = (await office.ask(Peer(pid=0, uid=5000), "GetStatus"))["troubles"]
        assert [trouble["event"] for trouble in mine] == ["end-failed"]
        assert (await office.ask(Peer(pid=0, uid=5001), "GetStatus"))["troubles"] == []

    acting(tmp_path, story)


# Monitor


def test_everybody_gets_the_events_of_their_own_sessions(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        ender = pwd.getpwnam("games").pw_uid
        await office.access.refresh()
        streams: dict[int, Any] = {
            uid: office.methods["Monitor"](Call(peer=Peer(pid=0, uid=uid), parameters={}, more=True))
            for uid in (0, ender, 5000, 6000)
        }
        waiting = {uid: asyncio.ensure_future(anext(answers)) for uid, answers in streams.items()}
        await asyncio.sleep(0)
        office.journal.write(Record(kind=Kind.STOPPING))
        office.open(41, 5000)
        await asyncio.sleep(0.01)
        got = {uid: task.result()["event"]["event"] for uid, task in waiting.items() if task.done()}
        assert got == {0: "stopping", ender: "session-opened", 5000: "session-opened"}
        waiting[6000].cancel()
        await asyncio.wait(waiting.values())
        for answers in streams.values():
            await answers.aclose()

    acting(tmp_path, story, POLICY + 'end = ["user:games"]')


def test_a_reader_that_does_not_keep_up_is_dropped_and_that_is_said(tmp_path: Path) -> None:
    hung_up: list[bool] = []

    async def story(office: FrontOffice) -> None:
        call = Call(peer=Peer(pid=7, uid=0), parameters={}, more=True, hang_up=lambda: hung_up.append(True))
        answers: Any = office.methods["Monitor"](call)
        first = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0)
        for _ in range(journal._WAITING):
            office.journal.write(Record(kind=Kind.STOPPING))
        await first
        assert not hung_up and not office.refused
        office.journal.write(Record(kind=Kind.STOPPING))
        assert not hung_up
        for _ in range(10):
            office.journal.write(Record(kind=Kind.STOPPING))
        assert hung_up == [True]
        assert office.refused == ["Monitor: process 7 of uid 0 does not keep up, and was dropped"]
        await answers.aclose()

    acting(tmp_path, story)


def test_one_who_takes_nothing_of_it_is_hung_up_on(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        async with serving(office, tmp_path / "socket") as path:
            deaf, keen = [await asyncio.open_unix_connection(path) for _ in range(2)]
            for _, writer in (deaf, keen):
                writer.write(b'{"method": "io.idled.Monitor", "more": true}\0')
            while len(office.journal._followers) < 2:
                await asyncio.sleep(0.001)
            deaf[0]._limit = keen[0]._limit = 1 << 30  # type: ignore[attr-defined]
            deaf[1].transport.pause_reading()  # type: ignore[attr-defined]
            for number in range(20_000):
                if office.refused:
                    break
                office.journal.write(Record(kind=Kind.STOPPING, note=f"{number} " + "x" * 100))
                await keen[0].readuntil(b"\0")
            assert len(office.refused) == 1 and f"process {os.getpid()} of uid 0 does not keep up" in office.refused[0]
            office.journal.write(Record(kind=Kind.STOPPING, note="the last"))
            assert b"the last" in await keen[0].readuntil(b"\0")
            deaf[1].transport.resume_reading()  # type: ignore[attr-defined]
            assert b"the last" not in await deaf[0].read()
            for _, writer in (deaf, keen):
                writer.close()

    acting(tmp_path, story)


# Looks


def test_who_asks_again_and_again_causes_one_look_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(office: FrontOffice) -> None:
        now = clock.now()
        monkeypatch.setattr(clock, "now", lambda: now)
        office.open(41, 5000)
        looks, look_again = [], office.hands.look_again

        def counted(id: SessionId) -> None:
            looks.append(id)
            look_again(id)

        monkeypatch.setattr(office.hands, "look_again", counted)
        for at, expected in ((0, 1), (SEC - 1, 1), (SEC, 2)):
            monkeypatch.setattr(clock, "now", lambda at=at: now + at)
            for _ in range(5):
                await office.ask(Peer(pid=0, uid=5000), "GetSession", session="41")
                await office.ask(ROOT, "ListSessions")
            assert len(looks) == expected

    acting(tmp_path, story)


def test_of_too_many_sessions_those_seen_longest_ago_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = [0.0]
    monkeypatch.setattr(desk, "time", SimpleNamespace(monotonic=lambda: passed[0]))

    async def story(office: FrontOffice) -> None:
        now, looks = clock.now(), list[int]()

        def look(id: SessionId) -> None:
            looks.append(id.pid)
            passed[0] += 0.6 * desk._PATIENCE

        for pid in (7, 9, 8):
            now += MIN
            monkeypatch.setattr(clock, "now", lambda at=now: at)
            office.open(pid, 5000)
        monkeypatch.setattr(clock, "now", lambda: now + MIN)
        office.hands.look_again(office.engine.sessions()[0].id)
        monkeypatch.setattr(clock, "now", lambda: now + 2 * MIN)
        monkeypatch.setattr(office.hands, "look_again", look)
        assert len((await office.ask(ROOT, "ListSessions"))["sessions"]) == 3
        assert looks == [9, 8]

    acting(tmp_path, story)


# Explain


def test_explaining_a_login_names_the_first_condition_that_does_not_hold(tmp_path: Path) -> None:
    policy = """
mode = "enforce"
[[rule]]
name = "consoles"
match = { service = ["login"], user = ["root"] }
idle_timeout = "off"
[[rule]]
name = "near"
match = { remote = ["10.0.0.0/8"], not_user = ["nobody", "root"] }
idle_timeout = "5min"
[[rule]]
name = "again"
match = { terminal = [false] }
idle_timeout = "1min"
absolute_timeout = "1h"
"""

    async def story(office: FrontOffice) -> None:
        async def rules(**login: str) -> dict[str, tuple[str, list[str], list[str]]]:
            told = (await office.ask(ROOT, "ExplainLogin", **login))["rules"]
            return {rule["name"]: (rule["whyNot"], rule["gives"], rule["overruled"]) for rule in told}

        found = await rules(user="daemon", service="sshd", remote="10.1.1.1")
        assert found["consoles"] == ("service login; here it is sshd", [], [])
        assert found["near"] == ("", ["idle_timeout = 5min"], [])
        assert found["again"] == ("", ["absolute_timeout = 1h"], ["idle_timeout = 1min"])
        found = await rules(user="root", service="sshd", remote="10.1.1.1", tty="/dev/tty1")
        assert found["near"][0] == "not user nobody or root; here it is root"
        assert found["again"][0] == "terminal false; here it is true"
        found = await rules(user="root")
        assert found["near"][0] == "remote 10.0.0.0/8; here it is none"

    acting(tmp_path, story, policy)
