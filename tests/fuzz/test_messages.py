# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kept corpus, and some seconds of atheris from there on; `IDLED_FUZZ_SECONDS` gives it longer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .messages import look_at

CORPUS = Path(__file__).parent / "corpus"
SECONDS = int(os.environ.get("IDLED_FUZZ_SECONDS", "10"))


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_what_is_kept_is_treated_right(path: Path) -> None:
    assert look_at(path.read_bytes()) is path.name.startswith("call-")


def test_atheris_finds_nothing(tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    command = [sys.executable, "-m", "tests.fuzz.messages", f"-max_total_time={SECONDS}", "-max_len=4096", "-timeout=5"]
    done = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", str(found), str(CORPUS)],
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=SECONDS + 60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "DONE" in done.stderr
