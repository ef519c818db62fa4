# SPDX-License-Identifier: LGPL-2.1-or-later
"""idlectl as a command, on a terminal and off it, against a real service that answers what a test wants."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from idled.control import interface
from idled.control.service import Answer, Call, Interface, Method
from idled.control.wire import VarlinkError
from idled.core.span import HOUR, MIN

from ..control.conftest import serving

ROOT = Path(__file__).resolve().parents[3]
IDLECTL = [sys.executable, "-m", "idled.cli.main"]


def session(**changes: Any) -> dict[str, Any]:
    """A session as the service shows it; None takes a field away."""
    found = {
        "id": "7-70",
        "name": "12",
        "leader": 7,
        "user": "alice",
        "uid": 1000,
        "service": "sshd",
        "remote": "192.168.1.20",
        "terminals": ["pts/3"],
        "programs": [],
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


def unlimited(**changes: Any) -> dict[str, Any]:
    """A session without limits."""
    none = ("idleTimeoutUSec", "idleRule", "absoluteTimeoutUSec", "absoluteRule", "reason", "endsInUSec", "warnsInUSec")
    return session(**dict.fromkeys(none), **changes)


class Fake:
    """A daemon that answers what it is told to, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self.asked: list[tuple[str, dict[str, Any]]] = []

    @contextmanager
    def answering(self, **answers: Any) -> Iterator[None]:
        """Each method, by its name, with an answer, an error to raise, or what makes one of the parameters."""
        methods = {name: self._method(name, answer) for name, answer in answers.items()}
        own = Interface(name=interface.NAME, description=interface.DESCRIPTION, methods=methods)
        with serving(self.path, own):
            yield
        self.path.unlink()

    def _method(self, name: str, answer: Any) -> Method:
        async def method(call: Call) -> Answer:
            self.asked.append((name, dict(call.parameters)))
            found = answer(dict(call.parameters)) if callable(answer) else answer
            if isinstance(found, VarlinkError):
                raise found
            return dict(found)

        return method

    def run(self, *arguments: str, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call idlectl, without a terminal."""
        return idlectl("--socket", str(self.path), *arguments, input=input, **environment)

    def plain(self, *arguments: str) -> list[str]:
        """The lines it prints without a terminal, when all goes well."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def on_terminal(
        self, *arguments: str, columns: int = 80, typed: str = "", environment: Mapping[str, str] = MappingProxyType({})
    ) -> "Shown":
        """Call idlectl on a terminal of that width, with somebody who types."""
        return _on_terminal([*arguments, "--socket", str(self.path)], columns, typed, environment)


class Shown(list[str]):
    """The lines that came out on a terminal, without colours; and with them as `raw`."""

    def __init__(self, raw: str, code: int) -> None:
        super().__init__(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in raw.splitlines())
        self.raw = raw.splitlines()
        self.code = code


def idlectl(*arguments: str, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call it without a terminal, in a session of its own: there is no /dev/tty either."""
    given = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
    return subprocess.run(
        [*IDLECTL, *arguments],
        cwd=ROOT,
        **given,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=_environment(environment),
        start_new_session=True,
    )


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    unset = ("NO_COLOR", "COLUMNS", "LC_ALL", "LC_CTYPE", "PYTHONUTF8")
    base = {name: value for name, value in os.environ.items() if name not in unset}
    return {**base, "LANG": "C.UTF-8", "TERM": "xterm-256color", **changes}


def _on_terminal(arguments: list[str], columns: int, typed: str, environment: Mapping[str, str]) -> Shown:
    master, slave = os.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *IDLECTL, *arguments],
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=_environment({"COLUMNS": str(columns), **environment}),
    ) as process:
        os.close(slave)
        output = b""
        if typed:
            while not output.rstrip().endswith((b":", b"]")):  # the question
                output += os.read(master, 1 << 16)
            os.write(master, typed.encode())
        try:
            while part := os.read(master, 1 << 16):
                output += part
        except OSError:  # all has been read
            pass
        code = process.wait(20)
    os.close(master)
    return Shown(output.decode(), code)


CLOCK = re.compile(r"(?:[A-Z][a-z]{2} \d\d [A-Z][a-z]{2} )?\d\d:\d\d:\d\d")


def timeless(text: str) -> str:
    """The same with no moment in it that another run would not have."""
    return CLOCK.sub("HH:MM:SS", text)


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A daemon to be told what to answer."""
    return Fake(tmp_path)
