# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where all is to be shown, a tool that is missing is no excuse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("reason", "ci", "code"),
    [("needs root", "true", 1), ("needs root", "", 0), ("this kernel has no audit", "true", 0)],
)
@pytest.mark.parametrize(
    "test",
    [
        "def test_it(): pytest.skip({reason!r})",
        "@pytest.mark.skipif(True, reason={reason!r})\ndef test_it(): pass",
        "@pytest.fixture\ndef it(): pytest.skip({reason!r})\ndef test_it(it): pass",
    ],
    ids=["by itself", "marked", "by a fixture"],
)
def test_in_ci_what_is_skipped_fails_but_for_what_cannot_be_had(
    tmp_path: Path, test: str, reason: str, ci: str, code: int
) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\n{test.format(reason=reason)}\n")
    call = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [*call, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert (f"CI skips nothing. Skipped: {reason}" in done.stdout) == bool(code)
