# SPDX-License-Identifier: LGPL-2.1-or-later
"""Output of a session without terminals counts while it is on its way to the client (activity, 3).

The client acknowledges what it receives; what it has not yet acknowledged is `unheard`.
"""

from dataclasses import replace

import pytest

from idled.core.span import SEC
from idled.core.stamps import TICK

from .test_activity import OPENED, Seen, told, usec

FILE = 1_000_000
#: More than sshd itself ever has under way.
MUCH = 8_193


def download(seen: Seen, at: float, size: int = FILE) -> None:
    """Written at once, and none of it acknowledged so far."""
    seen.net(at, out=size, wire=(0, 0))
    seen.wire = replace(seen.wire, unheard=size, heard_at=usec(at))


def hears(seen: Seen, at: float, size: int) -> None:
    """The client acknowledges so much of what is under way."""
    seen.wire = replace(
        seen.wire, wire_out=seen.wire.wire_out + size, unheard=max(0, seen.wire.unheard - size), heard_at=usec(at)
    )


def test_a_slow_download_counts_until_the_last_of_it_was_acknowledged() -> None:
    seen = Seen(ptys=0)
    download(seen, 1100)
    assert seen.active(1101) == told(1100)
    hears(seen, 1199, FILE // 2)
    assert seen.active(1200) == told(1199)
    hears(seen, 1250, FILE // 2)
    assert seen.active(1300) == told(1250)
    hears(seen, 1390, 36)  # of a keepalive
    assert seen.active(1400) == told(1250)


def test_a_download_of_which_nothing_arrives_any_more_no_longer_counts() -> None:
    seen = Seen(ptys=0)
    download(seen, 1100)
    hears(seen, 1150, FILE // 2)
    assert seen.active(1200) == told(1150)
    assert seen.active(1900) == told(1150)


def test_acknowledged_just_now_is_not_in_the_future() -> None:
    seen = Seen(ptys=0)
    download(seen, 1100)
    seen.look(1101)
    hears(seen, 1200, 500)
    assert seen.active(1200.002) == 1200.002


def test_where_nobody_knows_when_it_was_acknowledged_it_was_just_now() -> None:
    seen = Seen(ptys=0)
    download(seen, 1100)
    seen.look(1101)
    hears(seen, 1150, 500)
    seen.wire = replace(seen.wire, heard_at=None)
    assert seen.active(1200) == 1200


DEAF_SINCE = 1097 - TICK / SEC


@pytest.mark.parametrize(
    ("heard_at", "unheard", "active"),
    [
        (1000, 500, 1000),
        (DEAF_SINCE - 0.001, 500, DEAF_SINCE - 0.001),
        (DEAF_SINCE - 0.001, 1, DEAF_SINCE - 0.001),
        (DEAF_SINCE, 500, 1099),  # 3 s ago
        (1098, 500, 1099),
        (1000, 0, 1099),  # nothing was left to be acknowledged
    ],
)
def test_what_is_written_to_a_client_that_is_not_there_does_not_count(
    heard_at: float, unheard: int, active: float
) -> None:
    seen = Seen(ptys=0)
    seen.net(1099, out=500, wire=(0, 0))
    seen.wire = replace(seen.wire, received_at=usec(1000), unheard=unheard, heard_at=usec(heard_at))
    assert seen.active(1100) == pytest.approx(told(active))


@pytest.mark.parametrize(("unheard", "counts"), [(MUCH, True), (MUCH - 1, False)])
def test_a_download_that_was_under_way_already_when_its_bytes_came_to_be_counted(unheard: int, counts: bool) -> None:
    seen = Seen(ptys=0)
    seen.wire = replace(seen.wire, counted=900, unheard=unheard, heard_at=usec(OPENED))
    seen.look(1010)
    hears(seen, 1100, 5_000)
    assert seen.active(1200) == told(1100 if counts else OPENED)
