# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds for all tests of parts: NSS answers, for which a busy machine may take longer than a session waits."""

from __future__ import annotations

import pytest

from idled.config import schema
from idled.sources import nss


@pytest.fixture(autouse=True)
def nss_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nss, "PATIENCE", 10)
    monkeypatch.setattr(schema, "_NSS_PATIENCE", 10)
