# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an AppArmor profile lets a program do to files, and what a program did to files as strace tells it.

So much of apparmor.d(5) as the profile and its abstractions use; and of strace as it is started by `STRACE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CALLS = "openat,open,execve,mmap,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,chmod,connect,bind"
#: Every process into a file of its own, so that no line is cut; descriptors with the paths they stand for.
STRACE = ("strace", "-ff", "-y", "-qq", "-s", "4096", "-e", "signal=none", "-e", f"trace={CALLS}")

_VARIABLE = re.compile(r"^(@\{\w+\})\s*\+?=\s*(.+)$", re.MULTILINE)
_RULE = re.compile(r'^\s*(deny )?(?:owner )?"?((?:/|@\{|\{)[^\s"]*)"?\s+([mrwaklixucpCUP]+),', re.MULTILINE)
_PIECE = re.compile(r"\\.|\[[^]]*\]|/\*\*$|/\*\*(?=/)|\*\*|/\*$|/\*(?=/)|.")
_MEANS = {
    "/**": "/[^/].*",
    "**": ".*",
    "/*": "/[^/]+",
    "*": "[^/]*",
    "?": "[^/]",
    "{": "(?:",
    "}": ")",
    ",": "|",
}


class Use(NamedTuple):
    """What was done to a file: one letter of apparmor.d(5), and the path; that of a folder ends in a slash."""

    how: str
    path: str


class Profile:
    """The rules for files in a profile, from what `apparmor_parser --preprocess` prints."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"#.*", "", text)
        self._values: dict[str, list[str]] = {"@{profile_name}": ["idled"]}
        for name, values in _VARIABLE.findall(text):
            self._values.setdefault(name, []).extend(value.rstrip("/") for value in values.split())
        self._rules = [(self._pattern(path), how) for deny, path, how in _RULE.findall(text) if not deny]

    def allows(self, use: Use) -> bool:
        """Whether a rule names it."""
        return any(use.how in how and pattern.fullmatch(use.path) for pattern, how in self._rules)

    def _pattern(self, path: str) -> re.Pattern[str]:
        while (found := re.search(r"@\{\w+\}", path)) is not None:
            path = path.replace(found[0], "{" + ",".join(self._values[found[0]]) + "}")
        pieces = _PIECE.findall(path)
        return re.compile("".join(_MEANS.get(piece, piece if len(piece) > 1 else re.escape(piece)) for piece in pieces))


_OPENED = re.compile(r"^(?:openat|open)\(.*?, (O_[A-Z_|]+)[^<>]*\) = \d+<(/.*?)>$")
_MAPPED = re.compile(r"^mmap\(.*?, [A-Z_|]*PROT_EXEC[A-Z_|]*, [^<]*, \d+<(/.*?)>, ")
_CHANGED = re.compile(r"^(?:mkdir|mkdirat|unlink|unlinkat|rename|renameat|renameat2|chmod)\(.*\) = 0$")
_REACHED = re.compile(r'^(?:connect|bind)\(.*sun_path="(/[^"]*)".*\) = 0$')
_RUN = re.compile(r'^execve\("(/[^"]*)", .*\) = 0$')
_MODES = {"O_RDONLY": "r", "O_WRONLY": "w", "O_RDWR": "rw"}


def uses(folder: Path) -> set[Use]:
    """What was done, and not refused, to files in all that strace wrote into a folder."""
    lines = (line for path in folder.iterdir() for line in path.read_text(errors="replace").splitlines())
    return {use for line in lines for use in _uses(line)}


def _uses(line: str) -> Iterator[Use]:
    if opened := _OPENED.match(line):
        flags, path = opened[1].split("|"), opened[2]
        how = "" if "O_PATH" in flags else _MODES.get(flags[0], "w")
        yield from (Use(letter, f"{path}/" if "O_DIRECTORY" in flags else path) for letter in how)
    elif mapped := _MAPPED.match(line):
        yield Use("m", mapped[1])
    elif ran := _RUN.match(line):
        yield Use("x", ran[1])
    elif reached := _REACHED.match(line):
        yield Use("w", reached[1])
    elif _CHANGED.match(line):
        end = "/" if line.startswith("mkdir") else ""
        yield from (Use("w", f"{path}{end}") for path in re.findall(r'"(/[^"]*)"', line))
