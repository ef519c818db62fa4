# SPDX-License-Identifier: LGPL-2.1-or-later
"""idlectl doctor in a booted guest: as installed, with each thing broken that it looks at, and with a real login.

What it claims is held against what happens: where it says that sessions are ended, one is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.terminal.bench import until

from .installed import Installed
from .machine import SSHD_ANEW, Machine
from .pane import pane
from .test_idlectl import say

COMMON = "/etc/pam.d/common-session"
TIOCSTI = "/proc/sys/dev/tty/legacy_tiocsti"
PLACES = "/etc/pam.d /etc/ssh /etc/systemd /etc/profile.d"
#: The limit, and seconds in which a session that is known is surely ended by it.
IDLE, ENDED = "2s", 30
TAKE_OUT = f"sed -i /pam_idled/d {COMMON}"
TAKE_BOTH_OUT = f"{TAKE_OUT}; sed -i /pam_systemd/d {COMMON}"
PUT_LAST = f"sed -i '/pam_idled/{{h;d}}; $G' {COMMON}"
NO_PAM = f"echo 'UsePAM no' >/etc/ssh/sshd_config.d/a.conf; {SSHD_ANEW}"

Report = list[dict[str, str]]


@pytest.fixture
def tried(idled: Installed) -> Iterator[Installed]:
    """Limits are enforced, TIOCSTI is off, so all is well; what a test breaks is put back."""
    machine = idled.machine
    machine.sh(f"mkdir /root/kept && cp -a --parents {PLACES} /root/kept")
    machine.sh(f"echo 0 >/run/tiocsti && mount --bind /run/tiocsti {TIOCSTI}")
    idled.limits(idle=IDLE, absolute="12h")
    yield idled
    machine.sh(f"umount {TIOCSTI}")
    machine.sh(f"rm -r {PLACES} && cp -a /root/kept/etc / && rm -r /root/kept; {SSHD_ANEW}")


def doctor(machine: Machine, *arguments: str) -> tuple[int, Report]:
    """Its exit code and what it found."""
    done = machine.run("idlectl", "doctor", "--json", *arguments, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def wrong(report: Report) -> dict[str, str]:
    """What is not well, by what it is about."""
    return {finding["about"]: finding["what"] for finding in report if finding["level"] in ("warning", "error")}


def about(report: Report, area: str) -> list[str]:
    return [finding["what"] for finding in report if finding["about"] == area]


def test_as_installed_it_warns_of_observe_mode(guests: None, release: str) -> None:
    with Machine(release) as machine:
        code, report = doctor(machine)
        as_is = machine.sh(f"cat {TIOCSTI}")
    found = wrong(report)
    assert code == 1
    assert found.pop("daemon").startswith("Sessions are not ended: observe mode")
    assert list(found) == ([] if as_is == "0" else ["kernel"])
    there_is = {"bookworm": "There is a utmp", "trixie": "There is no utmp"}[release]
    assert about(report, "utmp")[0].startswith(there_is)
    assert "autolog is installed, and does not run." in about(report, "others")


def test_where_all_is_well_it_says_so_in_80_columns(tried: Installed) -> None:
    with pane(tried.machine) as looked_at:
        first, *_, code = looked_at.look("idlectl doctor")
    assert first == "All is well: sessions that are due are ended here."
    assert code == "code 0"


@pytest.mark.parametrize(
    ("script", "area", "what", "code", "told"),
    [
        (TAKE_OUT, "pam", "pam_idled is not in the PAM stack of sshd and login.", 1, True),
        (PUT_LAST, "pam", "login: pam_idled comes after pam_systemd.", 1, True),
        (TAKE_BOTH_OUT, "pam", "Neither pam_idled nor pam_systemd is in the PAM stack of sshd and login.", 2, False),
        (NO_PAM, "sshd", "sshd does not use PAM (UsePAM no).", 1, False),
    ],
    ids=["module out", "order", "both modules out", "UsePAM no"],
)
def test_a_way_in_that_is_broken(tried: Installed, script: str, area: str, what: str, code: int, told: bool) -> None:
    """`told`: whether idled is told of alice's session, and so ends it on time; else it is found within a minute."""
    tried.machine.sh(script)
    found_code, report = doctor(tried.machine)
    assert (found_code, wrong(report)) == (code, {area: what})
    if not told:
        return
    with tried.machine.login("alice") as alice:
        alice.wait_closed(ENDED)


@pytest.mark.parametrize("script", [TAKE_OUT, TAKE_BOTH_OUT], ids=["module out", "both modules out"])
def test_what_it_tells_to_do_mends_it(tried: Installed, script: str) -> None:
    tried.machine.sh(script)
    _, report = doctor(tried.machine)
    command, _, _ = report[0]["mend"].partition(" (")
    tried.machine.sh(f"DEBIAN_FRONTEND=noninteractive {command}")
    code, report = doctor(tried.machine, "--probe")
    assert (code, wrong(report)) == (0, {})


