# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl list`` as a command, against a real service, on terminals of many widths and off them."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from idled.cli import page
from idled.cli.ask import harmless
from idled.cli.listing import bar, fit, table
from idled.cli.telling import short, what
from idled.core.span import DAY, HOUR, MIN, SEC, parse_span

from .conftest import IDLECTL, ROOT, Fake, session, unlimited

ALICE = session()
BOB = session(
    name="13",
    user="bob",
    state="warned",
    endsInUSec=29_700_000,
    warnsInUSec=None,
    idleUSec=14 * MIN,
    terminals=["pts/4", "pts/5"],
)
CAROL = session(
    name="15",
    user="carol",
    terminals=[],
    programs=["sftp-server"],
    reason="absolute",
    endsInUSec=53 * MIN,
    warnsInUSec=51 * MIN,
    observed=False,
)
DAVE = session(name="16", user="dave", state="ending", endsInUSec=0, warnsInUSec=None)
ROOTS = unlimited(name="c2", user="root", remote="", service="login", terminals=["tty1"])
USUAL = [ALICE, ROOTS, CAROL, DAVE, BOB]
LONG = session(
    name="p4194303",
    user="a-very-long-user-name",
    remote="2001:db8:a:100:b:1234:5678:9abc",
    terminals=[f"pts/{number}" for number in range(40)],
    idleRule="a rule :100: with a name [bold]that[/bold] goes on and on",
    idleUSec=9 * MIN + 59 * SEC,
    ageUSec=4 * 365 * DAY,
)
UNSEEN = "IDLE ?: the activity of this session cannot be observed."
OBSERVE = "Observe mode: nobody is warned or ended; the journal says what would have been."


def answer(*sessions: dict[str, Any], mode: str = "enforce") -> dict[str, Any]:
    return {"mode": mode, "sessions": list(sessions)}


def without_clock(lines: list[str]) -> list[str]:
    return [re.sub(r"\b[0-9][0-9]:[0-9][0-9]\b|\b[0-9][0-9] [A-Z][a-z]{2}\b", "HH:MM", line) for line in lines]


TABLE = """\
ID  USER   FROM          ON           SINCE  IDLE  TIME LEFT  NEXT      WHY
16  dave   192.168.1.20  ssh pts/3    HH:MM   12m  now        ending    idle 15m, contractors
13  bob    192.168.1.20  2 terminals  HH:MM   14m  29s        end       idle 15m, contractors
12  alice  192.168.1.20  ssh pts/3    HH:MM   12m  3m         warn 1m   idle 15m, contractors
15  carol  192.168.1.20  sftp         HH:MM     ?  53m        warn 51m  absolute 12h, defaults
c2  root   console       tty1         HH:MM   12m  never      -         no limit
IDLE ?: the activity of this session cannot be observed.
"""


@pytest.mark.parametrize("arguments", [("--all",), ("list", "--all")])
def test_off_a_terminal_it_is_plain_and_whole(fake: Fake, arguments: tuple[str, ...]) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        assert without_clock(fake.plain(*arguments)) == TABLE.splitlines()


def test_those_without_a_limit_are_counted_and_not_hidden_in_silence(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(ALICE, ROOTS)):
        assert fake.plain()[2:] == ["1 more session without a limit, shown by: idlectl list --all"]
    with fake.answering(ListSessions=answer(ROOTS, ROOTS)):
        assert fake.plain() == ["2 sessions without a limit, shown by: idlectl list --all"]


def test_filters_by_user_and_by_what_is_due(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        names = [line.split()[1] for line in fake.plain("--user", "bob")[1:]]
        assert names == ["bob"]
        names = [line.split()[1] for line in fake.plain("--due", "3min")[1:]]
        assert names == ["dave", "bob", "alice"]
        assert fake.plain("--due", "1s", "--user", "bob") == ["No such session that you may see."]
        shown = json.loads("\n".join(fake.plain("--due", "1min", "--json")))
        assert shown == {"mode": "enforce", "sessions": [DAVE, BOB]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"terminals": ["pts/3"], "programs": []}, "ssh pts/3"),
        ({"terminals": ["pts/3"], "programs": ["sftp-server"]}, "ssh pts/3, sftp"),
        ({"terminals": ["pts/3", "pts/4"], "programs": ["sleep", "scp"]}, "2 terminals, runs sleep, scp"),
        ({"terminals": [], "programs": ["sftp-server", "internal-sftp"]}, "sftp"),
        ({"terminals": [], "programs": ["git-upload-pack", "git"]}, "git"),
        ({"terminals": [], "programs": ["rsync"]}, "rsync"),
        ({"terminals": [], "programs": ["pts/7", "ssh -N"]}, "runs pts/7, runs ssh -N"),
        ({"terminals": [], "programs": []}, "ssh -N"),
        ({"terminals": [], "programs": None}, "no terminal"),
        ({"terminals": [], "programs": ["sh"], "service": "cron"}, "cron, runs sh"),
        ({"terminals": [], "programs": [], "service": "cron"}, "cron, no terminal"),
        ({"terminals": ["pts/3", "pts/4"], "programs": [], "service": "mosh"}, "mosh, 2 terminals"),
        ({"terminals": ["tty1"], "programs": [], "service": "login"}, "tty1"),
        ({"terminals": [], "programs": [], "service": "login"}, "no terminal"),
        ({"terminals": [], "programs": [], "service": ""}, "no terminal"),
    ],
)
def test_what_a_session_is_stands_in_words_and_no_program_passes_for_a_terminal(
    changes: dict[str, Any], said: str
) -> None:
    assert what(session(**changes)) == said


