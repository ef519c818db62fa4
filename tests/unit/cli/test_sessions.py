# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verbs about one session: what they ask of the service, what they say, and how they exit."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idled.cli import extend, me, show
from idled.cli.ask import harmless
from idled.control.wire import VarlinkError
from idled.core.span import HOUR, MIN, SEC

from .conftest import Fake, session, timeless, unlimited
from .test_daemon import STATUS
from .test_list import SESSIONS

ALLOWED = {"limit": "absolute", "byAtMostUSec": HOUR, "timesLeft": 2, "reauthenticate": True}
NEEDED = VarlinkError("io.idled.AuthenticationRequired", user="alice")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            session(absoluteTimeoutUSec=None),
            "This session ends at HH:MM:SS (in 3 minutes) unless you type: idle limit 15min.",
        ),
        (
            session(),
            "This session ends at HH:MM:SS (in 3 minutes) unless you type: idle limit 15min.\n"
            "At the latest it ends at HH:MM:SS.",
        ),
        (
            session(extend=ALLOWED),
            "This session ends at HH:MM:SS (in 3 minutes) unless you type: idle limit 15min.\n"
            "At the latest it ends at HH:MM:SS. "
            "To move the time limit by up to 1h, 2 times: idlectl extend",
        ),
        (
            session(terminals=[], absoluteTimeoutUSec=None),
            "This session ends at HH:MM:SS (in 3 minutes) unless something is transferred: idle limit 15min.",
        ),
        (
            session(reason="absolute", endsInUSec=29 * SEC, absoluteExtraUSec=HOUR),
            "This session ends at HH:MM:SS (in 29 seconds), active or not: time limit 13h.",
        ),
        (
            session(reason="absolute", extend=ALLOWED | {"timesLeft": 1}),
            "This session ends at HH:MM:SS (in 3 minutes), active or not: time limit 12h.\n"
            "To move the time limit by up to 1h, once: idlectl extend",
        ),
        (
            session(heldBy="/usr/bin/apt", absoluteTimeoutUSec=None),
            "This session stays while apt is in the foreground; after that: idle limit 15min.",
        ),
        (
            session(observed=False, absoluteTimeoutUSec=None),
            "This session ends at HH:MM:SS (in 3 minutes), whatever you do: "
            "idle limit 15min, and your activity cannot be observed.",
        ),
        (session(state="ending", endsInUSec=0), "This session is being ended now."),
        (unlimited(), "This session has no limit: it stays open."),
        (
            unlimited(observed=False),
            "This session has no limit that applies, as what you do in it cannot be observed: it stays open.",
        ),
    ],
)
def test_me_says_when_and_why_and_how_to_stay(fake: Fake, found: dict[str, Any], said: str) -> None:
    with fake.answering(GetSession={"session": found}, ListSessions={"mode": "enforce", "sessions": []}):
        assert timeless("\n".join(fake.plain("me"))) == said
    assert fake.asked[0] == ("GetSession", {})


def test_me_does_not_frighten_in_observe_mode(fake: Fake) -> None:
    found = {"session": session(extend=ALLOWED)}
    with fake.answering(GetSession=found, ListSessions={"mode": "observe", "sessions": []}):
        assert fake.plain("me") == ["This session stays open: its idle limit of 15min is watched, but not enforced."]
        assert json.loads("\n".join(fake.plain("me", "--json"))) == {**found, "mode": "observe"}


@pytest.mark.parametrize("ends_in", [29 * SEC, 119 * SEC, 3 * MIN, 119 * MIN, 11 * HOUR])
@pytest.mark.parametrize("limit", ["idle", "absolute"])
def test_when_and_why_and_how_to_stay_fit_in_80_columns(fake: Fake, ends_in: int, limit: str) -> None:
    found = session(endsInUSec=ends_in, reason=limit, absoluteTimeoutUSec=12 * HOUR)
    first = timeless(next(me.sentences(found, "enforce")))
    assert len(first) <= 82
    with fake.answering(GetSession={"session": found}, ListSessions={"mode": "enforce", "sessions": []}):
        shown = fake.on_terminal("me")
    assert timeless(" ".join(shown)).startswith(first)
    assert max(map(len, shown)) <= 80


