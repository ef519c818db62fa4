# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idled --check`` and ``idlectl check FILE`` as commands: what they print where, and how they exit."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from idled.config.describe import check

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [
    pytest.param(["idled", "--check", "--config"], id="idled"),
    pytest.param(["idled.cli.main", "check"], id="idlectl"),
    pytest.param([], id="within this process"),
]
POLICY = """
mode = "enforce"
[defaults]
idle_timeout = "15min"
absolute_timeout = "off"
warn_before = []
[[rule]]
name = "contractors"
match = { group = ["no-such", "root"], not_remote = ["10.8.0.0/16"], terminal = true }
idle_timeout = "90"
warn_before = ["30s", "1min"]
end = "user"
"""
UNDERSTOOD = """\
# {main}
# {extra}
mode observe

contractors:
    matches  group no-such or root, not remote 10.8.0.0/16, terminal true
    idle_timeout = 1min 30s
    warn_before = 1min, 30s
    end = user

defaults:
    matches  every session
    idle_timeout = 15min
    absolute_timeout = off
    warn_before = never
"""


def run(command: list[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if not command:
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = check(Path(arguments[0]))
        return subprocess.CompletedProcess((), code, out.getvalue(), err.getvalue())
    call = [sys.executable, "-m", *command, *arguments]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    path = tmp_path / "idled.toml"
    path.write_text(POLICY)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_right_policy_is_shown_as_it_is_understood(main: Path, command: list[str]) -> None:
    extra = main.parent / "conf.d" / "50-observe.toml"
    extra.parent.mkdir()
    extra.write_text('mode = "observe"')
    done = run(command, main)
    assert done.returncode == 0
    assert done.stdout == UNDERSTOOD.format(main=main, extra=extra)
    assert done.stderr == f'warning: {main}: rule[1].match.group: "no-such": no such group on this machine\n'


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_policy_is_not_shown_and_exits_with_1(main: Path, command: list[str]) -> None:
    main.write_text(POLICY.replace("idle_timeout", "idle_timeuot"))
    done = run(command, main)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"error: {main}: {key}.idle_timeuot: unknown key; did you mean idle_timeout?" for key in ("defaults", "rule[1]")
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_not_there_exits_with_1(main: Path, command: list[str]) -> None:
    done = run(command, main.with_name("gone"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {main.with_name('gone')}: cannot be read: No such file or directory\n"