def test_off_a_terminal_nothing_is_cut_or_made_a_picture_of(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(LONG)):
        line = fake.plain()[1]
    for value in (LONG["user"], LONG["remote"], LONG["idleRule"], " 40 terminals ", " 9m59s "):
        assert value in line


def test_on_a_terminal_usual_sessions_fit_with_a_bar_of_time_left(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(session(remote="10.0.0.7", idleRule="defaults"), ROOTS)):
        lines = without_clock(fake.on_terminal("--all"))
    assert lines == [
        "ID USER  FROM     ON        SINCE IDLE TIME LEFT   NEXT    WHY",
        "12 alice 10.0.0.7 ssh pts/3 HH:MM  12m █░░░░ 3m    warn 1m idle 15m, defaults",
        "c2 root  console  tty1      HH:MM  12m       never -       no limit",
    ]


def test_a_wide_terminal_shows_all(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        lines = without_clock(fake.on_terminal("--all", columns=120))
    assert lines[2] == (
        "13  bob    192.168.1.20  2 terminals  HH:MM   14m  ▏░░░░ 29s    end       idle 15m, contractors"
    )


def test_on_a_terminal_colour_says_what_is_urgent(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        shown = fake.on_terminal("--all")
    starts = [re.match(r"(?:\x1b\[[0-9;]*m)*", line) for line in shown.raw[:6]]
    assert [match and match[0] for match in starts] == [
        "\x1b[1m",
        "\x1b[31m",
        "\x1b[31m",
        "\x1b[33m",
        "\x1b[31m",
        "\x1b[2m",
    ]


@pytest.mark.parametrize("columns", [80, 100, 60, 40])
def test_names_are_cut_to_fit_and_times_are_not(fake: Fake, columns: int) -> None:
    with fake.answering(ListSessions=answer(*USUAL, LONG, session(user="日本語" * 9))):
        lines = fake.on_terminal("--all", columns=columns)
    assert sum(line.startswith("IDLE ?") for line in lines) == 1
    assert lines[8].startswith("IDLE ?"), "one line for each session before the note"
    for line in lines[:8]:
        assert page.cells(line) <= columns
    for line in lines[1:8]:
        assert re.search(r" (29s|3m|53m|now|never)( |$)", line)
    assert any(line.startswith("p4194303 a-very-") for line in lines)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(fake: Fake, environment: dict[str, str]) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", "\n".join(fake.on_terminal(environment=environment).raw))


@pytest.mark.parametrize("environment", [{"LANG": "C"}, {"LC_ALL": "POSIX"}])
def test_in_a_locale_without_pictures_the_bar_is_of_letters(fake: Fake, environment: dict[str, str]) -> None:
    with fake.answering(ListSessions=answer(*USUAL, LONG)):
        shown = "\n".join(fake.on_terminal(environment=environment))
    assert shown.isascii()
    assert " #.... 3m " in shown
    assert re.search(r" idle, [a-z ]+~$", shown, re.MULTILINE)


def test_no_sessions_are_said_and_observe_mode_too(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(mode="observe")):
        assert fake.plain() == ["No session that you may see.", OBSERVE]


def test_what_is_due_in_observe_mode_stays_due(fake: Fake) -> None:
    with fake.answering(ListSessions=answer(session(endsInUSec=0, warnsInUSec=None), mode="observe")):
        assert "  overdue    end   idle 15m, contractors" in fake.plain()[1]


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json"), ("--json", "list")])
def test_json_is_the_answer_those_without_limits_included(fake: Fake, arguments: tuple[str, ...]) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        shown = json.loads("\n".join(fake.plain(*arguments)))
    assert shown == {"mode": "enforce", "sessions": [DAVE, BOB, ALICE, CAROL, ROOTS]}


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(fake: Fake, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with fake.answering(ListSessions=answer(*USUAL * 3)):
        call = [*IDLECTL, "--socket", str(fake.path), *arguments]
        done = subprocess.run(call, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=20, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_it_loads_nothing_that_it_does_not_need(fake: Fake, arguments: list[str]) -> None:
    with fake.answering(ListSessions=answer(*USUAL)):
        call = [sys.executable, "-X", "importtime", *IDLECTL[1:], "--socket", str(fake.path), *arguments]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "idled.cli.telling" in loaded
    unneeded = {"asyncio", "rich", "psutil", "systemd", "jeepney", "idled.daemon", "idled.core.engine", "idled.config"}
    assert not loaded & unneeded


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (0, "0s"),
        (999_999, "0s"),
        (59 * SEC, "59s"),
        (MIN, "1m"),
        (9 * MIN + 59 * SEC, "9m59s"),
        (10 * MIN + 59 * SEC, "10m"),
        (HOUR, "1h"),
        (2 * HOUR + 10 * MIN + 5 * SEC, "2h10m"),
        (26 * HOUR + MIN, "1d2h"),
        (400 * DAY, "400d"),
    ],
)
def test_a_span_for_a_column_is_short_and_never_too_long(span: int, said: str) -> None:
    assert short(span) == said
    assert parse_span(said) <= span


@pytest.mark.parametrize(
    ("share", "drawn", "letters"),
    [
        (1.0, "█████", "#####"),
        (0.5, "██▌░░", "##..."),
        (0.12, "▋░░░░", "#...."),
        (0.0, "░░░░░", "....."),
        (None, "     ", "     "),
    ],
)
def test_a_bar_is_full_when_all_is_left(share: float | None, drawn: str, letters: str) -> None:
    assert bar(share, pictures=True) == drawn
    assert bar(share, pictures=False) == letters


@pytest.mark.parametrize(
    ("space", "widths", "gap"),
    [
        (None, [2, 5, 20, 7, 30], 2),
        (72, [2, 5, 20, 7, 30], 2),
        (71, [2, 5, 20, 7, 30], 1),
        (60, [2, 5, 20, 7, 22], 1),
        (50, [2, 5, 16, 7, 16], 1),
        (10, [2, 5, 15, 7, 12], 1),
    ],
)
def test_the_gap_yields_first_and_then_the_widest_column(space: int | None, widths: list[int], gap: int) -> None:
    wanted = {"ID": 2, "USER": 5, "FROM": 20, "NEXT": 7, "WHY": 30}
    assert fit(wanted, space) == (dict(zip(wanted, widths, strict=True)), gap)


NAMES = st.text(max_size=60)


def any_session(endsInUSec: int | None, **changes: Any) -> dict[str, Any]:  # noqa: N803
    """A session that has a reason to end only where it ends."""
    none = dict.fromkeys(("reason", "warnsInUSec")) if endsInUSec is None else {}
    return session(endsInUSec=endsInUSec, **(changes | none))


SESSIONS = st.builds(
    any_session,
    name=NAMES,
    user=NAMES,
    remote=NAMES,
    service=NAMES,
    terminals=st.lists(NAMES, max_size=3),
    programs=st.none() | st.lists(NAMES, max_size=3),
    idleRule=NAMES,
    heldBy=st.none() | NAMES,
    state=st.sampled_from(["open", "warned", "ending"]),
    observed=st.booleans(),
    idleUSec=st.integers(0, 1 << 50),
    ageUSec=st.integers(0, 1 << 50),
    endsInUSec=st.none() | st.integers(0, 1 << 50),
    warnsInUSec=st.none() | st.integers(0, 1 << 50),
    idleExtraUSec=st.none() | st.integers(0, 1 << 40),
)


@given(st.lists(SESSIONS, max_size=5), st.none() | st.integers(1, 300))
@example([any_session(None, name="c" * 60)], 40)
def test_hostile_names_neither_break_the_table_nor_reach_the_terminal(
    sessions: list[dict[str, Any]], width: int | None
) -> None:
    lines = table(harmless(sessions), width)
    assert len(lines) == (len(sessions) + 1 if sessions else 0)
    for line in lines:
        text = "".join(map(page.text_of, line))
        assert not [sign for sign in text if unicodedata.category(sign).startswith(("C", "Zl", "Zp"))]
        assert width is None or width < 40 or page.cells(text) <= width


@given(NAMES.map(harmless), st.integers(0, 70))
def test_what_is_cut_is_never_too_wide(text: str, width: int) -> None:
    assert page.cells(page.cut(text, width)) <= width
    assert page.cells(page.pad(page.cut(text, width), width)) == width


@given(NAMES.map(harmless), st.integers(1, 70))
def test_what_is_broken_into_lines_is_all_there(text: str, width: int) -> None:
    lines = list(page.wrapped(text, width))
    assert " ".join(lines) == text
    assert all(page.cells(line) <= width or " " not in line for line in lines)
