# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kept corpus, and some seconds of fuzzing from there on; all targets share `IDLED_FUZZ_SECONDS`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .targets import CORPUS, TARGETS

TREE = Path(__file__).parents[2]
MODULE = "pam_module"  # the one target in C
SECONDS = max(1, int(os.environ.get("IDLED_FUZZ_SECONDS", "12")) // (len(TARGETS) + 1))
KEPT = [path for name in TARGETS for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_is_kept_is_treated_right(path: Path) -> None:
    assert TARGETS[path.parent.name].takes(path.read_bytes()) is not path.name.startswith("bad-")


@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_nothing(name: str, tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    options = [f"-max_total_time={SECONDS}", "-max_len=4096", "-timeout=25", f"-artifact_prefix={tmp_path}/"]
    told = _run(sys.executable, "-m", "tests.fuzz", name, *options, str(found), str(CORPUS / name))
    assert "DONE" in told, told[-4000:]


def test_libfuzzer_finds_nothing_in_the_pam_module(tmp_path: Path) -> None:
    told = _run("make", "-C", "pam", f"BUILD={tmp_path}", f"FUZZ_SECONDS={SECONDS}", "fuzz")
    assert "DONE" in told, told[-4000:]


def test_the_corpus_stays_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {*TARGETS, MODULE}
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000


def _run(*command: str) -> str:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=SECONDS + 120,
        cwd=TREE,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
