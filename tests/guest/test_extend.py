# SPDX-License-Identifier: LGPL-2.1-or-later
"""Extensions in real sessions, asked for with PAM's word, without it, too often, too late, and by the wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.terminal.bench import until

from .installed import ABSOLUTE_LATE, MOMENT, SEC, Installed, number
from .machine import cut
from .terminal import boottime

# Sends the same message on so many connections at once, and as often on each; prints what comes back.
ASK = """
import json, socket, sys
message, connections, times = sys.stdin.read().encode() + b"\\0", int(sys.argv[1]), int(sys.argv[2])
links = [socket.socket(socket.AF_UNIX) for _ in range(connections)]
for link in links:
    link.connect("/run/idled/io.idled")
for link in links:
    link.sendall(message * times)
answers = b""
for link in links:
    mine = b""
    while mine.count(b"\\0") < times:
        mine += link.recv(1 << 16) or b"null\\0"
    answers += mine
print(json.dumps([json.loads(answer) for answer in answers.split(b"\\0")[:-1]]))
"""
MINUTE = 60 * SEC
WANTED = "AuthenticationRequired: alice"
WRONG = "ExtensionRefused: wrong password"
OVER = "ExtensionRefused: the session is being ended"
SECRET = "Tr0ub4dor&3"
RESTART = "systemctl restart idled"


@pytest.fixture
def desk(idled: Installed) -> Iterator[Installed]:
    """The project, and in the guest what people ask with; what it knows of wrong passwords goes with the test."""
    idled.machine.write("/usr/local/bin/extend.py", ASK)
    yield idled
    idled.machine.sh(RESTART)


def allow(idled: Installed, by: str = "10min", times: int = 2, *, absolute: str = "1h", **limits: str) -> None:
    """Let everybody extend the absolute timeout."""
    extend = f'extend = {{ limit = "absolute", by_at_most = "{by}", times = {times} }}'
    idled.limits(absolute=absolute, **limits, more=extend)


def answers(idled: Installed, who: str, parameters: dict[str, Any], connections: int = 1, times: int = 1) -> list[str]:
    """What comes of calls: nothing for one that is granted, or else the error."""
    client = ("python3", "/usr/local/bin/extend.py", str(connections), str(times))
    message = json.dumps({"method": "io.idled.Extend", "parameters": parameters})
    run = ("setpriv", f"--reuid={who}", f"--regid={who}", "--init-groups", *client)
    found = json.loads(idled.machine.run(*run, input=message, timeout=60).stdout)
    return [": ".join(_words(answer)) if "error" in answer else "" for answer in found]


def _words(answer: dict[str, Any]) -> list[str]:
    return [answer["error"].rpartition(".")[2], *map(str, answer["parameters"].values())]


def ask(idled: Installed, who: str = "alice", *, user: str = "alice", **parameters: Any) -> str:
    """What comes of one call for the session of a user."""
    (said,) = answers(idled, who, {"session": idled.session(user)["id"]} | parameters)
    return said


def extra(idled: Installed, user: str = "alice") -> int:
    return int(idled.session(user).get("absoluteExtraUSec", 0))


def refused(idled: Installed) -> list[tuple[str, str, str]]:
    """Who was refused, with which uid, and what was said."""
    found = idled.events("extension-refused")
    return [
        (entry["IDLED_BY"], entry["IDLED_BY_UID"], entry["MESSAGE"].partition(f" for {entry['IDLED_BY']}: ")[2])
        for entry in found
    ]


def test_the_right_password_a_wrong_one_and_none(desk: Installed) -> None:
    desk.machine.run("chpasswd", input=f"alice:{SECRET}\n")
    try:
        allow(desk)
        with desk.login("alice"):
            assert ask(desk) == WANTED
            assert ask(desk, password="alice") == WRONG
            assert ask(desk, password="") == WRONG
            assert extra(desk) == 0
            assert ask(desk, password=SECRET, byUSec=7 * MINUTE, reason="long build") == ""
            assert extra(desk) == 7 * MINUTE
            assert desk.session("alice")["extend"]["timesLeft"] == 1
            assert ask(desk, password=f"{SECRET}!") == WRONG
            told = desk.machine.sh("journalctl --boot --output=export; cat /run/idled/sessions/*")
            assert SECRET not in told and "Extended the absolute timeout" in told
    finally:
        desk.machine.run("chpasswd", input="alice:alice\n")
    granted = desk.event("extended")
    assert (granted["IDLED_BY"], granted["IDLED_BY_UID"], granted["IDLED_USER"]) == ("alice", "1001", "alice")
    assert (number(granted, "ASKED_USEC"), number(granted, "EXTRA_USEC")) == (7 * MINUTE, 7 * MINUTE)
    assert granted["MESSAGE"].endswith("by 7min for alice: long build")
    assert refused(desk) == [("alice", "1001", "wrong password")] * 3


def test_it_ends_exactly_at_the_new_limit_and_the_warning_is_withdrawn(desk: Installed) -> None:
    allow(desk, by="6s", absolute="14s", warn='["6s"]')
    with desk.login("alice") as terminal:
        terminal.expect("it reaches its time limit of 14s", timeout=20)
        terminal.type("idlectl extend\n")
        terminal.expect("Password of alice: ")
        terminal.type("alice\n")
        terminal.expect(rf"idled: this session now ends at {MOMENT}\.")
        terminal.expect("its absolute timeout is now 20s")
        terminal.expect("it reaches its time limit of 20s", timeout=20)
        terminal.wait_closed(20)
    ended = desk.event("ended", IDLED_USER="alice")
    assert (number(ended, "LIMIT_USEC"), ended["IDLED_REASON"]) == (20 * SEC, "absolute")
    assert 20 * SEC <= number(ended, "AGE_USEC") <= 20 * SEC + ABSOLUTE_LATE
    assert number(ended, "LATE_USEC") <= ABSOLUTE_LATE
    story = [entry["IDLED_EVENT"] for entry in desk.machine.journal(desk.since, IDLED_SESSION=ended["IDLED_SESSION"])]
    assert story == ["session-opened", "limits-set", "warned", "extended", "warning-cleared", "warned", "ended"]
    assert "alice\r" not in terminal.text.partition("Password of alice: ")[2][:8], "it is not echoed"


def test_past_its_cap_it_is_refused_before_a_password_is_asked_for(desk: Installed) -> None:
    allow(desk)
    with desk.login("alice"):
        for parameters, said in (
            ({"byUSec": 10 * MINUTE + 1}, "at most 10min at a time may be asked for"),
            ({"byUSec": -1}, "a span between 1s and 30d was expected"),
            ({"limit": "idle"}, "the session has no idle timeout"),
        ):
            assert ask(desk, **parameters) == f"ExtensionRefused: {said}"
        for byUSec in (True, 1.0, 10**30, "10min"):
            assert ask(desk, byUSec=byUSec, password="alice") == "InvalidParameter: byUSec"
        assert [ask(desk, password="alice") for _ in range(2)] == ["", ""]
        assert ask(desk) == "ExtensionRefused: it was extended 2 times already, which is all that may be"
        assert extra(desk) == 20 * MINUTE


def test_of_many_at_once_and_of_one_sent_again_only_so_many_are_granted(desk: Installed) -> None:
    allow(desk, times=2)
    with desk.login("alice"):
        call = {"session": desk.session("alice")["id"], "password": "alice"}
        assert sorted(answers(desk, "alice", call, connections=4))[:3] == ["", "", answers(desk, "alice", call)[0]]
        assert extra(desk) == 20 * MINUTE
    with desk.login("bob"):
        call = {"session": desk.session("bob")["id"], "password": "bob", "byUSec": MINUTE}
        said = answers(desk, "bob", call, times=4)
        assert [bool(error) for error in said] == [False, False, True, True]
        assert "extended 2 times already" in said[2]
        assert extra(desk, "bob") == 2 * MINUTE


def test_the_session_of_another_cannot_be_extended(desk: Installed) -> None:
    allow(desk)
    with desk.login("alice"):
        for password in ("alice", "bob"):
            assert ask(desk, "bob", password=password) == "NotPermitted"
        assert ask(desk, "carol") == "NotPermitted"
        assert extra(desk) == 0
    assert refused(desk) == [("bob", "1002", "not permitted")] * 2 + [("carol", "1003", "not permitted")]
    assert number(desk.events("extension-refused")[0], "ASKED_USEC") == 10 * MINUTE


def test_root_and_who_may_extend_give_a_reason_and_no_password(desk: Installed) -> None:
    desk.limits(idle="1h", more='[access]\nextend = ["user:carol"]')
    with desk.login("alice"), desk.login("carol"):
        assert ask(desk, "root", byUSec=MINUTE) == "ExtensionRefused: a reason was expected"
        assert ask(desk, "root", byUSec=MINUTE, reason="drill") == ""
        assert ask(desk, "carol", byUSec=MINUTE, reason="phone call") == ""
        assert ask(desk, "carol", user="carol", byUSec=MINUTE, reason="mine") == (
            "ExtensionRefused: no rule lets this session be extended"
        )
        assert desk.session("alice")["idleExtraUSec"] == 2 * MINUTE
    said = [(entry["IDLED_BY"], entry["MESSAGE"].rpartition(": ")[2]) for entry in desk.events("extended")]
    assert said == [("root", "drill"), ("carol", "phone call")]


def test_it_survives_the_daemon_and_not_the_session(desk: Installed) -> None:
    allow(desk, by="5s", absolute="25s")
    with desk.login("alice") as first:
        assert ask(desk, password="alice") == ""
        desk.machine.sh("systemctl kill --signal=KILL idled")
        desk.event("started", 10)
        assert (extra(desk), desk.session("alice")["extend"]["timesLeft"]) == (5 * SEC, 1)
        with desk.login("bob"):
            assert extra(desk, "bob") == 0
        first.wait_closed(40)
    ended = desk.event("ended", IDLED_USER="alice")
    assert 30 * SEC <= number(ended, "AGE_USEC") <= 30 * SEC + ABSOLUTE_LATE
    with desk.login("alice"):
        session = desk.session("alice")
        assert "absoluteExtraUSec" not in session and session["extend"]["timesLeft"] == 2


def test_what_is_being_ended_or_over_is_not_extended(desk: Installed) -> None:
    allow(desk, absolute="9s")
    with desk.login("alice") as terminal:
        name = desk.session("alice")["id"]
        terminal.type("sh -c \"trap '' HUP TERM; while :; do sleep 1; done\"\n")
        terminal.expect("session ended, it was open for 9s", timeout=20)
        call = {"session": name, "password": "alice"}
        assert answers(desk, "alice", call) == [OVER]
        assert answers(desk, "root", call | {"reason": "please"}) == [OVER]
        desk.event("ended", 20, IDLED_USER="alice")
        assert answers(desk, "alice", call) == [f"NoSuchSession: {name}"]
    assert number(desk.event("ended"), "LATE_USEC") <= ABSOLUTE_LATE


def scope_limit(idled: Installed, user: str) -> str:
    name = until(lambda: None if (found := idled.session(user)["name"]).startswith("p") else found)  # logind's
    return idled.machine.sh(f"systemctl show --property=RuntimeMaxUSec --value session-{name}.scope")


def test_logind_leaves_room_for_what_the_rules_allow_and_no_extension_goes_beyond(desk: Installed) -> None:
    allow(desk, by="30min", times=3)
    with desk.login("alice"):
        assert scope_limit(desk, "alice") == "2h 32min"
        assert ask(desk, password="alice") == ""
        allow(desk, by="4h", times=9)
        desk.machine.sh(RESTART)  # and it knows the room still
        said = "no more than 1h is left until logind ends the session, as was set at its login"
        assert ask(desk, password="alice", byUSec=4 * 60 * MINUTE) == f"ExtensionRefused: {said}"
        assert ask(desk, "root", limit="absolute", byUSec=61 * MINUTE, reason="x") == f"ExtensionRefused: {said}"
        assert ask(desk, password="alice", byUSec=60 * MINUTE) == ""
    desk.event("session-closed", IDLED_USER="alice")
    desk.limits(absolute="1h", more='extend = { limit = "idle", by_at_most = "1h" }')
    with desk.login("alice"):
        assert scope_limit(desk, "alice") == "1h 2min"


def test_logind_waits_for_the_longer_limit_of_a_session_that_may_get_a_terminal(desk: Installed) -> None:
    short = '[[rule]]\nname = "no terminal"\nmatch = { terminal = false }\nabsolute_timeout = "10min"\n'
    desk.limits(absolute="1h", more=short)
    with desk.login("alice") as terminal:
        assert desk.session("alice", terminals=1)["absoluteTimeoutUSec"] == 60 * MINUTE
        assert scope_limit(desk, "alice") == "1h 2min"
        assert "at the latest" in terminal.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("usermod --lock carol", WRONG),
        ("passwd --delete carol", WRONG),
        ("chage --lastday 0 carol", "ExtensionRefused: the account or its password has expired"),
        ("usermod --expiredate 1 carol", "ExtensionRefused: the account or its password has expired"),
    ],
)
def test_a_password_that_is_locked_empty_or_expired_lets_nobody_through(
    desk: Installed, change: str, said: str
) -> None:
    allow(desk)
    with desk.login("carol"):
        desk.machine.sh("cp -a /etc/shadow /root/shadow")
        desk.machine.sh(change)
        try:
            assert ask(desk, "carol", user="carol", password="carol") == said
            assert ask(desk, "carol", user="carol", password="") == WRONG
        finally:
            desk.machine.sh("mv /root/shadow /etc/shadow")
        assert ask(desk, "carol", user="carol", password="carol") == ""


def test_after_three_wrong_passwords_none_is_tried(desk: Installed) -> None:
    allow(desk)
    with desk.login("carol"), desk.login("alice"):
        assert [ask(desk, "carol", user="carol", password="x") for _ in range(3)] == [WRONG] * 3
        for parameters in ({}, {"password": "carol"}):
            said = ask(desk, "carol", user="carol", **parameters)
            assert said.startswith("ExtensionRefused: too many wrong passwords; try again in 9min")
        assert ask(desk, password="alice") == "", "others may"
    assert len(desk.machine.journal(desk.since, SYSLOG_IDENTIFIER="python3")) == 3, "PAM was asked no more often"


def checking(idled: Installed) -> str:
    return idled.machine.sh("pgrep --full ask[_]pam", check=False)


def wait_until(idled: Installed, busy: bool, seconds: int = 10) -> None:
    deadline = boottime() + seconds * SEC
    while bool(checking(idled)) is not busy:
        assert boottime() < deadline, f"a password is {'not' if busy else 'still'} being checked"


def test_a_slow_pam_holds_up_nobody_and_ends_with_who_hangs_up(desk: Installed) -> None:
    machine, slow = desk.machine, "auth optional pam_faildelay.so delay=25000000\n"
    machine.write("/etc/pam.d/idled", slow + machine.sh("cat /etc/pam.d/idled"))
    try:
        allow(desk, absolute="12s")
        with desk.login("alice") as waits, desk.login("bob"):
            name = desk.session("alice")["id"]
            message = json.dumps({"method": "io.idled.Extend", "parameters": {"session": name, "password": "x"}})
            run = ("setpriv", "--reuid=alice", "--regid=alice", "--init-groups")
            machine.write("/tmp/message", message, 0o644)
            line = "exec python3 /usr/local/bin/extend.py 1 1 </tmp/message"
            with machine.popen(*run, "sh", "-c", line) as client:
                wait_until(desk, True)
                before = boottime()
                assert ask(desk, "bob", user="bob") == WANTED.replace("alice", "bob")
                assert boottime() - before < 10 * SEC, "PAM takes 12 s at least"
                waits.wait_closed(20)
                assert checking(desk)
                cut(client)
            wait_until(desk, False)
    finally:
        machine.sh("sed -i /pam_faildelay/d /etc/pam.d/idled")
    assert number(desk.event("ended", IDLED_USER="alice"), "LATE_USEC") <= ABSOLUTE_LATE