SHOWN = """\
Session 12 of alice, warned
  user              alice (uid 1000)
  from              192.168.1.20
  service           sshd
  leader            pid 7, session id 7-70
  terminals         pts/3
  opened            HH:MM:SS, 2h 10min ago
  idle              for 12min
  idle timeout      15min (rule contractors)
  absolute timeout  12h (rule defaults), extended by 1h
  warned            in 1min, at HH:MM:SS
  ends              in 3min, at HH:MM:SS, by the idle timeout if nothing changes
  extend            the absolute timeout, by 1h at most, 2 more times, with the password
"""


def test_show_tells_all_that_is_known(fake: Fake) -> None:
    found = session(state="warned", absoluteExtraUSec=HOUR, extend=ALLOWED)
    with fake.answering(GetSession={"session": found}):
        assert timeless("\n".join(fake.plain("show", "12"))) == SHOWN.rstrip()
        assert json.loads("\n".join(fake.plain("show", "--json"))) == {"session": found}
        assert max(map(len, fake.on_terminal("show"))) <= 80
    assert fake.asked[:2] == [("GetSession", {"session": "12"}), ("GetSession", {})]


@given(SESSIONS, st.sampled_from(["enforce", "observe"]))
def test_any_session_can_be_put_in_words(found: dict[str, Any], mode: str) -> None:
    found = harmless(found)
    said = [*me.sentences(found, mode), *(text for _, text in show.facts(found)), extend.sentence(found)]
    assert all(said)


EXPLAINED: dict[str, Any] = {
    "session": session(),
    "rules": [
        {"name": "break-glass", "whyNot": "user root; here it is alice", "gives": [], "overruled": []},
        {"name": "contractors", "whyNot": "", "gives": ["idle_timeout = 5min"], "overruled": []},
        {"name": "defaults", "whyNot": "", "gives": ["end = user"], "overruled": ["idle_timeout = 15min"]},
        {"name": "spare", "whyNot": "", "gives": [], "overruled": ["end = session"]},
    ],
    "activity": ["counts: input"],
    "terminals": [
        {"name": "pts/3", "stampedUSec": 12 * MIN, "queued": 4, "believed": True},
        {"name": "pts/4", "stampedUSec": 0, "queued": 0, "believed": False},
    ],
    "connection": {
        "address": "192.168.1.20 5022",
        "receivedUSec": SEC,
        "sentUSec": 2 * SEC,
        "delivered": 17,
        "issued": 2000,
    },
    "notes": ["activity was forged"],
    "moments": [
        {"what": "warn", "limit": "idle", "inUSec": MIN},
        {"what": "end", "limit": "idle", "inUSec": 3 * MIN},
    ],
}
EXPLANATION = """\
Session 12 of alice from 192.168.1.20

Rules, in the order in which they are asked
  break-glass         does not match: user root; here it is alice
  contractors         idle_timeout = 5min
  defaults            end = user
                      idle_timeout = 15min (an earlier rule gave this)
  spare               matches, and gives nothing more
                      end = session (an earlier rule gave this)

Activity
  last                12min ago
  evidence            counts: input
  pts/3               stamp of input from 12min ago; 4 bytes typed and not read
  pts/4               stamp of input from just now; NOT believed, it was set and is not of input
  connection          192.168.1.20 5022
                      received last 1s ago, sent last 2s ago
                      the bytes that it delivers into the session can be counted
  notes               activity was forged

What comes if nothing changes
  HH:MM:SS            in 1min: warning, idle timeout
  HH:MM:SS            in 3min: end, idle timeout
"""


def test_explain_goes_through_rules_evidence_and_what_comes(fake: Fake) -> None:
    with fake.answering(Explain=EXPLAINED):
        assert timeless("\n".join(fake.plain("explain", "12"))) == EXPLANATION.rstrip()
        assert json.loads("\n".join(fake.plain("explain", "--json"))) == EXPLAINED
        assert max(map(len, fake.on_terminal("explain"))) <= 80


