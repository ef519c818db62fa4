# SPDX-License-Identifier: LGPL-2.1-or-later
"""What watch knows, what keys and events do to it, and how it looks, without a terminal and a daemon."""

from dataclasses import replace
from typing import Any

import pytest

from idled.cli import board, page, screen
from idled.cli.board import Board, Call
from idled.cli.keyboard import Keyboard
from idled.control.client import Unreachable
from idled.control.wire import VarlinkError
from idled.core.span import HOUR, MIN, SEC

from .conftest import session, unlimited

AT = 1_000 * SEC
ALLOWED = {"limit": "absolute", "byAtMostUSec": HOUR, "timesLeft": 2, "reauthenticate": True}
SOON = session(id="1-1", name="1", user="bob", endsInUSec=MIN, warnsInUSec=None, idleUSec=14 * MIN, extend=ALLOWED)
LATER = session(id="2-2", name="2", user="alice", endsInUSec=5 * MIN, idleUSec=10 * MIN)
LAST = session(id="3-3", name="3", user="dave", endsInUSec=9 * HOUR, idleUSec=3 * HOUR, reason="absolute")
NEVER = unlimited(id="4-4", name="4", user="root")
ALL = [LAST, NEVER, SOON, LATER]


def shown(*sessions: dict[str, Any], mode: str = "enforce", **given: Any) -> Board:
    return board.answered(Board(**given), {"mode": mode, "sessions": list(sessions) or ALL}, AT)


def event(text: str = "Something happened", **changes: Any) -> dict[str, Any]:
    return {"event": "warned", "text": text, "priority": 5, "realtimeUSec": 0} | changes


def typed(start: Board, *keys: str) -> tuple[Board, list[Call]]:
    """What comes of keys, and the calls that are made."""
    calls = []
    for key in keys:
        start, call = board.press(start, key, AT)
        calls += [call] if call else []
    return start, calls


def texts(start: Board, width: int = 80, height: int = 24, later: int = 0) -> list[str]:
    """What stands on the screen."""
    lines = ["".join(map(page.text_of, line)) for line in screen.lines(start, width, height, AT + later)]
    assert len(lines) == height
    assert [line for line in lines if page.cells(line) > width] == []
    return [line.rstrip() for line in lines]


def users(start: Board, later: int = 0) -> list[str]:
    return [found["user"] for found in board.ordered(start, AT + later)]


# The order, and the time


def test_what_ends_first_is_on_top_and_s_goes_through_the_orders() -> None:
    seen = []
    start = shown()
    for _ in range(4):
        seen.append((start.order, users(start)))
        start, _ = board.press(start, "s", AT)
    assert seen == [
        ("time left", ["bob", "alice", "dave"]),
        ("user", ["alice", "bob", "dave"]),
        ("idle", ["dave", "bob", "alice"]),
        ("time left", ["bob", "alice", "dave"]),
    ]


def test_who_has_no_limit_is_counted_and_shown_only_when_asked_for() -> None:
    assert texts(shown())[0].startswith("3 sessions by time left, 1 more without a limit ")
    assert users(shown(everybody=True)) == ["bob", "alice", "dave", "root"]
    assert users(shown(user="alice")) == ["alice"]
    assert texts(shown(NEVER))[1] == "No session with a limit; 1 without one, shown by: idlectl watch --all"


def test_times_count_on_between_two_answers_and_stand_still_while_the_daemon_is_away() -> None:
    (row,) = [line for line in texts(shown(), later=20 * SEC) if " bob " in line]
    assert " 40s " in row
    lost = replace(shown(), lost="the daemon cannot be asked: x")
    below = texts(lost, later=20 * SEC)
    assert " 1m " in next(line for line in below if " bob " in line)
    assert "as of " in below[0]
    assert "The daemon cannot be asked: x. Trying again." in below
    back = board.answered(lost, {"mode": "enforce", "sessions": ALL}, AT)
    assert texts(back)[6].endswith("The daemon answers again; for what happened meanwhile: idlectl log")


def test_the_time_of_a_session_whose_idle_timeout_waits_does_not_run() -> None:
    held = session(heldBy="/usr/bin/make")
    assert board.aged(held, MIN)["endsInUSec"] == held["endsInUSec"]
    assert board.aged(session(), MIN)["endsInUSec"] == held["endsInUSec"] - MIN


