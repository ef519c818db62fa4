# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Ansible example, as an administrator runs it: from outside, by ssh, on a host that has never seen idled."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idled.core.span import HOUR, MIN

from .builder import packages
from .machine import PROJECT, Machine
from .terminal import PROMPT

# The first run makes the images that the packages are built in.
pytestmark = pytest.mark.timeout(1200)

EXAMPLES = PROJECT / "packaging" / "examples"
PLAYBOOK = EXAMPLES / "ansible" / "idled.yml"
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
#: Nothing of whoever runs the tests. As by default, one connection serves many tasks; but it is this module's own.
SSH = (
    "-F none -o ControlPath={home}/ssh -o IdentitiesOnly=yes -o StrictHostKeyChecking=no"
    " -o UserKnownHostsFile=/dev/null"
)
SETTINGS = f"""
[defaults]
home = {{home}}
nocolor = true
interpreter_python = auto_silent
private_key_file = {{home}}/key
[ssh_connection]
pipelining = true
ssh_args = {SSH}
"""
# Ansible's module for apt wants it on the host and would fetch it, but a guest that has booted has no network.
PREPARE = """
set -eu
cp /etc/resolv.conf "$1/etc/resolv.conf"
chroot "$1" sh -c 'apt-get -qq update && apt-get -qq --no-install-recommends install python3-apt'
rm "$1/etc/resolv.conf"
"""
#: What comes before has been done.
POLICY = "--start-at-task=The policy"
NO_MODULES = "sed -i '/pam_idled/d; /pam_systemd/d' /etc/pam.d/common-session"


class Host:
    """A host as Ansible reaches it."""

    def __init__(self, machine: Machine, home: Path) -> None:
        self.machine = machine
        self._home = home
        built = packages(machine.release)
        self._packages = [str(path) for name in ("idled", "libpam-idled") for path in built.glob(f"{name}_*.deb")]
        (home / "ansible.cfg").write_text(SETTINGS.format(home=home))
        (home / "key").touch(mode=0o600)
        (home / "key").write_text(machine.run("cat", "/root/.ssh/id_ed25519").stdout)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold the connection open that Ansible's clients share."""
        ssh = ("ssh", *SSH.format(home=self._home).split(), "-i", f"{self._home}/key", "-M", "-N", "root@127.0.0.1")
        with subprocess.Popen([*self._way_in, *ssh], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as master:
            yield
            master.terminate()

    def play(self, *options: str, **variables: Any) -> tuple[dict[str, int], str]:
        """Run the playbook: what it counted, and all that it said."""
        given = json.dumps({"idled_packages": self._packages} | variables)
        played = subprocess.run(
            [*self._way_in, ANSIBLE, "-i", "127.0.0.1,", "-u", "root", "-e", given, *options, PLAYBOOK],
            env=os.environ | {"ANSIBLE_CONFIG": str(self._home / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=600,
        )
        recap = re.search(r"^127\.0\.0\.1 +: (.*)$", played.stdout, flags=re.M)
        assert recap, played.stdout
        counted = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap[1])}
        assert (played.returncode == 0) == (counted["failed"] == counted["unreachable"] == 0), played.stdout
        return counted, played.stdout

    def ask(self, *argv: str) -> Any:
        """What idlectl says there."""
        return json.loads(self.machine.run("idlectl", *argv, "--json").stdout)

    def gives(self) -> list[str]:
        """What alice would have, were she to log in."""
        values: list[str] = self.ask("explain", "--user", "alice", "--service", "sshd")["rules"][-1]["gives"]
        return values

    @property
    def _way_in(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.machine.pid}", "--net", "--")


@pytest.fixture
def host(guests: None, release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    home = tmp_path_factory.mktemp("ansible")  # a short name: the name of a socket has 107 letters at most
    with Machine(release, install=False, prepare=("sh", "-c", PREPARE, "prepare"), timeout=300) as machine:
        reached = Host(machine, home)
        with reached.connected():
            yield reached


def test_it_installs_and_enforces_and_changes_nothing_when_run_again(host: Host) -> None:
    assert host.machine.run("sh", "-c", "command -v idlectl", check=False).returncode != 0
    counted, said = host.play()
    assert (counted["failed"], said.count("RUNNING HANDLER [Reload the policy]")) == (0, 1), said
    assert counted["changed"] >= 5, said
    status = host.ask("status")
    assert (status["mode"], status["effective"]) == ("enforce", True)
    assert status["files"] == ["/etc/idled/idled.toml", "/etc/idled/conf.d/50-site.toml"]
    assert not host.ask("check")["problems"]
    assert {"idle_timeout = 15min", "absolute_timeout = 12h", "extend = off"} <= set(host.gives())
    assert host.machine.run("idlectl", "doctor", check=False).returncode in (0, 1)
    with host.machine.login("alice") as alice:
        alice.expect(PROMPT, timeout=20)
        [session] = [session for session in host.ask("list")["sessions"] if session["user"] == "alice"]
    assert (session["idleTimeoutUSec"], session["absoluteTimeoutUSec"]) == (15 * MIN, 12 * HOUR)
    counted, said = host.play()
    assert (counted["failed"], counted["changed"]) == (0, 0), said


def test_a_policy_is_exchanged_and_a_wrong_one_or_a_host_that_ends_nobody_fails(host: Host, tmp_path: Path) -> None:
    host.play()
    counted, said = host.play(POLICY, idled_policy=str(EXAMPLES / "stig-rhel9.toml"))
    assert (counted["failed"], counted["changed"]) == (0, 2), said  # the file, and the handler
    assert "idle_timeout = 10min" in host.gives()

    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[defaults]\nidle_timeout = "10 parsecs"\n')
    counted, said = host.play(POLICY, idled_policy=str(wrong))
    assert (counted["failed"], counted["changed"]) == (1, 0), said
    assert "unknown unit of time 'parsecs'" in said
    assert not host.ask("check")["problems"]
    assert "idle_timeout = 10min" in host.gives()

    host.machine.sh(NO_MODULES)
    counted, said = host.play("--start-at-task=The daemon")
    assert (counted["failed"], counted["changed"]) == (1, 0), said
    assert "Neither pam_idled nor pam_systemd is in the PAM stack of sshd and login." in said
