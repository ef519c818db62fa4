# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people write in policies and search the journal for: it stays what it is, whatever the program calls it."""

from enum import Enum

import pytest

from idled.core.events import Kind
from idled.core.model import Activity, Extent, Mode, Reason, Unobserved
from idled.core.policy import DEFAULTS, MATCH_KEYS

NAMES: list[tuple[type[Enum], str]] = [
    (Mode, "observe enforce"),
    (Reason, "idle absolute request user"),
    (Extent, "connection session user"),
    (Activity, "input output traffic"),
    (Unobserved, "absolute-only idle-from-start"),
    (
        Kind,
        "session-opened limits-set activity-forged warned warning-cleared extended extension-refused would-end ended "
        "end-escalated end-failed session-closed clock-stepped config-loaded config-rejected input-refused trouble "
        "started stopping",
    ),
]


@pytest.mark.parametrize(("kind", "names"), NAMES)
def test_names_stay(kind: type[Enum], names: str) -> None:
    assert " ".join(member.value for member in kind) == names


def test_keys_of_a_match_stay() -> None:
    assert MATCH_KEYS == ("user", "group", "service", "remote", "tty", "terminal")
    assert DEFAULTS == "defaults"
