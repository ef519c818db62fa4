# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sshd that tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .server import USERS, Server, why_not


@pytest.fixture(scope="session")
def possible() -> None:
    """Skip where no sshd can be started."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def server(possible: None) -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    """Somebody whose connection has an sshd of its own, and root, whose has not."""
    return str(request.param)
