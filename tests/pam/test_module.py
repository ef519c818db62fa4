# SPDX-License-Identifier: LGPL-2.1-or-later
"""pam_idled.so: its own C tests, and that it exports what PAM calls and nothing else."""

import subprocess
from pathlib import Path

import pytest

PAM = Path(__file__).resolve().parents[2] / "pam"


def make(build: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Run make in a build folder of the test's own, so that the tree stays as it is."""
    return subprocess.run(
        ["make", "-C", str(PAM), f"BUILD={build}", target],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pam")


def test_check(build: Path) -> None:
    done = make(build, "check")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("not ok")], done.stdout
    # The parser alone, each call failing, the module with sanitizers, the module as shipped: each has a plan.
    assert len([line for line in lines if line.startswith("1..")]) == 4, done.stdout


def test_exports(build: Path) -> None:
    done = make(build, "all")
    assert done.returncode == 0, done.stdout
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(build / "pam_idled.so")], stdout=subprocess.PIPE, text=True, check=True
    )
    symbols = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert symbols == {"pam_sm_open_session", "pam_sm_close_session"}
