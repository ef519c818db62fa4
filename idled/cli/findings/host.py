# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a check gives, a finding, and what it looks at: a host's files below any root, and what programs say of it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Final

_PATIENCE: Final = 10
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Level(IntEnum):
    """How much a finding matters, the worst last."""

    OK = 0
    NOTE = 1  # good to know
    WARNING = 2
    ERROR = 3  # some sessions are not ended here when they are due


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about an area; and where it is not well, why it matters and how to mend it."""

    level: Level
    about: str
    what: str
    why: str = ""
    mend: str = ""


ok, note, warning, error = (partial(Finding, level) for level in Level)


def said_by(*argv: str) -> str | None:
    """What a program prints when all goes well; None if it fails, or there is none."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=True, env=_ENVIRONMENT
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


class Host:
    """Files are named as the host names them, whatever its root is."""

    def __init__(self, root: Path = Path("/"), programs: Callable[..., str | None] = said_by) -> None:
        self.root = root
        self.programs = programs
        self.unreadable: set[str] = set()  # what was there and could not be looked at

    def path(self, name: str) -> Path:
        """Where a file lies."""
        return self.root / name.lstrip("/")

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            return self.path(name).exists()
        except PermissionError:
            self.unreadable.add(name)
            return False

    def text(self, name: str) -> str | None:
        """A file's text; None where there is none, or it cannot be read."""
        try:
            return self.path(name).read_text(errors="replace")
        except PermissionError:
            self.unreadable.add(name)
        except OSError:
            pass
        return None

    def names(self, pattern: str) -> list[str]:
        """The files that fit a pattern, sorted."""
        folder = f"/{pattern.lstrip('/')}".partition("*")[0].partition("[")[0].rpartition("/")[0] or "/"
        if self.has(folder) and not os.access(self.path(folder), os.R_OK | os.X_OK):
            self.unreadable.add(folder)
        return sorted(f"/{path.relative_to(self.root)}" for path in self.root.glob(pattern.lstrip("/")))

    def settings(self, pattern: str) -> Iterator[tuple[str, str]]:
        """Each file that fits a pattern and can be read, with its text."""
        for name in self.names(pattern):
            text = self.text(name)
            if text is not None:
                yield name, text


def listed(names: list[str]) -> str:
    """Names as one says them: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
