# SPDX-License-Identifier: LGPL-2.1-or-later
"""The edges of what may stand in a policy: the last value that is right, the first that is wrong, and what is said."""

import os
import threading
import time
from datetime import date
from pathlib import Path

import pytest

from idled.config import schema
from idled.config.files import Source
from idled.config.loader import parse
from idled.config.problems import shown
from idled.config.schema import SETTINGS, Setting
from idled.core.model import Activity, Allowance, Limits, Reason
from idled.core.policy import Access
from idled.core.span import MIN
from tests.terminal.bench import until

from ..peer import NOBODY, needs_root
from .test_loader import EXTEND, NETWORK, PROGRAMS, RULE, SESSION, SPAN, complaints, warnings

FOUND = f'found "5 parsecs", {SPAN}'
ACTIVITY = "[defaults]\nactivity = "
ACTIVITIES = 'expected a list with some of "input", "output", "traffic"'
NAMES = 'expected names such as "user:alice" or "group:helpdesk", and'


def limits(text: str) -> Limits:
    """What a session of root from 10.8.3.4, without a terminal, gets."""
    return parse([Source("f", text)]).policy.limits(SESSION, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[defaults]\nidle_timeout = "5 parsecs"',
            f"defaults.idle_timeout: {FOUND} (unknown unit of time 'parsecs'), or \"off\"",
        ),
        ("access = 1", "access: found 1, expected a table"),
        ("defaults = []", "defaults: found [], expected a table"),
        ("rule = 'x'", 'rule: found "x", expected [[rule]] blocks'),
        ("rule = [1]", "rule[1]: found 1, expected a table"),
        ("[access]\nveiw = []", "access.veiw: unknown key; did you mean view?"),
        (
            f"[defaults]\nkill_after = '{'9' * 1_000_003}'",
            f'defaults.kill_after: found "{"9" * 76}..., {SPAN}, not a number of 1000003 digits',
        ),
        (f"{ACTIVITY}'input'", f'defaults.activity: found "input", {ACTIVITIES}'),
        (f"{ACTIVITY}[]", f"defaults.activity: found [], {ACTIVITIES}"),
        (f"{ACTIVITY}['typing']", 'defaults.activity: found ["typing"], expected one of "input", "output", "traffic"'),
        ("[defaults]\nhold_while = [1]", "defaults.hold_while: found [1], expected absolute paths, and 1 is none"),
        (
            '[defaults]\nhold_while = ["/a\\n"]',
            'defaults.hold_while: found ["/a?"], expected absolute paths, and "/a?" is none',
        ),
        ("[defaults]\nhold_while = '/a'", f'defaults.hold_while: found "/a", {PROGRAMS}'),
        ("[access]\nview = [1]", f"access.view: found [1], {NAMES} 1 is none"),
        ('[access]\nview = ["users:a"]', f'access.view: found ["users:a"], {NAMES} "users:a" is none'),
        ('[access]\nview = ["user:"]', f'access.view: found ["user:"], {NAMES} "user:" is none'),
        ('[access]\nview = ["user:a\\t"]', f'access.view: found ["user:a?"], {NAMES} "user:a?" is none'),
        (
            '[[rule]]\nname = "r"\nmatch.remote = "10.8.0.1/16"',
            f'rule[1].match.remote: found "10.8.0.1/16", {NETWORK} (10.8.0.1/16 has host bits set)',
        ),
        ("[[rule]]\nname = 'r'\nmatch.remote = 1", f"rule[1].match.remote: found 1, {NETWORK}"),
        (
            RULE + "match.user = []",
            "rule[1].match.user: found an empty list, which can never match; expected at least one value",
        ),
        (
            RULE + "match = { user = [], not_user = 'a' }",
            "rule[1].match.user: found an empty list, which can never match; expected at least one value",
        ),
        (
            RULE + "match = { terminal = [], tty = 'x' }",
            "rule[1].match.terminal: found an empty list, which can never match; expected at least one value",
        ),
        (
            RULE + "match = { service = 'a', user = 'a', not_user = 'a' }",
            "rule[1].match.user: can never match: not_user excludes all of it",
        ),
        (
            RULE + "match = { terminal = false, tty = 'x' }",
            "rule[1].match.tty: can never match: terminal asks for sessions that have none",
        ),
        (
            RULE + "match = { remote = '10.1.0.0/16', not_remote = ['192.168.0.0/16', 'fd00::/8', '10.0.0.0/8'] }",
            "rule[1].match.remote: can never match: not_remote excludes all of it",
        ),
        ("mode = ", "is not TOML: Invalid value (at end of document)"),
        ("x = " + "[" * 5000, "is not TOML: nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_in_full(text: str, said: str) -> None:
    assert complaints(text) == [f"f0: {said}"]


@pytest.mark.parametrize("times", [0, 101, "1", 1.5, "true"])
def test_how_often_is_a_number_from_1_to_100(times: object) -> None:
    text = f"{EXTEND}{{ limit = 'idle', by_at_most = '1h', times = {times if times != '1' else repr(times)} }}"
    (said,) = complaints(text)
    assert said == "f0: defaults.extend: found a table, expected a number from 1 to 100 as times"


@pytest.mark.parametrize("times", [1, 100])
def test_how_often_is_what_it_says(times: int) -> None:
    allowed = Allowance(limit=Reason.IDLE, by_at_most=MIN, times=times)
    assert limits(f"{EXTEND}{{ limit = 'idle', by_at_most = '1min', times = {times} }}").extend == allowed


def test_what_counts_as_activity_is_what_it_says() -> None:
    assert limits(f"{ACTIVITY}['input', 'output']").activity == {Activity.INPUT, Activity.OUTPUT}


@pytest.mark.parametrize(
    "match",
    [
        "user = ['root', 'a'], not_user = 'a'",
        "terminal = [true, false], not_tty = 'x'",
        "remote = '10.8.0.0/16', not_remote = 'fd00::/8'",
        "remote = '10.8.0.0/16', not_remote = ['10.9.0.0/16', 'fd00::/8']",
    ],
)
def test_what_does_not_contradict_itself_is_right(match: str) -> None:
    assert limits(f"{RULE}match = {{ {match} }}\nidle_timeout = '1min'").idle_timeout == MIN


def test_a_rule_may_ask_for_a_terminal_or_none_and_for_its_name() -> None:
    text = f"{RULE}match = {{ terminal = [true, false], tty = 'tty*' }}\nend = 'user'"
    assert parse([Source("f", text)]).warnings == ()


@pytest.mark.parametrize(
    ("network", "matches"),
    [
        ("::ffff:0.0.0.0/96", True),
        ("::ffff:10.8.3.4/128", True),
        ("::ffff:10.8.3.0/120", True),
        ("::ffff:10.9.0.0/112", False),
        ("::/0", False),
        ("2001:db8::/120", False),
    ],
)
def test_networks_of_mapped_addresses(network: str, matches: bool) -> None:
    found = limits(f"{RULE}match.remote = '{network}'\nidle_timeout = '1min'")
    assert (found.idle_timeout == MIN) is matches


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a "b" \\ c', '"a \\"b\\" \\\\ c"'),
        (["a", 1, True], '["a", 1, true]'),
        ((1 << 64) - 1, "18446744073709551615"),
        (1 << 64, "0x10000000000000000"),
        (date(2026, 1, 31), "2026-01-31"),
        ("x" * 78, '"' + "x" * 78 + '"'),
        ("x" * 79, '"' + "x" * 76 + "..."),
    ],
)
def test_what_stood_there_is_shown_as_it_was_written(value: object, text: str) -> None:
    assert shown(value) == text


