# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a verb writes to people: with colour and cut to the width on a terminal, plain and whole elsewhere.

A line is made of pieces, each a text or a text and its style. Only where a person looks, rich is loaded to show them.
Text from outside is made harmless before it comes here (`ask.ask` does that).
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

Piece: TypeAlias = str | tuple[str, str]
Line: TypeAlias = list[Piece]

HEAD: Final = "bold"
DIM: Final = "dim"
GOOD: Final = "green"
WARN: Final = "yellow"
BAD: Final = "red"

_NO_WIDTH: Final = ("Mn", "Me", "Cf")
#: Columns for a label, and the least for what stands beside it.
_LABEL: Final = 12
_NARROWEST: Final = 20


class Page:
    """Standard output, as a person or a program gets it."""

    def __init__(self) -> None:
        self.looked_at = sys.stdout.isatty()
        self.width = columns(sys.stdout) if self.looked_at else None
        self._console: Console | None = None
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a name that this locale cannot write is no reason to fail

    def line(self, *pieces: Piece) -> None:
        """One line."""
        if not self.looked_at:
            print("".join(map(text_of, pieces)).rstrip())
            return
        from rich.text import Text

        text = Text.assemble(*pieces)
        text.rstrip()
        self._rich().print(text)

    def item(self, label: str, text: str, style: str = "", *, indent: int = 2, room: int = _LABEL) -> None:
        """Something with its name before it; on a terminal long text goes on below, in its own column."""
        start = indent + max(room, cells(label) + 1)
        space = None if self.width is None else max(self.width - start, _NARROWEST)
        for part in wrapped(text, space):
            self.line(pad(" " * indent + label, start), (part, style))
            label = ""

    def text(self, text: str, style: str = "") -> None:
        """A sentence or some; on a terminal broken between words."""
        for part in wrapped(text, self.width):
            self.line((part, style))

    def _rich(self) -> "Console":
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True, width=self.width)
        return self._console


def dump(answer: Any) -> int:
    """An answer as JSON, for programs; the exit code."""
    print(json.dumps(answer, indent=2))
    return 0


def can_picture() -> bool:
    """Whether the locale has more than letters. Where it is none, or C, Python takes UTF-8 for granted (PEP 540)."""
    return not sys.flags.utf8_mode and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def columns(stream: TextIO) -> int:
    """The terminal's width; COLUMNS overrides it, as everywhere."""
    try:
        given = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        given = 0
    try:
        return given if given > 0 else os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def text_of(piece: Piece) -> str:
    """A piece without its style."""
    return piece if isinstance(piece, str) else piece[0]


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(sign: str) -> int:
    if unicodedata.category(sign) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Filled up with blanks, on the right or (aligned to the right) on the left."""
    fill = " " * (width - cells(text))
    return fill + text if right else text + fill


def cut(text: str, width: int) -> str:
    """No wider than that; what was cut is told by its last sign."""
    if cells(text) <= width:
        return text
    mark = "…" if can_picture() else "~"
    kept, used = "", cells(mark)
    for sign in text:
        used += _cell(sign)
        if used > width:
            break
        kept += sign
    return kept + mark if width > 0 else ""


def wrapped(text: str, width: int | None) -> Iterator[str]:
    """Broken between words where it is wider than that; a word alone is never broken."""
    if width is None:
        yield text
        return
    line, *words = text.split(" ")
    for word in words:
        longer = f"{line} {word}"
        if cells(longer) > width:
            yield line
            line = word
        else:
            line = longer
    yield line
