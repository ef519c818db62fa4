# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bytes that a terminal sends, as keys: a sign for itself, and names for those that have none."""

import codecs
import re
from typing import Final

_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])")
_BEGUN: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
_SEQUENCES: Final = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "pgup",
    "6~": "pgdn",
}
_NAMED: Final = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x15": "clear", "\t": "tab"}


class Keyboard:
    """Makes keys of bytes, however they are split. Sequences that mean nothing here are dropped."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""

    @property
    def waits(self) -> bool:
        """Whether an Escape came that may be a key, or the start of a sequence: what comes soon belongs to it."""
        return bool(self._begun)

    def keys(self, data: bytes) -> list[str]:
        """What was pressed; of no bytes: what was begun is all there is."""
        text, self._begun = self._begun + self._decoder.decode(data), ""
        found: list[str] = []
        at = 0
        while at < len(text):
            if sequence := _SEQUENCE.match(text, at):
                found += filter(None, [_SEQUENCES.get(sequence[0][2:])])
                at = sequence.end()
            elif data and (begun := _BEGUN.fullmatch(text, at)):
                self._begun = begun[0]
                break
            else:
                found += filter(None, [_key(text[at])])
                at += 1
        return found


def _key(sign: str) -> str:
    if sign == "\x1b":
        return "esc"
    return _NAMED.get(sign, sign if sign.isprintable() else "")
