# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which files make up the configuration, and reading them without trusting them.

The main file, then the drop-ins by systemd's rules: files of the same name override each other (/etc over /run over
/usr/lib), all sorted by name; a link to /dev/null hides one, and none begins with a dot, as an editor's own do. A file
is opened once and judged by what was opened: it must be a regular file of root (or of whoever runs this), which neither
group nor others may write.

What cannot be read for want of descriptors or memory raises OSError: no other policy is to stand in for that.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..shortage import is_shortage
from .problems import ConfigError, Problem, printable

MAIN: Final = Path("/etc/idled/idled.toml")
#: In order of precedence, the first over the others.
_DROP_INS: Final = (Path("/etc/idled/conf.d"), Path("/run/idled/conf.d"), Path("/usr/lib/idled/conf.d"))
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One file's path, to be shown, and text."""

    path: str
    text: str


def read_all(main: Path) -> list[Source]:
    """The main file and its drop-ins in the order in which they count. Raises ConfigError."""
    return [_read(main), *map(_read, drop_ins(main))]


def drop_ins(main: Path) -> list[Path]:
    """The drop-ins: of the usual folders for the usual main file, else of conf.d beside it."""
    folders = _DROP_INS if main == MAIN else (main.parent / "conf.d",)
    by_name: dict[str, Path] = {}
    for folder in reversed(folders):
        by_name |= {path.name: path for path in _listed(folder) if path.suffix == ".toml" and path.name[0] != "."}
    return [path for _, path in sorted(by_name.items()) if not _hidden(path)]


def _listed(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none."""
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> ConfigError:
    if is_shortage(error):
        raise error
    return ConfigError([Problem(file=printable(str(path)), text=f"cannot be read: {error.strerror}")])


def _hidden(path: Path) -> bool:
    try:
        return path.samefile("/dev/null")
    except OSError:
        return False


def _read(path: Path) -> Source:
    try:
        with open(path, "rb", opener=at_once) as file:
            problem = _distrust(os.fstat(file.fileno()))
            if not problem:
                return Source(printable(str(path)), file.read(_MOST_BYTES).decode())
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8, expected a TOML file in UTF-8"
    raise ConfigError([Problem(file=printable(str(path)), text=problem)])


def at_once(path: str, flags: int) -> int:
    """Open without waiting, as a pipe that nobody writes to would have it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _distrust(status: os.stat_result) -> str:
    """Why this file is not to be used; empty when it may be."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {status.st_uid}, expected root (0)"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        return f"has mode {mode:04o}, expected no write access for group and others (chmod go-w)"
    if status.st_size >= _MOST_BYTES:
        return f"has {status.st_size} bytes, expected less than {_MOST_BYTES}"
    return ""
