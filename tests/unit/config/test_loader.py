# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is wrong with a policy is said with file, key, what stood there and what was expected."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idled.config.files import Source
from idled.config.loader import parse
from idled.config.problems import ConfigError
from idled.core.model import Allowance, Extent, Mode, Reason, Session, SessionId
from idled.core.policy import Access
from idled.core.span import HOUR, MIN, SEC

RULE = '[[rule]]\nname = "r"\n'


def complaints(*texts: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(Source(f"f{number}", text) for number, text in enumerate(texts))
    return [str(problem) for problem in caught.value.problems]


def warnings(*texts: str) -> list[str]:
    return [str(problem) for problem in parse(Source("f", text) for text in texts).warnings]


SPAN = 'expected a time span such as "15min"'
ALLOWANCE = 'expected a table such as { limit = "absolute", by_at_most = "1h", times = 2 }, or "off"'
EXTEND = "[defaults]\nextend = "
LIMIT = 'defaults.extend: found a table, expected "idle" or "absolute" as limit'
PROGRAMS = 'expected a list of absolute paths such as ["/usr/bin/apt"]'
NETWORK = 'expected an address or network such as "10.8.0.0/16"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # unknown keys, at every depth
        ('mod = "enforce"', "mod: unknown key; did you mean mode?"),
        ("[default]", "default: unknown key; did you mean defaults?"),
        ("[[rules]]", "rules: unknown key; did you mean rule?"),
        ('[defaults]\nidle-timeout = "1h"', "defaults.idle-timeout: unknown key; did you mean idle_timeout?"),
        (RULE + 'idle_timeuot = "1h"', "rule[1].idle_timeuot: unknown key; did you mean idle_timeout?"),
        (RULE + 'match.groups = "g"', "rule[1].match.groups: unknown key; did you mean group?"),
        (RULE + 'match.not_usr = "g"', "rule[1].match.not_usr: unknown key; did you mean not_user?"),
        ("zzz = 1", "zzz: unknown key"),
        # wrong types
        ("mode = 1", 'mode: found 1, expected one of "observe", "enforce"'),
        ('mode = "enforced"', 'mode: found "enforced", expected one of "observe", "enforce"'),
        ("defaults = []", "defaults: found [], expected a table"),
        ('rule = "x"', 'rule: found "x", expected [[rule]] blocks'),
        ("rule = [1]", "rule[1]: found 1, expected a table"),
        (RULE + "match = 1", "rule[1].match: found 1, expected a table"),
        ("[defaults]\nidle_timeout = 15", f'defaults.idle_timeout: found 15, {SPAN}, in quotes, or "off"'),
        ("[defaults]\nidle_timeout = true", f'defaults.idle_timeout: found true, {SPAN}, in quotes, or "off"'),
        ("[defaults]\nkill_after = []", f"defaults.kill_after: found [], {SPAN}, in quotes"),
        ("[defaults]\nextend = 1", f"defaults.extend: found 1, {ALLOWANCE}"),
        (f"{EXTEND}{{ limit = 'idle' }}", "defaults.extend: found a table, expected a key by_at_most"),
        (f"{EXTEND}{{ limit = 'user', by_at_most = '1h' }}", LIMIT),
        (
            f"{EXTEND}{{ limit = 'idle', by_at_most = '1h', times = 0 }}",
            "defaults.extend: found a table, expected a number from 1 to 100 as times",
        ),
        (
            f"{EXTEND}{{ limit = 'idle', by_at_most = '1h', time = 1 }}",
            'defaults.extend: found a table, expected no key "time"; did you mean times?',
        ),
        (
            f"{EXTEND}{{ limit = 'idle', by_at_most = '1h', reauthenticate = 1 }}",
            "defaults.extend: found a table, expected true or false as reauthenticate",
        ),
        ("access = 1", "access: found 1, expected a table"),
        ("[access]\nveiw = []", "access.veiw: unknown key; did you mean view?"),
        (
            '[access]\nview = "user:a"',
            'access.view: found "user:a", expected a list such as ["user:alice", "group:helpdesk"]',
        ),
        (
            '[access]\nend = ["alice"]',
            'access.end: found ["alice"], expected names such as "user:alice" or "group:helpdesk", and "alice" is none',
        ),
        ("[defaults]\nhold_while = 1", f"defaults.hold_while: found 1, {PROGRAMS}"),
        (
            '[defaults]\nhold_while = ["apt"]',
            'defaults.hold_while: found ["apt"], expected absolute paths, and "apt" is none',
        ),
        ('[defaults]\nend = "all"', 'defaults.end: found "all", expected one of "connection", "session", "user"'),
        (
            '[defaults]\nwarn_before = "2min"',
            'defaults.warn_before: found "2min", expected a list of time spans such as ["2min", "30s"]',
        ),
        (RULE + "match.user = [1]", "rule[1].match.user: found 1, expected a name in quotes"),
        (RULE + 'match.user = ""', 'rule[1].match.user: found "", expected a name in quotes'),
        (RULE + 'match.user = "a\\u0000b"', 'rule[1].match.user: found "a?b", expected a name in quotes'),
        (RULE + 'match.terminal = "yes"', 'rule[1].match.terminal: found "yes", expected true or false'),
        # spans: negative, zero, absurd, none
        ('[defaults]\nidle_timeout = "-5min"', f'idle_timeout: found "-5min", {SPAN}, not a negative one, or "off"'),
        ('[defaults]\nidle_timeout = "0"', f'idle_timeout: found "0", {SPAN}, at least 1s, or "off"'),
        ('[defaults]\nidle_timeout = "999ms"', f'idle_timeout: found "999ms", {SPAN}, at least 1s, or "off"'),
        ('[defaults]\nidle_timeout = "11y"', f'idle_timeout: found "11y", {SPAN} (longer than 10 years), or "off"'),
        ('[defaults]\nidle_timeout = "5 parsecs"', f"{SPAN} (unknown unit of time 'parsecs'), or \"off\""),
        ('[defaults]\nidle_timeout = ""', f'idle_timeout: found "", {SPAN} (an empty time span), or "off"'),
        ('[defaults]\nkill_after = "off"', f"kill_after: found \"off\", {SPAN} (not a time span from 'off' on)"),
        ('[defaults]\nwarn_before = ["0"]', f'warn_before: found ["0"], {SPAN}, at least 1s'),
        # numbers that Python itself does not like
        (f'[defaults]\nidle_timeout = "{"9" * 1_000_003}"', "not a number of 1000003 digits"),
        (f"[defaults]\nidle_timeout = 0x{'f' * 5000}", "found 0xffff"),
        (f"x = {'9' * 5000}", "is not TOML: "),
        # networks
        (RULE + 'match.remote = "10.8.0.0/33"', f'rule[1].match.remote: found "10.8.0.0/33", {NETWORK}'),
        (RULE + 'match.remote = "10.8.0.1/16"', "10.8.0.1/16 has host bits set"),
        (RULE + 'match.remote = "example.org"', f'found "example.org", {NETWORK}'),
        (RULE + "match.remote = [167772161]", f"found 167772161, {NETWORK}"),
        # rules that can never match
        (RULE + "match.user = []", "rule[1].match.user: found an empty list, which can never match"),
        (RULE + 'match = { user = "a", not_user = ["a", "b"] }', "rule[1].match.user: can never match: not_user"),
        (RULE + 'match = { remote = "10.1.0.0/16", not_remote = "10.0.0.0/8" }', "match.remote: can never match"),
        (RULE + "match = { terminal = true, not_terminal = true }", "match.terminal: can never match"),
        (RULE + 'match = { terminal = false, tty = "tty*" }', "rule[1].match.tty: can never match"),
        (RULE + 'match = { not_terminal = true, tty = "tty*" }', "rule[1].match.tty: can never match"),
        # names
        ("[[rule]]", "rule[1].name: found nothing, expected a name for the journal"),
        ('[[rule]]\nname = " "', 'rule[1].name: found " ", expected a name for the journal'),
        ('[[rule]]\nname = "a\\u001b[2J"', 'rule[1].name: found "a?[2J", expected a name for the journal'),
        ('[[rule]]\nname = "defaults"', 'rule[1].name: found "defaults", expected a name no other rule has'),
        (RULE + RULE, 'rule[2].name: found "r", expected a name no other rule has'),
        # no TOML
        ("mode = ", "is not TOML: Invalid value (at end of document)"),
        ("x = " + "[" * 5000, "is not TOML: "),
    ],
)
def test_a_wrong_policy_is_refused_with_one_complaint(text: str, said: str) -> None:
    (complaint,) = complaints(text)
    assert complaint.startswith("f0: ")
    assert said in complaint
    assert len(complaint) < 300
    assert complaint.isprintable()


