# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hosts made up for idlectl doctor: their files, what systemd and the daemon say, and how findings are checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from idled.cli import doctor
from idled.cli.findings.host import Finding, Host, Level

from .test_daemon import STATUS

NOTE, WARNING, ERROR = "note", "warning", "error"
SESSION = "session [default=1] pam_permit.so\nsession requisite pam_deny.so\nsession required pam_unix.so\n"
IDLED, SYSTEMD = "session optional pam_idled.so\n", "session\toptional\tpam_systemd.so # logind\n"
POLICY = 'mode = "enforce"\n[defaults]\nidle_timeout = "15min"\nabsolute_timeout = "12h"\n'
LOGIND = "/etc/systemd/logind.conf"
TIOCSTI = "/proc/sys/dev/tty/legacy_tiocsti"
COMMON = "/etc/pam.d/common-session"
LINGER = "/var/lib/systemd/linger/dora"

#: A host where all is well, and nothing is to be noted.
WELL = {
    COMMON: SESSION + IDLED + SYSTEMD,
    "/etc/pam.d/common-session-noninteractive": SESSION,
    "/etc/pam.d/sshd": "@include common-auth\nsession required pam_loginuid.so\n@include common-session\n",
    "/etc/pam.d/login": "auth requisite pam_nologin.so\n@include common-session # with ours\n",
    "/etc/pam.d/su": "session required pam_env.so readenv=1\n@include common-session\n",
    "/etc/pam.d/su-l": "session optional pam_keyinit.so force revoke\nsession include su\n",
    "/etc/pam.d/sudo": "@include common-session-noninteractive\n",
    "/usr/lib/x86_64-linux-gnu/security/pam_idled.so": "",
    "/usr/share/pam-configs/idled": "",
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n",
    "/etc/idled/idled.toml": POLICY,
    "/etc/systemd/logind.conf": "[Login]\n#StopIdleSessionSec=infinity\n",
    "/etc/profile": "# TMOUT=900 is not what we do\nPATH=/usr/bin\n",
    TIOCSTI: "0\n",
}
UP = {name: ("loaded", "active", "enabled") for name in ("idled.service", "idled.socket", "idled-varlink.socket")}
UNITS = UP | {"systemd-logind.service": ("loaded", "active", "static")}
FINE = STATUS | {"sources": [{"name": "logind", "works": True, "note": "ok"}]}

Tree = dict[str, str | None]
Found = list[tuple[str, str, str]]


def host(root: Path, tree: Tree, units: dict[str, tuple[str, str, str]] | None = None, sshd: str | None = None) -> Host:
    """One whose files are those of WELL with these changes; None takes one away."""
    for name, text in ({**WELL, **tree}).items():
        if text is not None:
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def programs(*argv: str) -> str | None:
        if argv[0] == "sshd":
            return sshd
        known = UNITS if units is None else units
        asked = [(name, known.get(name, ("not-found", "inactive", ""))) for name in argv[3:]]
        blocks = [f"Id={name}\nLoadState={a}\nActiveState={b}\nUnitFileState={c}\n" for name, (a, b, c) in asked]
        return "\n".join(blocks) if known else None

    return Host(root, programs)


def answering(**changes: Any) -> Callable[[str], dict[str, Any]]:
    return lambda method: {"GetStatus": FINE | changes}[method]


def found_on(host: Host, ask: Callable[[str], dict[str, Any]] | None = None) -> list[Finding]:
    return list(doctor.findings(host, ask or answering()))


def told(found: list[Finding], least: Level = Level.WARNING) -> set[tuple[Level, str]]:
    return {(finding.level, finding.about) for finding in found if finding.level >= least}


def check(found: list[Finding], expected: Found) -> None:
    """Nothing else is found to be wrong, and each thing is said in these words."""
    wrong = [finding for finding in found if finding.level >= Level.WARNING]
    notes = [finding for finding in found if finding.level is Level.NOTE]
    assert told(wrong) == {(Level[level.upper()], about) for level, about, _ in expected if level != NOTE}
    for level, about, text in expected:
        among = [
            finding for finding in [*wrong, *notes] if (finding.level.name.lower(), finding.about) == (level, about)
        ]
        assert any(text in finding.what for finding in among), among
    assert all(finding.why and finding.mend for finding in wrong), "each tells why it matters and how to mend it"


def let_off(match: str) -> str:
    """A policy with a rule that takes all limits from whom it matches."""
    rule = f'[[rule]]\nname = "free"\nmatch = {{ {match} }}\n'
    return f'{POLICY}{rule}idle_timeout = "off"\nabsolute_timeout = "off"\n'
