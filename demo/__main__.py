# SPDX-License-Identifier: LGPL-2.1-or-later
"""From the command line to the exit code: 0 only when every session went as the policy says."""

import argparse
import asyncio
import os
import shutil
import sys

from . import confine, play, stage


def main() -> int:
    """Set the stage in namespaces of its own, and play there."""
    options = _parser().parse_args()
    if os.geteuid() != 0:
        return _as_root()
    lacking = stage.lacking()
    if lacking:
        print(f"demo: {lacking}", file=sys.stderr)
        return 1
    try:
        return confine.run(lambda: asyncio.run(play.run(observe=options.observe, svg=options.svg)))
    except OSError as error:
        print(f"demo: cannot make namespaces: {error.strerror}; this needs root with CAP_SYS_ADMIN", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev demo",
        description="Log in four people at a private sshd, let the daemon end who is due, and check that it did. "
        "Takes a minute. Nothing stays behind: it all happens in namespaces of its own.",
    )
    parser.add_argument(  # opened at once, since FILE may lie where the stage covers it
        "--svg", metavar="FILE", type=argparse.FileType("w"), help="write what is shown to FILE too, as a picture"
    )
    parser.add_argument("--observe", action="store_true", help="let the daemon only observe; the demo must then fail")
    return parser


def _as_root() -> int:
    sudo = shutil.which("sudo")
    if sudo is None:
        print("demo: needs root (for namespaces, sshd and the daemon), and there is no sudo", file=sys.stderr)
        return 1
    sys.stdout.flush()
    return os.execv(sudo, [sudo, sys.executable, "-B", "-m", "demo", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
