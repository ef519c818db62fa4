# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon remembers across restarts: a small file for each session in a folder of /run.

Each is replaced whole (write, then rename), so a kill at any moment leaves the old or the new one. /run is memory:
no disk is waited for, and a reboot forgets, as it should. A file that cannot be read, or is of another boot, is
dropped and said; the session is then found again as any other.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from sys import intern
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from .core.activity import ConnectionLook, Trace
from .core.events import Ending, Memory, Track
from .core.model import Reason, Session, SessionId
from .core.stamps import TerminalLook
from .members import Handle
from .shortage import is_shortage

_T = TypeVar("_T")
#: Of a handle, beside its session.
_WHERE: Final = ("scope", "folder", "inode", "connection", "audit")
#: Texts that thousands of sessions have in common. What is equal is one object, as far as that is worth it.
_SHARED: Final = {"boot", "user", "service", "remote"}


class State:
    """The folder of remembered sessions. Raises OSError when it cannot be made or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remember(self, memory: Memory, handle: Handle) -> None:
        """Write one session down."""
        path = self._path(memory.session.id)
        new = path.with_suffix(".new")
        new.write_bytes(_to_json(memory, handle).encode())
        new.replace(path)

    def forget(self, session: SessionId) -> None:
        """Take one session out."""
        with suppress(FileNotFoundError):
            self._path(session).unlink()

    def recall(self, boot: str) -> Iterator[tuple[Memory, Handle] | str]:
        """All sessions of this boot; for what could not be used, why.

        Raises OSError where descriptors or memory are short: nothing is forgotten for that.
        """
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".new":  # of a kill between write and rename
                path.unlink(missing_ok=True)
                continue
            recalled = None
            try:
                recalled = _from_json(json.loads(path.read_bytes(), parse_int=_numbers()))
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                if is_shortage(error):
                    raise
                yield f"{path}: not what this daemon writes ({type(error).__name__}), ignoring"
            if recalled is not None and recalled[0].session.id.boot == boot:
                yield recalled
                continue
            if recalled is not None:
                yield f"{path}: of another boot, ignoring"
            with suppress(OSError):
                path.unlink()

    def _path(self, session: SessionId) -> Path:
        return self._folder / f"{session}.json"


def _to_json(memory: Memory, handle: Handle) -> str:
    where = {name: getattr(handle, name) for name in (*_WHERE, "of_user")}
    return json.dumps(_plain(memory) | where, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has in place of one of ours."""
    if names := _fields(value.__class__):
        return {name: getattr(value, name) for name in names}
    if isinstance(value, frozenset):
        return sorted(value)
    assert isinstance(value, Enum)
    return value.value


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    """Names of a dataclass's; none of anything else."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


def _from_json(data: dict[str, Any]) -> tuple[Memory, Handle]:
    opened, trace, ending = data["session"], data["trace"], data["ending"]
    session = _made(Session, opened | {"id": _made(SessionId, opened["id"]), "groups": _one(_texts(opened["groups"]))})
    terminals = tuple(_made(TerminalLook, terminal) for terminal in trace["terminals"])
    connection = _made(ConnectionLook, trace["connection"]) if trace["connection"] else None
    memory = Memory(
        session=session,
        trace=_made(Trace, trace | {"terminals": terminals, "connection": connection}),
        idle=_one(_made(Track, data["idle"])),
        absolute=_one(_made(Track, data["absolute"])),
        ending=_made(Ending, ending | {"reason": Reason(ending["reason"])}) if ending else None,
    )
    where = {name: data[name] for name in _WHERE}
    of_user = _inodes(data.get("of_user", []))  # a daemon before this one may not have known of it
    return memory, _made(Handle, where | {"session": session, "of_user": of_user})


def _made(kind: Callable[..., _T], data: dict[str, Any]) -> _T:
    """One of a kind whose fields are what its annotations say; TypeError where they are not."""
    shared = {name: intern(value) for name, value in dict(data).items() if name in _SHARED and type(value) is str}
    made = kind(**(data | shared))
    for name, kinds in _kinds(kind).items():
        value = getattr(made, name)
        if not isinstance(value, kinds) or (type(value) is bool and bool not in kinds):
            raise TypeError(f"{name} is {value!r}")
    return made


@cache
def _kinds(kind: Any) -> dict[str, tuple[type, ...]]:
    return {
        name: get_args(hint) if isinstance(hint, UnionType) else (get_origin(hint) or hint,)
        for name, hint in get_type_hints(kind).items()
    }


@lru_cache(maxsize=1024)
def _one(thing: _T) -> _T:
    """Of things that are equal always the same."""
    return thing


def _numbers() -> Callable[[str], int]:
    """Reads the numbers of one file; several of a session's moments are the same."""
    known: dict[str, int] = {}
    return lambda digits: known.setdefault(digits, int(digits))


def _inodes(data: Any) -> tuple[int, ...]:
    if type(data) is not list or not all(type(item) is int for item in data):
        raise TypeError(f"{data!r} is no list of numbers")
    return tuple(data)


def _texts(data: Any) -> frozenset[str]:
    if type(data) is not list or not all(type(item) is str for item in data):
        raise TypeError(f"{data!r} is no list of texts")
    return frozenset(data)