def test_all_that_is_wrong_is_said_at_once_with_its_file() -> None:
    said = complaints("mode = 1\nzzz = 1", RULE, RULE + "end = 1")
    assert [complaint.split(": ")[:2] for complaint in said] == [
        ["f0", "zzz"],
        ["f0", "mode"],
        ["f2", "rule[1].name"],
        ["f2", "rule[1].end"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'match.user = "nobody-of-that-name"',
            'rule[1].match.user: "nobody-of-that-name": no such user on this machine',
        ),
        ('match.not_group = "no-such"', 'rule[1].match.not_group: "no-such": no such group on this machine'),
        (
            'match.user = "root"\nidle_timeout = "30s"\nwarn_before = ["1min", "10s"]',
            "rule[1]: warn_before 1min leaves no",
        ),
    ],
)
def test_what_is_only_odd_is_a_warning(text: str, said: str) -> None:
    (warning,) = warnings(RULE + 'end = "user"\n' + text)
    assert warning.startswith(f"f: {said}")


@pytest.mark.parametrize(
    ("first", "second", "odd"),
    [
        ("", 'match.user = "root"', True),
        ('match.user = "root"', 'match = { user = "root", tty = "x" }', True),
        ('match.user = "root"', "", False),
        ('match.user = "root"', 'match.user = "bin"', False),
        ('match.user = "root"', 'match.user = "root"\nend = "user"', False),
    ],
)
def test_a_rule_that_another_leaves_nothing_to_set_is_odd(first: str, second: str, odd: bool) -> None:
    text = f'{RULE}idle_timeout = "1h"\n{first}\n[[rule]]\nname = "s"\nidle_timeout = "2h"\n{second}'
    said = ["f: rule[2]: has no effect: 'r' before it matches the same sessions and sets all that it sets"]
    assert warnings(text) == (said if odd else [])


