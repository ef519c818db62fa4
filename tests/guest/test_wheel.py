# SPDX-License-Identifier: LGPL-2.1-or-later
"""The wheel, for those who bring their own PAM line: built without a network on each release, and used from there."""

from __future__ import annotations

import email
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from idled import __version__

from .builder import builder, copy_tree, inside
from .machine import PROJECT

pytestmark = pytest.mark.timeout(1200)

BUILD = "python3 -m build --wheel --no-isolation --skip-dependency-check --outdir /src/made /src"
# In an environment of its own that sees Debian's modules, with nothing of the project but what the wheel puts there.
USE = """
cd /
python3 -m venv --without-pip --system-site-packages /opt/idled
/opt/idled/bin/python -m installer /src/made/*.whl
PATH=/opt/idled/bin:$PATH
idled --version
idlectl --help
idlectl check /src/packaging/idled.toml
idled --check --config /src/packaging/idled.toml
sed -i 's/"15min"/"15 apples"/' /src/packaging/idled.toml
! idlectl check /src/packaging/idled.toml
printf 'nobody\\0' | /opt/idled/bin/python -I /opt/idled/lib/python3*/site-packages/idled/ask_pam.py || echo "PAM: $?"
/usr/bin/python3 -c 'import idled' 2>&1 | tail -n 1
"""
# What ask_pam says of no password, when it could load PAM.
WRONG = "PAM: 10"


@pytest.fixture(scope="module")
def tree(guests: None, release: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's tree, with the wheel in a folder of it."""
    folder = tmp_path_factory.mktemp(release) / "src"
    copy_tree(folder)
    inside(builder(release), folder, "sh", "-euc", BUILD)
    return folder


@pytest.fixture
def wheel(tree: Path) -> zipfile.ZipFile:
    """It is one for all machines."""
    (path,) = (tree / "made").iterdir()
    assert path.name == f"idled-{__version__}-py3-none-any.whl"
    return zipfile.ZipFile(path)


def told(wheel: zipfile.ZipFile) -> Message:
    return email.message_from_string(wheel.read(f"idled-{__version__}.dist-info/METADATA").decode())


def test_it_holds_the_program_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    program = {str(path.relative_to(PROJECT)) for path in (PROJECT / "idled").rglob("*.py")}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == program
    rest = {name.rpartition("/")[2] for name in wheel.namelist() if ".dist-info/" in name}
    assert rest == {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}


def test_it_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    says = told(wheel)
    assert (says["Name"], says["Version"], says["Requires-Python"]) == ("idled", __version__, ">=3.11")
    assert says["License"] == "LGPL-2.1-or-later"
    assert says["Description-Content-Type"] == "text/markdown"
    assert says.get_payload() == (PROJECT / "README.md").read_text()
    needs = [need for need in says.get_all("Requires-Dist", []) if "extra" not in need]
    assert needs == ["jeepney", "psutil", "python-pam", "rich", "six", "systemd-python"]


def test_its_programs_run_where_it_is_installed(tree: Path, release: str) -> None:
    said = inside(builder(release), tree, "sh", "-euc", USE)
    assert said.startswith(f"idled {__version__}\n")
    for sign in ("usage: idlectl", "15 apples", WRONG, "No module named 'idled'"):
        assert sign in said
