# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether sshd uses PAM, and what it is set to that is taken for an idle limit."""

import re
from collections.abc import Iterator
from typing import Final

from .host import Finding, Host, note, ok, warning

_CONFIG: Final = "/etc/ssh/sshd_config"
_DEEPEST: Final = 16
_LINE: Final = re.compile(r"\s*(?P<key>\w+)(?:\s*=\s*|\s+)(?P<value>.*?)\s*$")


def ssh(host: Host) -> Iterator[Finding]:
    """What was found about sshd; nothing where there is none."""
    if not host.has(_CONFIG) and not host.has("/usr/sbin/sshd"):
        return
    found = _effective(host)
    if found.get("usepam", "no") == "yes":
        yield ok("sshd", what="sshd opens its sessions through PAM (UsePAM yes).")
    else:
        yield warning(
            "sshd",
            what="sshd does not use PAM (UsePAM no).",
            why="Then nobody tells idled of SSH sessions. It finds them by itself, but up to a minute late; nobody is "
            "told the limits at login, and what detaches itself from a session is not ended with it.",
            mend=f"UsePAM yes in {_CONFIG} (the first value counts, so look into {_CONFIG}.d too); then: "
            "systemctl reload ssh.",
        )
    interval = found.get("clientaliveinterval", "0")
    if interval not in ("0", "0s"):
        yield note(
            "sshd",
            what=f"ClientAliveInterval {interval} is no idle limit.",
            why="It finds dead connections. A client answers it by itself, with nobody in front of it.",
        )


def _effective(host: Host) -> dict[str, str]:
    """What is in force for all: as sshd says, which only root is told, or else as it would read its files."""
    said = host.programs("sshd", "-T")
    found: dict[str, str] = {}
    for key, value in _read(said) if said else _settings(host, _CONFIG, 0):
        found.setdefault(key, value.strip('"').lower())
    return found


def _read(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        entry = _LINE.match(line.partition("#")[0])
        if entry is not None:
            yield entry["key"].lower(), entry["value"]


def _settings(host: Host, file: str, depth: int) -> Iterator[tuple[str, str]]:
    """The settings of a file up to its first Match, each Include replaced by what it names."""
    for key, value in _read(host.text(file) or "") if depth <= _DEEPEST else ():
        if key == "match":
            return
        if key != "include":
            yield key, value
            continue
        for pattern in value.replace('"', "").split():
            for name in host.names(pattern if pattern.startswith("/") else f"/etc/ssh/{pattern}"):
                yield from _settings(host, name, depth + 1)
