# SPDX-License-Identifier: LGPL-2.1-or-later
"""What confines the daemon beside its unit is understood by the programs of each release that read it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .apparmor import STRACE, Profile, Use, uses
from .builder import builder, copy_tree, inside
from .installed import Installed
from .terminal import PROMPT

# The first run makes the images of what reads them.
pytestmark = pytest.mark.timeout(1200)

# As on a kernel that has all that the profile speaks of.
PARSE = """
parse() { apparmor_parser --skip-kernel-load --skip-cache --kernel-features=/etc/apparmor.d/abi/3.0 "$@"; }
parse --Werror packaging/apparmor/usr.sbin.idled
parse --preprocess packaging/apparmor/usr.sbin.idled
"""
COMPILE = "make -C packaging/rpm/selinux -f /usr/share/selinux/devel/Makefile idled.pp"
RPMBUILD = """
version=$(rpmspec --query --srpm --queryformat '%{version}' packaging/rpm/idled.spec)
mkdir -p /tmp/rpm/SOURCES
./dev sources | tar --create --gzip --transform "s,^\\(\\./\\)\\?,idled-$version/," --files-from=- \
    --file="/tmp/rpm/SOURCES/idled-$version.tar.gz"
rpmbuild -bb --nodeps --define "_topdir /tmp/rpm" --load tests/guest/fedora.macros packaging/rpm/idled.spec
cp -r /tmp/rpm/RPMS .
"""

# The daemon waits before it is one, until somebody looks on.
WAIT = """
[Service]
ExecStart=
ExecStart=/bin/sh -c 'kill -STOP $$$$; exec /usr/sbin/idled'
"""
DROP_IN = "/run/systemd/system/idled.service.d/wait.conf"
EXTEND = """
kill_after = "1s"
extend = { limit = "absolute", by_at_most = "10min", times = 2, reauthenticate = true }
"""
FORBIDDEN = (
    Use("w", "/etc/idled/idled.toml"),
    Use("w", "/etc/shadow"),
    Use("w", "/sys/fs/cgroup/user.slice/cgroup.procs"),
    Use("r", "/proc/1/environ"),
    Use("r", "/home/alice/.ssh/id_ed25519"),
    Use("x", "/usr/bin/dash"),
)
#: Done, unless the session has gone, and its cgroup with it, before the thread that does it gets to run.
KILLS = Use("w", "/sys/fs/cgroup/user.slice/user-1001.slice/session-1.scope/cgroup.kill")
#: With it systemd starts the daemon; the profile begins there.
START = Use("x", "/usr/sbin/idled")


@pytest.fixture(scope="module")
def tools(guests: None, release: str) -> Path:
    """A system with what reads the papers."""
    return builder(release)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project."""
    copy_tree(tmp_path / "src")
    return tmp_path / "src"


def test_the_apparmor_profile_and_nothing_more_than_the_unit_allows(tools: Path, tree: Path) -> None:
    whole = inside(tools, tree, "sh", "-euc", PARSE)
    allowed = set(re.findall(r"^\s*capability (\w+),", whole, re.MULTILINE))
    denied = set(re.findall(r"^\s*deny capability (\w+),", whole, re.MULTILINE))
    assert allowed - denied == {"dac_override", "dac_read_search", "kill", "sys_ptrace"}
    ways = re.findall(r"^[^#\n]*\s[mrwkl]*([pPcCuU]\w?x),", whole, re.MULTILINE)
    assert ways == [], "NoNewPrivileges= would have each way into another profile fail"


def test_the_selinux_module_compiles(tools: Path, tree: Path) -> None:
    inside(tools, tree, "sh", "-euc", COMPILE)
    assert (tree / "packaging/rpm/selinux/idled.pp").stat().st_size > 10_000


def test_the_rpm_packages_are_built(tools: Path, tree: Path) -> None:
    """As far as Debian's rpmbuild goes, with Fedora's macros stood in for."""
    inside(tools, tree, "sh", "-euc", RPMBUILD)
    packages = {path.name.partition("-0")[0]: path for path in (tree / "RPMS").rglob("*.rpm")}
    listed = {
        name: set(
            inside(tools, tree, "rpm", "--query", "--list", "--package", f"/src/{path.relative_to(tree)}").split()
        )
        for name, path in packages.items()
    }
    assert set(listed) == {"idled", "idled-selinux", "pam_idled"}
    assert "/usr/lib64/security/pam_idled.so" in listed["pam_idled"]
    assert "/usr/share/selinux/packages/targeted/idled.pp" in listed["idled-selinux"]
    modules = {f"/usr/lib/python3/dist-packages/{path.relative_to(tree)}" for path in (tree / "idled").rglob("*.py")}
    places = ("/usr/sbin/idled", "/usr/bin/idlectl", "/etc/idled/idled.toml", "/usr/lib/systemd/system/idled.service")
    assert {*modules, *places} <= listed["idled"]


