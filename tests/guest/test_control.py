# SPDX-License-Identifier: LGPL-2.1-or-later
"""The control service in real sessions: who gets what, clients that nobody here wrote, a flood that delays no end."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import varlink  # type: ignore[import-untyped]

from tests.terminal.bench import until

from .installed import LATE, SEC, Installed, number
from .machine import Machine

FLOOD = Path(__file__).parents[1] / "flood.py"
SOCKET = "/run/idled/io.idled"
SUDO = "/etc/sudoers.d/control"
ASK = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as link:
    link.connect("/run/idled/io.idled")
    message = {"method": f"io.idled.{sys.argv[1]}", "parameters": json.loads(sys.argv[2])}
    link.sendall(json.dumps(message).encode() + b"\\0")
    data = b""
    while not data.endswith(b"\\0"):
        data += link.recv(1 << 16)
print("ANSWER " + data[:-1].decode() + " END")
"""


@pytest.fixture
def office(idled: Installed) -> Installed:
    """The project, and in the guest what people ask the service with."""
    idled.machine.write("/usr/local/bin/ask.py", ASK)
    idled.machine.write(SUDO, "ALL ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
    return idled


def ask(idled: Installed, who: str, method: str, *, way: str = "", **parameters: Any) -> Any:
    """What somebody who logs in and asks gets: parameters, or the name of an error. `way`: what runs the client."""
    said = json.dumps(parameters).replace('"', '\\"')
    with idled.machine.login(who, f'{way} python3 /usr/local/bin/ask.py {method} "{said}"') as terminal:
        terminal.expect("ANSWER (.*) END", timeout=20)
        text = "".join(terminal.text.split("ANSWER ", 1)[1].rpartition(" END")[0].splitlines())
    answer = json.loads(text)
    return answer["error"].rpartition(".")[2] if "error" in answer else answer["parameters"]


def test_everybody_sees_their_own_sessions_and_those_of_others_as_the_policy_says(office: Installed) -> None:
    office.limits(more='[access]\nview = ["user:carol"]')
    with office.login("alice"), office.login("bob"):
        assert {session["user"] for session in ask(office, "bob", "ListSessions")["sessions"]} == {"bob"}
        assert {"alice", "bob", "carol"} == {one["user"] for one in ask(office, "carol", "ListSessions")["sessions"]}
        name = office.session("alice")["id"]
        assert ask(office, "bob", "GetSession", session=name) == "NotPermitted"
        assert ask(office, "bob", "Explain", session=name) == "NotPermitted"
        assert ask(office, "carol", "Explain", session=name)["session"]["user"] == "alice"
        assert ask(office, "carol", "End", session=name) == "NotPermitted"
        assert ask(office, "carol", "Reload") == "NotPermitted"
        assert ask(office, "bob", "ExplainLogin", user="alice") == "NotPermitted"
        assert ask(office, "carol", "ExplainLogin", user="alice")["rules"][-1]["name"] == "defaults"
        assert office.session("alice")["state"] == "open"


def test_who_names_no_session_means_the_one_they_are_in(office: Installed) -> None:
    with office.login("alice"):  # so that there is another one of hers, and her user manager stays
        other = office.session("alice")["id"]
        for way in ("", "setsid", "sudo", "env -i /usr/bin/setsid"):
            found = ask(office, "alice", "GetSession", way=way)
            assert "session" in found, f"{way}: {found}"
            assert (found["session"]["user"], found["session"]["terminals"]) == ("alice", [])
            assert found["session"]["id"] != other
        carols = ask(office, "alice", "GetSession", way="sudo -u carol setsid")  # she sees in which one she is
        assert carols["session"]["user"] == "alice"
        assert ask(office, "alice", "End", way="sudo -u carol setsid", session=other) == "NotPermitted"


def test_who_is_in_no_session_has_none(office: Installed) -> None:
    said = office.machine.run("python3", "/usr/local/bin/ask.py", "GetSession", "{}").stdout
    assert "io.idled.NoSuchSession" in said


def test_who_may_end_a_session_ends_it_and_says_why(office: Installed) -> None:
    office.machine.sh("groupadd -f helpdesk; gpasswd -a bob helpdesk")
    office.policy('mode = "observe"\n[defaults]\n[access]\nend = ["group:helpdesk"]')
    with office.login("alice") as terminal:
        name = office.session("alice")["id"]
        assert ask(office, "alice", "End", session=name) == "NotPermitted"
        reason = "disk \u202e\x1b[31m full " + "x" * 500
        assert ask(office, "bob", "End", session=name, reason=json.dumps(reason)[1:-1]) == {}
        terminal.expect("idled: session ended by bob: disk", timeout=10)
        terminal.wait_closed(10)
    ended = office.event("ended", IDLED_USER="alice")
    assert (ended["IDLED_REASON"], ended["IDLED_BY"]) == ("request", "bob")
    assert len(ended["MESSAGE"]) < 400
    office.machine.sh("gpasswd -d bob helpdesk")


def test_root_in_sudo_is_told_from_root(office: Installed) -> None:
    with office.login("alice") as terminal:
        session = office.session("alice", terminals=1)
        assert ask(office, "bob", "End", way="sudo", session=session["id"]) == {}
        terminal.expect("idled: session ended by root in session [^ ]+ of bob", timeout=10)


# Clients that nobody here wrote


class Varlinkctl:
    """systemd's own client, as root in the guest."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def call(self, method: str, **parameters: Any) -> Any:
        command = ("varlinkctl", "--json=short", "call", SOCKET, f"io.idled.{method}", json.dumps(parameters))
        done = self._machine.run(*command, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
        name = re.search(r"(?:io\.idled|org\.varlink\.service)\.(\w+)(?!.*\.\w)", done.stderr.strip())
        assert name is not None, done.stderr
        return name[1]

    def names(self) -> list[str]:
        info = self._machine.run("varlinkctl", "--json=short", "info", SOCKET).stdout
        return list(json.loads(info)["interfaces"])

    def description(self) -> str:
        return self._machine.run("varlinkctl", "introspect", SOCKET, "io.idled").stdout


class PyPI:
    """The client from PyPI, as root of no session: from outside of the guest, through its files."""

    def __init__(self, machine: Machine) -> None:
        self._client = varlink.Client(address=f"unix:/proc/{machine.pid}/root{SOCKET}")

    def call(self, method: str, **parameters: Any) -> Any:
        with self._client.open("io.idled") as link:
            try:
                return getattr(link, method)(**parameters)
            except varlink.VarlinkError as error:
                return error.error().rpartition(".")[2]

    def names(self) -> list[str]:
        with self._client.open("org.varlink.service") as link:
            return list(link.GetInfo()["interfaces"])

    def description(self) -> str:
        return str(self._client.get_interface("io.idled").get_description())


def test_a_client_that_nobody_here_wrote(office: Installed) -> None:
    machine = office.machine
    client = Varlinkctl(machine) if machine.release == "trixie" else PyPI(machine)
    assert client.names() == ["org.varlink.service", "io.idled"]
    description = client.description().replace(" (", "(")  # spaces are as each client likes them
    for word in ("method Extend(", "type Session(", "error PolicyRejected(", "endsInUSec: ?int"):
        assert word in description
    office.limits(idle="10min", absolute="1h", more='extend = { limit = "absolute", by_at_most = "1h" }')
    with office.login("alice") as terminal:
        office.session("alice", terminals=1)
        until(lambda: not client.call("ListSessions")["sessions"][0]["name"].startswith("p"))  # logind has told of it
        (shown,) = client.call("ListSessions")["sessions"]
        name = shown["name"]
        assert client.call("GetSession", session=name)["session"]["id"] == shown["id"]
        assert client.call("GetSession", session=shown["id"])["session"]["user"] == "alice"
        assert client.call("GetSession") == client.call("GetSession", session="none") == "NoSuchSession"
        told = client.call("Explain", session=name)
        assert [moment["limit"] for moment in told["moments"]] == ["idle"]
        assert 540 * SEC < told["moments"][0]["inUSec"] <= 609 * SEC
        assert told["rules"][-1]["gives"][0] == "idle_timeout = 10min"
        assert told["terminals"][0]["believed"] and told["connection"]["address"].startswith("127.0.0.1 ")
        assert client.call("ExplainLogin", user="bob", remote="10.0.0.1")["rules"][-1]["whyNot"] == ""
        extended = client.call("Extend", session=name, limit="absolute", byUSec=600 * SEC, reason="tried")["session"]
        assert extended["absoluteExtraUSec"] == 600 * SEC
        assert client.call("Extend", session=name, limit="none", byUSec=1, reason="tried").endswith("InvalidParameter")
        status = client.call("GetStatus")
        assert (status["mode"], status["effective"], status["sessions"]) == ("enforce", True, 1), status
        assert [source["name"] for source in status["sources"] if not source["works"]] == []
        assert client.call("Reload") == {"warnings": []}
        machine.write("/etc/idled/conf.d/wrong.toml", "[defaults]\nidle_timeout = 7\n")
        assert client.call("Reload") == "PolicyRejected"
        machine.sh("rm /etc/idled/conf.d/wrong.toml")
        assert client.call("End", session=name, reason="tried") == {}
        terminal.expect("idled: session ended by root: tried", timeout=10)
        terminal.wait_closed(10)


def by_varlinkctl(machine: Machine, heard: list[Any]) -> None:
    command = ("varlinkctl", "--more", "--json=short", "call", SOCKET, "io.idled.Monitor", "{}")
    with machine.popen(*command, stderr=subprocess.DEVNULL) as monitor:
        assert monitor.stdout is not None
        for line in monitor.stdout:
            heard.append(json.loads(line.lstrip("\x1e"))["event"])


def by_pypi(machine: Machine, heard: list[Any]) -> None:
    client = varlink.Client(address=f"unix:/proc/{machine.pid}/root{SOCKET}")
    with client.open("io.idled") as link, suppress(ConnectionError, varlink.VarlinkError):
        for answer in link.Monitor(_more=True):
            heard.append(answer["event"])


def test_a_client_that_nobody_here_wrote_follows_the_events(office: Installed) -> None:
    machine, heard = office.machine, list[Any]()

    def until(*kinds: str, doing: str = "true") -> None:
        deadline = time.monotonic() + 20
        while not {event["event"] for event in heard} >= set(kinds):
            assert time.monotonic() < deadline, heard
            machine.sh(doing)

    follow = by_varlinkctl if machine.release == "trixie" else by_pypi
    follower = threading.Thread(target=follow, args=(machine, heard))
    follower.start()
    until("config-loaded", doing="systemctl reload idled")
    with office.login("alice"):
        until("session-opened", "limits-set")
    until("session-closed")
    opened = next(event for event in heard if event["event"] == "session-opened")
    assert (opened["user"], opened["priority"]) == ("alice", 6)
    assert opened["text"].startswith(f"Session {opened['name']} of alice from 127.0.0.1")
    machine.sh("systemctl restart idled")
    follower.join(20)
    assert heard[-1]["event"] == "stopping"


FLOODED = """
[[rule]]
name = "flooder"
match = { user = ["bob"] }
idle_timeout = "off"
[[rule]]
name = "long"
match = { user = ["carol"] }
idle_timeout = "off"
absolute_timeout = "12s"
"""


def most_memory(machine: Machine, pid: str) -> int:
    """The most memory that a process ever had, in kB."""
    return int(machine.sh(f"sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/{pid}/status"))


def test_a_flood_ends_nobody_late(office: Installed) -> None:
    office.machine.write("/usr/local/bin/flood.py", FLOOD.read_text())
    daemon = office.machine.sh("systemctl show -P MainPID idled")
    before = most_memory(office.machine, daemon)
    office.limits(idle="8s", warn='["3s"]', more=FLOODED)
    with office.login("bob") as flooder:
        flooder.type(f"python3 /usr/local/bin/flood.py {SOCKET} 1000 5000000 4; echo over\n")
        flooder.expect("\n1000\r", timeout=30)
        with office.login("alice") as idle, office.login("carol"):
            typed = idle.type("true\n")
            closed = idle.wait_closed(30)
            office.event("ended", timeout=30, IDLED_USER="carol")
            assert idle.text.count("Press a key to stay") == 1
        flooder.expect("\\n100000\r", timeout=120)  # messages
        assert "over" not in flooder.text.split("echo over", 1)[1], "the flood was over before they were ended"
        assert 8 * SEC <= closed - typed <= 8 * SEC + LATE
        for user in ("alice", "carol"):
            ended = office.event("ended", IDLED_USER=user)
            assert number(ended, "LATE_USEC") < SEC
            print(user, "was ended", number(ended, "LATE_USEC"), "us late, which took", number(ended, "TOOK_USEC"))
        assert [session["user"] for session in office.sessions()] == ["bob"]
    grown = most_memory(office.machine, daemon) - before
    print("it took", grown, "kB of memory")
    assert grown < 16_000
    assert office.machine.sh("systemctl show -P MainPID idled") == daemon


#: They yield to all others: what is asked is what the service makes of them, not how the kernel shares its processors.
CROWD = """#!/bin/bash
for uid in $(seq 20001 20050); do
    nice -n 19 setpriv --reuid=$uid --regid=$uid --clear-groups python3 /usr/local/bin/flood.py "$1" 40 5000000 $uid &
done >/dev/null
wait
"""


def test_a_flood_by_many_uids_is_bounded_ends_nobody_late_and_root_is_answered(office: Installed) -> None:
    machine = office.machine
    machine.write("/usr/local/bin/flood.py", FLOOD.read_text())
    daemon = machine.sh("systemctl show -P MainPID idled")
    office.limits(idle="8s", warn='["3s"]', more=FLOODED)
    machine.write("/usr/local/bin/crowd", CROWD, 0o755)
    machine.run("systemd-run", "--quiet", "--unit=crowd", "/usr/local/bin/crowd", SOCKET)
    try:
        deadline = time.monotonic() + 60
        while (held := descriptors(machine, daemon)) < 300:
            assert time.monotonic() < deadline, f"{held} descriptors, which is no flood"
        with office.login("alice") as idle, office.login("carol"):
            typed = idle.type("true\n")
            answered, most = list[float](), held
            while (closed := idle.closed_at) is None:
                asked = time.monotonic()
                assert {one["user"] for one in office.sessions()} <= {"alice", "carol"}
                answered.append(time.monotonic() - asked)
                most = max(most, descriptors(machine, daemon))
                assert time.monotonic() < deadline + 60
            office.event("ended", timeout=30, IDLED_USER="carol")
        assert machine.sh("systemctl is-active crowd") == "active", "the flood was over before they were ended"
    finally:
        machine.sh("systemctl stop crowd")
    print(f"{most} descriptors at most; list took {max(answered):.1f} s at most of {len(answered)} times")
    assert most < 800, "256 connections of two descriptors, and the rest"
    assert max(answered) < 10
    assert 8 * SEC <= closed - typed <= 8 * SEC + LATE
    for user in ("alice", "carol"):
        assert number(office.event("ended", IDLED_USER=user), "LATE_USEC") < SEC
    assert machine.sh("systemctl show -P MainPID idled") == daemon


def descriptors(machine: Machine, pid: str) -> int:
    return int(machine.sh(f"ls /proc/{pid}/fd | wc -l"))
