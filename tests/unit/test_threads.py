# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is done beside the loop, and where no thread can be had."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import pytest

from idled import threads
from idled.threads import Threads


@pytest.fixture
def none_left(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As when somebody has all the pids there are; what it undoes, somebody has given back."""
    monkeypatch.setattr(threads, "start_new_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    return monkeypatch


def test_what_was_begun_is_there_when_no_other_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    some = Threads(1)
    some.begin()
    monkeypatch.setattr(threads, "start_new_thread", Mock(side_effect=RuntimeError("can't start new thread")))
    assert some.submit(threading.get_ident).result(20) != threading.get_ident()
    assert some.submit(str, 1).result(20) == "1"


def test_what_cannot_be_begun_now_is_when_it_is_needed(none_left: pytest.MonkeyPatch) -> None:
    some = Threads(1)
    some.begin()
    with pytest.raises(RuntimeError, match="new thread"):
        some.submit(str, 1)
    none_left.undo()
    assert some.submit(str, 1).result(20) == "1"


def test_what_fails_fails_who_asked() -> None:
    """And nobody who asks next."""
    some = Threads(1)
    with pytest.raises(ValueError, match="invalid literal"):
        some.submit(int, "no number").result(20)
    assert some.submit(int, "1").result(20) == 1
