# SPDX-License-Identifier: LGPL-2.1-or-later
"""``python3 -m generate FOLDER``: man/idlectl.1.gz and the like, completions/{bash,zsh,fish}/FILE. Needs scdoc."""

import gzip
import subprocess
import sys
from pathlib import Path

from . import completion, manual

# The first line of a page tells man(1) and others to run tbl on it.
_TABLES = b"'\\\" t\n"


def main(folder: Path) -> None:
    """Write all of it."""
    for name in manual.PAGES:
        made = subprocess.run(["scdoc"], input=manual.page(name).encode(), stdout=subprocess.PIPE, check=True)
        _write(folder / "man" / f"{name}.gz", gzip.compress(_TABLES + made.stdout, mtime=0))
    for shell, name in completion.FILES.items():
        _write(folder / "completions" / shell / name, completion.script(shell).encode())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: somebody may be installing the one before just now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