def test_a_rule_without_values_is_odd() -> None:
    assert warnings(RULE) == ["f: rule[1]: sets nothing"]


SESSION = Session(id=SessionId("b", 1, 2), user="root", uid=0, opened_at=0, service="sshd", remote="10.8.3.4")


def test_the_first_rule_that_sets_a_value_gives_it_over_all_files_and_the_last_defaults_count() -> None:
    policy = parse(
        [
            Source("a", 'mode = "enforce"\n[defaults]\nidle_timeout = "1h"\nabsolute_timeout = "9h"\n'),
            Source("b", '[[rule]]\nname = "one"\nidle_timeout = "2min"\nmatch.remote = "10.8.0.0/16"'),
            Source(
                "c", '[defaults]\nabsolute_timeout = "off"\n[[rule]]\nname = "two"\nidle_timeout = "3h"\nend = "user"'
            ),
        ]
    ).policy
    limits = policy.limits(SESSION, ())
    assert (policy.mode, limits.idle_timeout, limits.absolute_timeout, limits.end) == (
        Mode.ENFORCE,
        2 * MIN,
        None,
        Extent.USER,
    )
    assert dict(limits.origin) == {"idle_timeout": "one", "end": "two", "absolute_timeout": "defaults"}


def test_the_last_mode_counts_and_none_is_observe() -> None:
    assert parse([Source("a", "")]).policy.mode is Mode.OBSERVE
    assert parse([Source("a", 'mode = "enforce"'), Source("b", 'mode = "observe"')]).policy.mode is Mode.OBSERVE


@pytest.mark.parametrize(
    ("text", "span"),
    [("15min", 15 * MIN), ("90", 90 * SEC), ("1h 30min", 90 * MIN), ("2h30m", 150 * MIN), ("1.5h", 90 * MIN)],
)
def test_spans_are_those_of_systemd(text: str, span: int) -> None:
    policy = parse([Source("f", f'[defaults]\nidle_timeout = "{text}"\nwarn_before = ["1s", "{text}", "1s"]')]).policy
    limits = policy.limits(SESSION, ())
    assert (limits.timeout(Reason.IDLE), limits.warn_before) == (span, (span, SEC))


