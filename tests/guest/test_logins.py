# SPDX-License-Identifier: LGPL-2.1-or-later
"""The PAM module in real stacks: it registers, it greets, and it never keeps anybody from logging in."""

from __future__ import annotations

from tests.terminal.bench import until

from .installed import SEC, Installed
from .pam_logins import login_times
from .terminal import PROMPT, boottime


def test_the_person_is_told_the_limits(idled: Installed) -> None:
    idled.limits(idle="15min", absolute="12h")
    with idled.login("alice") as terminal:
        assert "This session ends after 15min without input and ends at " in terminal.text
    with idled.machine.console("bob") as terminal:
        terminal.expect("This session ends after 15min without input and ends at ")


def test_logind_gets_the_last_resort(idled: Installed) -> None:
    idled.limits(absolute="1h")
    with idled.login("alice"):
        name = until(lambda: None if (found := idled.session("alice")["name"]).startswith("p") else found)  # logind's
        shown = idled.machine.run("systemctl", "show", "-P", "RuntimeMaxUSec", f"session-{name}.scope").stdout
    assert shown.strip() == "1h 2min"


def test_login_without_a_daemon(idled: Installed) -> None:
    idled.machine.sh("systemctl stop idled.socket idled-varlink.socket idled")
    with idled.login("alice") as terminal:
        terminal.type("echo still $((40+2))\n")
        terminal.expect("still 42")


def test_login_with_a_daemon_that_hangs(idled: Installed) -> None:
    idled.limits(idle="1h")
    idled.machine.sh("systemctl kill --signal=STOP idled")
    try:
        before = boottime()
        with idled.machine.login("alice") as terminal:
            terminal.expect(PROMPT, timeout=20)
            took = boottime() - before
            idled.machine.sh("systemctl kill --signal=CONT idled")
            assert idled.session("alice", terminals=1)["idleTimeoutUSec"] == 3600 * SEC
    finally:
        idled.machine.sh("systemctl kill --signal=CONT idled")
    assert took < 10 * SEC, "it is let in; how soon, test_the_module_adds_little_to_a_login shows"


def test_login_with_garbage_for_an_answer(idled: Installed) -> None:
    """Something else answers on the socket."""
    idled.machine.sh("systemctl stop idled.socket idled-varlink.socket idled; mkdir -p /run/idled")
    script = (
        "import socket\ns = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.bind('/run/idled/pam')\n"
        "s.listen()\nprint('up', flush=True)\nwhile True:\n    p, _ = s.accept()\n    p.recv(4096)\n"
        "    p.send(b'\\xff\\0\\1garbage' * 50)\n    p.close()\n"
    )
    with idled.machine.popen("python3", "-c", script) as garbage:
        assert garbage.stdout is not None
        assert garbage.stdout.readline() == "up\n"
        try:
            with idled.login("alice") as terminal:
                terminal.type("echo still $((40+2))\n")
                terminal.expect("still 42")
                assert "garbage" not in terminal.text
        finally:
            garbage.kill()
            idled.machine.sh("rm -f /run/idled/pam")


def test_what_runs_as_a_user_without_terminal_or_connection_is_no_session(idled: Installed) -> None:
    """As where an init script starts a server by su."""
    idled.limits(idle="4s", absolute="4s", more='unobserved = "idle-from-start"')
    assert idled.machine.run("systemd-run", "--quiet", "--wait", "su", "-", "alice", "-c", "sleep 9").returncode == 0
    assert idled.events("session-opened") == idled.events("ended") == []


def test_one_session_of_all_sources(idled: Installed) -> None:
    """logind, PAM and (on Debian 12) utmp see the same login: it is one session, opened once."""
    idled.limits(idle="1h")
    with idled.login("alice"), idled.machine.console("bob") as console:
        console.expect(PROMPT)
        idled.session("bob", terminals=1)
        idled.machine.sh("systemctl restart idled")
        assert sorted(session["user"] for session in idled.sessions()) == ["alice", "bob"]
    assert len(idled.events("session-opened", IDLED_USER="alice")) == 1


def test_a_user_sees_only_own_sessions(idled: Installed) -> None:
    idled.limits(idle="1h")
    with idled.login("alice") as terminal, idled.login("bob"):
        terminal.type("idlectl list | cat\n")
        terminal.expect("TIME LEFT")
        terminal.expect("alice")
        terminal.expect(PROMPT)
        assert "bob" not in terminal.text


def test_records_have_their_catalog_text(idled: Installed) -> None:
    idled.limits(idle="1h")
    with idled.login("alice"):
        idled.event("session-opened", IDLED_USER="alice")
    shown = idled.machine.run("journalctl", "-x", "IDLED_EVENT=session-opened", "--no-pager", "-n", "1").stdout
    assert "A login of alice was seen (service sshd)" in shown


def test_unit_is_clean_and_confined(idled: Installed) -> None:
    machine = idled.machine
    verify = machine.run("systemd-analyze", "verify", "--man=no", "idled.service", "idled.socket", check=False)
    assert [line for line in verify.stderr.splitlines() if "idled" in line] == []
    exposure = machine.sh("systemd-analyze security idled.service --no-pager | tail -n 1")
    assert float(exposure.split(":")[1].split()[0]) <= 2.5


def login_costs(idled: Installed, module: str, rounds: int = 200) -> list[int]:
    """The same in quarters."""
    times = login_times(idled, module, rounds)
    return [times[len(times) * quarter // 4] for quarter in range(4)]


def test_the_module_adds_little_to_a_login(idled: Installed) -> None:
    """In one run: the module with the daemon up and down, and hung, against a module that does nothing."""
    idled.limits(idle="15min", absolute="12h")
    idled.machine.write("/etc/pam.d/idled-test", "session optional pam_permit.so\n")
    nothing, up = login_costs(idled, "pam_permit.so"), login_costs(idled, "pam_idled.so")
    idled.machine.sh("systemctl kill --signal=STOP idled")
    try:
        hung = login_costs(idled, "pam_idled.so", rounds=8)
    finally:
        idled.machine.sh("systemctl kill --signal=CONT idled")
    idled.machine.sh("systemctl stop idled.socket idled-varlink.socket idled")
    down = login_costs(idled, "pam_idled.so")
    print(f"pam_open_session, us, in quarters: nothing {nothing}, up {up}, hung {hung}, down {down}")
    # The quickest: it says what the module takes, all others rather how much else runs on this machine.
    assert 297_000 <= hung[0] < 310_000  # at most 300 ms on a quiet machine
    assert down[0] - nothing[0] < 1_000
    assert up[0] - nothing[0] < 3_000  # the median is 1 ms on a quiet machine; what is shown is printed