# Choosing


def test_the_chosen_session_stays_chosen_in_another_order_and_is_never_another_one() -> None:
    start, _ = typed(shown(), "down", "j")
    assert start.chosen == "2-2"
    assert typed(start, "s")[0].chosen == "2-2"
    over = board.told(start, event(event="session-closed", session="2-2"))
    assert users(over) == ["bob", "dave"]
    assert over.chosen is None
    assert board.answered(start, {"mode": "enforce", "sessions": [SOON]}, AT).chosen is None


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [(("up",), "3-3"), (("k", "k"), "2-2"), (("end", "j"), "3-3"), (("end", "pgup", "k"), "1-1"), (("j", "esc"), None)],
)
def test_the_choice_stops_at_both_ends(keys: tuple[str, ...], chosen: str | None) -> None:
    assert typed(shown(), *keys)[0].chosen == chosen


def test_the_chosen_row_is_always_in_sight() -> None:
    many = [session(id=f"{n}-1", name=f"n{n}", endsInUSec=n * MIN) for n in range(1, 60)]
    start, _ = typed(shown(*many), *["j"] * 40)
    for height in (12, 24):
        assert [line for line in texts(start, height=height) if line.startswith("n40 ")]
    assert " of 59 sessions by time left" in texts(start)[0]


# Ending and extending


def test_nothing_is_done_without_a_chosen_session_and_a_yes() -> None:
    assert typed(shown(), "e", "y", "enter")[1] == []
    for no in ("n", "esc", "q"):
        start, calls = typed(shown(), "j", "e", no)
        assert (calls, start.question, start.note) == ([], None, "Nothing was done.")
    for other in ("enter", "x", "e", " "):
        start, calls = typed(shown(), "j", "e", other)
        assert calls == []
        assert "End session 1 of bob from 192.168.1.20?" in texts(start)
    assert typed(shown(), "j", "e", "y", "esc")[1] == []


def test_an_end_is_asked_for_by_id_with_the_reason() -> None:
    start, (call,) = typed(shown(), "j", "e", "y", *"off to lunch", "backspace", "enter")
    assert (call.method, call.parameters) == ("End", {"session": "1-1", "reason": "off to lunc"})
    assert texts(start)[-2] == "Asking the daemon..."
    assert typed(start, "e")[0].question is None
    assert texts(board.done(start, call, {}))[-2] == "Session 1 of bob from 192.168.1.20 is being ended."
    assert typed(shown(), "j", "e", "y", "enter")[1][0].parameters == {"session": "1-1"}


def test_an_extension_is_by_what_the_rules_allow_and_asks_for_the_password_when_it_must() -> None:
    start, _ = typed(shown(), "j", "x")
    assert texts(start)[-2] == "Extend session 1 of bob from 192.168.1.20 by 1h?"
    start, (call,) = typed(start, "y", "enter")
    assert (call.method, call.parameters) == ("Extend", {"session": "1-1"})
    start = board.done(start, call, VarlinkError("io.idled.AuthenticationRequired", user="bob"))
    start, _ = typed(start, *"s3cret q")
    assert texts(start)[-2] == "Password of bob: _"
    assert "s3cret" not in repr(start)
    start, (call,) = typed(start, "enter")
    assert call.parameters == {"session": "1-1", "password": "s3cret q"}
    assert "s3cret" not in repr(call)
    told = board.done(start, call, VarlinkError("io.idled.ExtensionRefused", reason="wrong password"))
    assert texts(told)[-2] == "Not extended: wrong password (see: idlectl extend --help)"
    told = board.done(start, call, {"session": SOON | {"absoluteExtraUSec": HOUR}})
    assert any("its absolute timeout is now 13h" in line for line in texts(told))


def test_without_a_password_nothing_is_sent() -> None:
    start, (call,) = typed(shown(), "j", "x", "y", "enter")
    start = board.done(start, call, VarlinkError("io.idled.AuthenticationRequired", user="bob"))
    assert typed(start, "enter")[1] == typed(start, "x", "clear", "enter")[1] == typed(start, "x", "esc")[1] == []


