# SPDX-License-Identifier: LGPL-2.1-or-later
"""How idlectl is called: the table of verbs, wrong calls, help, and what is said when the service does not do it."""

import importlib
import re
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest

from idled.cli.values import moment, span
from idled.cli.verbs import COMMON, VERBS, Verb
from idled.control.wire import VarlinkError
from idled.core.span import HOUR, MIN, SEC

from .conftest import Fake, idlectl, session

ERROR = "io.idled."
each_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)


@each_verb
def test_each_verb_has_its_module_and_is_fully_described(verb: Verb) -> None:
    assert callable(importlib.import_module(f"idled.cli.{verb.module or verb.name}").run)
    assert verb.text.endswith(".")
    assert verb.json.endswith(".")
    assert verb.examples
    assert {0, 1, 2} <= verb.exit_codes.keys()
    assert len(verb.help) <= 70
    for argument in verb.arguments:
        assert argument.help
        assert argument.is_option or argument.value, "what is named by its place is something"
        assert argument.name not in {common.name for common in COMMON}


@each_verb
def test_the_examples_are_calls_that_are_understood(verb: Verb) -> None:
    import shlex

    from idled.cli.main import _parser, _with_verb

    for example in verb.examples:
        for part in re.split(r" && | \| ", example.call):
            words = shlex.split(part)
            if words[0] == "idlectl":
                _parser().parse_args(_with_verb(words[1:]))
    assert any(example.call.startswith("idlectl") for example in verb.examples)


@each_verb
def test_help_of_a_verb_tells_all(verb: Verb) -> None:
    done = idlectl(verb.name, "--help", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    for expected in ("--json", "exit codes:", verb.examples[0].call, *(argument.name for argument in verb.arguments)):
        assert expected in done.stdout


@pytest.mark.parametrize("argument", ["--help", "-h", "--version"])
def test_help_is_no_error(argument: str) -> None:
    done = idlectl(argument)
    assert (done.returncode, done.stderr) == (0, "")
    assert "idlectl" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lsit"], "invalid choice: 'lsit'"),
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["check", "a", "b"], "unrecognized arguments: b"),
        (["list", "--du", "5min"], "unrecognized arguments: --du 5min"),
        (["--due", "5minutos"], "argument --due: unknown unit of time 'minutos'; expected a span"),
        (["extend", "--by", ""], "argument --by: an empty time span"),
        (["extend", "--limit", "both"], "argument --limit: invalid choice: 'both'"),
        (["log", "--since", "yesteryear"], "argument --since: 'yesteryear' is no moment; expected one as 2h (ago)"),
        (["end"], "end: name either sessions or, with --user, whose"),
        (["end", "1", "--user", "bob"], "end: name either sessions or, with --user, whose"),
        (["explain", "1", "--user", "bob"], "explain: either a session or, with --user, a login"),
        (["explain", "--remote", "10.0.0.1"], "explain: --service, --remote and --tty belong to --user"),
        (["show", "1", "2"], "unrecognized arguments: 2"),
    ],
)
def test_a_wrong_call_is_said_in_a_line(arguments: list[str], said: str) -> None:
    done = idlectl(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("idlectl: ")
    assert said in done.stderr
    assert done.stderr.endswith("--help)\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["list"], ["me"], ["end", "1"], ["--json", "status"], ["reload"]])
@pytest.mark.parametrize(
    ("path", "why"), [("/nowhere", "No such file or directory"), ("/dev/null", "Connection refused")]
)
def test_a_daemon_that_is_not_there_is_said(arguments: list[str], path: str, why: str) -> None:
    done = idlectl("--socket", path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"idlectl: the daemon cannot be asked: {path}: {why} (see: systemctl status idled)\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (VarlinkError(ERROR + "NoSuchSession", session="9"), "there is no session 9 that you may see"),
        (VarlinkError(ERROR + "NoSuchSession", session=""), "you are in no session that idled watches"),
        (VarlinkError(ERROR + "NotPermitted"), "you may not do this: try as root, or see [access]"),
        (VarlinkError(ERROR + "ExtensionRefused", reason="it is late"), "not extended: it is late"),
        (VarlinkError("org.varlink.service.InvalidParameter", parameter="x"), "the daemon does not take this x"),
        (
            VarlinkError("org.varlink.service.MethodNotFound", method="io.idled.M"),
            "the daemon answers org.varlink.service.MethodNotFound: method io.idled.M (is it as new as idlectl?",
        ),
        (VarlinkError("io.evil.\x1b[2J", text="\x1b]0;x\x07"), "the daemon answers io.evil.?[2J: text ?]0;x?"),
    ],
)
def test_an_error_of_the_service_is_said_in_words(fake: Fake, error: VarlinkError, said: str) -> None:
    with fake.answering(GetSession=error):
        done = fake.run("show", "9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"idlectl: {said}")
    assert done.stderr.count("\n") == 1


def test_on_a_terminal_a_long_complaint_is_broken_between_words(fake: Fake) -> None:
    with fake.answering(GetSession=VarlinkError(ERROR + "ExtensionRefused", reason="why not " * 30)):
        shown = fake.on_terminal("show", "9")
    assert len(shown) > 2
    assert max(map(len, shown)) <= 80
    assert shown.code == 1


def test_what_cannot_be_written_in_the_locale_does_not_fail(fake: Fake) -> None:
    with fake.answering(GetSession={"session": session(user="名前")}):
        assert fake.run("show", PYTHONIOENCODING="latin-1").stdout.startswith("Session 12 of ??")


@pytest.mark.parametrize(("text", "found"), [("90", 90 * SEC), ("1h 15min", 75 * MIN), (" 2h", 2 * HOUR)])
def test_a_span_is_read_as_in_the_policy(text: str, found: int) -> None:
    assert span(text) == found


@pytest.mark.parametrize(
    ("text", "ago"),
    [("2h", 2 * HOUR), ("2026-11-23 14:30", None), ("2026-11-23", None), ("00:00", None), ("23:59:59", None)],
)
def test_a_moment_is_a_span_ago_a_time_or_a_date(text: str, ago: int | None) -> None:
    import time
    from datetime import datetime

    now = time.time_ns() // 1000
    found = moment(text)
    if ago is not None:
        assert abs(now - ago - found) < MIN
        return
    local = datetime.fromtimestamp(found // SEC).isoformat(sep=" ")
    assert text in local
    assert local.startswith(text) or local.startswith(datetime.now().date().isoformat())


@pytest.mark.parametrize("text", ["", "tomorrow", "15", "25:00", "2026-13-01", "-2h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no moment"):
        moment(text)


def test_check_needs_no_daemon_and_takes_a_directory(tmp_path: Path) -> None:
    import json

    (tmp_path / "idled.toml").write_text('mode = "enforce"\n[defaults]\nidle_timeout = "15min"\nend = "usr"\n')
    wrong: dict[str, Any] = json.loads(idlectl("check", "--json", str(tmp_path)).stdout)
    assert [problem["key"] for problem in wrong["problems"]] == ["defaults.end"]
    (tmp_path / "idled.toml").write_text('mode = "enforce"\n[defaults]\nidle_timeout = "15min"\n')
    done = idlectl("check", "--json", str(tmp_path))
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "mode": "enforce",
        "access": {"view": [], "extend": [], "end": []},
        "rules": [{"name": "defaults", "matches": [], "gives": ["idle_timeout = 15min"]}],
        "files": [str(tmp_path / "idled.toml")],
        "problems": [],
    }
