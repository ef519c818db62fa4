# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a board of ``idlectl watch`` looks, line by line, on a terminal of any size.

From the top: what is shown, the table, the last events (newest last), what is asked or told, the keys. The table has
the room that it needs as long as a third is left for events; what does not fit is reached with the arrows.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from ..core.span import SEC, Usec, format_span
from . import listing, page, telling
from .board import Board, Question, ordered
from .log import STYLES
from .page import Line
from .telling import Session

_CHOSEN: Final = "reverse"
#: Of the lines between the first one and what is asked or told, those kept for events: one in so many.
_SHARE: Final = 3
#: Cells for what is typed, at least; of longer text the end is shown.
_TYPED: Final = 8


def lines(board: Board, width: int, height: int, now: Usec) -> list[Line]:
    """The whole screen: exactly `height` lines, none wider than `width`."""
    below = [*_below(board, width), _keys(board, width)]
    room = height - 1 - len(below)
    sessions = ordered(board, now)
    shown = _window(sessions, board.chosen, room - (room // _SHARE if board.events else 0) - 1)
    drawn = [_title(board, sessions, shown, width, now), *_table(board, shown, width)]
    drawn += _events(board.events, width, 1 + room - len(drawn))
    drawn = drawn[: max(0, 1 + room)]
    drawn += [[""] for _ in range(1 + room - len(drawn))]
    return [_clipped(line, width) for line in [*drawn, *below][-height:]]


def _clipped(line: Line, width: int) -> Line:
    """No wider than that, however narrow it is."""
    found: Line = []
    for piece in line:
        text = page.cut(page.text_of(piece), width)
        width -= page.cells(text)
        found.append(text if isinstance(piece, str) else (text, piece[1]))
    return found


def _window(sessions: list[Session], chosen: str | None, room: int) -> list[Session]:
    """As many as there is room for, the chosen one among them."""
    room = max(1, room)
    at = next((at for at, session in enumerate(sessions) if session["id"] == chosen), 0)
    start = max(0, min(at - room // 2, len(sessions) - room))
    return sessions[start : start + room]


def _title(board: Board, sessions: list[Session], shown: list[Session], width: int, now: Usec) -> Line:
    """How many there are, in which order, and when that was."""
    count = f"{len(sessions)} session{'' if len(sessions) == 1 else 's'}"
    if len(shown) < len(sessions):
        start = sessions.index(shown[0]) + 1
        count = f"{start} to {start + len(shown) - 1} of {count}"
    right = time.strftime("%H:%M:%S", time.localtime(telling.wall(board.at - now if board.lost else 0) // SEC))
    right = f"{'observe mode, ' * (board.mode == 'observe')}{'as of ' * bool(board.lost)}{right}"
    order = f" by {board.order}" if len(sessions) > 1 else ""
    hidden = f", {board.hidden} more without a limit" if board.hidden else ""
    for left in (f"{count}{order}{hidden}", f"{count}{order}", count):
        if page.cells(left) + 2 + len(right) <= width:
            break
    style = page.BAD if board.lost else page.WARN if board.mode == "observe" else page.DIM
    return [(page.pad(left, width - len(right)), page.HEAD), (right, style)]


def _table(board: Board, shown: list[Session], width: int) -> list[Line]:
    """The table as list has it, the chosen session marked; or why there is none."""
    if not shown:
        if board.hidden:
            said = f"No session with a limit; {board.hidden} without one, shown by: idlectl watch --all"
        else:
            said = "No session that you may see."
        return [[(part, page.DIM)] for part in page.wrapped(said, width)]
    head, *rows = listing.table(shown, width)
    marked = [
        _marked(row, width) if session["id"] == board.chosen else row for row, session in zip(rows, shown, strict=True)
    ]
    return [head, *marked]


def _marked(row: Line, width: int) -> Line:
    text = "".join(map(page.text_of, row))
    return [(page.pad(text, width), f"{row[0][1]} {_CHOSEN}".strip())]


def _events(events: tuple[Mapping[str, Any], ...], width: int, room: int) -> list[Line]:
    """As many of the last ones as there is room for, below an empty line; of the last one at least the beginning."""
    found: list[Line] = []
    for event in reversed(events):
        told = _event(event, width)
        if found and len(found) + len(told) > room - 1:
            break
        found[:0] = told[: room - 1]
    return [[""], *found] if found else []


def _event(event: Mapping[str, Any], width: int) -> list[Line]:
    """When, and what happened; long text goes on below, in its own column."""
    moment = time.strftime("%H:%M:%S ", time.localtime(event["realtimeUSec"] // SEC))
    style = STYLES.get(event["priority"], "")
    parts = [page.cut(part, width - len(moment)) for part in page.wrapped(event["text"], width - len(moment))]
    return [[(moment if at == 0 else " " * len(moment), page.DIM), (part, style)] for at, part in enumerate(parts)]


def _below(board: Board, width: int) -> list[Line]:
    """What the person is asked or told; one empty line where there is nothing."""
    told = []
    if board.lost:
        told.append((f"{board.lost}. Trying again.", page.BAD))
    if board.calling:
        told.append(("Asking the daemon...", page.DIM))
    if board.note:
        told.append((board.note, page.BAD if board.bad else page.GOOD))
    said: list[Line] = [
        [(page.cut(part, width), style)] for text, style in told for part in page.wrapped(_sentence(text), width)
    ]
    if board.question is not None:
        said += _question(board.question, width)
    return said or [[""]]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _question(question: Question, width: int) -> list[Line]:
    about = question.call.about
    if question.now == "sure":
        by = f" by {format_span(question.allowed)}" if question.allowed else ""
        text = f"{'End' if question.call.method == 'End' else 'Extend'} {about}{by}?"
        return [[(page.cut(part, width), page.HEAD)] for part in page.wrapped(text, width)]
    prompts = {"span": "By how much, as 30min:", "reason": "Reason, or nothing:", "password": f"Password of {about}:"}
    prompt = page.cut(prompts[question.now], width - _TYPED)
    typed = "" if question.now == "password" else question.typed
    while typed and page.cells(typed) > width - page.cells(prompt) - 2:
        typed = typed[1:]
    return [[(f"{prompt} ", page.HEAD), typed, ("_", "blink")]]


def _keys(board: Board, width: int) -> Line:
    """Which keys do something now."""
    arrows = "↑↓" if page.can_picture() else "j k"
    if board.question is None:
        chosen = [("e", "end"), ("x", "extend")] if board.chosen is not None else []
        keys = [(arrows, "choose"), *chosen, ("s", "sort"), ("q", "quit")]
    elif board.question.now == "sure":
        keys = [("y", "yes"), ("n", "no")]
    else:
        keys = [("Enter", "go on"), ("Esc", "do nothing")]
    wide = sum(len(key) + 1 + len(does) for key, does in keys) + 3 * (len(keys) - 1)
    gap = "   " if wide <= width else " "
    pieces: Line = []
    for key, does in keys:
        pieces += [gap if pieces else "", (key, page.HEAD), (f" {does}", page.DIM)]
    return pieces
