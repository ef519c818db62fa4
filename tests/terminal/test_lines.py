# SPDX-License-Identifier: LGPL-2.1-or-later
"""A line on a terminal in whatever state its owner left it: it comes or it does not, but nobody waits for it."""

from __future__ import annotations

import os
import subprocess
import termios
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idled import words
from idled.actions.warn import write_line
from idled.core.model import Limits, Reason

from .bench import NOBODY, Pty, is_root, open_descriptors, promptly, until

TEXT = "idled: this session will be ended"
LINE = TEXT.encode()
QUICK = 10  # seconds; that nothing blocks shows in milliseconds, and what blocks does for ever


@pytest.fixture
def pty() -> Iterator[Pty]:
    with Pty() as pty:
        yield pty


def missed(pty: Pty, uid: int | None = None) -> list[str]:
    """Write the line, at once; where it was not taken."""
    found, took = promptly(lambda: write_line(pty.terminals, os.geteuid() if uid is None else uid, TEXT))
    assert took < QUICK
    return found


def test_the_line_stands_alone(pty: Pty) -> None:
    os.write(pty.slave, b"half a prompt")
    assert missed(pty) == []
    assert pty.shown(LINE + b"\r\r\n").endswith(b"half a prompt\r\r\n" + LINE + b"\r\r\n")


def test_every_terminal_gets_it(pty: Pty) -> None:
    with Pty() as other:
        assert write_line(pty.terminals | other.terminals, os.geteuid(), TEXT) == []
        pty.shown(LINE)
        other.shown(LINE)


def test_a_line_is_no_activity(pty: Pty) -> None:
    os.utime(pty.path, (1, 1))
    pty.type(b"typed ahead\n")
    before = os.stat(pty.path)
    assert missed(pty) == []
    pty.shown(LINE)
    after = os.stat(pty.path)
    assert (after.st_atime_ns, after.st_ctime_ns) == (before.st_atime_ns, before.st_ctime_ns)
    assert after.st_mtime > 1, "so the stamps do move here"
    assert os.read(pty.slave, 100) == b"typed ahead\n"


def test_a_terminal_stopped_with_ctrl_s(pty: Pty) -> None:
    pty.type(b"\x13")
    until(lambda: not pty.writable())
    assert missed(pty) == [pty.name]
    pty.type(b"\x11")
    until(pty.writable)
    assert pty.silent(), "nothing of it was kept for later"


def test_a_terminal_stopped_by_its_program(pty: Pty) -> None:
    termios.tcflow(pty.slave, termios.TCOOFF)
    assert missed(pty) == [pty.name]


def test_a_full_terminal_whose_other_side_does_not_read(pty: Pty) -> None:
    pty.fill()
    assert missed(pty) == [pty.name]


def test_a_line_that_was_cut_off_was_not_taken(pty: Pty) -> None:
    """Room for some bytes only: what is left of the line is no warning."""
    text = "x" * 200_000
    found, took = promptly(lambda: write_line(pty.terminals, os.geteuid(), text))
    assert found == [pty.name]
    assert took < QUICK


def test_a_vanished_terminal(pty: Pty) -> None:
    pty.hang_up()
    until(lambda: missed(pty) == [pty.name])


def test_one_bad_terminal_keeps_nothing_from_the_others(pty: Pty) -> None:
    with Pty() as bad, Pty() as gone:
        bad.fill()
        gone.hang_up()
        all_three = pty.terminals | bad.terminals | gone.terminals
        assert sorted(write_line(all_three, os.geteuid(), TEXT)) == sorted([bad.name, gone.name])
        pty.shown(LINE)


@is_root
def test_a_terminal_of_another_user(pty: Pty) -> None:
    os.chown(pty.path, NOBODY, -1)
    assert missed(pty, uid=0) == [pty.name]
    assert pty.silent()


@is_root
def test_a_terminal_that_takes_no_messages(pty: Pty) -> None:
    os.chown(pty.path, NOBODY, -1)
    subprocess.run(["mesg", "n"], stdin=pty.slave, stderr=subprocess.DEVNULL, check=False)
    assert pty.path.stat().st_mode & 0o777 == 0o600
    assert missed(pty, uid=NOBODY) == []
    pty.shown(LINE)


def test_a_terminal_that_stops_what_writes_from_the_background(pty: Pty) -> None:
    mode = termios.tcgetattr(pty.slave)
    mode[3] |= termios.TOSTOP
    termios.tcsetattr(pty.slave, termios.TCSANOW, mode)
    assert missed(pty) == []
    pty.shown(LINE)


def test_a_name_that_means_another_terminal_by_now(pty: Pty) -> None:
    assert write_line({pty.device + 1: pty.name}, os.geteuid(), TEXT) == [pty.name]
    assert pty.silent()


@is_root
def test_a_fifo_and_a_symlink_are_not_written_on(pty: Pty) -> None:
    assert write_line({pty.device: f"../proc/self/fd/{pty.slave}"}, os.geteuid(), TEXT)
    assert pty.silent()


def test_no_descriptor_stays_open(pty: Pty) -> None:
    with Pty() as full, Pty() as gone:
        full.fill()
        gone.hang_up()
        before = open_descriptors()
        for _ in range(50):
            write_line(pty.terminals | full.terminals | gone.terminals, os.geteuid(), TEXT)
        assert open_descriptors() == before


# What stands in a line


def harmless(text: str) -> bool:
    """Whether a terminal shows it as it is: no controls, no format characters, no line breaks, encodable."""
    kinds = {unicodedata.category(sign) for sign in text}
    return not kinds & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} and text.encode().decode() == text


SPANS = st.integers(min_value=1, max_value=10**14)
MOMENTS = st.integers(min_value=0, max_value=4 * 10**15)


@given(st.text(st.characters(), max_size=300))
def test_cleaned_text_is_harmless(text: str) -> None:
    assert harmless(words.clean(text))


@given(st.text(max_size=600), st.integers(min_value=0, max_value=300))
def test_cleaned_text_is_short(text: str, length: int) -> None:
    assert len(words.clean(text, length)) == min(len(text), length)


@pytest.mark.parametrize("hostile", ["\x1b]0;title\x07", "a\rb\nc", "\x9b2J", "\u202eevil", "\u2028", "\udc9b", "\x7f"])
def test_known_tricks_are_taken_out(hostile: str) -> None:
    cleaned = words.clean(f"user{hostile}name")
    assert harmless(cleaned)
    assert cleaned.startswith("user")
    assert cleaned.endswith("name")
    assert "?" in cleaned


@given(st.sampled_from(Reason), SPANS, st.integers(-(10**10), 10**12), MOMENTS)
def test_every_line_of_ours_is_harmless(reason: Reason, limit: int, ends_in: int, at: int) -> None:
    limits = Limits(idle_timeout=limit, absolute_timeout=limit)
    lines = [
        words.warning(reason, limit, ends_in, at),
        words.farewell(reason, limit),
        words.farewell(reason, None),
        words.withdrawn(reason, None),
        words.withdrawn(reason, at),
        words.greeting(limits, at),
    ]
    assert all(line and harmless(line) for line in lines)
