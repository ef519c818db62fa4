# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl check``: whether a policy is right, and how it is understood; without the daemon."""

import argparse
from dataclasses import asdict
from pathlib import Path

from ..config import describe, files
from ..config.loader import load
from ..config.problems import ConfigError, Problem
from . import page


def run(options: argparse.Namespace) -> int:
    """Read, and say how it was understood; the exit code."""
    main = Path(options.file) if options.file else files.MAIN
    if main.is_dir():
        main = main / files.MAIN.name
    return _as_json(main) if options.json else describe.check(main)


def _as_json(main: Path) -> int:
    try:
        loaded = load(main)
    except ConfigError as error:
        page.dump({"problems": _shown(error.problems)})
        return 1
    answer = describe.view(loaded.policy) | {"files": [source.path for source in loaded.sources]}
    return page.dump(answer | {"problems": _shown(loaded.warnings)})


def _shown(problems: tuple[Problem, ...]) -> list[dict[str, object]]:
    return [asdict(problem) for problem in problems]
