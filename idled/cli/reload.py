# SPDX-License-Identifier: LGPL-2.1-or-later
"""``idlectl reload``: makes the daemon read its policy anew."""

import argparse

from ..control.wire import VarlinkError
from . import page
from .ask import ask, complain


def run(options: argparse.Namespace) -> int:
    """Ask, and print what is odd or wrong with the policy; the exit code."""
    try:
        answer = ask(options, "Reload")
    except VarlinkError as error:
        if options.json and error.name == "io.idled.PolicyRejected":
            page.dump(error.parameters)
        return complain(error)
    if options.json:
        return page.dump(answer)
    paper = page.Page()
    for warning in answer["warnings"]:
        paper.text(f"warning: {warning}", page.WARN)
    paper.text("The policy was read anew and is in force.")
    return 0
