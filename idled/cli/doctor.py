# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl doctor``: whether limits are really enforced on this host, and if not, what to do.

It looks and changes nothing; only with ``--probe`` it opens a session, and closes it.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from . import page
from .ask import Misuse, ask, harmless
from .findings.host import Finding, Host, Level, note
from .findings.kernel import kernel
from .findings.probe import Ask, probe
from .findings.rivals import rivals
from .findings.rules import rules
from .findings.services import daemon, services
from .findings.ssh import ssh
from .findings.stacks import stacks

_STYLES: Final = {Level.OK: page.GOOD, Level.NOTE: page.DIM, Level.WARNING: page.WARN, Level.ERROR: page.BAD}
_CODES: Final = {Level.OK: 0, Level.NOTE: 0, Level.WARNING: 1, Level.ERROR: 2}
#: What findings are about that tell what was not looked at.
_UNSEEN: Final = "doctor"
#: Columns for the level, and below it for what a paragraph is about.
_ROOM: Final = 9
_LABEL: Final = 6


def run(options: argparse.Namespace) -> int:
    """Look and print; the exit code."""
    if options.probe and os.geteuid() != 0:
        raise Misuse("--probe opens a session, for which you must be root")
    host = Host()
    found = list(findings(host, partial(ask, options), probing=options.probe, awake=options.socket is not None))
    found.sort(key=lambda finding: -finding.level)
    code = _CODES[found[0].level]
    if options.json:
        page.dump({"worst": found[0].level.name.lower(), "findings": [_view(finding) for finding in found]})
    else:
        _print(page.Page(), found)
    return code


def findings(host: Host, ask: Ask, *, probing: bool = False, awake: bool = False) -> Iterator[Finding]:
    """All that is found. Asking a daemon that does not run would start it; `awake`: ask it all the same."""
    found, up = services(host)
    yield from found
    if up or awake:
        yield from daemon(partial(ask, "GetStatus"))
    for area in (stacks, ssh, rules, rivals, kernel):
        yield from _judged(host, area)
    if probing:
        yield from probe(host, ask) if up or awake else [note("probe", "No login was tried: the daemon does not run.")]
    if host.unreadable:
        what = f"Not looked at, since only root may: {', '.join(sorted(host.unreadable))}."
        yield note(_UNSEEN, what=what, mend="Call it as root: sudo idlectl doctor")


def _judged(host: Host, area: Callable[[Host], Iterator[Finding]]) -> list[Finding]:
    """What is found about an area; nothing where a part of it may not be seen, since that part may say otherwise."""
    unseen = len(host.unreadable)
    found = list(area(host))
    return found if len(host.unreadable) == unseen else []


def _view(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.name.lower(),
        "about": finding.about,
        "what": finding.what,
        "why": finding.why,
        "mend": finding.mend,
    }


def _print(paper: page.Page, found: list[Finding]) -> None:
    paper.text(*_verdict(found))
    long_before = True
    for finding in found:
        is_long = bool(finding.why or finding.mend)
        if is_long or long_before:
            paper.line()
        _paragraph(paper, finding)
        long_before = is_long


def _verdict(found: list[Finding]) -> tuple[str, str]:
    errors, warnings = (sum(finding.level == level for finding in found) for level in (Level.ERROR, Level.WARNING))
    counts = f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"
    if errors:
        return f"Some sessions are NOT ended here when they are due: {counts}.", page.BAD
    if warnings:
        return f"Not all is well here: {counts}.", page.WARN
    if any(finding.about == _UNSEEN for finding in found):
        return "All that you may see is well: sessions that are due are ended here.", page.GOOD
    return "All is well: sessions that are due are ended here.", page.GOOD


def _count(number: int, name: str) -> str:
    return f"{number or 'no'} {name}{'' if number == 1 else 's'}"


def _paragraph(paper: page.Page, finding: Finding) -> None:
    word = finding.level.name if finding.level is Level.ERROR else finding.level.name.lower()
    paper.item(word, harmless(finding.what), _STYLES[finding.level], indent=0, room=_ROOM)
    for label, text in (("why", finding.why), ("mend", finding.mend)):
        if text:
            paper.item(label, harmless(text), indent=_ROOM, room=_LABEL)
