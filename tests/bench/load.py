# SPDX-License-Identifier: LGPL-2.1-or-later
"""What thousands of sessions cost idled, in guests of both releases side by side; and 10,000 its core alone.

Markdown goes to standard output, what goes on meanwhile to standard error. What is measured stands in `measures`, how
it is shown in `report`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..guest.image import RELEASES
from ..guest.machine import Machine, why_not
from . import virtual
from .lateness import say
from .measures import Measures, Samples
from .report import report
from .sessions import Crowd, enough_ptys

SIZES = (100, 1_000, 3_000)
VIRTUAL_SIZES = (100, 1_000, 3_000, 10_000)
PICTURE = Path(__file__).parents[2] / "docs" / "performance.svg"


def measure(release: str, sizes: Sequence[int], seed: int, alone: threading.Lock) -> Samples:
    """All that is measured in a guest of this release."""
    with Machine(release) as machine, Crowd(machine, seed) as crowd:
        measures = Measures(machine, crowd, alone)
        measures.empty()
        for size in sizes:
            say(f"{release}: {size} sessions")
            measures.of(size)
        measures.all_at_once(sizes)
        return measures.found


def measure_core(seed: int) -> Samples:
    """The same of the core alone."""
    found: Samples = {}
    for size in VIRTUAL_SIZES:
        say(f"core: {size} sessions")
        for name, times in virtual.core(size, seed).items():
            found.setdefault(name, {})[size] = times
    return found


def main() -> int:
    """Measure, and print it as markdown; the plot goes into a file."""
    parser = argparse.ArgumentParser(prog="./dev bench load", description=main.__doc__)
    parser.add_argument("--release", choices=RELEASES, action="append", help="one only; both if not given")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="numbers of sessions")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="SVG", help=f"where ({PICTURE.name})")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="repeats a run")
    arguments = parser.parse_args()
    if reason := why_not():
        say(reason)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was changed on the machine is put back
    say(f"seed {arguments.seed}")
    core = measure_core(arguments.seed)
    releases, alone = arguments.release or RELEASES, threading.Lock()
    with enough_ptys(2 * max(arguments.sizes)), ThreadPoolExecutor() as pool:
        found = pool.map(lambda release: measure(release, arguments.sizes, arguments.seed, alone), releases)
        results = dict(zip(releases, found, strict=True))
    text, picture = report(results, core, cores=os.cpu_count() or 1, kernel=os.uname().release)
    arguments.picture.write_text(picture)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
