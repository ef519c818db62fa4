# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl log``: the story of sessions from the journal, one line for each event.

Only records of root's are taken: everybody may write a record with our fields to the journal, but not with root's uid.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..control.client import Unreachable
from ..control.wire import VarlinkError
from ..core.events import Kind
from ..core.span import SEC
from . import page
from .ask import ask, harmless, say

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_JOURNALS: Final = ("/var/log/journal", "/run/log/journal")
_Id: TypeAlias = tuple[str, str | None]
#: Seconds after which a Ctrl-C is heeded that came just before the journal was waited for.
_HEED: Final = 1
#: By priority.
STYLES: Final = {3: page.BAD, 4: page.WARN}


def run(options: argparse.Namespace) -> int:
    """Print what the journal has; the exit code."""
    if not _may_read():
        say("you may not read the system's journal: try as root, or as a member of the group adm or systemd-journal")
        return 1
    paper = page.Page()
    ids = None if options.session is None else _ids(options)
    if ids is not None and not ids:
        say(f"the journal has nothing of a session {options.session} (see: idlectl log --help)")
        return 1
    for event in _events(options, ids):
        if options.json:
            print(json.dumps(event))
        else:
            _print(paper, harmless(event))
        if options.follow:
            sys.stdout.flush()
    return 0


def _may_read() -> bool:
    """Whether more than the own records are to be had: the journal itself gives no error, only less."""
    files = [path for folder in _JOURNALS for path in Path(folder).glob("*/system.journal")]
    return os.geteuid() == 0 or any(os.access(path, os.R_OK) for path in files)


def _print(paper: page.Page, event: dict[str, Any]) -> None:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["realtimeUSec"] // SEC))
    paper.item(moment, event["text"], STYLES.get(event["priority"], ""), indent=0, room=len(moment) + 2)


def _events(options: argparse.Namespace, ids: set[_Id] | None) -> Iterator[dict[str, Any]]:
    """The records that were asked for (`ids`: of which sessions alone), as the control service shows events."""
    with _reader(options) as reader:
        while True:
            for entry in reader:
                if ids is None or _id(entry) in ids:
                    yield _event(entry)
            if not options.follow:
                return
            reader.wait(_HEED)


def _reader(options: argparse.Namespace) -> Any:
    """Our records, since the moment that was asked for, or since the machine was started."""
    from systemd import journal

    reader = journal.Reader(converters={"__REALTIME_TIMESTAMP": int})
    matches = {"_UID": ["0"], "IDLED_EVENT": [kind.value for kind in Kind]}
    if options.user is not None:
        matches["IDLED_USER"] = [options.user]
    for field, values in matches.items():
        for value in values:
            reader.add_match(f"{field}={value}")
    if options.since is None:
        reader.this_boot()
    else:
        reader.seek_realtime(options.since / SEC)
    return reader


def _ids(options: argparse.Namespace) -> set[_Id]:
    """The sessions that are meant, by id or by a name that they once had."""
    with _reader(options) as reader:
        found = {_id(entry) for entry in reader if options.session in (entry.get("IDLED_SESSION"), _name(entry))}
    return found | _open_ids(options)


def _open_ids(options: argparse.Namespace) -> set[_Id]:
    """The session of that name that is open: the first records of a session may be older than its name."""
    try:
        id_ = ask(options, "GetSession", session=options.session)["session"]["id"]
    except (Unreachable, VarlinkError):  # the journal can be read without the daemon
        return set()
    return {(_BOOT_ID.read_text().strip(), id_)}


def _id(entry: dict[str, Any]) -> _Id:
    """What no two sessions have in common."""
    return str(entry["_BOOT_ID"]), entry.get("IDLED_SESSION")


def _name(entry: dict[str, Any]) -> str | None:
    """What people call its session: the id of logind, or else the pid of the leader."""
    id_ = entry.get("IDLED_SESSION")
    return None if id_ is None else entry.get("IDLED_LOGIND") or f"p{id_.partition('-')[0]}"


def _event(entry: dict[str, Any]) -> dict[str, Any]:
    """A record as the control service shows it."""
    found = {
        "event": entry["IDLED_EVENT"],
        "text": entry.get("MESSAGE", ""),
        "priority": entry.get("PRIORITY", 6),
        "realtimeUSec": entry["__REALTIME_TIMESTAMP"],
        "session": entry.get("IDLED_SESSION"),
        "name": _name(entry),
        "user": entry.get("IDLED_USER"),
    }
    return {key: value for key, value in found.items() if value is not None}