def test_where_nothing_is_near_no_hint_is_given() -> None:
    assert complaints("zzz = 1") == ["f0: zzz: unknown key"]


# What is only odd


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "idle_timeout = '1min'\nwarn_before = ['2min', '1min', '59s']",
            "warn_before 2min, 1min leaves no time before a idle_timeout of 1min; no such warning is given",
        ),
        (
            "absolute_timeout = '1min'\nwarn_before = ['1min']",
            "warn_before 1min leaves no time before a absolute_timeout of 1min; no such warning is given",
        ),
        ("idle_timeout = '1min'\nabsolute_timeout = '1min'\nwarn_before = ['59s']", None),
    ],
)
def test_a_warning_that_leaves_no_time_is_odd(text: str, said: str | None) -> None:
    assert warnings(RULE + text) == ([f"f: rule[1]: {said}"] if said else [])


def test_two_rules_alike_of_which_the_second_has_no_effect() -> None:
    rules = [f"[[rule]]\nname = '{name}'\nmatch.user = 'root'\nend = 'user'\n" for name in "ab"]
    assert warnings(*rules) == [
        "f: rule[1]: has no effect: 'a' before it matches the same sessions and sets all that it sets"
    ]


def test_a_rule_that_sets_nothing_is_said_to_do_so_and_no_more() -> None:
    assert warnings(RULE + "end = 'user'\n[[rule]]\nname = 'none'") == ["f: rule[2]: sets nothing"]