@pytest.mark.parametrize(
    ("network", "remote", "matches"),
    [
        ("10.8.0.0/16", "10.8.3.4", True),
        ("10.8.0.0/16", "::ffff:10.8.3.4", True),
        ("::ffff:10.8.0.0/112", "10.8.3.4", True),
        ("::ffff:10.8.3.4", "10.8.3.4", True),
        ("10.8.0.0/16", "10.9.0.1", False),
        ("fd00::/8", "fd00::1%eth0", True),
        ("::/0", "10.8.3.4", False),
    ],
)
def test_an_ipv4_address_is_the_same_in_either_form(network: str, remote: str, matches: bool) -> None:
    text = f'{RULE}idle_timeout = "{HOUR // SEC}"\nmatch.remote = "{network}"'
    rule = parse([Source("f", text)]).policy.rules[0]
    session = Session(id=SESSION.id, user="u", uid=1, opened_at=0, remote=remote)
    assert (rule.missed(session, ()) is None) is matches


VALUES = st.recursive(
    st.integers() | st.booleans() | st.text(max_size=8).map(lambda text: text.replace("'", "")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = st.sampled_from(["mode", "idle_timeout", "warn_before", "end", "kill_after", "name", "match", "rule", "zzz"])
HEADS = st.sampled_from(["", "[defaults]\n", RULE, "[rule]\n", RULE + "[rule.match]\n", RULE + "match."])


@given(HEADS, KEYS | st.sampled_from(["user", "not_remote", "tty", "terminal"]), VALUES)
@example("", "mode", [[]])
def test_whatever_stands_there_is_a_policy_or_a_complaint(head: str, key: str, value: object) -> None:
    text = f"{head}{key} = {str(value).lower() if not isinstance(value, str) else repr(value)}"
    try:
        parse([Source("f", text)])
    except ConfigError as error:
        assert all(str(problem).startswith("f: ") and str(problem).isprintable() for problem in error.problems)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (b"#!/bin/sh\n", 0o755, "is a script: what the kernel sees running is its interpreter"),
        (b"\x7fELF", 0o757, "is not only root's to write, so it holds nothing"),
        (None, 0, "cannot be read"),
    ],
)
def test_a_program_that_could_never_hold_is_said(tmp_path: Path, text: bytes | None, mode: int, said: str) -> None:
    path = tmp_path / "program"
    if text is not None:
        path.write_bytes(text)
        path.chmod(mode)
    assert warnings(f'[defaults]\nhold_while = ["{path}"]') == [f"f: defaults.hold_while: {path} {said}"]


def test_a_program_of_roots_is_not_suspect() -> None:
    assert warnings('[defaults]\nhold_while = ["/usr/bin/env"]') == []


def test_a_pipe_that_a_user_put_in_a_programs_place_does_not_hang_the_daemon(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    said = "is not only root's to write, so it holds nothing"
    assert warnings(f'[defaults]\nhold_while = ["{pipe}"]') == [f"f: defaults.hold_while: {pipe} {said}"]


def test_an_allowance_and_how_it_is_taken_back() -> None:
    text = EXTEND + '{ limit = "absolute", by_at_most = "1h" }\n' + RULE + 'match.user = "root"\nextend = "off"'
    first, last = parse([Source("f", text)]).policy.rules
    assert first.values == {"extend": None}
    assert last.values == {"extend": Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR, times=1, reauthenticate=True)}


def test_rights_are_those_of_the_last_file_that_names_them() -> None:
    texts = ('[access]\nview = ["user:root"]\nend = ["user:root"]', '[access]\nview = ["group:root"]\nend = []')
    policy = parse(Source("f", text) for text in texts).policy
    assert policy.access == Access(view=("group:root",))


def test_a_right_of_nobody_known_is_suspect() -> None:
    assert warnings('[access]\nend = ["user:no-such", "group:root"]\nview = ["group:no-such", "user:root"]') == [
        'f: access.end: "no-such": no such user on this machine',
        'f: access.view: "no-such": no such group on this machine',
    ]
