# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a person reads about the evidence of a session: what was not believed is said, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from idled import explanation
from idled.core.activity import ConnectionLook, Trace
from idled.core.events import Ending, Memory, Track
from idled.core.extension import before_last_resort
from idled.core.model import Activity, Limits, Reason, Session, SessionId, Unobserved
from idled.core.span import HOUR, SEC
from idled.core.stamps import TerminalLook
from idled.core.watch import Watch

SESSION = Session(id=SessionId("b", 7, 70), user="u", uid=5, opened_at=0)
CONNECTION = ConnectionLook(received_at=90 * SEC, sent_at=95 * SEC, wire_in=1, wire_out=1, delivered=3, issued=4)
TERMINAL = TerminalLook(name="pts/3", device=1, atime=1060 * SEC, ctime=0, queued=2)


def watch(
    *, limits: Limits | None = None, observed: bool = True, memory: dict[str, Any] | None = None, **trace: Any
) -> Watch:
    whole = Memory.of_new(SESSION)
    seen: Trace = replace(whole.trace, at=100 * SEC, offset=1000 * SEC, **trace)
    return Watch(memory=replace(whole, trace=seen, **(memory or {})), limits=limits or Limits(), observed=observed)


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (watch(forged=True), "forged"),
        (watch(doubts=1), "seen 1 time;"),
        (watch(doubts=2), "seen 2 times;"),
        (watch(chatty=3), "keepalives"),
        (watch(coarse=True), "cannot be counted"),
        (watch(connection=replace(CONNECTION, delivered=None)), "cannot be counted"),
        (watch(holder="/usr/bin/apt"), "waits: /usr/bin/apt"),
        (watch(told=True), "does not count as output"),
        (
            watch(memory={"idle": Track(extra=HOUR, grants=2)}),
            "idle timeout was extended by 1h in all, 2 times by its person",
        ),
        (watch(memory={"absolute": Track(not_before=101 * SEC)}), "the absolute limit is new"),
        (
            watch(limits=before_last_resort(Limits(), replace(SESSION, last_resort=HOUR), 0)),
            "told at its login when to end it",
        ),
        (watch(memory={"ending": Ending(reason=Reason.IDLE, due_at=0, started_at=0)}), "is being ended"),
    ],
)
def test_what_was_not_believed_is_said(found: Watch, note: str) -> None:
    (said,) = explanation.notes(found)
    assert note in said


def test_of_a_plain_session_there_is_nothing_to_say() -> None:
    assert explanation.notes(watch(connection=CONNECTION, terminals=(TERMINAL,))) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (watch(terminals=(TERMINAL,)), ["counts: input", "told by the time stamps of its terminals, to 8 seconds"]),
        (
            watch(terminals=(TERMINAL,), connection=CONNECTION),
            ["counts: input", "told by the bytes that its client delivers"],
        ),
        (watch(connection=CONNECTION), ["counts: whatever goes into", "told by the bytes that go in and out"]),
        (
            watch(connection=replace(CONNECTION, delivered=None), terminals=(TERMINAL,)),
            ["counts: input", "the last packet"],
        ),
        (
            watch(limits=Limits(activity=frozenset({Activity.OUTPUT})), connection=CONNECTION),
            ["counts: output", "told by"],
        ),
        (watch(observed=False), ["nothing can be observed: no idle timeout"]),
        (watch(observed=False, limits=Limits(unobserved=Unobserved.IDLE_FROM_START)), ["idle since it was opened"]),
        (
            watch(limits=Limits(hold_while=("/usr/bin/apt",)), terminals=(TERMINAL,)),
            ["counts", "told", "waits for /usr/bin/apt"],
        ),
    ],
)
def test_what_counts_and_what_it_is_told_by(found: Watch, said: list[str]) -> None:
    lines = explanation.activity(found)
    assert len(lines) == len(said) and all(text in line for text, line in zip(said, lines, strict=True))


def test_terminals_and_connection_are_shown_by_spans_until_now() -> None:
    found = watch(terminals=(TERMINAL, replace(TERMINAL, name="pts/4", doubted=True)), connection=CONNECTION)
    trace = found.memory.trace
    assert explanation.terminals(trace, 100 * SEC) == [
        {"name": "pts/3", "stampedUSec": 40 * SEC, "queued": 2, "believed": True},
        {"name": "pts/4", "stampedUSec": 40 * SEC, "queued": 2, "believed": False},
    ]
    shown = {"address": "a", "receivedUSec": 10 * SEC, "sentUSec": 5 * SEC, "delivered": 3, "issued": 4}
    assert explanation.connection(trace, "a", 100 * SEC) == shown
    assert explanation.connection(watch().memory.trace, "a", 0) is None
