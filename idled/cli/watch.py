# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl watch``: the list of sessions, live, with the last events, and keys to end and to extend one.

What is known and what a key does is in ``board``, how it looks in ``screen``; here is what waits: for keys, signals
and all that the daemon answers at once, so that no slow answer holds up a key. Only the first list is waited for; who
cannot have that is told as by any other verb.
"""

import argparse
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias

from ..control.client import Stream, Unreachable, stream
from ..control.wire import SOCKET, VarlinkError
from ..core.span import SEC, Usec
from . import board, screen
from .ask import Misuse, ask, complaint, harmless
from .board import Board, Call
from .keyboard import Keyboard
from .terminal import STOPS, Terminal, caught

_Answer: TypeAlias = dict[str, Any] | Unreachable | VarlinkError

#: The list is asked for so long after the last answer, or so many times longer than that took: for each, the daemon
#: looks at all sessions. After a failure the same, and for events too.
_PAUSE: Final[Usec] = 2 * SEC
_PAUSE_SHARE: Final = 10
#: For a first answer; a password may have to be checked by a server far away.
_PATIENCE: Final = {"ListSessions": 10 * SEC, "End": 10 * SEC, "Extend": 60 * SEC}
#: What counts on is drawn each second; what changes at once, but no faster than can be seen.
_DRAW: Final[Usec] = SEC
_DRAW_SOONEST: Final[Usec] = SEC // 20
#: An Escape is a key when nothing follows it for so long.
_ESCAPE: Final[Usec] = SEC // 10
#: What comes no later than this after a question, or something that was dropped, is of the same paste: nobody reads it
#: sooner.
_PASTE: Final[Usec] = SEC // 4
#: Seconds for the rest of an answer that has begun to come.
_REST: Final = 5.0


def run(options: argparse.Namespace) -> int:
    """Show it until the person has seen enough; the exit code."""
    if options.json:
        raise Misuse("it is for people; programs have list --json, and log --follow --json")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise Misuse("it needs a terminal to draw on; elsewhere there are list, and log --follow")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    began = board.answered(Board(everybody=options.all, user=options.user), ask(options, "ListSessions"), _now())
    with caught() as signals, Terminal() as terminal:
        stopped_by = _Watch(options.socket or SOCKET, began, terminal, signals).run()
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by:
        os.kill(os.getpid(), stopped_by)  # whoever waits for it sees why it went
    return 0


def _now() -> Usec:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call that was not answered yet."""

    stream: Stream
    at: Usec
    until: Usec
    then: Callable[[_Answer], None]


