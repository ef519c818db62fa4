# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command ``idlectl``: reads the call as the table of verbs says, and runs the verb.

A verb's module is imported only when it is used. What the exit codes say is in the table.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, NoReturn

from .. import __version__
from ..control.client import Unreachable
from ..control.wire import VarlinkError
from .ask import Misuse, complain, say
from .values import READERS
from .verbs import COMMON, DEFAULT, VERBS, Argument, Verb

_INTERRUPTED: Final = 130


def main(argv: list[str] | None = None) -> int:
    """Run one verb; its exit code."""
    parser = _parser()
    options = parser.parse_args(_with_verb(sys.argv[1:] if argv is None else argv))
    try:
        code = _run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough, as head(1) has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Unreachable, VarlinkError) as error:
        return complain(error)
    except Misuse as error:
        parser.error(f"{options.verb}: {error}")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return _INTERRUPTED
    return code


def _run(options: argparse.Namespace) -> int:
    verb = next(verb for verb in VERBS if verb.name == options.verb)
    code: int = import_module(f".{verb.module or verb.name}", __package__).run(options)
    return code


def _with_verb(argv: list[str]) -> list[str]:
    """The call with its verb written out: options alone are those of the default verb."""
    switches = {argument.name for argument in COMMON if not argument.value}
    at = 0
    while at < len(argv) and argv[at].partition("=")[0] in {argument.name for argument in COMMON}:
        at += 1 if argv[at] in switches or "=" in argv[at] else 2
    if at < len(argv) and (not argv[at].startswith("-") or argv[at] in ("-h", "--help", "--version")):
        return argv
    return [*argv[:at], DEFAULT, *argv[at:]]


class _Parser(argparse.ArgumentParser):
    """Says in one sentence what was wrong, and where to read more."""

    def error(self, message: str) -> NoReturn:
        say(f"{message} (see: {self.prog} --help)")
        self.exit(2)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Fills paragraphs, and leaves lists of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from textwrap import fill

        blocks = text.split("\n\n")
        return "\n\n".join(block if "\n  " in block else fill(block, width) for block in blocks)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="idlectl",
        description="See, explain, extend and end the sessions that idled watches. Without a verb: list.",
        formatter_class=_Formatter,
    )
    parser.add_argument("--version", action="version", version=f"idlectl {__version__}")
    _add(parser, COMMON, preset=True)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    for verb in VERBS:
        row = verbs.add_parser(
            verb.name,
            help=verb.help,
            description=verb.text,
            epilog=_epilog(verb),
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        _add(row, verb.arguments)
        _add(row, COMMON)
    return parser


def _add(parser: argparse.ArgumentParser, arguments: tuple[Argument, ...], *, preset: bool = False) -> None:
    """Take these arguments; with `preset` they are set where nobody gives them, also after the verb."""
    for argument in arguments:
        name = argument.name if argument.is_option else argument.name.lower()
        parser.add_argument(name, **dict(_keywords(argument, preset)))


def _keywords(argument: Argument, preset: bool) -> Iterator[tuple[str, Any]]:
    """How argparse wants it."""
    yield "help", argument.help.replace("%", "%%")
    if argument in COMMON and not preset:
        yield "default", argparse.SUPPRESS  # do not unset what was given before the verb
    if not argument.value:
        yield "action", "store_true"
        return
    if argument.choices:
        yield "choices", argument.choices
    elif argument.value in READERS:
        yield "type", READERS[argument.value]
    if argument.is_option:
        yield "metavar", "|".join(argument.choices) or argument.value
        return
    yield "metavar", argument.name
    if argument.many:
        yield "nargs", argument.many


def _epilog(verb: Verb) -> str:
    examples = "".join(f"\n  {example.call}\n      {example.does}" for example in verb.examples)
    codes = "".join(f"\n  {code}  {says}" for code, says in verb.exit_codes.items())
    return f"--json: {verb.json}\n\nexit codes:{codes}\n\nexamples:{examples}"


if __name__ == "__main__":
    sys.exit(main())
