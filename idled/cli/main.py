# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command ``idlectl``: its arguments, and which verb they mean. A verb's module is imported only when it is used.

Exit codes: 0 done; 1 it could not be done, or what was checked is wrong; 2 the call was wrong.
"""

import argparse
import os
import sys
from pathlib import Path

from .. import __version__
from ..control.wire import SOCKET


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="idlectl", description="See and check the sessions that idled watches.")
    parser.add_argument("--version", action="version", version=f"idlectl {__version__}")
    _add_listing(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    _add_listing(verbs.add_parser("list", help="the open sessions, when each ends, and why (the default)"))
    checking = verbs.add_parser("check", help="whether a policy is right, and how it is understood")
    checking.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the installed one")
    return parser


def _add_listing(parser: argparse.ArgumentParser) -> None:
    """Options of the default verb, which are taken before the verb and after it."""
    parser.add_argument(
        "--socket", default=argparse.SUPPRESS, metavar="PATH", help=f"the daemon's socket (default {SOCKET})"
    )
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="as the control service answers, one JSON object"
    )


def main(argv: list[str] | None = None) -> int:
    """Run one verb; its exit code."""
    try:
        code = _run(_parser().parse_args(argv))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough, as head(1) has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(options: argparse.Namespace) -> int:
    if options.verb == "check":
        from ..config import describe, files

        return describe.check(options.file or files.MAIN)
    from . import listing

    return listing.run(getattr(options, "socket", SOCKET), as_json=getattr(options, "json", False))


if __name__ == "__main__":
    sys.exit(main())
