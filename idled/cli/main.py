# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command ``idlectl``: its arguments, and which verb they mean. A verb's module is imported only when it is used.

Exit codes: 0 done; 1 it could not be done, or what was checked is wrong; 2 the call was wrong.
"""

import argparse
import sys
from pathlib import Path

from .. import __version__
from ..control.wire import SOCKET


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="idlectl", description="See and check the sessions that idled watches.")
    parser.add_argument("--version", action="version", version=f"idlectl {__version__}")
    parser.add_argument("--socket", default=SOCKET, metavar="PATH", help=f"the daemon's socket (default {SOCKET})")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    listing = verbs.add_parser("list", help="the open sessions, and what comes next for each (the default)")
    listing.add_argument("--json", action="store_true", help="as the control service answers, one JSON object")
    checking = verbs.add_parser("check", help="whether a policy is right, and how it is understood")
    checking.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the installed one")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb; its exit code."""
    options = _parser().parse_args(argv)
    if options.verb == "check":
        from ..config import describe, files

        return describe.check(options.file or files.MAIN)
    from . import listing

    return listing.run(options.socket, as_json=getattr(options, "json", False))


if __name__ == "__main__":
    sys.exit(main())