def test_explain_asks_about_a_login_that_has_not_happened(fake: Fake) -> None:
    with fake.answering(ExplainLogin={"rules": EXPLAINED["rules"]}):
        lines = fake.plain("explain", "--user", "alice", "--service", "sshd", "--remote", "10.0.0.1")
    assert fake.asked == [("ExplainLogin", {"user": "alice", "service": "sshd", "remote": "10.0.0.1"})]
    assert lines[0] == "A login that has not happened: user alice, service sshd, remote 10.0.0.1"
    assert "  contractors         idle_timeout = 5min" in lines
    assert "Activity" not in lines


def test_end_ends_each_and_says_which_it_could_not(fake: Fake) -> None:
    def ending(parameters: dict[str, Any]) -> Any:
        name = parameters["session"]
        errors = {
            "13": VarlinkError("io.idled.NotPermitted"),
            "14": VarlinkError("io.idled.NoSuchSession", session="14"),
        }
        return errors.get(name, {})

    with fake.answering(End=ending):
        done = fake.run("end", "12", "13", "14", "--reason", "lunch")
        shown = json.loads(fake.run("end", "12", "13", "--json").stdout)
    assert done.returncode == 1
    assert done.stdout == "Session 12 is being ended.\n"
    assert done.stderr.splitlines() == [
        "idlectl: session 13: you may not do this: try as root, or see [access] in idled.toml(5)",
        "idlectl: there is no session 14 that you may see (see: idlectl list --all)",
    ]
    assert fake.asked[0] == ("End", {"session": "12", "reason": "lunch"})
    assert shown == {"ended": ["12"], "failed": [{"session": "13", "error": "io.idled.NotPermitted"}]}


BOBS = {
    "mode": "enforce",
    "sessions": [session(user="bob", id="1-1", name="1"), session(), session(user="bob", id="2-2", name="2")],
}


def test_end_of_a_user_is_of_all_that_are_his_and_no_others(fake: Fake) -> None:
    with fake.answering(ListSessions=BOBS, End={}):
        done = fake.run("end", "--user", "bob")
        assert done.returncode == 0
        assert [asked["session"] for name, asked in fake.asked if name == "End"] == ["1-1", "2-2"]
        assert done.stdout.startswith("Session 1 of bob from 192.168.1.20 is being ended.\n")
        none = fake.run("end", "--user", "carol")
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == "idlectl: carol has no session that you may see (see: idlectl list --all)\n"


@pytest.mark.parametrize(
    ("typed", "ended"), [("y\n", 2), ("yes\n", 2), ("\n", 0), ("n\n", 0), ("what\n", 0), ("\x04", 0)]
)
def test_end_asks_on_a_terminal_before_it_ends_more_than_one(fake: Fake, typed: str, ended: int) -> None:
    with fake.answering(ListSessions=BOBS, End={}):
        shown = fake.on_terminal("end", "--user", "bob", typed=typed)
    assert shown[:2] == ["  session 1 of bob from 192.168.1.20", "  session 2 of bob from 192.168.1.20"]
    assert shown[2].startswith("End these 2 sessions? [y/N] ")
    assert len([name for name, _ in fake.asked if name == "End"]) == ended
    assert shown.code == (0 if ended else 1)
    assert ended or shown[-1].endswith("idlectl: nothing was ended")


def test_hostile_names_do_not_reach_the_terminal_with_the_question(fake: Fake) -> None:
    two = [session(user="bob", id=str(at), name="\x1b[2J", remote="\x1b]0;x\x07") for at in range(2)]
    with fake.answering(ListSessions={"mode": "enforce", "sessions": two}, End={}):
        shown = fake.on_terminal("end", "--user", "bob", "--json", typed="n\n")
    assert "\x1b[2J" not in "".join(shown.raw)
    assert shown[0] == "  session ?[2J of bob from ?]0;x?"


@pytest.mark.parametrize("arguments", [["12"], ["12", "13", "--yes"]])
def test_end_does_not_ask_without_need(fake: Fake, arguments: list[str]) -> None:
    with fake.answering(End={}):
        shown = fake.on_terminal("end", *arguments)
    assert shown.code == 0
    assert "?" not in "".join(shown)


EXTENDED = session(absoluteExtraUSec=30 * MIN, extend=ALLOWED | {"timesLeft": 1})


def with_password(parameters: dict[str, Any]) -> Any:
    if parameters.get("password") == "geheim":
        return {"session": EXTENDED}
    wrong = VarlinkError("io.idled.ExtensionRefused", reason="wrong password")
    return wrong if "password" in parameters else NEEDED


