# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what with whose sessions: the table, asked of itself, of the methods, and of real processes."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path

import pytest

from idled import clock, procfs
from idled.access import TABLE, Deed, Grants, Whose, may
from idled.control.peer import Peer
from idled.sources.sighting import Sighting
from tests.terminal.bench import Child, python

from .front_office import FrontOffice, acting

OWN, OTHERS = Whose.OWN, Whose.OTHERS
V, X, M, E, S, R = Deed.VIEW, Deed.EXTEND, Deed.MOVE, Deed.END, Deed.OVERSEE, Deed.RELOAD
#: Written by hand, as people expect it: what each may do with own sessions, and with those of others or none.
EXPECTED = {
    "root": ({V, X, M, E, S, R}, {V, X, M, E, S, R}),
    "stranger": ({V, X}, set()),
    "view": ({V, X, S}, {V, S}),
    "extend": ({V, X}, {V, M}),
    "end": ({V, X, E}, {V, E}),
}
GRANTS = {
    "view": Grants(uids=frozenset({101})),
    "extend": Grants(uids=frozenset({102})),
    "end": Grants(gids=frozenset({900})),
}
PEERS = {
    "root": Peer(pid=0, uid=0),
    "stranger": Peer(pid=0, uid=100, gids=frozenset({101, 102, 103})),
    "view": Peer(pid=0, uid=101),
    "extend": Peer(pid=0, uid=102),
    "end": Peer(pid=0, uid=103, gids=frozenset({100, 900})),
}
FEATURES = list(product(PEERS, Deed, (OWN, OTHERS)))


@pytest.mark.parametrize(("who", "deed", "whose"), FEATURES, ids=lambda value: getattr(value, "name", value))
def test_the_table_is_what_people_expect(who: str, deed: Deed, whose: Whose) -> None:
    peer = PEERS[who]
    owner = peer.uid if whose is OWN else 55
    assert may(peer, deed, owner, GRANTS) is (deed in EXPECTED[who][whose is OTHERS])


@pytest.mark.parametrize(("who", "deed"), list(product(PEERS, Deed)), ids=lambda value: getattr(value, "name", value))
def test_who_runs_in_a_session_of_another_may_see_it_too(who: str, deed: Deed) -> None:
    expected = EXPECTED[who][1] | {V}
    assert may(PEERS[who], deed, 55, GRANTS, within=True) is (deed in expected)


@pytest.mark.parametrize("who", PEERS)
def test_what_is_of_no_session_is_as_what_is_of_others(who: str) -> None:
    for deed in (Deed.OVERSEE, Deed.RELOAD):
        assert may(PEERS[who], deed, None, GRANTS) is (deed in EXPECTED[who][1])


def test_every_row_is_of_somebody_that_there_is() -> None:
    assert {row.who for row in TABLE} == {"root", "anybody", "view", "extend", "end"}


@pytest.mark.parametrize("deed", Deed)
def test_nobody_but_root_may_do_anything_without_the_policy_but_with_their_own(deed: Deed) -> None:
    for uid in (1, 100, 65534, 2**32 - 2):
        assert not may(Peer(pid=0, uid=uid, gids=frozenset({0, 27})), deed, 0, {})
        assert may(Peer(pid=0, uid=0), deed, uid, {})


# The same by the methods, with names that NSS knows


def granting(folder: Path, access: str, story: Callable[[FrontOffice], Awaitable[None]]) -> None:
    async def refreshed(office: FrontOffice) -> None:
        await office.access.refresh()
        await story(office)

    acting(folder, refreshed, f'mode = "enforce"\n[defaults]\nidle_timeout = "15min"\n[access]\n{access}\n')


