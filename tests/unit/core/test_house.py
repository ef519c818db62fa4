# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shape of the house: what may import what, read from the source itself."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

PACKAGE: Final = Path(__file__).resolve().parents[3] / "idled"
PURE: Final = {"collections", "collections.abc", "dataclasses", "decimal", "enum", "fnmatch", "heapq", "ipaddress"}
PURE_TOO: Final = {"itertools", "re", "typing"}
SHELL: Final = {"access", "daemon", "desk", "explanation", "hands", "health", "reception"}
#: Rooms, and the rooms of ours each may use. What lies in no folder is small, has one job, and is there for all.
MAY_USE: Final = {
    "core": set[str](),
    "config": {"core"},
    "sources": {"core"},
    "evidence": {"core"},
    "actions": {"core"},
    "control": {"core"},
    "cli": {"control", "config", "core"},  # config: a policy is checked without the daemon
}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(("idled", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it; of ``from a import b`` both a and a.b."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if is_module(f"{module}.{alias.name}"))


def is_module(name: str) -> bool:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return name.startswith("idled.") and (path.is_dir() or path.with_suffix(".py").exists())


def rooms(path: Path) -> set[str]:
    """The folders of ours that a file uses, without its own; loose modules by their names."""
    own = path.relative_to(PACKAGE).parts[0]
    used = {name.split(".")[1] for name in imports(path) if name.startswith("idled.")}
    return used - {own.removesuffix(".py")}


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.stem)
def test_core_is_pure(path: Path) -> None:
    foreign = {name for name in imports(path) if not name.startswith("idled.core.") and name != "idled.core"}
    assert foreign <= PURE | PURE_TOO


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_arrows_point_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if len(parts) > 1:
        folders = {room for room in rooms(path) if (PACKAGE / room).is_dir()}
        assert folders <= MAY_USE[parts[0]]
        assert not rooms(path) & (SHELL | {"__main__"})


def test_every_folder_has_its_place() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == MAY_USE.keys()


def test_no_two_modules_outside_the_folders_import_each_other() -> None:
    loose = {path.stem: rooms(path) for path in PACKAGE.glob("*.py")}
    for name, used in loose.items():
        assert not [other for other in used & loose.keys() if name in loose[other]], name


def test_no_two_folders_import_each_other() -> None:
    used: dict[str, set[str]] = {room: set() for room in MAY_USE}
    for path in files():
        parts = path.relative_to(PACKAGE).parts
        if len(parts) > 1:
            used[parts[0]] |= rooms(path) & MAY_USE.keys()
    assert not [(one, two) for one in used for two in used[one] if one in used[two]]


def reached(start: str) -> set[str]:
    """All that importing a module brings with it."""
    seen, left = set[str](), [start]
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        if name.startswith("idled"):
            path = PACKAGE.parent.joinpath(*name.split("."))
            path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            left += [*imports(path), *([name.rpartition(".")[0]] if "." in name else [])]
    return seen


CLIENTS: Final = [name_of(path) for path in files() if "cli" in path.parts] + ["idled.control.client"]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_command_does_without_asyncio(name: str) -> None:
    assert not [module for module in reached(name) if module.partition(".")[0] == "asyncio"]


@pytest.mark.parametrize("name", CLIENTS)
def test_the_command_knows_nothing_of_the_daemon(name: str) -> None:
    used = {module.split(".")[1] for module in reached(name) if module.startswith("idled.")}
    assert not used & ({"sources", "evidence", "actions", "members", "state", "journal"} | SHELL)


@pytest.mark.parametrize("name", ["tests.bench.lateness", "tests.bench.load", "tests.guest.machine"])
def test_what_runs_with_the_systems_own_python_needs_no_tool_of_the_tests(name: str) -> None:
    """./dev bench and ./dev guest, which make no .venv."""
    code = f"import sys; sys.modules.update(pytest=None, hypothesis=None); import {name}"
    subprocess.run(["/usr/bin/python3", "-B", "-c", code], cwd=PACKAGE.parent, check=True)
