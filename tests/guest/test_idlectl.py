# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every verb of idlectl in a booted guest: as root, as a session's own person, as a stranger; and how it looks.

What people see is taken from tmux, 80 columns wide: no line may be wrapped by the terminal.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import pytest

from idled.cli.verbs import VERBS

from .installed import MOMENT, SEC, Installed
from .machine import cut
from .pane import pane
from .terminal import PROMPT, Terminal

POLICY = """
mode = "enforce"
[access]
view = ["user:carol"]
[defaults]
idle_timeout = "15min"
absolute_timeout = "12h"
[[rule]]
name = "contractors"
match = { user = ["bob"], remote = ["127.0.0.0/8"] }
idle_timeout = "5min"
extend = { limit = "absolute", by_at_most = "1h", times = 2, reauthenticate = true }
[[rule]]
name = "break-glass console"
match = { user = ["carol"], service = ["login"] }
idle_timeout = "off"
absolute_timeout = "off"
"""
REFUSED = "you may not do this: try as root, or see [access] in idled.toml(5)"


@pytest.fixture
def people(idled: Installed) -> Iterator[dict[str, Terminal]]:
    """Alice and bob by ssh, carol on a console without limits."""
    idled.policy(POLICY)
    with idled.login("alice") as alice, idled.login("bob") as bob, idled.machine.console("carol") as carol:
        carol.expect(PROMPT)
        for name in ("alice", "bob", "carol"):
            idled.session(name, terminals=1)
        yield {"alice": alice, "bob": bob, "carol": carol}


def name_of(idled: Installed, user: str) -> str:
    return str(idled.session(user)["name"])


def say(terminal: Terminal, command: str, timeout: float = 15) -> str:
    """What a command says to the person at that terminal, with its exit code at the end."""
    start = len(terminal.text)
    terminal.type(f"{command}; echo code $?\n")
    end = terminal.expect(r"code (\d+)\r", timeout)
    terminal.expect(r"[$#] (\x1b\[K)?$")
    return terminal.text[min(start, end.start()) : end.end()].replace("\r", "")


