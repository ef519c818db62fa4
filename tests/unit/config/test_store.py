# SPDX-License-Identifier: LGPL-2.1-or-later
"""A broken configuration never means no enforcement, and never goes unsaid."""

import json
from pathlib import Path

import pytest

from idled.config.loader import BUILT_IN
from idled.config.store import Store
from idled.core.events import Kind
from idled.core.model import Mode, Session, SessionId
from idled.core.span import HOUR, MIN
from tests.terminal.bench import descriptors_left

GOOD = 'mode = "enforce"\n[defaults]\nidle_timeout = "7min"\n'
BROKEN = "mode = 1\nzzz = 1\n"


@pytest.fixture
def main(tmp_path: Path) -> Path:
    path = tmp_path / "idled.toml"
    path.write_text(GOOD)
    return path


def store(main: Path, *, observe: bool = False) -> Store:
    return Store(main, main.parent / "state", observe=observe)


def test_a_good_file_is_in_force_and_kept(main: Path) -> None:
    policy, records = store(main).start()
    assert (policy.mode, policy.rules[-1].values) == (Mode.ENFORCE, {"idle_timeout": 7 * MIN})
    assert [(record.kind, record.note) for record in records] == [
        (Kind.CONFIG_LOADED, f"enforce mode, 0 rules, from {main}")
    ]
    assert not list((main.parent / "state").glob("*.new"))


def test_at_reload_a_broken_file_is_rejected_with_every_complaint(main: Path) -> None:
    running = store(main)
    running.start()
    main.write_text(BROKEN)
    policy, records = running.reload()
    assert policy is None
    assert [record.kind for record in records] == [Kind.CONFIG_REJECTED] * 2
    assert records[1].note == f'{main}: mode: found 1, expected one of "observe", "enforce"'


def test_no_other_policy_stands_in_where_descriptors_are_short(main: Path) -> None:
    """The built-in one ends nobody: the daemon is started anew rather than with that."""
    running = store(main)
    running.start()
    for read in (running.start, running.reload, running._last_good):
        with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
            read()
    assert running.start()[0].mode is Mode.ENFORCE


def test_at_start_the_last_good_policy_stands_in_loudly(main: Path) -> None:
    store(main).start()
    main.write_text(BROKEN)
    policy, records = store(main).start()
    assert (policy.mode, policy.rules[-1].values) == (Mode.ENFORCE, {"idle_timeout": 7 * MIN})
    assert [record.kind for record in records] == [
        Kind.CONFIG_REJECTED,
        Kind.CONFIG_REJECTED,
        Kind.TROUBLE,
        Kind.CONFIG_LOADED,
    ]
    assert records[2].note.startswith(f"{main} cannot be used; another policy stands in for it: the last good one")
    assert records[3].note.startswith("enforce mode, 0 rules, from the last good one")


@pytest.mark.parametrize(
    "kept", [None, b"", b"{", b"[" * 5000, b"7", b"[7]", b'[{"path": 1, "text": 2}]', b'[{"path": "f", "text": "x"}]']
)
def test_without_a_last_good_one_the_built_in_policy_observes(main: Path, kept: bytes | None) -> None:
    main.unlink()
    if kept is not None:
        (main.parent / "state").mkdir()
        (main.parent / "state" / "last-good.json").write_bytes(kept)
    policy, records = store(main).start()
    assert policy is BUILT_IN
    assert policy.mode is Mode.OBSERVE
    assert [record.kind for record in records] == [Kind.CONFIG_REJECTED, Kind.TROUBLE, Kind.CONFIG_LOADED]
    assert records[2].note == "observe mode, 0 rules, from the built-in one, which ends nobody"


def test_the_built_in_policy_says_of_whom_it_would_end() -> None:
    session = Session(id=SessionId("b", 7, 70), user="ann", uid=5, opened_at=3)
    limits = BUILT_IN.limits(session, ())
    assert (limits.idle_timeout, limits.absolute_timeout) == (15 * MIN, 12 * HOUR)
    assert set(limits.origin.values()) == {"built-in"}


def test_the_option_to_observe_goes_over_every_policy(main: Path) -> None:
    assert store(main, observe=True).start()[0].mode is Mode.OBSERVE
    main.write_text(BROKEN)
    assert store(main, observe=True).start()[0].mode is Mode.OBSERVE


def test_a_state_folder_that_cannot_be_written_is_said_and_no_more(main: Path) -> None:
    (main.parent / "state").write_text("a file")
    policy, records = store(main).start()
    assert policy.mode is Mode.ENFORCE
    assert [record.kind for record in records] == [Kind.TROUBLE, Kind.CONFIG_LOADED]
    kept = main.parent / "state" / "last-good.json"
    assert records[0].note == f"{kept}: File exists: no copy of the policy could be kept, ignoring"


def test_a_broken_policy_is_never_kept_nor_half_of_one(main: Path) -> None:
    running = store(main)
    running.start()
    main.write_text(BROKEN)
    running.reload()
    (kept,) = json.loads((main.parent / "state" / "last-good.json").read_text())
    assert kept["text"] == GOOD


def test_which_files_are_in_force_and_what_is_wrong_with_those_that_are_not(main: Path) -> None:
    drop_in = main.parent / "conf.d" / "a.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[[rule]]\nname = 'none'\n")
    running = store(main)
    _, records = running.start()
    both = (str(main), str(drop_in))
    assert (running.files, running.problems) == (both, ())
    assert running.warnings == (f"{drop_in}: rule[1]: sets nothing",)
    assert records[-1].note == f"enforce mode, 1 rule, from {main}, {drop_in}"
    main.write_text(BROKEN)
    running.reload()
    assert (running.files, running.problems[1:]) == (
        both,
        (f'{main}: mode: found 1, expected one of "observe", "enforce"',),
    )
    again = store(main)
    again.start()
    assert again.files == (str(main.parent / "state" / "last-good.json"),)
    main.write_text(GOOD)
    running.reload()
    assert running.problems == ()


def test_the_copy_is_kept_where_only_root_can_read_it(main: Path) -> None:
    folder = main.parent / "var" / "state"
    Store(main, folder, observe=False).start()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_every_good_policy_replaces_the_copy(main: Path) -> None:
    store(main).start()
    main.write_text(GOOD.replace("7min", "8min"))
    assert [record.kind for record in store(main).start()[1]] == [Kind.CONFIG_LOADED]
    main.write_text(BROKEN)
    assert store(main).start()[0].rules[-1].values == {"idle_timeout": 8 * MIN}