def resolved(idled: Installed, use: Use) -> Use:
    """A program or socket is named by a path that may lead over links; what is opened is not."""
    if use.how == "x" or use.path.startswith("/var/run/"):
        return Use(use.how, idled.machine.run("realpath", "-m", use.path).stdout.strip())
    return use


def test_all_files_that_the_daemon_uses_are_named_in_the_profile(
    idled: Installed, tools: Path, tree: Path, tmp_path: Path
) -> None:
    with watched(idled, tmp_path / "seen"):
        live(idled)
    used = {resolved(idled, use) for use in uses(tmp_path / "seen")} - {START}
    assert {use.path.rpartition("/")[2] for use in used} >= {"idled.toml", "ask_pam.py", "shadow"}
    profile = Profile(inside(tools, tree, "sh", "-euc", PARSE))
    assert [use for use in sorted({*used, KILLS}) if not profile.allows(use)] == []
    assert [use for use in FORBIDDEN if profile.allows(use)] == []


def live(idled: Installed) -> None:
    """What happens to sessions: a wrong password and the right one, a warning, survivors, each extent, a console."""
    idled.limits(idle="20s", absolute="1h", warn='["4s"]', more=EXTEND)
    with idled.login("alice") as terminal:
        terminal.type("nohup sh -c 'trap \"\" HUP; while :; do sleep 1; done' >/dev/null 2>&1 &\n")
        for password, said in (("wrong", "wrong password"), ("alice", "is now 1h 10min")):
            terminal.type("idlectl extend\n")
            terminal.expect("Password of alice: ")
            terminal.type(f"{password}\n")
            terminal.expect(said)
        terminal.type("mesg n\n")
        terminal.expect("this session will be ended", timeout=60)
        terminal.wait_closed(60)
    idled.event("end-escalated")
    idled.limits(idle="8s", warn='["4s"]', more='end = "user"')
    with idled.machine.console("bob") as console:
        console.expect(PROMPT)
        console.expect("this session will be ended", timeout=30)
        console.wait_closed(20)
    idled.limits(idle="1h", more='end = "connection"')
    with idled.machine.login("carol", "echo up; sleep 1000", options=("-T",)) as running:
        running.expect("up")
        idled.machine.run("idlectl", "explain", idled.session("carol")["id"])
        idled.machine.run("idlectl", "end", "--user", "carol", "--yes")
        running.wait_closed(10)
    idled.machine.write("/etc/idled/idled.toml", "mode = 1\n")
    idled.machine.run("systemctl", "reload", "idled")
    idled.event("config-rejected")


@contextmanager
def watched(idled: Installed, folder: Path) -> Iterator[None]:
    """Start the daemon anew, and have strace look on from its first moment to its last."""
    machine = idled.machine
    folder.mkdir()
    machine.run("systemctl", "stop", "idled")
    machine.write(DROP_IN, WAIT)
    try:
        machine.sh("systemctl daemon-reload; systemctl start --no-block idled")
        pid = waiting(machine.root / "system.slice" / "idled.service" / "cgroup.procs")
        with subprocess.Popen([*STRACE, "-o", folder / "of", "-p", str(pid)]) as strace:
            traced(pid)
            os.kill(pid, signal.SIGCONT)
            machine.wait_journal(20, since=idled.since, IDLED_EVENT="started")
            yield
            machine.run("systemctl", "stop", "idled")
            strace.wait(10)
    finally:
        machine.sh(f"rm {DROP_IN}; systemctl daemon-reload; systemctl stop idled")


def waiting(processes: Path) -> int:
    """The process in a cgroup that has stopped itself."""
    deadline = time.monotonic() + 20
    while True:
        with suppress(OSError, KeyError):  # it is not there yet, or has another before it
            for pid in map(int, processes.read_text().split()):
                if field(pid, "State").startswith("T"):
                    return pid
        assert time.monotonic() < deadline, "the daemon does not wait"
        time.sleep(0.02)


def traced(pid: int) -> None:
    deadline = time.monotonic() + 20
    while field(pid, "TracerPid") == "0":
        assert time.monotonic() < deadline, "strace does not look on"
        time.sleep(0.02)


def field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)[name]
