# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is remembered comes back whole, or is dropped and said; a kill at any moment spoils nothing."""

import json
import os
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idled.core.activity import ConnectionLook, Trace
from idled.core.events import Ending, Memory, Track
from idled.core.model import Reason, Session, SessionId
from idled.core.stamps import TerminalLook
from idled.members import Handle
from idled.state import State
from tests.terminal.bench import descriptors_left

T = TypeVar("T")
BOOT = "b0-0t"


def whole(kind: type[T], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """Any value of every field of a dataclass, so that a new field is not forgotten here."""
    return st.builds(kind, **({field.name: ... for field in fields(kind)} | given))  # type: ignore[arg-type]


MEMORIES = whole(
    Memory,
    session=whole(Session, id=whole(SessionId, boot=st.just(BOOT))),
    trace=whole(
        Trace,
        terminals=st.lists(whole(TerminalLook), max_size=3).map(tuple),
        connection=whole(ConnectionLook) | st.none(),
    ),
    idle=whole(Track),
    absolute=whole(Track),
    ending=whole(Ending) | st.none(),
)
MEMORY = Memory.of_new(Session(id=SessionId(BOOT, 7, 70), user="u", uid=5, opened_at=3))
HANDLE = Handle(session=MEMORY.session)
#: What is always there.
KEYS = ("session", "trace", "idle", "absolute", "ending", "scope", "folder", "inode", "connection", "audit")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "run" / "sessions")


@pytest.fixture
def folder(state: State, tmp_path: Path) -> Path:
    return tmp_path / "run" / "sessions"


@settings(max_examples=200, deadline=None)
@given(MEMORIES, whole(Handle))
def test_every_memory_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, memory: Memory, handle: Handle
) -> None:
    handle = replace(handle, session=memory.session)
    state = State(tmp_path_factory.getbasetemp() / "hypothesis")
    state.remember(memory, handle)
    assert list(state.recall(BOOT)) == [(memory, handle)]
    state.forget(memory.session.id)
    state.forget(memory.session.id)
    assert list(state.recall(BOOT)) == []


def test_only_its_owner_may_see_it(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"7",
        b'"x"',
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"9" * 5000,
        b'{"session": {}}',
        b'{"session": {"id": 7}}',
        b'{"session": {"id": {"boot": "b", "pid": 1, "start": 1}, "groups": null}}',
    ],
)
def test_garbage_is_dropped_and_said(state: State, folder: Path, data: bytes) -> None:
    state.remember(MEMORY, HANDLE)
    (folder / "1-1.json").write_bytes(data)
    said, good = state.recall(BOOT)
    assert isinstance(said, str)
    assert said.startswith(f"{folder}/1-1.json: not what this daemon writes")
    assert good == (MEMORY, HANDLE)
    assert not (folder / "1-1.json").exists()


def test_every_truncation_and_every_missing_key_is_dropped(state: State, folder: Path) -> None:
    ending = Ending(reason=Reason.IDLE, due_at=1, started_at=2)
    state.remember(replace(MEMORY, ending=ending), HANDLE)
    path = folder / "7-70.json"
    whole = path.read_bytes()
    data = json.loads(whole)
    broken = [whole[:length] for length in range(0, len(whole), 7)]
    broken += [json.dumps({name: data[name] for name in data if name != left}).encode() for left in KEYS]
    broken += [json.dumps(data | {name: 7.5}).encode() for name in ("session", "trace", "idle", "absolute", "folder")]
    broken += [json.dumps(data | {"ending": {"reason": "boredom", "due_at": 1, "started_at": 2}}).encode()]
    broken += [json.dumps(data | {"of_user": of_user}).encode() for of_user in (7, "7", ["7"], [[7]], [7.5], [True])]
    for content in broken:
        path.write_bytes(content)
        (said,) = state.recall(BOOT)
        assert isinstance(said, str), content
        assert not path.exists()


def test_what_was_written_before_an_upgrade_is_known_after_it(state: State, folder: Path) -> None:
    state.remember(MEMORY, replace(HANDLE, of_user=(5, 7)))
    path = folder / "7-70.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_bytes()).items() if name in KEYS}))
    assert list(state.recall(BOOT)) == [(MEMORY, HANDLE)]


def test_another_boot_is_dropped_and_said(state: State, folder: Path) -> None:
    state.remember(MEMORY, HANDLE)
    assert list(state.recall("another")) == [f"{folder}/7-70.json: of another boot, ignoring"]
    assert not list(folder.iterdir())


@pytest.mark.parametrize("left_over", ["whole", "half"])
def test_what_a_kill_left_over_is_no_second_session(state: State, folder: Path, left_over: str) -> None:
    state.remember(MEMORY, HANDLE)
    whole = (folder / "7-70.json").read_bytes()
    (folder / "7-70.new").write_bytes(whole if left_over == "whole" else whole[:20])
    (folder / "8-80.new").write_bytes(whole if left_over == "whole" else b"")
    assert list(state.recall(BOOT)) == [(MEMORY, HANDLE)]
    assert [path.name for path in folder.iterdir()] == ["7-70.json"]


def test_nothing_is_forgotten_for_want_of_descriptors(state: State, folder: Path) -> None:
    state.remember(MEMORY, HANDLE)
    for begun in (False, True):
        recalled = state.recall(BOOT)
        if begun:
            (folder / "0.json").write_text("{}")
            assert "not what this daemon writes" in str(next(recalled))
        with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
            next(recalled)
    assert list(state.recall(BOOT)) == [(MEMORY, HANDLE)]


@pytest.mark.parametrize("at", ["write_bytes", "replace"])
def test_a_kill_while_writing_leaves_the_old_one(state: State, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    state.remember(MEMORY, HANDLE)
    child = os.fork()
    if child == 0:
        real = Path.write_bytes

        def killed(path: Path, data: bytes = b"", *_: object) -> int:
            if at == "write_bytes":
                real(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        monkeypatch.setattr(Path, at, killed)
        state.remember(replace(MEMORY, idle=Track(warned=5)), HANDLE)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert list(state.recall(BOOT)) == [(MEMORY, HANDLE)]
    state.remember(replace(MEMORY, idle=Track(warned=5)), HANDLE)
    assert list(state.recall(BOOT)) == [(replace(MEMORY, idle=Track(warned=5)), HANDLE)]
