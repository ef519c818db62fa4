# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl list``: the open sessions, those that end first on top, as a table or as JSON.

On a terminal the table fits its width: times are always whole, names are cut. Elsewhere (a pipe, a file) nothing is cut
and nothing is drawn.
"""

import json
import sys
from typing import TYPE_CHECKING, Any, Final

from ..control.client import Unreachable, call
from ..control.wire import VarlinkError

if TYPE_CHECKING:
    from rich.console import Console

_GAP: Final = 2
_HEADS: Final = ("ID", "USER", "FROM", "ON", "IDLE", "OPEN", "ENDS IN", "WHY")
#: Columns that may be cut, each to no less than so many cells.
_YIELDING: Final = {"USER": 8, "FROM": 9, "ON": 5, "WHY": 12}
_RIGHT: Final = ("IDLE", "OPEN", "ENDS IN")
_STYLES: Final = {"warned": "yellow", "ending": "red"}
_OBSERVE: Final = "Observe mode: nobody is warned or ended; the journal says what would have been."
_UNSEEN: Final = "IDLE ?: activity of this session cannot be observed, so no idle timeout ends it."


def run(socket: str, *, as_json: bool) -> int:
    """Ask and print; the exit code."""
    try:
        answer = call(socket, "io.idled.ListSessions")
    except Unreachable as error:
        print(f"idlectl: the daemon cannot be asked: {error} (see: systemctl status idled)", file=sys.stderr)
        return 1
    except VarlinkError as error:
        print(f"idlectl: {error.name} {error.parameters or ''}".rstrip(), file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(answer, indent=2))
        return 0
    _show(answer)
    return 0


def _show(answer: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    sessions = sorted(answer["sessions"], key=lambda session: session.get("endsInUSec", 1 << 62))
    if sessions:
        _print(console, sessions)
    else:
        console.print("No sessions that you may see.")
    if any(not session["observed"] for session in sessions):
        console.print(_UNSEEN)
    if answer["mode"] == "observe":
        console.print(_OBSERVE)


def _print(console: "Console", sessions: list[dict[str, Any]]) -> None:
    from rich.text import Text

    rows = [row(session, brief=console.is_terminal) for session in sessions]
    space = console.width if console.is_terminal else None
    widths = fit([[Text(cell).cell_len for cell in cells] for cells in (_HEADS, *rows)], space)
    styles = ["bold", *(_STYLES.get(session["state"], "") for session in sessions)]
    for cells, style in zip((_HEADS, *rows), styles, strict=True):
        line = Text(style=style)
        for head, cell, width in zip(_HEADS, cells, widths, strict=True):
            text = Text(cell)
            text.truncate(width, overflow="ellipsis")
            text.align("right" if head in _RIGHT else "left", width)
            line.append_text(text).append(" " * _GAP)
        line.rstrip()
        console.print(line)


def fit(lengths: list[list[int]], space: int | None) -> list[int]:
    """The widths of the columns; where they need more than there is, the widest that may be cut is, again and again."""
    widths = [max(column) for column in zip(*lengths, strict=True)]
    excess = 0 if space is None else sum(widths) + _GAP * (len(widths) - 1) - space
    for _ in range(excess):
        spare = [(width, at) for at, width in enumerate(widths) if width > _YIELDING.get(_HEADS[at], 1 << 30)]
        if not spare:
            break
        widths[max(spare)[1]] -= 1
    return widths


def row(session: dict[str, Any], *, brief: bool) -> tuple[str, ...]:
    """One session's cells; `brief`: of many terminals only the first is named."""
    terminals = session["terminals"]
    if brief and len(terminals) > 1:
        terminals = [terminals[0], f"+{len(terminals) - 1}"]
    return (
        session["name"],
        session["user"],
        session["remote"] or session["service"] or "-",
        " ".join(terminals) or "-",
        short(session["idleUSec"]) if session["observed"] else "?",
        short(session["ageUSec"]),
        ends_in(session),
        why(session),
    )


def ends_in(session: dict[str, Any]) -> str:
    """How long it has if nothing changes."""
    if session["state"] == "ending":
        return "now"
    if "endsInUSec" not in session:
        return "never"
    return short(session["endsInUSec"]) if session["endsInUSec"] else "overdue"


def why(session: dict[str, Any]) -> str:
    """What ends it: the limit, the rule that set it, and whether the person knows."""
    reason = session.get("reason")
    if reason is None:
        return "no limit"
    warned = ", warned" if session["state"] == "warned" else ""
    held = f", waits for {session['heldBy'].rpartition('/')[2]}" if reason == "idle" and "heldBy" in session else ""
    return f"{reason} {short(session[f'{reason}TimeoutUSec'])}, {session[f'{reason}Rule']}{warned}{held}"


def short(span: int) -> str:
    """A span in at most six or so cells: two units, and seconds only below ten minutes. `parse_span` takes it too."""
    seconds = span // 1_000_000
    if seconds >= 600:
        seconds -= seconds % 60
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts[:2]) or "0s"
