# SPDX-License-Identifier: LGPL-2.1-or-later
"""PAM stacks that idled is given to ask for a password: one that counts, one that needs the network, one that hangs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from .installed import ABSOLUTE_LATE, SEC, Installed, number
from .terminal import boottime
from .test_extend import ASK, WRONG, allow, ask, extra

STACK = "/etc/pam.d/idled"
DROP_IN = "/run/systemd/system/idled.service.d/test.conf"
FAILLOCK = """
auth required pam_faillock.so preauth deny=2 unlock_time=600
auth sufficient pam_unix.so
auth [default=die] pam_faillock.so authfail deny=2 unlock_time=600
auth required pam_deny.so
account required pam_permit.so
"""
NETWORK = """
auth requisite pam_exec.so quiet /usr/local/bin/reach
auth required pam_unix.so
account required pam_permit.so
"""
REACH = '#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/22 && read -r -u 3 line && [ -n "$line" ]\n'
OPEN = "[Service]\nRestrictAddressFamilies=AF_INET AF_INET6\nIPAddressAllow=127.0.0.1\n"
# In a guest, this one setting leaves /run writable, which it is nowhere else.
AS_ON_A_HOST = "[Service]\nProtectKernelTunables=no\n"
HANGS = "auth required pam_exec.so quiet /usr/bin/sleep 1000\nauth required pam_unix.so\n"
UNCHECKED = "ExtensionRefused: the password cannot be checked now"


@pytest.fixture
def desk(idled: Installed) -> Iterator[Installed]:
    """The project, with a stack that is put back, as is the unit."""
    machine = idled.machine
    machine.write("/usr/local/bin/extend.py", ASK)
    before = machine.sh(f"cat {STACK}")
    yield idled
    machine.write(STACK, f"{before}\n")
    machine.sh(f"rm -f {DROP_IN}; rm -rf /run/faillock; systemctl daemon-reload")
    machine.sh("systemctl restart idled")


def bound(idled: Installed, drop_in: str) -> None:
    """Run the daemon in other bounds."""
    idled.machine.write(DROP_IN, drop_in)
    idled.machine.sh("systemctl daemon-reload; systemctl restart idled")


def test_wrong_passwords_are_counted_where_all_of_the_machine_counts_them(desk: Installed) -> None:
    desk.machine.write(STACK, FAILLOCK)
    desk.machine.sh("rm -rf /run/faillock")
    bound(desk, AS_ON_A_HOST)
    desk.machine.sh("! systemd-run --quiet --wait --property=ProtectSystem=strict touch /run/faillock/x")
    assert desk.machine.sh("stat --format=%a:%U /run/faillock") == "755:root"
    allow(desk)
    with desk.login("alice"):
        assert [ask(desk, password="x") for _ in range(2)] == [WRONG] * 2
        assert desk.machine.sh("faillock --user alice | grep --count idled") == "2"
        assert ask(desk, password="alice") == WRONG, "the account is locked, here as everywhere"
        desk.machine.sh("faillock --user alice --reset; systemctl restart idled")
        assert ask(desk, password="alice") == ""


def test_a_module_that_needs_the_network_is_refused_in_words_unless_the_unit_lets_it(desk: Installed) -> None:
    desk.machine.write("/usr/local/bin/reach", REACH, 0o755)
    desk.machine.write(STACK, NETWORK)
    desk.machine.sh("/usr/local/bin/reach")
    allow(desk)
    with desk.login("alice"):
        assert ask(desk, password="alice") == UNCHECKED
        said = desk.event("trouble")["MESSAGE"]
        assert "PAM could not be asked for the password of alice" in said
        assert "within the bounds of idled.service (see idled(8), reauthenticate)" in said
        assert [ask(desk, password="alice") for _ in range(3)] == [UNCHECKED] * 3, "none of them was a wrong password"
        bound(desk, OPEN)
        assert ask(desk, password="x") == WRONG
        assert ask(desk, password="alice") == ""


def test_a_stack_that_hangs_is_given_up_with_all_that_it_started(desk: Installed) -> None:
    desk.machine.write(STACK, HANGS)
    short = '[[rule]]\nname = "short"\nmatch = { user = ["carol"] }\nabsolute_timeout = "12s"\n'
    desk.limits(absolute="1h", more=f'extend = {{ limit = "absolute", by_at_most = "10min", times = 2 }}\n{short}')
    with desk.login("alice"), desk.login("carol") as carol:
        call = {"method": "io.idled.Extend", "parameters": {"session": desk.session("alice")["name"], "password": "x"}}
        desk.machine.write("/tmp/message", json.dumps(call))
        asked = boottime()
        run = ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "sh", "-c")
        with desk.machine.popen(*run, "exec python3 /usr/local/bin/extend.py 1 1 </tmp/message") as client:
            carol.wait_closed(30)
            assert desk.machine.sh("pgrep --exact sleep"), "the stack hangs still"
            assert desk.session("alice")["state"] == "open"
            said, _ = client.communicate(timeout=60)
        assert 29 * SEC < boottime() - asked < 40 * SEC
        (answer,) = json.loads(said)
        assert answer["parameters"]["reason"] == "the password cannot be checked now"
        assert "no answer within 30 s" in desk.event("trouble")["MESSAGE"]
        assert desk.machine.sh("pgrep --exact sleep || pgrep --full ask[_]pam", check=False) == ""
        assert extra(desk) == 0
    assert number(desk.event("ended", IDLED_USER="carol"), "LATE_USEC") <= ABSOLUTE_LATE
