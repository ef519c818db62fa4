# SPDX-License-Identifier: LGPL-2.1-or-later
"""Handles by identity and by cgroup."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from idled import procfs
from idled.core.model import Session, SessionId
from idled.members import Handle
from idled.sources.handles import Handles
from tests.terminal.bench import Cgroup, is_root

SLICE = Path("/sys/fs/cgroup/user.slice/user-1001.slice")


def handle(number: int, folder: Path | None) -> Handle:
    id = SessionId("boot", 10**9 + number, 7)  # no such process
    return Handle(
        session=Session(id=id, user="alice", uid=1001, opened_at=1), scope="x.scope", folder=str(folder or "")
    )


def crowd(size: int) -> Handles:
    handles = Handles()
    for number in range(size):
        handles.put(handle(number, SLICE / f"session-{number}.scope"))
    return handles


def test_found_by_its_own_cgroup_and_any_below() -> None:
    handles = crowd(3)
    below = SLICE / "session-1.scope" / "payload"
    assert handles.inside((below, *below.parents)) == handles.known(handle(1, None).session.id)
    assert handles.inside((SLICE, *SLICE.parents)) is None


def test_what_is_over_is_found_no_more() -> None:
    handles = crowd(2)
    gone = handles.pop(handle(0, None).session.id)
    assert gone is not None
    assert handles.inside((SLICE / "session-0.scope",)) is None
    assert handles.pop(gone.session.id) is None


def test_who_follows_in_a_cgroup_stays_when_the_one_before_is_taken_out() -> None:
    """A mosh-server goes on in the cgroup of the session that it was started in."""
    handles, first, second = Handles(), handle(1, SLICE), handle(2, SLICE)
    handles.put(first)
    handles.put(second)
    handles.pop(first.session.id)
    assert handles.inside((SLICE,)) == second


@is_root
def test_who_has_the_path_now_is_found_there_whatever_is_put_later() -> None:
    """A logind that is restarted gives names again, and what is known of the session before may come later."""
    with Cgroup("session-1.scope") as cgroup:
        handles, before = Handles(), replace(handle(1, cgroup.path), inode=procfs.inode(cgroup.path))
        handles.put(before)
        cgroup.make_anew()
        now = replace(handle(2, cgroup.path), inode=procfs.inode(cgroup.path))
        handles.put(now)
        handles.put(before)
        assert handles.inside((cgroup.path,)) == now
        assert handles.pop(before.session.id) == before
        assert handles.inside((cgroup.path,)) == now
        again = replace(now, session=replace(now.session, tty="pts/1"))
        handles.put(again)
        assert handles.inside((cgroup.path,)) == again


def test_nothing_is_looked_at_where_no_other_has_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    handles, one = Handles(), handle(1, SLICE)
    monkeypatch.setattr(procfs, "inode", None)
    handles.put(one)
    handles.put(one)
    monkeypatch.undo()
    assert handles.inside((SLICE,)) == one


def test_one_that_has_not_arrived_is_in_no_cgroup_yet() -> None:
    handles, coming = Handles(), handle(1, None)
    handles.put(coming)
    assert handles.inside((SLICE,)) is None
    assert handles.get(coming.session.id) == coming
    handles.put(replace(coming, folder=str(SLICE)))
    assert handles.inside((SLICE,)) == replace(coming, folder=str(SLICE))


def test_it_costs_the_same_for_any_number() -> None:
    def quickest(size: int) -> float:
        handles, wanted = crowd(size), SLICE / f"session-{size - 1}.scope"
        times = []
        for _ in range(50):
            began = time.perf_counter()
            assert handles.inside((wanted, *wanted.parents)) is not None
            times.append(time.perf_counter() - began)
        return min(times)

    assert quickest(10_000) < 10 * quickest(100)  # a hundred times as much, if all were asked
