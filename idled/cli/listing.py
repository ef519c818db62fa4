# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl list``: the open sessions, those that end first on top.

On a terminal the table fits its width: times are always whole, names are cut, and where even that is not enough, the
columns that can be missed best are left out. Elsewhere (a pipe, a file) nothing is cut and nothing is drawn.
"""

import argparse
from collections.abc import Iterable
from typing import Final, TypeAlias

from . import page, telling
from .ask import ask
from .telling import Session

_HEADS: Final = ("ID", "USER", "FROM", "ON", "SINCE", "IDLE", "TIME LEFT", "NEXT", "WHY")
_RIGHT: Final = ("SINCE", "IDLE")
#: Columns that may be cut, each to no less than so many cells.
_YIELDING: Final = {"ID": 10, "USER": 8, "FROM": 15, "ON": 9, "WHY": 12}
_Row: TypeAlias = dict[str, str]
_TITLE: Final[_Row] = {head: head for head in _HEADS}
#: What can be missed on a narrow terminal, the first one first.
_MISSABLE: Final = ("SINCE", "NEXT", "FROM", "ON", "IDLE", "WHY")
_WIDE_GAP, _GAP = 2, 1
_BAR: Final = 5
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_LOW, _LOWEST = 0.25, 0.1
_NEVER: Final = 1 << 62

OBSERVE: Final = "Observe mode: nobody is warned or ended; the journal says what would have been."
UNSEEN: Final = "IDLE ?: the activity of this session cannot be observed."


def run(options: argparse.Namespace) -> int:
    """Ask and print; the exit code."""
    answer = ask(options, "ListSessions")
    sessions = chosen(answer["sessions"], options.user, options.due)
    if options.json:
        return page.dump(answer | {"sessions": sessions})
    shown = [session for session in sessions if options.all or is_limited(session)]
    paper = page.Page()
    for line in table(shown, paper.width):
        paper.line(*line)
    for note in notes(shown, len(sessions) - len(shown), answer["mode"], filtered=bool(options.user or options.due)):
        paper.text(note, page.DIM)
    return 0


def chosen(sessions: list[Session], user: str | None, due: int | None) -> list[Session]:
    """Those of a user, and that end within a span, sorted by what ends first."""
    found = [session for session in sessions if user in (None, session["user"])]
    if due is not None:
        found = [session for session in found if _ends_in(session) <= due]
    return sorted(found, key=lambda session: (_ends_in(session), session["user"]))


def is_limited(session: Session) -> bool:
    """Whether it has an end in sight."""
    return session["state"] == "ending" or "endsInUSec" in session


def _ends_in(session: Session) -> int:
    return 0 if session["state"] == "ending" else int(session.get("endsInUSec", _NEVER))


def notes(sessions: list[Session], hidden: int, mode: str, *, filtered: bool = False) -> list[str]:
    """What stands below the table."""
    said = []
    if not sessions and not hidden:
        said.append("No such session that you may see." if filtered else "No session that you may see.")
    if hidden:
        open_ = f"{hidden} {'more ' if sessions else ''}session{'' if hidden == 1 else 's'}"
        said.append(f"{open_} without a limit, shown by: idlectl list --all")
    if any(not session["observed"] for session in sessions):
        said.append(UNSEEN)
    if mode == "observe":
        said.append(OBSERVE)
    return said


def table(sessions: list[Session], width: int | None) -> list[page.Line]:
    """The lines of the table, its head first; none without sessions. `width` None: nothing is cut or drawn."""
    if not sessions:
        return []
    drawn = width is not None
    rows = [_row(session, drawn=drawn) for session in sessions]
    if width is not None and _total([_widest(rows, head) for head in _HEADS], _GAP) > width:
        rows = [_row(session, drawn=drawn, brief=True) for session in sessions]
    heads = _heads(rows, width)
    widths, gap = fit({head: _widest(rows, head) for head in heads}, width)
    styles = [page.HEAD, *map(urgency, sessions)]
    return [[(_line(row, widths, gap), style)] for row, style in zip([_TITLE, *rows], styles, strict=True)]


def _line(row: _Row, widths: dict[str, int], gap: int) -> str:
    cells = [page.pad(page.cut(row[head], width), width, right=head in _RIGHT) for head, width in widths.items()]
    return (" " * gap).join(cells).rstrip()


def _row(session: Session, *, drawn: bool, brief: bool = False) -> _Row:
    """One session's cells, each under its head."""
    time_left = telling.left(session)
    if drawn:
        time_left = f"{bar(telling.share(session), pictures=page.can_picture())} {time_left}"
    texts = (
        session["name"],
        session["user"],
        telling.origin(session),
        telling.what(session),
        telling.since(session),
        telling.idle(session),
        time_left,
        telling.upcoming(session),
        telling.why(session, brief=brief),
    )
    return dict(zip(_HEADS, texts, strict=True))


def urgency(session: Session) -> str:
    """The colour that says how soon it ends."""
    share = telling.share(session)
    if session["state"] == "ending" or (share is not None and share < _LOWEST):
        return page.BAD
    if session["state"] == "warned" or (share is not None and share < _LOW):
        return page.WARN
    return page.DIM if share is None else ""


def bar(share: float | None, *, pictures: bool) -> str:
    """How much is left, drawn; blank where nothing runs out."""
    if share is None:
        return " " * _BAR
    if not pictures:
        return ("#" * round(share * _BAR)).ljust(_BAR, ".")
    full, rest = divmod(round(share * _BAR * 8), 8)
    return ("█" * full + _EIGHTHS[rest].strip()).ljust(_BAR, "░")


def _heads(rows: list[_Row], width: int | None) -> list[str]:
    """The columns there is room for, when all that may be cut is."""
    heads = list(_HEADS)
    for missable in _MISSABLE:
        if width is None or _total([_least(rows, head) for head in heads], _GAP) <= width:
            break
        heads.remove(missable)
    return heads


def _widest(rows: list[_Row], head: str) -> int:
    return max(page.cells(row[head]) for row in (_TITLE, *rows))


def _least(rows: list[_Row], head: str) -> int:
    widest = _widest(rows, head)
    return min(widest, _YIELDING.get(head, widest))


def _total(widths: Iterable[int], gap: int) -> int:
    widths = list(widths)
    return sum(widths) + gap * (len(widths) - 1)


def fit(wanted: dict[str, int], width: int | None) -> tuple[dict[str, int], int]:
    """The widths of the columns, and the gap between them.

    Where they need more than there is, the gap yields first, then the widest that may be cut, again and again.
    """
    if width is None or _total(wanted.values(), _WIDE_GAP) <= width:
        return wanted, _WIDE_GAP
    widths = dict(wanted)
    for _ in range(_total(widths.values(), _GAP) - width):
        spare = [head for head in widths if widths[head] > _YIELDING.get(head, _NEVER)]
        if not spare:
            break
        widths[max(spare, key=lambda head: widths[head])] -= 1
    return widths, _GAP