class _Watch:
    """All that is waited for."""

    def __init__(self, path: str, began: Board, terminal: Terminal, signals: int) -> None:
        self._path = path
        self._board = began
        self._terminal = terminal
        self._signals = signals
        self._keyboard = Keyboard()
        self._stopped_by: int | None = None  # 0: by the person
        self._events: Stream | None = None
        self._asked: list[_Asked] = []
        self._now = _now()
        self._list_at: Usec | None = self._now  # when to ask for the list next; None: that is under way
        self._listed_at = self._now
        self._drawn_at: Usec = 0
        self._drawn: Board | None = None
        self._dropped_at: Usec = 0  # when something was last typed that no question had asked for

    def run(self) -> int:
        """Until it is stopped: by which signal, or 0."""
        try:
            while self._stopped_by is None:
                self._now = _now()
                self._ask_what_is_due()
                self._draw()
                self._wait()
        finally:
            for link in (self._events, *(asked.stream for asked in self._asked)):
                if link is not None:
                    link.close()
        return self._stopped_by

    def _draw(self) -> None:
        changed = self._board is not self._drawn
        if self._now >= self._drawn_at + (_DRAW_SOONEST if changed else _DRAW):
            if self._unseen() and select.select([sys.stdin], [], [], 0)[0]:
                termios.tcflush(sys.stdin, termios.TCIFLUSH)
                self._dropped_at = self._now
            self._terminal.draw(screen.lines(self._board, *self._terminal.size, self._now))
            self._drawn, self._drawn_at = self._board, self._now

    def _unseen(self) -> bool:
        """Whether a question has come up that is not on the screen yet."""
        asked, shown = self._board.question, self._drawn.question if self._drawn else None
        if asked is None or asked.now not in board.OPENING:
            return False
        return shown is None or (shown.now, shown.call.parameters) != (asked.now, asked.call.parameters)

    def _wait(self) -> None:
        """For whatever comes first, and take it."""
        links = {asked.stream.fileno(): asked for asked in self._asked}
        events = [] if self._events is None else [self._events.fileno()]
        keys = sys.stdin.fileno()
        timeout = max(0, min(self._deadlines()) - self._now) / SEC
        ready, _, _ = select.select([self._signals, keys, *events, *links], [], [], timeout)
        if self._signals in ready:
            for number in os.read(self._signals, 4096):
                self._signalled(number)
        elif keys in ready:
            self._type(_read(keys))
        elif self._keyboard.waits and not ready:
            self._press(self._keyboard.keys(b""))
        self._now = _now()
        for link in ready:
            if link in events:
                self._take_events()
            elif link in links:
                self._take_answer(links[link])
        for asked in [asked for asked in self._asked if asked.until <= self._now]:
            self._finish(asked, Unreachable(f"{self._path}: no answer within {(asked.until - asked.at) // SEC} s"))

    def _deadlines(self) -> Iterator[Usec]:
        """When something is to be done, whatever comes."""
        yield self._drawn_at + (_DRAW if self._board is self._drawn else _DRAW_SOONEST)
        if self._list_at is not None:
            yield self._list_at
        if self._keyboard.waits:
            yield self._now + _ESCAPE
        yield from (asked.until for asked in self._asked)

    # The person, and the system

    def _signalled(self, number: int) -> None:
        if number in STOPS:
            self._stopped_by = number
        elif number == signal.SIGTSTP:
            self._terminal.stop()
        elif number == signal.SIGCONT:  # who stopped us may have changed the terminal's settings
            self._terminal.give_back()
            self._terminal.take()
        self._drawn = None

    def _type(self, data: bytes) -> None:
        if data and self._board.question is not None and (self._unseen() or _now() < self._dropped_at + _PASTE):
            self._dropped_at = _now()  # who has not seen a question does not answer it
        elif data:
            self._press(self._keyboard.keys(data))
        else:  # the terminal is gone
            self._stopped_by = signal.SIGHUP

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            if key == "q" and self._board.question is None:
                self._stopped_by = 0
                return
            before = self._board.question
            self._board, call = board.press(self._board, key, _now())
            if call is not None:
                self._ask(call.method, call.parameters, partial(self._done, call))
            if before is None and self._board.question is not None:
                self._dropped_at = _now()  # nor does the rest of what was typed at once, or goes on to come
                return

    def _done(self, call: Call, answer: _Answer) -> None:
        self._board = board.done(self._board, call, answer)

    # The daemon

    def _ask_what_is_due(self) -> None:
        if self._list_at is None or self._now < self._list_at:
            return
        self._list_at, self._listed_at = None, self._now
        try:
            if self._events is None:
                self._events = stream(self._path, "io.idled.Monitor")
        except Unreachable as error:
            self._list_has_come(error)
        else:
            self._ask("ListSessions", {}, self._list_has_come)

    def _ask(self, method: str, parameters: Mapping[str, Any], then: Callable[[_Answer], None]) -> None:
        asked_at = _now()
        try:
            link = Stream(self._path, {"method": f"io.idled.{method}", "parameters": dict(parameters)})
        except Unreachable as error:
            then(error)
        else:
            self._asked.append(_Asked(link, asked_at, asked_at + _PATIENCE[method], then))

    def _take_answer(self, asked: _Asked) -> None:
        try:
            answer: _Answer = dict(harmless(asked.stream.next(_REST)))
        except (Unreachable, VarlinkError) as error:
            answer = error
        self._finish(asked, answer)

    def _finish(self, asked: _Asked, answer: _Answer) -> None:
        asked.stream.close()
        self._asked.remove(asked)
        asked.then(answer)

    def _list_has_come(self, answer: _Answer) -> None:
        took = self._now - self._listed_at
        self._list_at = self._now + max(_PAUSE, _PAUSE_SHARE * took if isinstance(answer, dict) else 0)
        if not isinstance(answer, dict):
            self._lose(answer)
        elif self._events is not None:  # or else it came from a daemon that has gone since
            self._board = board.answered(self._board, answer, self._now)

    def _take_events(self) -> None:
        """All that have come."""
        while self._events is not None:
            try:
                self._board = board.told(self._board, harmless(self._events.next(_REST)["event"]))
            except (Unreachable, VarlinkError) as error:
                self._events.close()
                self._events = None
                self._lose(error)
            else:
                if not self._events.more:
                    return

    def _lose(self, error: Unreachable | VarlinkError) -> None:
        self._board = replace(self._board, lost=" ".join(map(str, harmless(complaint(error)))))


def _read(keys: int) -> bytes:
    """What was typed; nothing when the terminal is gone."""
    try:
        return os.read(keys, 4096)
    except OSError:
        return b""
