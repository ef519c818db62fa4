# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where it is shown: live on a terminal, line by line anywhere else, and as a picture in SVG when that is wanted."""

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.live import Live

from .person import now
from .picture import HEIGHT, WIDTH, Event, Row, line, picture
from .report import report
from .verdict import Finding

_TELLING: Final = 2_000_000


class Show:
    """What the audience sees. `live` is None where lines are all that can be shown."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._start = now()
        self._events: list[Event] = []
        self._telling: RenderableType | None = None
        self.last: list[RenderableType] = []

    def event(self, event: Event) -> None:
        """Something happened."""
        self._events.append(event)
        if self._live is None:
            self._console.print(line(event, self._start), soft_wrap=True)

    def picture(self, rows: Sequence[Row]) -> None:
        """This is how things stand."""
        drawn = picture(rows, tuple(self._events), now() - self._start, self._start)
        if self._live is not None:
            self._live.update(drawn, refresh=True)
        if _is_telling(rows, self._events):
            self._telling = drawn

    def end(self, findings: Sequence[Finding], problems: Sequence[str]) -> None:
        """That was it."""
        self._stop()
        table = report(findings, problems, self._start)
        self._console.print(table)
        self.last = [drawn for drawn in (self._telling, table) if drawn is not None]

    def problem(self, text: str) -> None:
        """It did not come to its end."""
        self._stop()
        self._console.print(f"demo: {text}", markup=False, highlight=False, soft_wrap=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print()


def _is_telling(rows: Sequence[Row], events: Sequence[Event]) -> bool:
    """Somebody is to be ended in two seconds, somebody else has answered in time, and the others are at work."""
    answered = any(event.kind == "warning-cleared" for event in events)
    sessions = [row.session for row in rows if row.session is not None]
    soon = any(session["state"] == "warned" and session["endsInUSec"] > _TELLING for session in sessions)
    return answered and soon and len(sessions) == len(rows)


@contextmanager
def show_on_stdout(svg: TextIO | None) -> Iterator[Show]:
    """A show for as long as the block lasts."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    console = Console(force_terminal=terminal, highlight=False, width=None if terminal else WIDTH)
    if terminal and console.width >= WIDTH and console.height > HEIGHT:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            show = Show(console, live)
            yield show
    else:
        show = Show(console, None)
        yield show
    if svg is not None and show.last:
        svg.write(_as_svg(show.last))
        svg.close()


def _as_svg(parts: Sequence[RenderableType]) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard")
    for part in parts:
        console.print(part)
        console.print()
    drawn = console.export_svg(title="./dev demo")
    return re.sub(r"\s*@font-face \{[^}]*\}", "", drawn)  # nothing is fetched to look at it
