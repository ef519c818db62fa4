# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl list``: the open sessions as a table that fits 80 columns, or as JSON."""

import json
import sys
from typing import TYPE_CHECKING, Any

from ..control.client import Unreachable, call
from ..control.wire import VarlinkError
from ..core.span import format_span

if TYPE_CHECKING:
    from rich.table import Table


def run(socket: str, *, as_json: bool) -> int:
    """Ask and print; the exit code."""
    try:
        answer = call(socket, "io.idled.ListSessions")
    except Unreachable as error:
        print(f"idlectl: the daemon cannot be asked: {error}", file=sys.stderr)
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

    console = Console(highlight=False, markup=False)
    sessions = sorted(answer["sessions"], key=lambda session: session.get("endsInUSec", 1 << 62))
    if not sessions:
        console.print("No sessions that you may see.")
        return
    console.print(table(sessions, boxed=console.is_terminal))
    if answer["mode"] == "observe":
        console.print("Observe mode: nobody is warned or ended, what would be done is in the journal.")


def table(sessions: list[dict[str, Any]], *, boxed: bool) -> "Table":
    """The sessions as a table."""
    from rich import box
    from rich.table import Table

    found = Table(box=box.SIMPLE_HEAD if boxed else None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in ("SESSION", "USER", "FROM", "TERMINALS", "IDLE", "OPEN", "NEXT", "RULE"):
        found.add_column(name, overflow="fold", no_wrap=name in ("SESSION", "IDLE", "OPEN"))
    for session in sessions:
        found.add_row(*row(session), style=_STYLES.get(session["state"], "") if boxed else "")
    return found


_STYLES = {"warned": "yellow", "ending": "red"}


def row(session: dict[str, Any]) -> tuple[str, ...]:
    """One session's cells."""
    return (
        session["name"],
        session["user"],
        session["remote"] or session["service"],
        " ".join(session["terminals"]) or "none",
        _short(session["idleUSec"]) if session["observed"] else "not observed",
        _short(session["ageUSec"]),
        coming(session),
        session.get(f"{session['reason']}Rule", "") if session.get("reason") else "",
    )


def coming(session: dict[str, Any]) -> str:
    """What comes next for a session, and when."""
    if session["state"] == "ending":
        return "ending"
    if session.get("reason") is None:
        return "no limit"
    why = f"{session['reason']} end in {_short(session['endsInUSec'])}"
    if "warnsInUSec" in session:
        return f"warning in {_short(session['warnsInUSec'])}, {why}"
    return why


def _short(span: int) -> str:
    """A span for a column: whole seconds."""
    return format_span(span // 1_000_000 * 1_000_000)
