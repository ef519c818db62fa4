# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program on a real terminal, and somebody who types and reads there.

A thread reads the terminal all the time and stamps what comes with CLOCK_BOOTTIME, the clock of everything that
is measured: a test asks afterwards when a text came and when the program went, and is not itself the clock.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Self

ROWS, COLUMNS = 24, 80

# A bash prompt as Debian sets it: "alice@guest:~$ ".
PROMPT = r"[$#] $"


class Unseen(AssertionError):
    """What a test waited for did not come in time."""


def boottime() -> int:
    """Return CLOCK_BOOTTIME in microseconds; host and guests share it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def children(pid: int) -> list[int]:
    """Return the children that the main thread of a process has."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill(pid: int) -> None:
    """Kill a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Terminal:
    """A child process whose controlling terminal is a pty held here.

    `prefix` is a command that runs the program (say, nsenter and its options); with `forks` it stays, as the
    program's parent. `pty` is a pair (master, slave) to use in place of a new one; both are closed here.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        prefix: Sequence[str] = (),
        forks: bool = False,
        env: Mapping[str, str] | None = None,
        pty: tuple[int, int] | None = None,
    ) -> None:
        self._master, slave = pty or os.openpty()
        self._forks = forks
        self._output = _Output()
        self._wake = os.eventfd(0)
        self._hung_up = threading.Event()
        self.resize(ROWS, COLUMNS)
        os.set_blocking(self._master, False)
        try:
            self._process = subprocess.Popen(
                [*prefix, "setsid", "--ctty", *argv], stdin=slave, stdout=slave, stderr=slave, env=env
            )
        finally:
            os.close(slave)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._thread = threading.Thread(target=self._read_all, name=f"terminal of {argv[0]}", daemon=True)
        self._thread.start()

    # What was seen

    @property
    def text(self) -> str:
        """Everything that came out so far."""
        return self._output.text

    @property
    def chunks(self) -> list[tuple[int, str]]:
        """What came out so far, piece by piece, each with its moment (CLOCK_BOOTTIME, microseconds)."""
        return list(self._output.chunks)

    @property
    def closed_at(self) -> int | None:
        """When the program was gone (CLOCK_BOOTTIME, microseconds), or None while it is there."""
        return self._output.closed_at

    @property
    def returncode(self) -> int | None:
        """The exit status of the program once it is gone."""
        return self._process.returncode

    def expect(self, regex: str, timeout: float = 20) -> re.Match[str]:
        """Wait for text that matches, after what was expected last."""
        return self._output.expect(regex, timeout)

    def moment(self, match: re.Match[str]) -> int:
        """Return when the last character of a match came (CLOCK_BOOTTIME, microseconds)."""
        return self._output.moment(match.end())

    def wait_closed(self, timeout: float = 10) -> int:
        """Wait until the program is gone and return when that was."""
        return self._output.wait_closed(timeout)

    # What a person does

    def type(self, text: str, timeout: float = 10) -> int:
        """Type text and return the moment just before the terminal was given the last of it."""
        data, given = text.encode(), boottime()
        deadline = time.monotonic() + timeout
        poll = select.poll()
        while data:
            master = self._master  # of one that is hung up meanwhile there is none
            if self._hung_up.is_set() or self.closed_at is not None or master < 0:
                raise Unseen("nobody can type: the terminal is gone")
            poll.register(master, select.POLLOUT)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            given = boottime()
            try:
                data = data[os.write(master, data) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unseen(f"the terminal took no more input within {timeout} s") from None
        return given

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal's window another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def hangup(self) -> None:
        """Take the terminal away, as a closed window or a dropped line does."""
        if not self._hung_up.is_set():
            os.eventfd_write(self._wake, 1)
            self._hung_up.wait()

    def stop(self) -> None:
        """Freeze the program (SIGSTOP): it keeps what it holds and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """Let a frozen program go on. nsenter freezes with its child, so it is woken too."""
        os.kill(self.pid, signal.SIGCONT)
        self._process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The program's pid, as seen from here."""
        return self._only_child() if self._forks else self._process.pid

    # Its end

    def close(self) -> None:
        """Hang up, and kill what does not go by itself."""
        self.hangup()
        if self.closed_at is None:
            self._process.send_signal(signal.SIGCONT)
            self._kill_after(1)
        self._thread.join()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            os.close(self._wake)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kill_after(self, grace: float) -> None:
        """Kill the program, and then its prefix if that does not end by itself."""
        for victims in (children(self._process.pid) if self._forks else [], [self._process.pid]):
            try:
                self.wait_closed(grace)
            except Unseen:
                for pid in victims:
                    kill(pid)

    def _only_child(self, timeout: float = 5) -> int:
        """Return the pid of the prefix's one child, which is there a moment after the prefix."""
        deadline = time.monotonic() + timeout
        while self.closed_at is None and time.monotonic() < deadline:
            if found := children(self._process.pid):
                return found[0]
            time.sleep(0.002)
        raise Unseen(f"no program on the terminal:\n{self.text}")

    # The reading thread

    def _read_all(self) -> None:
        """Read until the program is gone; a hangup alone (login makes one, to itself) is not the end."""
        poll = select.poll()
        for fd in (self._master, self._pidfd, self._wake):
            poll.register(fd, select.POLLIN)
        gone = False
        while not gone:
            ready = dict(poll.poll())
            gone = self._pidfd in ready
            closed_at = boottime()
            if self._wake in ready:
                self._drop_master(poll)
            elif self._master in ready and not self._drain() and not gone:
                time.sleep(0.005)  # nobody has the other side open: login will, in a moment
        if not self._hung_up.is_set():
            self._drain()
            self._drop_master(poll)
        self._process.wait()
        self._output.close(closed_at)

    def _drop_master(self, poll: select.poll) -> None:
        poll.unregister(self._wake)
        poll.unregister(self._master)
        master, self._master = self._master, -1
        os.close(master)
        self._hung_up.set()

    def _drain(self) -> bool:
        """Read all there is; False when nothing came."""
        came = False
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EAGAIN: no more now; EIO: nobody on the other side
                return came
            if not data:
                return came
            self._output.add(boottime(), data)
            came = True


class _Output:
    """What came out of a terminal, and how a test waits for it."""

    def __init__(self) -> None:
        self.chunks: list[tuple[int, str]] = []
        self.closed_at: int | None = None
        self._text = ""
        self._unjoined: list[str] = []
        self._seen = 0
        self._changed = threading.Condition()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def text(self) -> str:
        """All of it in one piece, put together only when somebody looks: a flood stays cheap."""
        with self._changed:
            if self._unjoined:
                self._text += "".join(self._unjoined)
                self._unjoined.clear()
            return self._text

    def add(self, moment: int, data: bytes) -> None:
        with self._changed:
            text = self._decoder.decode(data)
            self.chunks.append((moment, text))
            self._unjoined.append(text)
            self._changed.notify_all()

    def close(self, moment: int) -> None:
        with self._changed:
            self.closed_at = moment
            self._changed.notify_all()

    def expect(self, regex: str, timeout: float) -> re.Match[str]:
        pattern = re.compile(regex)
        with self._changed:
            self._changed.wait_for(lambda: self.closed_at is not None or self._search(pattern), timeout)
            match = self._search(pattern)
            if match is None:
                why = "the program ended" if self.closed_at is not None else f"not within {timeout} s"
                raise Unseen(f"{why}: {regex!r} did not come after:\n{self.text[self._seen :]}")
            self._seen = match.end()
            return match

    def wait_closed(self, timeout: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self.closed_at is not None, timeout)
            if self.closed_at is None:
                raise Unseen(f"the program did not end within {timeout} s:\n{self.text[-2000:]}")
            return self.closed_at

    def moment(self, end: int) -> int:
        with self._changed:
            ends = accumulate(len(text) for _, text in self.chunks)
            for (moment, _), chunk_end in zip(self.chunks, ends, strict=True):
                if chunk_end >= end:
                    return moment
        raise Unseen("no such text on this terminal")

    def _search(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return pattern.search(self.text, self._seen)