@pytest.mark.parametrize(
    ("script", "area", "what", "code"),
    [
        ("echo StopIdleSessionSec=15min >>/etc/systemd/logind.conf",
         "logind", "logind ends idle sessions too: StopIdleSessionSec=15min in /etc/systemd/logind.conf.", 1),
        ("echo 'readonly TMOUT=900' >/etc/profile.d/cis.sh",
         "shells", "Shells end themselves at an idle prompt: TMOUT=900 in /etc/profile.d/cis.sh.", 1),
        (f"umount {TIOCSTI}; echo 1 >/run/tiocsti; mount --bind /run/tiocsti {TIOCSTI}",
         "kernel", "Programs can type into their own terminal as if a person did (dev.tty.legacy_tiocsti=1).", 1),
    ],
    ids=["StopIdleSessionSec", "TMOUT", "TIOCSTI"],
)  # fmt: skip
def test_what_stands_beside_it(tried: Installed, script: str, area: str, what: str, code: int) -> None:
    tried.machine.sh(script)
    found_code, report = doctor(tried.machine)
    assert (found_code, wrong(report)) == (code, {area: what})


def test_a_tool_that_runs_beside_it(tried: Installed) -> None:
    tried.machine.sh("systemctl start autolog")
    try:
        code, report = doctor(tried.machine)
    finally:
        tried.machine.sh("systemctl stop autolog")
    assert (code, wrong(report)) == (1, {"others": "autolog ends sessions too."})


@pytest.mark.parametrize("units", ["idled", "idled.socket idled-varlink.socket idled"])
def test_a_daemon_that_is_stopped_is_told_and_not_started(tried: Installed, units: str) -> None:
    tried.machine.sh(f"systemctl stop {units}")
    code, report = doctor(tried.machine, "--probe")
    assert code == 2
    assert "idled.service is inactive" in wrong(report)["units"]
    assert tried.machine.run("systemctl", "is-active", "idled", check=False).stdout == "inactive\n"


def test_it_changes_nothing(tried: Installed) -> None:
    machine = tried.machine
    state = (
        "find /etc /var/lib/systemd /run/systemd/system -newer /run/before; systemctl list-units --no-legend --plain"
    )
    machine.sh("touch /run/before")
    before = set(machine.sh(state).splitlines())
    assert doctor(machine)[0] == 0
    after = set(machine.sh(state).splitlines())
    # What is left of a login before may go meanwhile.
    assert {line for line in before ^ after if not line.startswith(("user", "session-"))} == set()


@pytest.mark.parametrize("closed", ["sshd_config", "sshd_config.d"])
def test_a_user_is_told_what_a_user_may_know(tried: Installed, closed: str) -> None:
    tried.machine.sh(f"chmod go= /etc/ssh/{closed}")
    as_alice = ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "idlectl", "doctor")
    done = tried.machine.run(*as_alice, "--json", check=False)
    report = json.loads(done.stdout)["findings"]
    assert about(report, "doctor") == [f"Not looked at, since only root may: /etc/ssh/{closed}."]
    assert about(report, "sshd") == []  # it cannot be told, so nothing is
    assert done.returncode == 0, wrong(report)
    refused = tried.machine.run(*as_alice, "--probe", check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "for which you must be root" in refused.stderr


# With a login


def left(machine: Machine) -> str:
    """Sessions of people, and the unit by which a login is made; a user manager may stay for ten seconds."""
    sessions = machine.sh("loginctl list-sessions --no-legend | grep -v manager", check=False)
    return sessions + machine.sh("systemctl list-units --no-legend --plain 'run-*.service'")


def test_a_login_is_seen_and_leaves_nothing(tried: Installed) -> None:
    code, report = doctor(tried.machine, "--probe")
    seen, gone = about(report, "probe")
    assert (code, wrong(report)) == (0, {})
    assert re.fullmatch(r"A login through the PAM stack of sshd was seen \d{1,3} ms after it was open\.", seen)
    assert gone == "That session was closed, and nothing is left of it."
    assert tried.sessions() == []
    until(lambda: left(tried.machine) == "")
    assert tried.event("session-opened", IDLED_USER="root")
    assert tried.event("session-closed", IDLED_USER="root")


def test_a_login_is_a_session_of_its_own_when_it_is_tried_from_within_one(tried: Installed) -> None:
    tried.limits(idle="15min")
    with tried.login("root") as root:
        shown = say(root, "idlectl doctor --probe", 30)
        assert tried.session("root")
    assert "was seen" in shown
    assert shown.endswith("code 0")


PROBES: dict[str, Any] = {
    "module out": (TAKE_OUT, 1, "seen through logind alone, not through pam_idled."),
    "both modules out": (TAKE_BOTH_OUT, 2, "was not seen within 1 s."),
    "nobody may": ("sed -i '1i session required pam_deny.so' /etc/pam.d/sshd", 2, "of sshd failed: "),
}


@pytest.mark.parametrize(("script", "code", "what"), PROBES.values(), ids=PROBES)
def test_a_login_that_goes_wrong(tried: Installed, script: str, code: int, what: str) -> None:
    tried.machine.sh(script)
    found_code, report = doctor(tried.machine, "--probe")
    assert found_code == code
    assert what in wrong(report)["probe"]
    until(lambda: left(tried.machine) == "")


def test_without_pamela_it_says_where_to_get_it(tried: Installed) -> None:
    module = tried.machine.sh("python3 -c 'import pamela; print(pamela.__file__)'")
    tried.machine.sh('mv "$1" /root/pamela', module)
    try:
        code, report = doctor(tried.machine, "--probe")
    finally:
        tried.machine.sh('mv /root/pamela "$1"', module)
    assert (code, wrong(report)) == (1, {"probe": "No login was tried: the Python module pamela is missing."})
    assert next(finding["mend"] for finding in report if finding["about"] == "probe").endswith("python3-pamela")