def test_a_known_user_and_group_are_not_odd() -> None:
    text = (
        "[access]\nend = ['user:root', 'group:root']\n"
        + RULE
        + "match = { user = 'root', group = 'root' }\nend = 'user'"
    )
    assert warnings(text) == []
    assert parse([Source("f", text)]).policy.access == Access(end=("user:root", "group:root"))


@needs_root
def test_of_several_programs_the_one_that_holds_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF")
    path.chmod(0o755)
    os.chown(path, NOBODY, 0)
    assert warnings(f'[defaults]\nhold_while = ["/usr/bin/env", "{path}"]') == [
        f"f: defaults.hold_while: {path} is not only root's to write, so it holds nothing"
    ]


@pytest.mark.parametrize(("name", "setting"), SETTINGS.items())
def test_every_example_of_the_manual_can_be_used(name: str, setting: Setting) -> None:
    assert name in parse([Source("f", f"[defaults]\n{name} = {setting.example}")]).policy.rules[-1].values


def test_an_nss_that_does_not_answer_keeps_nobody_waiting_and_no_program_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A directory server that hangs cannot be had here; the question to it is held instead."""
    release, asked = threading.Event(), []
    monkeypatch.setattr(schema, "_NSS_PATIENCE", 0.05)
    monkeypatch.setattr(schema, "_patience", schema._Patience())

    def hang(name: str) -> None:
        asked.append((name, threading.current_thread().daemon))
        release.wait(20)
        raise KeyError

    assert schema._unknown(hang, "user")("alice") == ""
    until(lambda: asked == [("alice", True)])
    release.set()


def test_an_nss_that_does_not_answer_is_waited_for_once_in_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    release, asked = threading.Event(), list[str]()
    monkeypatch.setattr(schema, "_NSS_PATIENCE", 0.2)
    monkeypatch.setattr(schema, "_patience", schema._Patience())

    def hang(name: str) -> None:
        asked.append(name)
        release.wait(20)
        raise KeyError

    user, group = schema._unknown(hang, "user"), schema._unknown(hang, "group")
    assert [user("alice"), user("bob"), group("staff")] == [""] * 3
    until(lambda: asked == ["alice"])
    release.set()
    monkeypatch.setattr(schema, "_NSS_PATIENCE", 10)
    assert user("carol") == "", "it is the same load still"
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + schema._NSS_AGAIN)
    assert user("carol") == "no such user on this machine"


def test_an_nss_that_is_slow_is_asked_for_so_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers each time, and a policy has hundreds of them."""
    began = time.monotonic()
    asked: list[str] = []
    monkeypatch.setattr(schema, "_patience", schema._Patience())
    monkeypatch.setattr(time, "monotonic", lambda: began + 9 * len(asked))
    monkeypatch.setattr(schema, "_NSS_AGAIN", 1000)

    suspect = schema._unknown(asked.append, "user")
    assert {suspect(str(number)) for number in range(100)} == {""}
    assert len(asked) == 12, "a hundred seconds"
