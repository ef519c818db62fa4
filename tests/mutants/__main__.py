# SPDX-License-Identifier: LGPL-2.1-or-later
"""`./dev mutants [FILE...]`: changes each file in one place at a time and tells which changes no test notices.

The files themselves stay as they are. Each is tried against the folder of tests that mirrors its own. Random tests
notice more, but not each time. Changes that docs/mutants.md explains are not told; any other makes the exit code 1.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from .changes import Mutant, mutants
from .trial import at_import, patience, within

ROOT: Final = Path(__file__).resolve().parents[2]
EXPLAINED: Final = Path("docs/mutants.md")
FILES: Final = ("idled/core", "idled/config")


def main(arguments: Sequence[str]) -> int:
    """Try all changes of the files, or of those in the folders; the exit code."""
    os.chdir(ROOT)
    files = sorted({file for name in arguments or FILES for file in _files(Path(name))})
    changes = {file: list(mutants(file)) for file in files}
    unnoticed = list(_unnoticed(changes))
    untold = [mutant for mutant in unnoticed if not _is_explained(mutant)]
    for file in files:
        survivors = sum(mutant.file == file for mutant in unnoticed)
        print(f"{file}: {len(changes[file])} changes, {survivors} not noticed")
    for mutant in untold:
        print(f"{mutant.file}: {mutant}")
    return 1 if untold else 0


def _files(path: Path) -> Iterator[Path]:
    yield from path.rglob("*.py") if path.is_dir() else [path]


def _unnoticed(changes: dict[Path, list[Mutant]]) -> Iterator[Mutant]:
    # What is changed before pytest imports it comes first, while nothing of it is imported here.
    limits = {folder: patience([str(folder)]) for folder in set(map(_folder, changes))}
    for file, all_of_it in changes.items():
        tests, limit = list(_tests(file)), limits[_folder(file)]
        yield from _shown(mutant for mutant in all_of_it if not mutant.lines and not at_import(tests, mutant, limit))
    for folder, those in groupby(changes, _folder):
        files = list(those)
        inner = [mutant for file in files for mutant in changes[file] if mutant.lines]
        yield from _shown(within([str(folder)], files, inner))


def _shown(mutants: Iterable[Mutant]) -> Iterator[Mutant]:
    for mutant in mutants:
        if not _is_explained(mutant):
            print(f"{mutant.file}: {mutant}", file=sys.stderr, flush=True)
        yield mutant


def _folder(file: Path) -> Path:
    return Path("tests/unit", *file.parts[1:-1])


def _tests(file: Path) -> Iterator[str]:
    """The tests, those that are named like the file first."""
    yield from sorted(map(str, _folder(file).glob("test_*.py")), key=lambda path: f"test_{file.stem}." not in path)


def _is_explained(mutant: Mutant) -> bool:
    _, _, section = EXPLAINED.read_text().partition(f"\n## {mutant.file}\n")
    return f"- {mutant}:" in section.partition("\n## ")[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
