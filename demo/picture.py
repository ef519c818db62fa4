# SPDX-License-Identifier: LGPL-2.1-or-later
"""The live picture, 80 columns wide and 22 lines high: people, their sessions, the last events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import plan

WIDTH: Final = 80
HEIGHT: Final = 22
_EVENT_LINES: Final = HEIGHT - 10  # what is above them
_BAR: Final = 8
_STYLES: Final = {"warned": "yellow", "ending": "red", "ended": "red", "left": "green", "login": "dim"}
_EVENT_STYLES: Final = {"warned": "yellow", "ended": "red", "end-escalated": "red", "warning-cleared": "green"}
_POLICY: Final = (
    f"Policy: a session ends after {plan.IDLE} s without input, and {plan.ABSOLUTE} s after login;\n"
    f"its person is warned {plan.WARNING} s before. Four people log in by ssh and do as they like."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: a record of the daemon, or what a person did or saw."""

    at: float
    who: str
    text: str
    kind: str = ""  # of a record


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one person's session stands; `session` as the daemon lists it, None before and after."""

    role: plan.Role
    session: dict[str, Any] | None
    closed_at: float | None
    ended: bool

    @property
    def state(self) -> str:
        """In a word."""
        if self.session is not None:
            return str(self.session["state"])
        if self.closed_at is None:
            return "login"
        return "ended" if self.ended else "left"


def picture(rows: Sequence[Row], events: Sequence[Event], elapsed: float, start: float) -> RenderableType:
    """All of it, as it stands `elapsed` seconds after the start."""
    title = Text("idled ends idle and overlong sessions", style="bold")
    title.append(f"{elapsed:.0f} s of about {plan.LENGTH}".rjust(WIDTH - len(title)), style="dim")
    return Group(title, Text(_POLICY), Text(), _people(rows, start), Text(), *_last(events, start))


def line(event: Event, start: float) -> Text:
    """One event, not wrapped."""
    text = Text().append(f"{event.at - start:5.1f}  ", style="dim")
    text.append(f"{event.who:<9}  ", style="bold" if event.who == "idled" else "cyan")
    return text.append(event.text, style=_EVENT_STYLES.get(event.kind, "default"))


def _people(rows: Sequence[Row], start: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name, width in (("who", 4), ("does", 19), ("tty", 8), ("state", 6), ("idle", 6), ("next end", 24)):
        table.add_column(name, width=width, no_wrap=True)
    for row in rows:
        style = _STYLES.get(row.state, "default")
        table.add_row(
            Text(row.role.name, "bold"), row.role.does, _terminal(row), Text(row.state, style), *_times(row, start)
        )
    return table


def _terminal(row: Row) -> str:
    return " ".join(row.session["terminals"]) if row.session else ""


def _times(row: Row, start: float) -> tuple[str, Text]:
    session = row.session
    if session is None:
        return "", Text("" if row.closed_at is None else f"closed at {row.closed_at - start:.1f} s", style="dim")
    idle = f"{session['idleUSec'] / 1e6:.1f} s"
    if session["state"] == "ending":
        return idle, Text("hung up; SIGKILL follows", style="red")
    if "endsInUSec" not in session:
        return idle, Text("")
    return idle, _countdown(session)


def _countdown(session: dict[str, Any]) -> Text:
    left, reason = session["endsInUSec"], session["reason"]
    share = left / session[f"{reason}TimeoutUSec"]
    full = min(_BAR, max(0, round(share * _BAR)))
    style = _STYLES.get(session["state"], "default")
    text = Text("━" * full, style=style).append("·" * (_BAR - full), style="dim")
    return text.append(f" {left / 1e6:4.1f} s {reason}", style=style)


def _last(events: Sequence[Event], start: float) -> list[Text]:
    """The newest events that fit, each wrapped under its own text."""
    lines: list[Text] = []
    for event in reversed(events):
        wrapped = _wrapped(line(event, start))
        if len(lines) + len(wrapped) > _EVENT_LINES:
            break
        lines = wrapped + lines
    return lines + [Text() for _ in range(_EVENT_LINES - len(lines))]


def _wrapped(text: Text, indent: int = 18) -> list[Text]:
    if len(text) <= WIDTH:
        return [text]
    cut = text.plain.rfind(" ", indent + 1, WIDTH + 1)
    cut = cut if cut > 0 else WIDTH
    head, tail = text.divide([cut])
    tail.plain = tail.plain.strip()
    tail = Text(" " * indent).append(tail)
    return [head, *_wrapped(tail)]
