# SPDX-License-Identifier: LGPL-2.1-or-later
"""Passwords: who is let through, how often may be tried, and that none is left behind, nor a process that asks.

PAM itself is asked in the guests (tests/guest/test_extend.py). Here programs of a few lines stand in its place: they
answer as a test says, never, or by dying.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from idled import clock, procfs, reauthenticate
from idled.core.span import MIN, SEC
from idled.reauthenticate import Reauthentication
from tests.terminal.bench import until

Make = Callable[[str], Path]
TOO_MANY = "too many wrong passwords; try again in "
#: As PAM would: the password is the user's name; one whose password has expired is named so.
PAM = """
import sys
user, _, password = sys.stdin.buffer.read().partition(b"\\0")
sys.exit(10 if password != user else 11 if user == b"expired" else 0)
"""


class Desk:
    """Who asks for checks, with notes of the troubles."""

    def __init__(self) -> None:
        self.troubles: list[str] = []
        self.passwords = Reauthentication(self.troubles.append)

    async def check(self, user: str, password: str) -> str:
        given = bytearray(password.encode())
        said = await self.passwords.check(user, given)
        assert said.startswith(TOO_MANY) or not 0 < len(given) <= 512 or not given.strip(b"\0"), "it is overwritten"
        return said

    def checks(self, *tries: tuple[str, str]) -> list[str]:
        async def all_of_them() -> list[str]:
            return [await self.check(user, password) for user, password in tries]

        return asyncio.run(all_of_them())


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Puts a program in PAM's place."""

    def make(text: str) -> Path:
        path = tmp_path / "ask_pam.py"
        path.write_text(text)
        monkeypatch.setattr(reauthenticate, "_PROGRAM", path)
        return path

    make(PAM)
    return make


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets time pass, which does not by itself."""
    now = [clock.now()]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    return lambda span: now.__setitem__(0, now[0] + span)


@pytest.mark.usefixtures("program")
def test_the_right_password_and_no_other(desk: Desk) -> None:
    said = desk.checks(("alice", "alice"), ("alice", "bob"), ("alice", "alice\0"), ("expired", "expired"))
    assert said == ["", "wrong password", "wrong password", "the account or its password has expired"]
    assert desk.troubles == []


@pytest.mark.parametrize("password", ["", "x" * 513, "x" * 60_000])
def test_what_no_password_can_be_is_wrong_and_nobody_is_asked(desk: Desk, program: Make, password: str) -> None:
    program("import sys; sys.exit(0)")
    assert desk.checks(("alice", password)) == ["wrong password"]


@pytest.mark.usefixtures("program")
def test_after_three_wrong_ones_none_is_tried_for_ten_minutes(desk: Desk, later: Callable[[int], None]) -> None:
    assert desk.checks(*[("alice", "bob")] * 3) == ["wrong password"] * 3
    later(5 * MIN)
    (said,) = desk.checks(("alice", "alice"))
    assert said.startswith(TOO_MANY) and said.endswith(" 5min")
    assert desk.checks(("bob", "bob")) == [""], "others may"
    later(5 * MIN - 10 * SEC)
    assert desk.passwords.closed("alice").startswith(TOO_MANY)
    later(11 * SEC)
    assert desk.checks(("alice", "alice")) == [""]


@pytest.mark.usefixtures("program")
def test_the_right_one_makes_good_for_wrong_ones(desk: Desk) -> None:
    wrong, right = ("alice", "bob"), ("alice", "alice")
    said = desk.checks(wrong, wrong, right, wrong, wrong, right)
    assert said == ["wrong password", "wrong password", "", "wrong password", "wrong password", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys; sys.exit(12)", reauthenticate._HINT),
        ("import sys; sys.exit(13)", "exit status 13"),
        ("import no_such_module", "exit status 1"),
        ("import os; os.kill(os.getpid(), 9)", "exit status -9"),
        ("import time; time.sleep(60)", "no answer within 0 s"),
    ],
)
def test_a_pam_that_says_nothing_of_the_password_is_no_wrong_password(
    desk: Desk, program: Make, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    program(text)
    if "sleep" in text:
        monkeypatch.setattr(reauthenticate, "_PATIENCE", 0.3)
    assert desk.checks(*[("alice", "alice")] * 4) == ["the password cannot be checked now"] * 4
    assert desk.troubles == [f"PAM could not be asked for the password of alice: {said}"] * 4
    program(PAM)
    monkeypatch.setattr(reauthenticate, "_PATIENCE", 30.0)
    assert desk.checks(("alice", "alice")) == [""]


def test_no_process_can_be_made(desk: Desk, program: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    program("")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python3")
    assert desk.checks(("alice", "alice")) == ["the password cannot be checked now"]
    assert "No such file" in desk.troubles[0]


def test_who_hangs_up_has_had_a_try_and_leaves_no_process(desk: Desk, program: Make, tmp_path: Path) -> None:
    program(f"import os, time; open({str(tmp_path)!r} + f'/{{os.getpid()}}.pid', 'x'); time.sleep(60)")

    async def hang_up() -> None:
        check = asyncio.create_task(desk.check("alice", "alice"))
        while not list(tmp_path.glob("*.pid")):
            await asyncio.sleep(0.01)
        check.cancel()
        await asyncio.gather(check, return_exceptions=True)
        for path in tmp_path.glob("*.pid"):
            assert not Path("/proc", path.stem).exists()
            path.unlink()

    for _ in range(3):
        asyncio.run(hang_up())
    assert desk.passwords.closed("alice").startswith(TOO_MANY)


FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen(("sh", "-c", "sleep 1000 & echo $! >grandchild; wait"), cwd={folder!r}, start_new_session=True)
open("{folder}/child", "w").write(str(child.pid))
time.sleep(1000)
"""


def test_what_its_modules_started_goes_with_it(
    desk: Desk, program: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(FAMILY.format(folder=str(tmp_path)))
    monkeypatch.setattr(reauthenticate, "_PATIENCE", 6.0)
    assert desk.checks(("alice", "alice")) == ["the password cannot be checked now"]
    started = [int((tmp_path / name).read_text()) for name in ("child", "grandchild")]
    until(lambda: not [pid for pid in started if (found := procfs.process(pid)) and found.alive])


def test_nothing_is_held_up_meanwhile(desk: Desk, program: Make) -> None:
    program("import time; time.sleep(3)")

    async def longest_pause() -> float:
        loop, pauses = asyncio.get_running_loop(), []
        check = asyncio.create_task(desk.check("alice", "alice"))
        while not check.done():
            before = loop.time()
            await asyncio.sleep(0.01)
            pauses.append(loop.time() - before)
        return max(pauses)

    assert asyncio.run(longest_pause()) < 1.5, "the loop went on while the program slept"


SECRET = "correct horse " + "battery"


def test_no_password_is_left_behind(desk: Desk, program: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither in what is said, nor on the command line or in the environment of the program, nor in open files."""
    program(
        "import sys; print(sys.argv, flush=True); sys.stderr.write(open('/proc/self/environ').read()); sys.exit(12)"
    )
    before = set(os.listdir("/proc/self/fd"))
    said = desk.checks(("alice", SECRET))
    shown = capfd.readouterr()
    assert SECRET not in f"{said}{desk.troubles}{shown}{desk.passwords!r}{vars(desk.passwords)}"
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_daemon_does_without_pam_itself() -> None:
    """Its memory counts."""
    code = "import sys, idled.daemon; sys.exit('pam' in sys.modules or 'idled.ask_pam' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
