# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the daemon remembers across restarts: a small file for each session in a folder of /run.

Each is replaced whole (write, then rename), so a kill at any moment leaves the old or the new one. /run is memory:
no disk is waited for, and a reboot forgets, as it should. A file that cannot be read, or is of another boot, is
dropped and said; the session is then found again as any other.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .core.activity import ConnectionLook, Trace
from .core.events import Ending, Memory, Track
from .core.model import Reason, Session, SessionId
from .core.stamps import TerminalLook
from .members import Handle


class State:
    """The folder of remembered sessions. Raises OSError when it cannot be made or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remember(self, memory: Memory, handle: Handle) -> None:
        """Write one session down."""
        path = self._path(memory.session.id)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(_to_json(memory, handle)))
        new.replace(path)

    def forget(self, session: SessionId) -> None:
        """Take one session out."""
        with suppress(FileNotFoundError):
            self._path(session).unlink()

    def recall(self, boot: str) -> Iterator[tuple[Memory, Handle] | str]:
        """All sessions of this boot; for what could not be used, why."""
        for left_over in self._folder.glob("*.new"):  # of a kill between write and rename
            left_over.unlink(missing_ok=True)
        for path in sorted(self._folder.glob("*")):
            recalled = None
            try:
                recalled = _from_json(json.loads(path.read_bytes()))
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
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


def _to_json(memory: Memory, handle: Handle) -> dict[str, Any]:
    data = asdict(memory)
    data["session"]["groups"] = sorted(memory.session.groups)
    if memory.ending is not None:
        data["ending"]["reason"] = memory.ending.reason.value
    data["cgroup"] = None if handle.cgroup is None else str(handle.cgroup)
    data["scope"] = handle.scope
    data["connection"] = handle.connection
    return data


def _from_json(data: dict[str, Any]) -> tuple[Memory, Handle]:
    session = Session(
        **data["session"] | {"id": SessionId(**data["session"]["id"]), "groups": frozenset(data["session"]["groups"])}
    )
    terminals = tuple(TerminalLook(**terminal) for terminal in data["trace"]["terminals"])
    seen, ending = data["trace"]["connection"], data["ending"]
    connection = ConnectionLook(**seen) if seen else None
    memory = Memory(
        session=session,
        trace=Trace(**data["trace"] | {"terminals": terminals, "connection": connection}),
        idle=Track(**data["idle"]),
        absolute=Track(**data["absolute"]),
        ending=Ending(**ending | {"reason": Reason(ending["reason"])}) if ending else None,
    )
    cgroup = Path(data["cgroup"]) if data["cgroup"] else None
    return memory, Handle(session=session, scope=data["scope"], cgroup=cgroup, connection=data["connection"])
