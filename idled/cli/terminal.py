# SPDX-License-Identifier: LGPL-2.1-or-later
"""A terminal to draw on and to take keys from, for as long as it is held; and signals that can be waited for.

The terminal is put right again on every way out, also when the process is stopped, killed or fails.
"""

import errno
import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.text import Text

from .page import Line

STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CAUGHT: Final = (*STOPS, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


@contextmanager
def caught() -> Iterator[int]:
    """Signals do nothing but come as bytes, each its number, which can be read from here."""
    out, into = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, _nothing) for number in _CAUGHT}
    woken = signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    try:
        yield out
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(out)
        os.close(into)


def _nothing(_number: int, _frame: object) -> None:
    pass


class Terminal:
    """Standard input and output: keys come as they are pressed and are not shown; a screen of its own is drawn on."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_error: object) -> None:
        self.give_back()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        return columns or 80, rows or 24

    def take(self) -> None:
        """Begin. What was typed before is not taken for keys."""
        self._before = termios.tcgetattr(sys.stdin)
        _again(lambda: tty.setcbreak(sys.stdin, termios.TCSAFLUSH))
        columns, rows = self.size
        console = Console(highlight=False, width=columns, height=rows)
        self._live = Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def give_back(self) -> None:
        """As it was. What was typed and not read, part of a password perhaps, goes to nobody."""
        live, before = self._live, self._before
        self._live = self._before = None
        with suppress(OSError):  # a terminal that is gone needs nothing
            if live is not None:
                live.stop()
        with suppress(termios.error):
            if before is not None:
                _again(lambda: termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, before))

    def stop(self) -> None:
        """Stop the process, as Ctrl-Z wants it, with the terminal as it was; it is taken again when it goes on."""
        self.give_back()
        # That it goes on is no news then: for whom it is, the terminal is taken once more, and keys are lost by that.
        ways = {signal.SIGTSTP: signal.SIG_DFL, signal.SIGCONT: signal.SIG_IGN}
        before = {number: signal.signal(number, way) for number, way in ways.items()}
        os.kill(os.getpid(), signal.SIGTSTP)
        for number, handler in before.items():
            signal.signal(number, handler)
        self.take()

    def draw(self, lines: list[Line]) -> None:
        """Show these lines, as many as the terminal has."""
        if self._live is not None:
            self._live.console.size = ConsoleDimensions(*self.size)
            text = Text("\n", no_wrap=True, overflow="crop", end="").join(Text.assemble(*line) for line in lines)
            self._live.update(text, refresh=True)


def _again(change: Callable[[], object]) -> None:
    """Change the terminal's settings; one who may not yet, in the background, is stopped until it may."""
    while True:
        try:
            change()
        except termios.error as error:
            if error.args[0] != errno.EINTR:
                raise
        else:
            return
