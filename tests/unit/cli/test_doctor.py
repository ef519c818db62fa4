# SPDX-License-Identifier: LGPL-2.1-or-later
"""What idlectl doctor finds on made-up hosts: a tree of files, what systemd says, and what the daemon says."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from idled.cli import doctor
from idled.cli.ask import Misuse
from idled.cli.findings import probe
from idled.cli.findings.host import Level
from idled.cli.findings.stacks import session_stack
from idled.control.client import Unreachable
from idled.control.wire import VarlinkError

from .conftest import Fake, idlectl
from .made_up import (
    COMMON,
    ERROR,
    FINE,
    IDLED,
    LINGER,
    LOGIND,
    NOTE,
    POLICY,
    SESSION,
    SYSTEMD,
    TIOCSTI,
    UNITS,
    WARNING,
    Found,
    Tree,
    answering,
    check,
    found_on,
    host,
    let_off,
)


def test_where_all_is_well_nothing_is_wrong(tmp_path: Path) -> None:
    found = found_on(host(tmp_path, {}))
    check(found, [(NOTE, "utmp", "no utmp")])
    said = [finding.what for finding in found if finding.level is Level.OK]
    assert "pam_idled is in the PAM stack of sshd and login." in said
    assert "Without pam_idled, and rightly so: sudo. What is called within a session is part of it." in said
    assert "No other tool ends idle sessions here." in said


TREES: dict[str, tuple[Tree, Found]] = {
    "module taken out of common-session": (
        {COMMON: SESSION + SYSTEMD},
        [(WARNING, "pam", "pam_idled is not in the PAM stack of sshd and login.")],
    ),
    "neither ours nor logind's": (
        {COMMON: SESSION},
        [(ERROR, "pam", "Neither pam_idled nor pam_systemd is in the PAM stack of sshd and login.")],
    ),
    "commented out": (
        {COMMON: f"{SESSION}#{IDLED}{SYSTEMD}"},
        [(WARNING, "pam", "not in the PAM stack of sshd and login")],
    ),
    "of another kind": (
        {COMMON: f"{SESSION}auth optional pam_idled.so\n{SYSTEMD}"},
        [(WARNING, "pam", "not in the PAM stack of sshd and login")],
    ),
    "only sshd goes without": (
        {"/etc/pam.d/sshd": "session required pam_unix.so\n-session optional pam_systemd.so\n"},
        [(WARNING, "pam", "not in the PAM stack of sshd.")],
    ),
    "by include, substack, a full path and a dash": (
        {
            "/etc/pam.d/sshd": "session include deeper\n",
            "/etc/pam.d/deeper": "session substack deepest\n",
            "/etc/pam.d/deepest": "-session optional \\\n  /lib/security/pam_idled.so silent\n",
        },
        [],
    ),
    "in the vendor's folder": (
        {"/etc/pam.d/sshd": None, "/usr/lib/pam.d/sshd": "session optional pam_systemd.so\n"},
        [(WARNING, "pam", "not in the PAM stack of sshd.")],
    ),
    "sshd is left to the service other": (
        {"/etc/pam.d/sshd": None, "/usr/sbin/sshd": "", "/etc/pam.d/other": "session required pam_deny.so\n"},
        [(ERROR, "pam", "PAM stack of sshd.")],
    ),
    "a stack that includes itself": (
        {"/etc/pam.d/sshd": "@include sshd\n@include common-session\n"},
        [],
    ),
    "after logind's": (
        {COMMON: SESSION + SYSTEMD + IDLED},
        [(WARNING, "pam", "sshd: pam_idled comes after pam_systemd.")],
    ),
    "jumped over": (
        {COMMON: f"session [success=1 default=ignore] pam_succeed_if.so service in crond\n{IDLED}{SYSTEMD}"},
        [(WARNING, "pam", "can be skipped: pam_succeed_if.so ([success=1 default=ignore])")],
    ),
    "cut off": (
        {COMMON: f"session sufficient pam_lucky.so\n{IDLED}{SYSTEMD}"},
        [(WARNING, "pam", "can be skipped: pam_lucky.so (sufficient)")],
    ),
    "no module file": (
        {"/usr/lib/x86_64-linux-gnu/security/pam_idled.so": None},
        [(WARNING, "pam", "PAM is told to load pam_idled.so, and there is no such module.")],
    ),
    "no module file, and it is required": (
        {"/usr/lib/x86_64-linux-gnu/security/pam_idled.so": None, COMMON: IDLED.replace("optional", "required")},
        [(ERROR, "pam", "sshd and login: pam_idled.so is required")],
    ),
    "UsePAM no": (
        {"/etc/ssh/sshd_config": "usepam no\nUsePAM yes\n"},
        [(WARNING, "sshd", "sshd does not use PAM")],
    ),
    "UsePAM no in a drop-in comes first": (
        {"/etc/ssh/sshd_config.d/a.conf": "UsePAM=no\n"},
        [(WARNING, "sshd", "sshd does not use PAM")],
    ),
    "UsePAM yes for some is not for all": (
        {"/etc/ssh/sshd_config": "Match User bob\nUsePAM yes\n"},
        [(WARNING, "sshd", "sshd does not use PAM")],
    ),
    "ClientAliveInterval": (
        {"/etc/ssh/sshd_config": "UsePAM yes\nClientAliveInterval 300\n"},
        [(NOTE, "sshd", "ClientAliveInterval 300 is no idle limit.")],
    ),
    "no sshd": ({"/etc/ssh/sshd_config": None}, []),
    "TIOCSTI allowed": ({TIOCSTI: "1\n"}, [(WARNING, "kernel", "legacy_tiocsti=1")]),
    "TIOCSTI of an old kernel": ({TIOCSTI: None}, [(NOTE, "kernel", "this kernel cannot forbid it")]),
    "utmp": ({"/run/utmp": ""}, [(NOTE, "utmp", "There is a utmp")]),
    "StopIdleSessionSec": (
        {LOGIND: "[Login]\nStopIdleSessionSec=600\n"},
        [(WARNING, "logind", f"StopIdleSessionSec=600 in {LOGIND}.")],
    ),
    "StopIdleSessionSec in a drop-in": (
        {"/usr/lib/systemd/logind.conf.d/50.conf": "StopIdleSessionSec = 15min\n"},
        [(WARNING, "logind", "StopIdleSessionSec=15min in /usr/lib/systemd/logind.conf.d/50.conf.")],
    ),
    "StopIdleSessionSec taken back": (
        {LOGIND: "StopIdleSessionSec=600\n", "/etc/systemd/logind.conf.d/z.conf": "StopIdleSessionSec=infinity\n"},
        [],
    ),
    "StopIdleSessionSec in a drop-in that another hides": (
        {"/usr/lib/systemd/logind.conf.d/a.conf": "StopIdleSessionSec=9\n", "/etc/systemd/logind.conf.d/a.conf": ""},
        [],
    ),
    "IdleAction": ({LOGIND: "IdleAction=suspend\n"}, [(WARNING, "logind", "IdleAction=suspend")]),
    "IdleAction lock": ({LOGIND: "IdleAction=lock\n"}, []),
    "KillUserProcesses": ({LOGIND: "KillUserProcesses=yes\n"}, [(NOTE, "logind", "KillUserProcesses=yes")]),
    "TMOUT": (
        {"/etc/profile.d/cis.sh": "readonly TMOUT=900 ; export TMOUT\n", "/etc/bash.bashrc": "TMOUT='60' # s\n"},
        [(WARNING, "shells", "TMOUT=60 in /etc/bash.bashrc and TMOUT=900 in /etc/profile.d/cis.sh.")],
    ),
    "no TMOUT": ({"/etc/profile": "TMOUT=0\necho $TMOUT; MY_TMOUT=9; [ $TMOUT = 3 ]\n"}, []),
    "timeoutd installed": ({"/usr/sbin/timeoutd": ""}, [(NOTE, "others", "timeoutd is installed, and does not run.")]),
    "timekpr running": ({"/proc/77/comm": "timekprd\n"}, [(WARNING, "others", "timekpr ends sessions too.")]),
    "lingering": ({LINGER: ""}, [(WARNING, "users", "Processes of dora can outlive every session")]),
    "lingering, and it goes too": ({LINGER: "", "/etc/idled/idled.toml": f'{POLICY}end = "user"\n'}, []),
    "lingering, and it goes by a rule": (
        {
            "/var/lib/systemd/linger/nobody": "",
            "/etc/idled/conf.d/a.toml": '[[rule]]\nname = "n"\nmatch = { user = ["nobody"] }\nend = "user"\n',
        },
        [],
    ),
    "no policy": ({"/etc/idled/idled.toml": None}, [(ERROR, "policy", "There is no policy")]),
    "broken policy": (
        {"/etc/idled/idled.toml": 'mode = "enforced"\n'},
        [(ERROR, "policy", "idled.toml: mode: found")],
    ),
    "odd policy": (
        {"/etc/idled/idled.toml": f'{POLICY}[[rule]]\nname = "nothing"\n'},
        [(WARNING, "policy", "rule[1]: sets nothing.")],
    ),
    "root is let off": (
        {"/etc/idled/idled.toml": let_off('user = ["root"]')},
        [
            (WARNING, "policy", "no rule limits: root with a terminal (by free) and root without a terminal"),
            (NOTE, "policy", "root on the console has no limit (by free)."),
        ],
    ),
    "root on the console is let off": (
        {"/etc/idled/idled.toml": let_off('service = ["login"]')},
        [(NOTE, "policy", "root on the console has no limit (by free).")],
    ),
    "forwards are let off": (
        {"/etc/idled/idled.toml": let_off("terminal = false")},
        [(WARNING, "policy", "no rule limits: anybody without a terminal (sftp, forwards) (by free) and root without")],
    ),
}


@pytest.mark.parametrize(("tree", "expected"), TREES.values(), ids=TREES)
def test_what_is_found_in_files(tmp_path: Path, tree: Tree, expected: Found) -> None:
    check(found_on(host(tmp_path, tree)), expected)


UNIT_STATES: dict[str, tuple[dict[str, tuple[str, str, str]], Found]] = {
    "stopped": ({"idled.service": ("loaded", "inactive", "enabled")}, [(ERROR, "units", "idled.service is inactive.")]),
    "fails": (
        {"idled.service": ("loaded", "activating", "enabled")},
        [(ERROR, "units", "idled.service is activating.")],
    ),
    "socket": ({"idled.socket": ("loaded", "failed", "enabled")}, [(ERROR, "units", "idled.socket is failed.")]),
    "not enabled": (
        {"idled.service": ("loaded", "active", "disabled"), "idled.socket": ("loaded", "active", "disabled")},
        [(WARNING, "units", "idled.service and idled.socket: not enabled.")],
    ),
    "masked": ({"idled.service": ("masked", "inactive", "masked")}, [(ERROR, "units", "idled.service: not installed")]),
    "no logind": (
        {"systemd-logind.service": ("loaded", "inactive", "static")},
        [(WARNING, "logind", "systemd-logind does not run.")],
    ),
    "autolog runs": ({"autolog.service": ("loaded", "active", "disabled")}, [(WARNING, "others", "autolog ends")]),
    "autolog will run": ({"autolog.service": ("loaded", "inactive", "enabled")}, [(WARNING, "others", "autolog ends")]),
}


@pytest.mark.parametrize(("units", "expected"), UNIT_STATES.values(), ids=UNIT_STATES)
def test_what_systemd_says(tmp_path: Path, units: dict[str, tuple[str, str, str]], expected: Found) -> None:
    check(found_on(host(tmp_path, {}, UNITS | units)), expected)


def test_without_systemd(tmp_path: Path) -> None:
    check(found_on(host(tmp_path, {}, units={})), [(ERROR, "units", "systemd cannot be asked")])


def test_a_daemon_that_does_not_run_is_not_asked_since_that_would_start_it(tmp_path: Path) -> None:
    def ask(method: str) -> dict[str, Any]:
        raise AssertionError(method)

    stopped = host(tmp_path, {}, UNITS | {"idled.service": ("loaded", "inactive", "enabled")})
    found = list(doctor.findings(stopped, ask, probing=True))
    assert any(finding.what == "No login was tried: the daemon does not run." for finding in found)


WHY = "the daemon was started with --observe"
STATES: dict[str, tuple[dict[str, Any], Found]] = {
    "observe": ({"mode": "observe", "effective": False, "why": WHY}, [(WARNING, "daemon", f"not ended: {WHY}.")]),
    "no limits": ({"effective": False, "why": "no rule sets a limit"}, [(ERROR, "daemon", "no rule sets a limit.")]),
    "rejected": (
        {"sources": [{"name": "policy", "works": False, "note": "rejected"}]},
        [(ERROR, "policy", "The daemon says of policy: rejected.")],
    ),
    "no journal": (
        {"sources": [{"name": "journal", "works": False, "note": "there is none"}]},
        [(WARNING, "journal", "The daemon says of journal: there is none.")],
    ),
}


@pytest.mark.parametrize(("status", "expected"), STATES.values(), ids=STATES)
def test_what_the_daemon_says(tmp_path: Path, status: dict[str, Any], expected: Found) -> None:
    check(found_on(host(tmp_path, {}), answering(**status)), expected)


@pytest.mark.parametrize("failure", [Unreachable("no answer within 10 s"), VarlinkError("io.idled.NotPermitted")])
def test_a_daemon_that_does_not_answer(tmp_path: Path, failure: Exception) -> None:
    def ask(method: str) -> dict[str, Any]:
        raise failure

    check(found_on(host(tmp_path, {}), ask), [(ERROR, "daemon", f"The daemon does not answer: {failure}.")])


def test_sshd_is_believed_rather_than_its_files(tmp_path: Path) -> None:
    said = "port 22\nusepam yes\nclientaliveinterval 0\n"
    check(found_on(host(tmp_path, {"/etc/ssh/sshd_config": "UsePAM no\n"}, sshd=said)), [])
    said = "usepam no\nclientaliveinterval 0\n"
    check(found_on(host(tmp_path, {}, sshd=said)), [(WARNING, "sshd", "does not use PAM")])


def test_a_stack_is_what_pam_makes_of_it(tmp_path: Path) -> None:
    stack = session_stack(host(tmp_path, {}), "su-l")
    assert stack is not None
    assert [entry.module for entry in stack] == [
        *("pam_keyinit.so", "pam_env.so", "pam_permit.so", "pam_deny.so", "pam_unix.so", "pam_idled.so"),
        "pam_systemd.so",
    ]
    assert stack[-2].file == COMMON


@pytest.mark.parametrize(
    ("tree", "mend"),
    [
        ({COMMON: SESSION + SYSTEMD}, "pam-auth-update --enable idled"),
        ({COMMON: SESSION + SYSTEMD, "/usr/share/pam-configs/idled": None}, "/etc/pam.d/sshd and /etc/pam.d/login"),
        ({"/etc/pam.d/sshd": SESSION}, 'Write the line "session optional pam_idled.so" into /etc/pam.d/sshd, before'),
        ({COMMON: SESSION + SYSTEMD + IDLED}, f"Move the line with pam_idled.so in {COMMON} above"),
    ],
)
def test_how_a_stack_is_mended_is_told_by_where_the_gap_is(tmp_path: Path, tree: Tree, mend: str) -> None:
    mends = [finding.mend for finding in found_on(host(tmp_path, tree)) if finding.level >= Level.WARNING]
    assert mends
    assert all(mend in found for found in mends)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Callable[..., int]]:
    """The verb, on a made-up host."""

    def make(tree: Tree, **status: Any) -> Callable[..., int]:
        found = host(tmp_path / "root", tree)
        monkeypatch.setattr(doctor, "Host", lambda: found)
        monkeypatch.setattr(doctor, "ask", lambda _, method: answering(**status)(method))
        return lambda json=False: doctor.run(Namespace(json=json, probe=False, socket=None))

    return make


@pytest.mark.parametrize(
    ("tree", "code", "verdict"),
    [
        ({}, 0, "All is well: sessions that are due are ended here."),
        ({TIOCSTI: "1"}, 1, "Not all is well here: no errors, 1 warning."),
        (
            {TIOCSTI: "1", "/etc/idled/idled.toml": None},
            2,
            "Some sessions are NOT ended here when they are due: 1 error, 1 warning.",
        ),
    ],
)
def test_the_exit_code_and_the_first_line_tell_the_worst(
    made_up: Callable[..., Callable[..., int]],
    capsys: pytest.CaptureFixture[str],
    tree: Tree,
    code: int,
    verdict: str,
) -> None:
    run = made_up(tree)
    assert run() == code
    first, empty, *rest = capsys.readouterr().out.splitlines()
    assert (first, empty) == (verdict, "")
    words = [line.split()[0] for line in rest if line and not line.startswith(" ")]
    order = ["ERROR", "warning", "note", "ok"]
    assert words == sorted(words, key=order.index)
    assert run(json=True) == code
    shown = json.loads(capsys.readouterr().out)
    assert shown["worst"] == ["ok", "warning", "error"][code] or (code == 0 and shown["worst"] == "note")
    assert {tuple(finding) for finding in shown["findings"]} == {("level", "about", "what", "why", "mend")}


def test_text_from_files_is_made_harmless(
    made_up: Callable[..., Callable[..., int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert made_up({LOGIND: "IdleAction=\x1b]0;boo\x07\n"})() == 1
    assert "IdleAction=?]0;boo? in" in capsys.readouterr().out


def test_it_can_be_called_and_fits_into_80_columns(fake: Fake) -> None:
    with fake.answering(GetStatus=FINE):
        shown = fake.on_terminal("doctor")
        plain = fake.run("doctor", "--json")
    assert shown.code == plain.returncode
    assert all(len(line) <= 80 for line in shown), shown
    assert any(finding["about"] == "daemon" for finding in json.loads(plain.stdout)["findings"])


def test_only_root_may_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Misuse, match="root"):
        doctor.run(Namespace(json=False, probe=True, socket=None))


def test_without_pamela_it_is_said_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "find_spec", lambda _: None)
    found = list(doctor.findings(host(tmp_path, {}), answering(), probing=True))
    check(found, [(WARNING, "probe", "the Python module pamela is missing")])
    assert found[-1].mend == "apt-get install python3-pamela"


def test_the_manual_tells_the_exit_codes() -> None:
    help_text = idlectl("doctor", "--help").stdout
    assert all(f"\n  {code}  " in help_text for code in (0, 1, 2))
