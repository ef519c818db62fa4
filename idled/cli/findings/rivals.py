# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tools that end the same sessions by clocks of their own, and settings of logind that matter to them."""

import re
from collections.abc import Iterator
from typing import Final

from .host import Finding, Host, Level, listed, note, ok, warning
from .services import is_up, units

#: In this order the first file, and of drop-ins with one name the first, is the one that counts.
_FOLDERS: Final = ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd")
_OFF: Final = ("", "0", "0s", "infinity")
_PROFILES: Final = ("/etc/profile", "/etc/bash.bashrc", "/etc/zsh/*", "/etc/environment", "/etc/profile.d/*.sh")
_TMOUT: Final = re.compile(r"(?<![\w$#])TMOUT=[\"']?(\d+)")
#: Tools that end idle sessions, by their programs.
_TOOLS: Final = {"autolog": "autolog", "timeoutd": "timeoutd", "doinkd": "doinkd", "timekpr": "timekprd"}


def rivals(host: Host) -> Iterator[Finding]:
    """What was found about others who end sessions."""
    found = [*_logind(host), *_tmout(host), *_tools(host)]
    yield from found
    if not any(finding.level >= Level.WARNING for finding in found):
        yield ok("others", what="No other tool ends idle sessions here.")


def _logind(host: Host) -> Iterator[Finding]:
    found = _logind_settings(host)
    span, file = found.get("StopIdleSessionSec", ("", ""))
    if span not in _OFF:
        yield warning(
            "logind",
            what=f"logind ends idle sessions too: StopIdleSessionSec={span} in {file}.",
            why="It warns nobody, heeds none of your rules, and may end somebody who is there up to 8 seconds early. "
            "Where there is no utmp, as in Debian 13, it ends no SSH session at all.",
            mend=f"Take the line out of {file}, then: systemctl restart systemd-logind (sessions stay).",
        )
    action, file = found.get("IdleAction", ("", ""))
    if action not in ("", "ignore", "lock"):
        yield warning(
            "logind",
            what=f"logind does something to the whole machine when it is idle: IdleAction={action} in {file}.",
            why="It knows of no activity in SSH sessions where there is no utmp, and can act while people work.",
            mend=f"IdleAction=ignore in {file}, then: systemctl restart systemd-logind (sessions stay).",
        )
    kills, file = found.get("KillUserProcesses", ("", ""))
    if kills.lower() in ("yes", "true", "on", "1"):
        yield note(
            "logind",
            what=f"logind ends at logout whatever a session left running: KillUserProcesses={kills} in {file}.",
            why='A detached tmux does not outlive its session then, end = "connection" or not.',
        )


def _logind_settings(host: Host) -> dict[str, tuple[str, str]]:
    """Each setting with the file it is from; of a drop-in rather than of the main file, the last one counts."""
    main = next((name for folder in _FOLDERS if host.has(name := f"{folder}/logind.conf")), None)
    drop_ins: dict[str, str] = {}
    for folder in reversed(_FOLDERS):
        drop_ins |= {name.rpartition("/")[2]: name for name in host.names(f"{folder}/logind.conf.d/*.conf")}
    files = [*([main] if main else []), *(file for _, file in sorted(drop_ins.items()))]
    found = {}
    for file in files:
        for line in (host.text(file) or "").splitlines():
            key, given, value = line.strip().partition("=")
            if given:
                found[key.strip()] = value.strip(), file
    return found


def _tmout(host: Host) -> Iterator[Finding]:
    found = []
    for pattern in _PROFILES:
        for name, text in host.settings(pattern):
            code = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in text.splitlines())
            spans = [span for span in _TMOUT.findall(code) if int(span)]
            found += [f"TMOUT={spans[-1]} in {name}"] if spans else []
    if found:
        yield warning(
            "shells",
            what=f"Shells end themselves at an idle prompt: {listed(found)}.",
            why="No warning is given, windows of tmux and screen go too, and it covers nothing but the prompt: an "
            "editor or a pager stays open for ever.",
            mend="Take it out; idle_timeout does the same for the whole session. Where a rule book wants it, let it be "
            "longer than idle_timeout, so that idled comes first.",
        )


def _tools(host: Host) -> Iterator[Finding]:
    running = {(host.text(name) or "").strip() for name in host.names("/proc/[0-9]*/comm")}
    known = units(host, *(f"{name}.service" for name in _TOOLS))
    for name, program in _TOOLS.items():
        unit = known.get(f"{name}.service")
        if program in running or is_up(unit) or (unit is not None and unit["UnitFileState"] == "enabled"):
            yield warning(
                "others",
                what=f"{name} ends sessions too.",
                why="It goes by its own limits and not by your rules, and sees some sessions only.",
                mend=f"systemctl disable --now {name}, or remove it: apt-get purge {name}",
            )
        elif any(host.has(f"{folder}/{program}") for folder in ("/usr/sbin", "/usr/bin")):
            yield note("others", what=f"{name} is installed, and does not run.")