def test_where_no_rule_says_by_how_much_the_person_does() -> None:
    start, calls = typed(shown(), "j", "j", "x", "y", *"an hour", "enter")
    assert calls == []
    assert any("expected a span, as 30min" in line for line in texts(start))
    _, (call,) = typed(start, "clear", *"1h", "enter", *"why", "enter")
    assert call.parameters == {"session": "2-2", "byUSec": HOUR, "reason": "why"}


def test_a_question_about_a_session_that_is_over_goes_away() -> None:
    for keys in (("e",), ("e", "y"), ("x", "y", "l")):
        start, _ = typed(shown(), "j", *keys)
        start = board.told(start, event(event="ended", session="1-1"))
        assert texts(start)[-2] == "That session is over; nothing was done."
        assert typed(start, "y", "enter")[1] == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (VarlinkError("io.idled.NotPermitted"), "You may not do this: try as root, or see [access] in idled.toml(5)"),
        (Unreachable("/run/x: gone"), "The daemon cannot be asked: /run/x: gone (see: systemctl status idled)"),
        (
            VarlinkError("io.idled.ExtensionRefused", reason="\x1b[2Jno"),
            "Not extended: ?[2Jno (see: idlectl extend --he",
        ),
    ],
)
def test_what_the_daemon_does_not_do_is_said_why(error: VarlinkError | Unreachable, said: str) -> None:
    start, (call,) = typed(shown(), "j", "e", "y", "enter")
    assert texts(board.done(start, call, error))[-2].startswith(said)


# Looks


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60), (20, 6), (8, 3), (1, 1)])
@pytest.mark.parametrize("sessions", [0, 1, 50])
@pytest.mark.parametrize("keys", [(), ("j", "e"), ("j", "x", "y", *"12345678" * 20)])
def test_it_fits_every_terminal(width: int, height: int, sessions: int, keys: tuple[str, ...]) -> None:
    many = [session(id=f"{n}-1", name=str(n), user="名前名前名前名前", endsInUSec=n * MIN) for n in range(sessions)]
    start = board.answered(Board(), {"mode": "observe", "sessions": many}, AT)
    for number in range(20):
        start = board.told(start, event("Ended session 12 of alice: " + "x" * number * 9))
    texts(typed(start, *keys)[0], width, height)


def test_events_are_below_newest_last_and_of_a_long_one_something_is_always_seen() -> None:
    start = shown()
    for number in range(40):
        start = board.told(start, event(f"Event {number}"))
    below = texts(start)
    assert [line[9:] for line in below[6:22]] == [f"Event {number}" for number in range(24, 40)]
    start = board.told(start, event("a very long story " * 20, priority=3))
    assert any("a very long story" in line for line in texts(start, 40, 12))


def test_only_events_of_the_user_who_is_watched_are_shown() -> None:
    start = board.told(shown(user="bob"), event("of alice", user="alice"))
    assert board.told(start, event("of bob", user="bob")).events == (event("of bob", user="bob"),)


def test_observe_mode_is_said() -> None:
    assert "observe mode, " in texts(shown(*ALL, mode="observe"), 40, 12)[0]


# Keys


@pytest.mark.parametrize(
    ("pieces", "keys"),
    [
        ([b"jk"], ["j", "k"]),
        ([b"\x1b[A\x1bOB\x1b[6~"], ["up", "down", "pgdn"]),
        ([b"\x1b", b"[", b"A"], ["up"]),
        ([b"\x1b", b""], ["esc"]),
        ([b"\x1b", b"", b"[A"], ["esc", "[", "A"]),
        ([b"\x1b[15~\x1b[1;5Ce"], ["e"]),
        (["é".encode()[:1], "é".encode()[1:]], ["é"]),
        ([b"\r\n\x7f\x15\x00\x01"], ["enter", "enter", "backspace", "clear"]),
    ],
)
def test_bytes_are_made_keys_however_they_are_split(pieces: list[bytes], keys: list[str]) -> None:
    keyboard = Keyboard()
    assert [key for piece in pieces for key in keyboard.keys(piece)] == keys
    assert not keyboard.waits