def test_extend_without_a_password_says_what_the_limits_are_now(fake: Fake) -> None:
    with fake.answering(Extend={"session": EXTENDED}):
        lines = fake.plain("extend", "12", "--by", "30min", "--limit", "absolute", "--reason", "late")
        shown = json.loads("\n".join(fake.plain("extend", "--json")))
    assert timeless("\n".join(lines)) == (
        "Session 12 of alice from 192.168.1.20: its absolute timeout is now 12h 30min. "
        "It ends in 3 minutes (at HH:MM:SS) if nothing changes. Its person may extend it 1 more time."
    )
    expected = {"session": "12", "byUSec": 30 * MIN, "limit": "absolute", "reason": "late"}
    assert fake.asked == [("Extend", expected), ("Extend", {})]
    assert shown == {"session": EXTENDED}


def test_extend_asks_for_the_password_and_does_not_show_it(fake: Fake) -> None:
    with fake.answering(Extend=with_password):
        shown = fake.on_terminal("extend", typed="geheim\n")
    assert shown[0].startswith("Password of alice:")
    assert "its absolute timeout is now 12h 30min" in " ".join(shown)
    assert "geheim" not in "".join(shown.raw)
    assert shown.code == 0
    assert [asked.get("password") for _, asked in fake.asked] == [None, "geheim"]


def test_a_wrong_password_is_said_and_not_tried_again(fake: Fake) -> None:
    with fake.answering(Extend=with_password):
        shown = fake.on_terminal("extend", typed="falsch\n")
    assert shown[-1] == "idlectl: not extended: wrong password (see: idlectl extend --help)"
    assert shown.code == 1
    assert "falsch" not in "".join(shown.raw)
    assert len(fake.asked) == 2


@pytest.mark.parametrize("typed", ["\n", "\x04"])
def test_no_password_extends_nothing(fake: Fake, typed: str) -> None:
    with fake.answering(Extend=with_password):
        shown = fake.on_terminal("extend", typed=typed)
    assert shown[-1].endswith("idlectl: not extended: no password was given")
    assert shown.code == 1
    assert len(fake.asked) == 1


def test_ctrl_c_at_the_password_leaves_the_terminal_as_it_was(fake: Fake) -> None:
    with fake.answering(Extend=with_password):
        shown = fake.on_terminal("extend", typed="gehe\x03")
    assert shown.code == 130
    assert "Traceback" not in "".join(shown)
    assert len(fake.asked) == 1


def test_without_a_terminal_no_password_is_read_from_anywhere(fake: Fake) -> None:
    with fake.answering(Extend=with_password):
        done = fake.run("extend", input="geheim\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("idlectl: not extended: the password is needed, and there is no terminal")
    assert len(fake.asked) == 1


EVIL = "\x1b[2J\x9b31m\x07\u202e\n"
HOSTILE = session(user=EVIL, name=EVIL, remote=EVIL, service=EVIL, terminals=[EVIL], idleRule=EVIL, heldBy=EVIL)


@pytest.mark.parametrize("call", ["list", "me", "show", "explain", "explain --user x", "status", "reload", "extend"])
def test_nothing_hostile_from_the_service_reaches_the_terminal(fake: Fake, call: str) -> None:
    found = {"session": HOSTILE}
    rules = [rule | {"name": EVIL, "gives": [EVIL]} for rule in EXPLAINED["rules"]]
    trouble = STATUS["troubles"][0] | {"text": EVIL}
    answers = {
        "ListSessions": {"mode": "enforce", "sessions": [HOSTILE]},
        "GetSession": found,
        "Explain": EXPLAINED | found | {"rules": rules, "notes": [EVIL], "activity": [EVIL]},
        "ExplainLogin": {"rules": rules},
        "GetStatus": STATUS | {"troubles": [trouble], "files": [EVIL]},
        "Reload": {"warnings": [EVIL]},
        "Extend": found,
    }
    with fake.answering(**answers):
        shown = "".join(fake.on_terminal(*call.split()))
        piped = fake.run(*call.split()).stdout
    for text in (shown, piped.replace("\n", "")):
        assert text
        assert not [sign for sign in text if unicodedata.category(sign).startswith("C")]
