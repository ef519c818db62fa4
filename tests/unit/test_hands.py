# SPDX-License-Identifier: LGPL-2.1-or-later
"""What cannot be done is not taken for done. What the hands do otherwise is seen in guests, and in the desk's tests."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest.mock import patch

import pytest

from idled.core.events import Kind, Remember
from idled.members import Handle
from idled.state import State
from tests.terminal.bench import descriptors_left

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
