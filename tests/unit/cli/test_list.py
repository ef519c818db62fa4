# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl list`` as a command, against a real socket, on a terminal of 80 columns and off it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from idled.cli.listing import fit, short
from idled.core.span import DAY, HOUR, MIN, SEC, parse_span

ROOT = Path(__file__).resolve().parents[3]
IDLECTL = [sys.executable, "-m", "idled.cli.main"]


def session(**changes: Any) -> dict[str, Any]:
    found = {
        "id": "7-70",
        "name": "12",
        "leader": 7,
        "user": "alice",
        "uid": 1000,
        "service": "sshd",
        "remote": "192.168.1.20",
        "terminals": ["pts/3"],
        "state": "open",
        "observed": True,
        "idleUSec": 12 * MIN,
        "ageUSec": 2 * HOUR + 10 * MIN,
        "idleTimeoutUSec": 15 * MIN,
        "idleRule": "contractors",
        "absoluteTimeoutUSec": 12 * HOUR,
        "absoluteRule": "defaults",
        "reason": "idle",
        "endsInUSec": 3 * MIN,
        "warnsInUSec": MIN,
    } | changes
    return {name: value for name, value in found.items() if value is not None}


ALICE = session()
BOB = session(
    name="13", user="bob", state="warned", endsInUSec=29_700_000, idleUSec=14 * MIN, terminals=["pts/4", "pts/5"]
)
CAROL = session(name="15", user="carol", terminals=[], reason="absolute", endsInUSec=53 * MIN, observed=False)
DAVE = session(name="16", user="dave", state="ending", endsInUSec=0)
ROOTS = session(name="c2", user="root", remote="", service="login", terminals=["tty1"], reason=None, endsInUSec=None)
USUAL = [ALICE, ROOTS, CAROL, DAVE, BOB]
LONG = session(
    name="p4194303",
    user="a-very-long-user-name",
    remote="2001:db8:a:100:b:1234:5678:9abc",
    terminals=[f"pts/{number}" for number in range(40)],
    idleRule="a rule :100: with a name [bold]that[/bold] goes on and on",
    idleUSec=9 * MIN + 59 * SEC,
    ageUSec=364 * DAY + 23 * HOUR,
)


