# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ``idlectl watch`` knows, and what keys, answers and events make of it. Nothing here asks, reads or draws.

A board is never changed: each function gives a new one. A key may also give a call, for the daemon to answer. What the
chosen session is follows its id, so that no new order of the table puts another one under a question.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..control.client import Unreachable
from ..control.wire import VarlinkError
from ..core.events import Kind
from ..core.span import SpanError, Usec, parse_span
from . import listing, telling
from .ask import complaint, harmless
from .extend import sentence
from .telling import Session

#: What it may be sorted by, as it is called, in the order in which the key goes through them.
ORDERS: Final = ("time left", "user", "idle")
_MOST_EVENTS: Final = 200
_LONGEST: Final = 200
_LONGEST_PASSWORD: Final = 512  # of PAM
#: Questions that come up by themselves, and not upon the answer to another.
OPENING: Final = ("sure", "password")
_GONE: Final = (Kind.ENDED.value, Kind.SESSION_CLOSED.value)
_BACK: Final = {"text": "The daemon answers again; for what happened meanwhile: idlectl log", "priority": 5}
_NEEDED: Final = "io.idled.AuthenticationRequired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call to make for the person."""

    method: str
    parameters: Mapping[str, Any] = field(repr=False)  # there may be a password among them
    about: str  # the session, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the person is asked, one thing after the other, before a call is made."""

    call: Call
    asked: tuple[str, ...]  # sure, span, reason, password: the first one now
    allowed: Usec | None = None  # for sure: what the rules allow
    typed: str = field(default="", repr=False)

    @property
    def now(self) -> str:
        """What is asked now."""
        return self.asked[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All there is to show, and what the person is about to do."""

    everybody: bool = False  # also those without a limit
    user: str | None = None  # only those of this user
    mode: str = ""
    sessions: tuple[Session, ...] = ()
    at: Usec = 0  # when they were as they are here
    hidden: int = 0  # how many are not shown for want of a limit
    events: tuple[Mapping[str, Any], ...] = ()  # newest last
    order: str = ORDERS[0]
    chosen: str | None = None
    question: Question | None = None
    note: str = ""  # what came of what the person did last
    bad: bool = False  # whether that did not go well
    lost: str = ""  # why the daemon cannot be asked
    calling: bool = False  # whether a call for the person is under way


# What comes in


def answered(board: Board, answer: Mapping[str, Any], at: Usec) -> Board:
    """The daemon said which sessions there are."""
    found = listing.chosen(answer["sessions"], board.user, None)
    shown = tuple(session for session in found if board.everybody or listing.is_limited(session))
    hidden = len(found) - len(shown)
    if board.lost:
        board = replace(board, events=(*board.events, {**_BACK, "realtimeUSec": telling.wall()}))
    return _without_the_gone(replace(board, mode=answer["mode"], sessions=shown, hidden=hidden, at=at, lost=""))


def told(board: Board, event: Mapping[str, Any]) -> Board:
    """The daemon said that something happened."""
    if board.user not in (None, event.get("user")):
        return board
    left = board.sessions
    if event["event"] in _GONE:
        left = tuple(session for session in left if session["id"] != event.get("session"))
    return _without_the_gone(replace(board, events=(*board.events, event)[-_MOST_EVENTS:], sessions=left))


def done(board: Board, call: Call, answer: Mapping[str, Any] | Unreachable | VarlinkError) -> Board:
    """A call for the person was answered."""
    board = replace(board, calling=False)
    if isinstance(answer, VarlinkError) and answer.name == _NEEDED:
        asked = replace(call, about=str(harmless(answer.parameters.get("user", ""))))
        return replace(board, question=Question(call=asked, asked=("password",)))
    if isinstance(answer, Unreachable | VarlinkError):
        return replace(board, note=" ".join(map(str, harmless(complaint(answer)))), bad=True)
    if call.method == "End":
        return replace(board, note=f"{call.about} is being ended.", bad=False)
    return replace(board, note=sentence(answer["session"]), bad=False)


def _without_the_gone(board: Board) -> Board:
    """Forget what was chosen or asked of a session that is over."""
    ids = {session["id"] for session in board.sessions}
    if board.chosen is not None and board.chosen not in ids:
        board = replace(board, chosen=None)
    question = board.question
    if question is not None and question.call.parameters["session"] not in ids:
        board = replace(board, question=None, note="That session is over; nothing was done.", bad=True)
    return board


# What the person does


def press(board: Board, key: str, now: Usec) -> tuple[Board, Call | None]:
    """A key was pressed: a sign, or the name of a key that has none."""
    if board.question is not None:
        return _reply(board, board.question, key)
    board = replace(board, note="", bad=False)
    if key == "s":
        return replace(board, order=ORDERS[(ORDERS.index(board.order) + 1) % len(ORDERS)]), None
    if key in _STEPS:
        return _step(board, _STEPS[key], now), None
    if key == "esc":
        return replace(board, chosen=None), None
    return (_ask(board, _DEEDS[key]) if key in _DEEDS else board), None


_STEPS: Final = {"j": 1, "down": 1, "k": -1, "up": -1, "pgdn": 10, "pgup": -10, "end": 1 << 30, "home": -(1 << 30)}
_DEEDS: Final = {"e": "End", "x": "Extend"}


def _step(board: Board, by: int, now: Usec) -> Board:
    ids = [session["id"] for session in ordered(board, now)]
    if not ids:
        return board
    before = ids.index(board.chosen) if board.chosen is not None else -1 if by > 0 else len(ids)
    at = min(max(before + by, 0), len(ids) - 1)
    return replace(board, chosen=ids[at])


def _ask(board: Board, method: str) -> Board:
    """The question before the chosen session is ended or extended."""
    if board.calling:
        return replace(board, note="The daemon has not answered yet.", bad=True)
    session = next((session for session in board.sessions if session["id"] == board.chosen), None)
    if session is None:
        return replace(board, note="First choose a session, with the arrows or j and k.", bad=True)
    call = Call(method=method, parameters={"session": session["id"]}, about=telling.who(session))
    if method == "End":
        return replace(board, question=Question(call=call, asked=("sure", "reason")))
    allowed = session.get("extend")
    if allowed:
        question = Question(call=call, asked=("sure", "reason"), allowed=allowed["byAtMostUSec"])
    else:
        question = Question(call=call, asked=("sure", "span", "reason"))
    return replace(board, question=question)


def _reply(board: Board, question: Question, key: str) -> tuple[Board, Call | None]:
    if key == "esc" or (question.now == "sure" and key in ("n", "N", "q")):
        return replace(board, question=None, note="Nothing was done.", bad=False), None
    if question.now == "sure":
        return _next(board, question, {}) if key in ("y", "Y") else (board, None)
    if key == "enter":
        return _typed(board, question)
    typed, secret = question.typed, question.now == "password"
    key = "\t" if secret and key == "tab" else key
    if key == "backspace":
        typed = typed[:-1]
    elif key == "clear":
        typed = ""
    elif len(key) == 1 and len(typed) < (_LONGEST_PASSWORD if secret else _LONGEST):
        typed += key
    return replace(board, question=replace(question, typed=typed), note="", bad=False), None


def _typed(board: Board, question: Question) -> tuple[Board, Call | None]:
    """A line was typed."""
    board = replace(board, note="", bad=False)
    typed = question.typed if question.now == "password" else question.typed.strip()
    if question.now == "reason":
        return _next(board, question, {"reason": typed} if typed else {})
    if question.now == "password":
        if typed:
            return _next(board, question, {"password": typed})
        return replace(board, question=None, note="Not extended: no password was given.", bad=True), None
    try:
        return _next(board, question, {"byUSec": parse_span(typed)})
    except SpanError as error:
        return replace(board, note=f"{error}; expected a span, as 30min or 1h 15min", bad=True), None


def _next(board: Board, question: Question, more: Mapping[str, Any]) -> tuple[Board, Call | None]:
    """Ask what is left to ask, or make the call."""
    call = replace(question.call, parameters={**question.call.parameters, **more})
    if question.asked[1:]:
        return replace(board, question=replace(question, call=call, asked=question.asked[1:], typed="")), None
    return replace(board, question=None, calling=True), call


# What is to be seen


def aged(session: Session, by: Usec) -> Session:
    """The same so much later, if nothing happened."""
    older = session | {"idleUSec": session["idleUSec"] + by, "ageUSec": session["ageUSec"] + by}
    if not (session.get("reason") == "idle" and "heldBy" in session):  # its idle timeout waits
        for name in ("endsInUSec", "warnsInUSec"):
            if name in session:
                older[name] = max(0, session[name] - by)
    return older


def ordered(board: Board, now: Usec) -> list[Session]:
    """The sessions as they are now, in the order that is wanted."""
    by = 0 if board.lost else max(0, now - board.at)
    sessions = listing.chosen([aged(session, by) for session in board.sessions], None, None)
    if board.order == "user":
        sessions.sort(key=lambda session: str(session["user"]))
    elif board.order == "idle":
        sessions.sort(key=lambda session: -session["idleUSec"])
    return sessions
