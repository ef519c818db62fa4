# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be done is not taken for done, and who came late is told too.

What the hands do otherwise is seen in guests, and in the desk's tests.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from idled.core.events import EndAsked, Kind, Opened, Remember
from idled.members import Handle
from idled.state import State
from tests.terminal.bench import Child, Pty, descriptors_left, handle_of, python

from .front_office import FrontOffice, acting


def test_an_end_that_cannot_be_written_down_for_want_of_descriptors_is_not_begun(tmp_path: Path) -> None:
    """The daemon is about to end for it: the next one could not tell that this one had ended the session."""

    async def story(office: FrontOffice) -> None:
        session = office.open(1, 1)
        office.hands.registry._handles.put(Handle(session=session))
        watch = office.engine.watch(session.id)
        assert watch
        with descriptors_left(0), pytest.raises(OSError, match="Too many open files"):
            office.hands._remember(Remember(memory=watch.memory))
        with patch.object(State, "remember", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            office.hands._remember(Remember(memory=watch.memory))
        assert office.journal.records[-1].kind is Kind.TROUBLE
        assert not office.hands.remembers
        office.hands._remember(Remember(memory=watch.memory))
        assert office.hands.remembers

    acting(tmp_path, story)


ON_TERMINALS = python(
    """
import fcntl, termios
for name in sys.argv[1:]:
    fcntl.ioctl(os.open(name, os.O_RDWR), termios.TIOCSCTTY, 0)
    print('ready', flush=True)
    sys.stdin.readline()
    if os.fork():
        time.sleep(1000)
    os.setsid()
"""
)


def test_a_terminal_that_came_since_the_last_look_is_told_too(tmp_path: Path) -> None:
    """What was seen at a look is good for what follows from that look, and no longer."""

    async def story(office: FrontOffice) -> None:
        with Pty() as first, Pty() as later, Child([*ON_TERMINALS, str(first.path), str(later.path)]) as leader:
            handle = handle_of(leader.process, uid=os.getuid())
            office.hands.registry._handles.put(handle)
            office.hands.handle(Opened(session=handle.session))
            leader.tell()
            assert leader.line() == "ready"
            office.hands.handle(EndAsked(id=handle.session.id, by="root", note="for a test"))
            for pty in (first, later):
                pty.shown(b"for a test")

    acting(tmp_path, story)