@contextmanager
def daemon(path: Path, sessions: list[dict[str, Any]], mode: str = "enforce") -> Iterator[str]:
    """A socket that answers one call with these sessions."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1 << 16)
                peer.sendall(json.dumps({"parameters": {"mode": mode, "sessions": sessions}}).encode() + b"\0")

        thread = threading.Thread(target=answer)
        thread.start()
        yield str(path)
        thread.join(10)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    call = [*IDLECTL, *arguments]
    return subprocess.run(
        call, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False, env=os.environ | environment
    )


def piped(tmp_path: Path, sessions: list[dict[str, Any]], *arguments: str, mode: str = "enforce") -> list[str]:
    with daemon(tmp_path / "socket", sessions, mode) as path:
        done = run("--socket", path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def on_terminal(tmp_path: Path, sessions: list[dict[str, Any]], columns: str = "80", **environment: str) -> list[str]:
    """What a terminal of that width gets, escape sequences included."""
    master, slave = os.openpty()
    with daemon(tmp_path / "socket", sessions) as path:
        call = [*IDLECTL, "list", "--socket", path]
        base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        environment = base | {"TERM": "xterm-256color", "COLUMNS": columns} | environment
        done = subprocess.run(call, cwd=ROOT, stdout=slave, stderr=slave, timeout=20, check=False, env=environment)
    os.close(slave)
    output = b""
    try:
        while part := os.read(master, 1 << 16):
            output += part
    except OSError:  # all has been read
        pass
    os.close(master)
    assert done.returncode == 0, output
    return output.decode().splitlines()


def plain(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


TABLE = """\
ID  USER   FROM          ON           IDLE   OPEN  ENDS IN  WHY
16  dave   192.168.1.20  pts/3         12m  2h10m      now  idle 15m, contractors
13  bob    192.168.1.20  pts/4 pts/5   14m  2h10m      29s  idle 15m, contractors, warned
12  alice  192.168.1.20  pts/3         12m  2h10m       3m  idle 15m, contractors
15  carol  192.168.1.20  -               ?  2h10m      53m  absolute 12h, defaults
c2  root   login         tty1          12m  2h10m    never  no limit
IDLE ?: activity of this session cannot be observed, so no idle timeout ends it.
"""


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_off_a_terminal_it_is_plain_and_whole(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert piped(tmp_path, USUAL, *arguments) == TABLE.splitlines()


def test_off_a_terminal_nothing_is_cut_or_made_a_picture_of(tmp_path: Path) -> None:
    line = piped(tmp_path, [LONG])[1]
    for value in (LONG["user"], LONG["remote"], LONG["idleRule"], "pts/0 pts/1 ", " pts/39 ", " 9m59s ", " 364d23h "):
        assert value in line


def test_on_a_terminal_usual_sessions_fit_whole(tmp_path: Path) -> None:
    lines = on_terminal(tmp_path, [ALICE, ROOTS])
    assert plain(lines) == [
        "ID  USER   FROM          ON     IDLE   OPEN  ENDS IN  WHY",
        "12  alice  192.168.1.20  pts/3   12m  2h10m       3m  idle 15m, contractors",
        "c2  root   login         tty1    12m  2h10m    never  no limit",
    ]


def test_on_a_terminal_colour_says_what_is_urgent(tmp_path: Path) -> None:
    head, dave, bob, alice, *_ = on_terminal(tmp_path, USUAL)
    assert (head[:4], dave[:5], bob[:5]) == ("\x1b[1m", "\x1b[31m", "\x1b[33m")
    assert "\x1b" not in alice


@pytest.mark.parametrize("columns", [80, 100, 60])
def test_names_are_cut_to_fit_and_times_are_not(tmp_path: Path, columns: int) -> None:
    lines = plain(on_terminal(tmp_path, [*USUAL, LONG, session(user="日本語" * 9)], str(columns)))
    assert len(lines) == 9, "one line for each session"
    for line in lines[1:8]:
        assert len(line) <= max(columns, 76)
        assert re.search(r" (12m|14m|9m59s|\?) +(2h10m|364d23h) +(\d+[ms]|now|never)  ", line)
    assert "pts/0 +39" in "".join(lines) or columns < 100
    assert any(line.startswith("p4194303  a-very-") for line in lines)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(tmp_path: Path, environment: dict[str, str]) -> None:
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", "".join(on_terminal(tmp_path, USUAL, **environment)))


def test_no_sessions_are_said_and_observe_mode_too(tmp_path: Path) -> None:
    assert piped(tmp_path, [], mode="observe") == [
        "No sessions that you may see.",
        "Observe mode: nobody is warned or ended; the journal says what would have been.",
    ]


def test_what_is_due_in_observe_mode_stays_due(tmp_path: Path) -> None:
    assert "  overdue  idle 15m, contractors" in piped(tmp_path, [session(endsInUSec=0)], mode="observe")[1]


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json"), ("--json", "list")])
def test_json_is_the_answer_as_it_came(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    answer = json.loads("\n".join(piped(tmp_path, USUAL, *arguments)))
    assert answer == {"mode": "enforce", "sessions": USUAL}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["--socket", "/nowhere"],
            1,
            "idlectl: the daemon cannot be asked: /nowhere: No such file or directory (see: ",
        ),
        (["list", "--socket", "/dev/null"], 1, "idlectl: the daemon cannot be asked: /dev/null: Connection refused"),
        (["lsit"], 2, "invalid choice: 'lsit'"),
        (["--frobnicate"], 2, "unrecognized arguments: --frobnicate"),
        (["check", "a", "b"], 2, "unrecognized arguments: b"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: list[str], code: int, said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_is_no_error(argument: str) -> None:
    done = run(argument)
    assert (done.returncode, done.stderr) == (0, "")
    assert "idlectl" in done.stdout


def test_an_error_of_the_service_is_said(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        with subprocess.Popen(
            [*IDLECTL, "--socket", str(tmp_path / "socket")], cwd=ROOT, stderr=subprocess.PIPE, text=True
        ) as command:
            peer, _ = listener.accept()
            with peer:
                peer.recv(1000)
                peer.sendall(b'{"error": "org.varlink.service.MethodNotFound", "parameters": {"method": "x"}}\0')
            assert command.communicate(timeout=20)[1] == "idlectl: org.varlink.service.MethodNotFound {'method': 'x'}\n"
    assert command.returncode == 1


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with daemon(tmp_path / "socket", USUAL * 3) as path:
        call = [*IDLECTL, "--socket", path, *arguments]
        done = subprocess.run(call, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=20, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_it_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    with daemon(tmp_path / "socket", []) as path:
        call = [sys.executable, "-X", "importtime", *IDLECTL[1:], "--socket", path, "--json"]
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "idled.cli.listing" in loaded
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
    ("space", "widths"),
    [
        (None, [2, 5, 20, 5, 4, 4, 7, 30]),
        (91, [2, 5, 20, 5, 4, 4, 7, 30]),
        (90, [2, 5, 20, 5, 4, 4, 7, 29]),
        (70, [2, 5, 15, 5, 4, 4, 7, 14]),
        (10, [2, 5, 9, 5, 4, 4, 7, 12]),
    ],
)
def test_the_widest_column_yields_first(space: int | None, widths: list[int]) -> None:
    lengths = [[2, 4, 4, 2, 4, 4, 7, 3], [1, 5, 20, 5, 3, 4, 2, 30]]
    assert fit(lengths, space) == widths