def code_and_complaint(idled: Installed, *argv: str) -> tuple[int, str]:
    done = idled.machine.run(*argv, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def as_user(user: str, *argv: str) -> list[str]:
    """A call as that user outside of all sessions: no PAM is asked."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *argv]


# As root


def test_the_list_is_one_line_for_each_session_with_what_ends_first_on_top(
    idled: Installed, people: dict[str, Terminal]
) -> None:
    with pane(idled.machine) as looked_at:
        head, bob, alice, note, code = looked_at.look("idlectl")
        everybody = looked_at.look("idlectl list --all")
        due = looked_at.look("idlectl list --due 6min")
    assert head.split() == ["ID", "USER", "FROM", "ON", "SINCE", "IDLE", "TIME", "LEFT", "NEXT", "WHY"]
    row = r"\d\d:\d\d +\d+s [█▉▊░]{5} (4m\d+s|5m|14m|15m) +warn (2m|3m|12m|13m) +idle, "
    assert re.fullmatch(rf"\w+ +bob +127\.0\.0\.1 ssh pts/\d+ {row}contrac(tors|[a-z]*…)", bob)
    assert re.fullmatch(rf"\w+ +alice +127\.0\.0\.1 ssh pts/\d+ {row}defaults", alice)
    assert note == "1 more session without a limit, shown by: idlectl list --all"
    assert code == "code 0"
    assert re.fullmatch(r"\w+ +carol +console +pts/\d+ +\d\d:\d\d +\w+ +never +- +no limit", everybody[3])
    assert [line.split()[1] for line in due[1:-1]] == ["bob"]


def test_no_verb_needs_more_than_80_columns(idled: Installed, people: dict[str, Terminal]) -> None:
    bob = name_of(idled, "bob")
    login = "--user bob --service sshd --remote 127.0.0.1 --tty pts/9"
    calls = [f"show {bob}", f"explain {bob}", f"explain {login}", "status", "check", "reload", f"log --session {bob}"]
    with pane(idled.machine) as looked_at:
        shown = {call: looked_at.look(f"idlectl {call}") for call in calls}
        me = looked_at.look("idlectl me")
    assert {call: lines for call, lines in shown.items() if lines[-1] != "code 0"} == {}
    assert shown[f"show {bob}"][0] == f"Session {bob} of bob"
    assert "  idle timeout      5min (rule contractors)" in shown[f"show {bob}"]
    explained = "\n".join(shown[f"explain {bob}"])
    assert re.search(r"break-glass console does not match: user carol; here it is bob$", explained, re.MULTILINE)
    assert re.search(r"contractors +idle_timeout = 5min$", explained, re.MULTILINE)
    assert re.search(r"idle_timeout = 15min \(an earlier rule gave this\)$", explained, re.MULTILINE)
    assert re.search(r"in 4min \d+s: end, idle timeout$", explained, re.MULTILINE)
    assert (
        "A login that has not happened: user bob, service sshd, remote 127.0.0.1, tty" in shown[f"explain {login}"][0]
    )
    assert "  effective   yes: sessions that are due are ended" in shown["status"]
    assert shown["reload"][0] == "The policy was read anew and is in force."
    assert me == ["idlectl: you are in no session that idled watches (see: idlectl list --all)", "code 1"]


ANSWERS = {
    "list": {"mode", "sessions"},
    "show {bob}": {"session"},
    "explain {bob}": {"session", "rules", "activity", "terminals", "connection", "notes", "moments"},
    "explain --user bob": {"rules"},
    "status": {
        "version",
        "mode",
        "effective",
        "why",
        "sessions",
        "limited",
        "unobserved",
        "upUSec",
        "files",
        "sources",
        "troubles",
    },
    "reload": {"warnings"},
    "check": {"mode", "access", "rules", "files", "problems"},
    "extend {bob} --by 1min --reason test": {"session"},
    "end {bob}": {"ended", "failed"},
}


def test_json_of_each_verb_is_what_the_interface_promises(idled: Installed, people: dict[str, Terminal]) -> None:
    bob = name_of(idled, "bob")
    for call, keys in ANSWERS.items():
        said = idled.machine.run("idlectl", *shlex.split(call.format(bob=bob)), "--json").stdout
        assert set(json.loads(said)) == keys, call
    for line in idled.machine.run("idlectl", "log", "--json").stdout.splitlines():
        assert {"event", "text", "priority", "realtimeUSec"} <= set(json.loads(line))


def test_root_ends_a_session_and_its_person_is_told_why(idled: Installed, people: dict[str, Terminal]) -> None:
    bob = name_of(idled, "bob")
    done = idled.machine.run("idlectl", "end", bob, "--reason", "reboot at noon")
    assert done.stdout == f"Session {bob} is being ended.\n"
    people["bob"].expect("idled: session ended by root: reboot at noon")
    people["bob"].wait_closed(10)
    assert idled.event("ended", IDLED_USER="bob")["IDLED_REASON"] == "request"
    assert code_and_complaint(idled, "idlectl", "end", bob) == (
        1,
        f"idlectl: there is no session {bob} that you may see (see: idlectl list --all)\n",
    )


def test_root_ends_all_sessions_of_a_user_after_a_question(idled: Installed, people: dict[str, Terminal]) -> None:
    with idled.login("bob") as second, pane(idled.machine) as looked_at:
        while len([found for found in idled.sessions() if found["user"] == "bob"]) < 2:
            time.sleep(0.05)
        no = looked_at.look("echo n | script -qec 'idlectl end --user bob' /dev/null")
        assert people["bob"].closed_at is second.closed_at is None
        yes = looked_at.look("echo y | script -qec 'idlectl end --user bob' /dev/null")
        people["bob"].wait_closed(10)
        second.wait_closed(10)
    assert len([line for line in no if re.fullmatch(r"  session \w+ of bob from 127\.0\.0\.1", line)]) == 2
    assert no[-2].endswith("[y/N] idlectl: nothing was ended")
    assert no[-1] == "code 1"
    assert len([line for line in yes if line.endswith(" of bob from 127.0.0.1 is being ended.")]) == 2
    assert people["alice"].closed_at is None


def test_reload_of_a_broken_policy_says_what_is_wrong_and_keeps_the_old_one(
    idled: Installed, people: dict[str, Terminal]
) -> None:
    idled.machine.write("/etc/idled/idled.toml", POLICY.replace("absolute_timeout", "absolute_timeuot"))
    code, said = code_and_complaint(idled, "idlectl", "reload")
    assert code == 1
    assert (
        "idlectl: /etc/idled/idled.toml: defaults.absolute_timeuot: unknown key; did you mean absolute_timeout?" in said
    )
    assert said.endswith("the policy was not taken; the one in force stays (mend it, then: idlectl check)\n")
    assert idled.session("alice")["absoluteTimeoutUSec"] == 12 * 3600 * SEC


def test_status_exits_with_0_only_where_limits_are_enforced(idled: Installed) -> None:
    idled.policy(POLICY)
    assert idled.machine.run("idlectl", "status").returncode == 0
    idled.policy(POLICY.replace("enforce", "observe"))
    observing = idled.machine.run("idlectl", "status", check=False)
    assert observing.returncode == 1
    assert "  effective   NO: " in observing.stdout
    idled.machine.sh("systemctl stop idled.socket idled-varlink.socket idled")
    code, said = code_and_complaint(idled, "idlectl", "status")
    assert code == 1
    assert said.startswith("idlectl: the daemon cannot be asked: /run/idled/io.idled: ")
    assert said.endswith(" (see: systemctl status idled)\n")


# The story in the journal


def test_log_tells_the_story_of_a_session_from_its_opening(idled: Installed, people: dict[str, Terminal]) -> None:
    bob = name_of(idled, "bob")
    idled.machine.run("idlectl", "end", bob, "--reason", "lunch")
    idled.event("ended", IDLED_USER="bob")
    # In this guest pids were used again, and with them the name of a session that logind does not know.
    lines = idled.machine.run("idlectl", "log", "--session", bob, "--since", "2min").stdout.splitlines()
    told = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in lines]
    assert re.fullmatch(r"Session \w+ of bob from 127\.0\.0\.1 opened", told[0])
    assert re.fullmatch(rf"Ended session {bob} of bob from 127\.0\.0\.1: by root, took \w+: lunch", told[-1])
    assert not [line for line in told if "alice" in line or "carol" in line]
    assert idled.machine.run("idlectl", "log", "--user", "bob", "--since", "1h").stdout.splitlines()[-1] == lines[-1]
    assert code_and_complaint(idled, "idlectl", "log", "--session", "no-such")[0] == 1


def test_log_goes_on_with_what_happens(idled: Installed, people: dict[str, Terminal]) -> None:
    with idled.machine.popen("idlectl", "log", "--follow", "--json", "--user", "bob") as following:
        try:
            assert following.stdout is not None
            assert json.loads(following.stdout.readline())["user"] == "bob"
            idled.machine.run("idlectl", "end", name_of(idled, "bob"))
            while json.loads(following.stdout.readline())["event"] != "ended":
                pass
        finally:
            cut(following)


def test_nobody_but_root_can_put_a_line_into_the_story(idled: Installed, people: dict[str, Terminal]) -> None:
    forged = "MESSAGE=Ended session 1 of mallory\nIDLED_EVENT=ended\nIDLED_USER=mallory\n"
    idled.machine.run(*as_user("alice", "logger", "--journald"), input=forged)
    idled.machine.wait_journal(5, since=idled.since, IDLED_USER="mallory")
    assert idled.machine.run("idlectl", "log", "--user", "mallory").stdout == ""


def test_log_explains_who_may_read_the_journal(idled: Installed, people: dict[str, Terminal]) -> None:
    idled.machine.run("journalctl", "--sync")
    code, said = code_and_complaint(idled, *as_user("alice", "idlectl", "log"))
    assert code == 1
    assert said == (
        "idlectl: you may not read the system's journal: "
        "try as root, or as a member of the group adm or systemd-journal\n"
    )
    member = ["setpriv", "--reuid=alice", "--regid=alice", "--groups=systemd-journal", "idlectl", "log"]
    assert " of bob from 127.0.0.1 opened" in idled.machine.run(*member).stdout


# As the session's own person


def test_me_tells_the_person_in_one_line_when_and_why_and_how_to_stay(
    idled: Installed, people: dict[str, Terminal]
) -> None:
    with pane(idled.machine, people["bob"]) as looked_at:
        first, *more, code = looked_at.look("idlectl me")
        session = looked_at.look("idlectl show")
        explained = looked_at.look("idlectl explain")
        listed = looked_at.look("idlectl")
    assert re.fullmatch(rf"This session ends at {MOMENT} \(in 5 minutes\) unless you type: idle limit 5min\.", first)
    assert re.fullmatch(
        r"At the latest it ends at [\w: ]+\. To move the time limit by up to 1h, 2 times: idlectl extend",
        " ".join(more),
    )
    assert {code, session[-1], explained[-1], listed[-1]} == {"code 0"}
    assert session[0] == f"Session {name_of(idled, 'bob')} of bob"
    assert [line.split()[1] for line in listed[1:-1]] == ["bob"]


def test_me_of_a_session_without_limits(idled: Installed, people: dict[str, Terminal]) -> None:
    assert "This session has no limit: it stays open.\n" in say(people["carol"], "idlectl me")


def test_me_works_through_sudo(idled: Installed, people: dict[str, Terminal]) -> None:
    idled.machine.write("/etc/sudoers.d/alice", "alice ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    said = say(
        people["alice"], "sudo idlectl me; sudo su -c 'idlectl me'; sudo -i idlectl me; sudo su bob -c 'idlectl me'"
    )
    told = re.sub(r"\s+", " ", said)  # with the day, shortly before midnight, it is longer than a line
    assert len(re.findall(r"This session ends at [^.]* unless you type: idle limit 15min\.", told)) == 4, said


def test_the_warning_and_me_are_understood_together(idled: Installed) -> None:
    idled.limits(idle="20s", absolute="1h", warn='["15s"]')
    with idled.login("alice") as alice:
        alice.expect(rf"idled: this session will be ended in 1\d seconds \(at {MOMENT}\): no input; ", timeout=30)
        alice.expect("the idle limit is 20s. Press a key to stay.")
        said = say(alice, "idlectl me")
        assert re.search(r"This session ends at [^(]*\(in (1\d|20) seconds\) unless you type: idle limit 20s\.", said)
        assert "you are back, so this session stays" in alice.text, "whoever asks is there"


def test_a_session_that_only_time_ends_is_told_so(idled: Installed) -> None:
    idled.limits(absolute="1h")
    with idled.login("alice") as alice:
        said = say(alice, "idlectl me")
    assert re.search(rf"This session ends at {MOMENT} \(in 60 minutes\), active or not:\s+time\s+limit\s+1h\.", said)


def test_a_person_extends_the_own_session_with_the_password(idled: Installed, people: dict[str, Terminal]) -> None:
    bob = people["bob"]
    bob.type("idlectl extend --by 30min; echo code $?\n")
    bob.expect("Password of bob: ")
    bob.type("not-it\n")
    bob.expect("idlectl: not extended: wrong password", timeout=20)
    bob.expect("code 1")
    bob.type("idlectl extend --by 30min; echo code $?\n")
    bob.expect("Password of bob: ")
    bob.type("bob\n")
    bob.expect(r"its absolute timeout is now 12h\s+30min", timeout=20)
    bob.expect("code 0")
    assert "not-it" not in bob.text
    assert idled.session("bob")["absoluteExtraUSec"] == 1800 * SEC
    assert "not extended: no rule lets this session be extended" in say(people["alice"], "idlectl extend")


# As a stranger


def test_a_stranger_is_refused_in_words_and_changes_nothing(idled: Installed, people: dict[str, Terminal]) -> None:
    bob = name_of(idled, "bob")
    for call in (
        ["show", bob],
        ["explain", bob],
        ["extend", bob, "--by", "1h"],
        ["reload"],
        ["explain", "--user", "bob"],
    ):
        code, said = code_and_complaint(idled, *as_user("alice", "idlectl", *call))
        assert (code, said) == (1, f"idlectl: {REFUSED}\n"), call
    ended = code_and_complaint(idled, *as_user("alice", "idlectl", "end", bob))
    assert ended == (1, f"idlectl: session {bob}: {REFUSED}\n")
    nobody = idled.machine.run(*as_user("games", "idlectl", "list", "--all"))
    assert nobody.stdout == "No session that you may see.\n"
    before = idled.session("bob")
    assert before["state"] == "open"
    assert "absoluteExtraUSec" not in before
    assert people["bob"].closed_at is None


def test_who_may_view_sees_all_and_may_no_more(idled: Installed, people: dict[str, Terminal]) -> None:
    said = say(people["carol"], "idlectl list --all | cat")
    assert all(f" {user} " in said for user in people)
    assert REFUSED[:24] in say(people["carol"], f"idlectl end {name_of(idled, 'bob')}")


# Each verb, as each of them

Outcome: TypeAlias = tuple[int, str]
NOT_YOURS = f"idlectl: {re.escape(REFUSED)} $"
NO_JOURNAL = "^idlectl: you may not read the system's journal"
NO_SESSION = "^idlectl: you are in no session that idled watches"
#: What comes of a call for root, for bob, and for alice, to whom bob's session is another's: the exit code, and what is
#: said, in one line. What ends somebody comes last.
CALLS = {
    "list --all": (
        (0, " bob .* alice .* carol "),
        (0, "^(?!.* (alice|carol) ).* bob "),
        (0, "^(?!.* (bob|carol) ).* alice "),
    ),
    "list --user bob": ((0, " bob "), (0, " bob "), (0, "^No such session that you may see")),
    "show {bob}": ((0, "^Session {bob} of bob"), (0, "^Session {bob} of bob"), (1, NOT_YOURS)),
    "explain {bob}": ((0, "^Session {bob} of bob"), (0, "^Session {bob} of bob"), (1, NOT_YOURS)),
    "explain --user bob": ((0, " contractors does not match: remote 127.0.0.0/8; "), (1, NOT_YOURS), (1, NOT_YOURS)),
    "status": ((0, " sessions 3"), (0, " sessions 1"), (0, " sessions 1")),
    "log --user bob": ((0, " of bob from 127.0.0.1 opened "), (1, NO_JOURNAL), (1, NO_JOURNAL)),
    "check": ((0, " contractors: "),) * 3,
    "doctor": ((1, "legacy_tiocsti=1"),) * 3,
    "doctor --probe": ((1, "was seen \\d+ ms after"), (2, "you must be root"), (2, "you must be root")),
    "watch --json": ((2, "it is for people"),) * 3,
    "reload": ((0, "^The policy was read anew"), (1, NOT_YOURS), (1, NOT_YOURS)),
    "extend {bob} --by 1min --reason tea": ((0, "is now 12h 1min"), (1, "there is no terminal to ask"), (1, NOT_YOURS)),
    "end --user carol --yes": (
        (0, " of carol is being ended"),
        (1, "carol has no session"),
        (1, "carol has no session"),
    ),
    "end {bob}": (
        (0, "^Session {bob} is being ended"),
        (1, "session {bob}: you may not"),
        (1, "session {bob}: you may not"),
    ),
}
BY_SCRIPT = CALLS | {"me": ((1, NO_SESSION),) * 3}
BY_HAND = CALLS | {"me": ((1, NO_SESSION), (0, "idle limit 5min"), (0, "idle limit 15min"))}


def test_no_verb_is_left_out() -> None:
    assert {call.split()[0] for call in BY_HAND} == {verb.name for verb in VERBS}


def surprises(
    idled: Installed, table: Mapping[str, tuple[Outcome, ...]], call_as: Callable[[str, str], Outcome]
) -> str:
    """Who called what with another outcome than in the table, a line each. Root comes last, who ends the sessions."""
    bob = name_of(idled, "bob")
    found = []
    for who, at in (("alice", 2), ("bob", 1), ("root", 0)):
        for call, row in table.items():
            code, said = call_as(who, call.format(bob=bob))
            if code != row[at][0] or not re.search(row[at][1].format(bob=bob), said):
                found.append(f"{who}: {call}: {code} {said}")
    return "\n".join(found)


def test_each_verb_by_script(idled: Installed, people: dict[str, Terminal]) -> None:
    def call_as(who: str, call: str) -> Outcome:
        argv = ["idlectl", *shlex.split(call)]
        done = idled.machine.run(*(argv if who == "root" else as_user(who, *argv)), check=False)
        return done.returncode, " ".join([*(done.stdout + done.stderr).split(), ""])

    assert surprises(idled, BY_SCRIPT, call_as) == ""


def test_each_verb_by_hand(idled: Installed, people: dict[str, Terminal]) -> None:
    with (
        pane(idled.machine) as roots,
        pane(idled.machine, people["bob"]) as bobs,
        pane(idled.machine, people["alice"]) as alices,
    ):
        panes = {"root": roots, "bob": bobs, "alice": alices}

        def call_as(who: str, call: str) -> Outcome:
            # Elsewhere passwords are typed; here there is no terminal to ask for one.
            way = "setsid --wait " if call.startswith("extend") else ""
            *lines, code = panes[who].look(f"{way}idlectl {call}")
            return int(code.removeprefix("code ")), " ".join([*" ".join(lines).split(), ""])

        assert surprises(idled, BY_HAND, call_as) == ""


# How fast

STARTS = """
import os, sys
rounds, *call = sys.argv[1:]
def once(out):
    child = os.fork()
    if not child:
        os.dup2(out, 1)
        os.execvp(call[0], call)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime
for out in (lambda: os.open("/dev/null", os.O_WRONLY), lambda: os.openpty()[1]):
    print(round(min(once(out()) for _ in range(int(rounds))) * 1000))
"""


#: Beside what a script has to import at the least, and what draws a table; each of them may take so many times as long.
PLAIN, DRAWING = "import argparse, json, socket", "import argparse, json, socket, rich.console, rich.table"


def test_list_starts_fast(idled: Installed, people: dict[str, Terminal]) -> None:
    """By processor time, which is all the time there is on a machine that is not busy with others."""

    def took(*call: str) -> list[int]:
        return [int(ms) for ms in idled.machine.run("python3", "-c", STARTS, "15", *call, timeout=120).stdout.split()]

    (plain, _), (_, drawing) = took("python3", "-I", "-c", PLAIN), took("python3", "-I", "-c", DRAWING)
    piped, drawn = took("idlectl", "list")
    assert piped < 3.4 * plain
    assert drawn < 1.8 * drawing