def test_each_method_asks_the_table(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        daemon, games = pwd.getpwnam("daemon").pw_uid, grp.getgrnam("games").gr_gid
        owner, stranger = Peer(pid=0, uid=5000), Peer(pid=0, uid=6000, gids=frozenset({6000, daemon}))
        viewer, ender = Peer(pid=0, uid=daemon), Peer(pid=0, uid=7000, gids=frozenset({games}))
        office.open(41, 5000)
        everybody = (owner, stranger, viewer, ender, Peer(pid=0, uid=0))
        session = {"session": "41"}

        async def refusals(method: str, **parameters: str) -> list[str]:
            return [await office.refusal(peer, method, **parameters) for peer in everybody]

        no = "NotPermitted"
        assert await refusals("GetSession", **session) == ["", no, "", "", ""]
        gone = "NoSuchSession"  # it has no process that could be looked at
        assert await refusals("Explain", **session) == [gone, no, gone, gone, gone]
        assert await refusals("ExplainLogin", user="daemon") == [no, no, "", no, ""]
        assert await refusals("Reload") == [no, no, no, no, ""]
        listed = [len((await office.ask(peer, "ListSessions"))["sessions"]) for peer in everybody]
        assert listed == [1, 0, 1, 1, 1]
        counted = [(await office.ask(peer, "GetStatus"))["sessions"] for peer in everybody]
        assert counted == listed
        assert await refusals("End", **session) == [no, no, no, "", ""]

    granting(tmp_path, 'view = ["user:daemon"]\nend = ["group:games"]', story)


def test_names_that_nobody_has_grant_nothing(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        office.open(41, 5000)
        for uid in (1, 65534, 2**32 - 1):
            peer = Peer(pid=0, uid=uid, gids=frozenset({uid}))
            assert await office.refusal(peer, "End", session="41") == "NotPermitted"

    granting(tmp_path, 'end = ["user:no-such-user", "group:no-such-group", "user:0"]', story)


def test_a_right_that_is_taken_away_is_gone(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        office.open(41, 5000)
        viewer = Peer(pid=0, uid=pwd.getpwnam("daemon").pw_uid)
        assert await office.refusal(viewer, "GetSession", session="41") == ""
        office.main.write_text('mode = "enforce"\n')
        assert await office.refusal(Peer(pid=0, uid=0), "Reload") == ""
        assert await office.refusal(viewer, "GetSession", session="41") == "NotPermitted"

    granting(tmp_path, 'view = ["user:daemon"]', story)


def test_a_session_is_named_by_its_id_or_its_name(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        office.open(41, 5000)
        office.open(42, 5000, logind="")
        root = Peer(pid=0, uid=0)
        for name, pid in (("41", 41), ("41-41", 41), ("p42", 42), ("42-42", 42)):
            assert (await office.ask(root, "GetSession", session=name))["session"]["leader"] == pid
        for name in ("", "42", "4", "41-", "p41", "41-42", "*"):
            assert await office.refusal(root, "GetSession", session=name) == "NoSuchSession"

    granting(tmp_path, "", story)


# Which session a caller runs in


def test_without_a_name_it_is_the_one_in_which_the_peer_runs(tmp_path: Path) -> None:
    async def story(office: FrontOffice) -> None:
        with Child(python("print('ready', flush=True); time.sleep(1000)")) as leader:
            sighting = Sighting(pid=leader.pid, start=leader.process.start, user="root", uid=0)
            assert await office.hands.registry.see(sighting) is not None
            root = Peer(pid=leader.pid, uid=0, seen_at=clock.now())
            assert (await office.ask(root, "GetSession"))["session"]["leader"] == leader.pid
            assert await office.refusal(root, "GetSession", session="") == "NoSuchSession"
            assert await office.access.who(root) == "root"
            games = Peer(pid=leader.pid, uid=pwd.getpwnam("games").pw_uid, seen_at=clock.now())
            assert await office.access.who(games) == f"games in session p{leader.pid} of root"
            nobody = Peer(pid=0, uid=54321)
            assert await office.access.who(nobody) == "uid 54321"
            before = leader.process.start * procfs.TICK - 1
            ended = os.open("/dev/null", os.O_RDONLY)  # readable, as the pidfd of a process that has ended
            for peer in (
                Peer(pid=os.getpid(), uid=0, seen_at=clock.now()),
                Peer(pid=0, uid=0, seen_at=clock.now()),
                Peer(pid=leader.pid, uid=0, seen_at=before),
                Peer(pid=leader.pid, uid=0, seen_at=clock.now(), pidfd=ended),
            ):
                assert await office.refusal(peer, "GetSession") == "NoSuchSession"
            stranger = Peer(pid=leader.pid, uid=4000, seen_at=clock.now())
            assert await office.refusal(stranger, "GetSession") == ""  # it runs in it
            assert await office.refusal(stranger, "End", session=f"p{leader.pid}") == "NotPermitted"
            outside = Peer(pid=os.getpid(), uid=4000, seen_at=clock.now())
            assert await office.refusal(outside, "GetSession", session=f"p{leader.pid}") == "NotPermitted"
            os.close(ended)
            office.hands.registry.drop(next(iter(office.engine.sessions())).id)

    granting(tmp_path, "", story)
