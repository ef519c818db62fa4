# SPDX-License-Identifier: LGPL-2.1-or-later
"""The completions of idlectl for bash, zsh and fish: the scripts in packaging/completions, with the table of verbs."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from idled.cli.verbs import COMMON, DEFAULT, VERBS, Argument, Verb

TEMPLATES: Final = Path(__file__).resolve().parent.parent / "packaging" / "completions"
#: By shell, the name under which it looks for the script.
FILES: Final = {"bash": "idlectl", "zsh": "_idlectl", "fish": "idlectl.fish"}

_HELP: Final = Argument("--help", "say how it is called, and exit")
_VERSION: Final = Argument("--version", "print the version, and exit")
_ALWAYS: Final = (*COMMON, _HELP)


def script(shell: str) -> str:
    """The whole script."""
    text = (TEMPLATES / f"idlectl.{shell}").read_text()
    return re.sub(
        r"^# @(\w+)\n", lambda mark: "".join(f"{line}\n" for line in _MARKS[shell, mark[1]]()), text, flags=re.M
    )


def _value(argument: Argument) -> str:
    """What completes it; the file that has a place of its own is a policy."""
    if argument.choices:
        return "|".join(argument.choices)
    return "POLICY" if argument.value == "FILE" and not argument.is_option else argument.value


def _options(verb: Verb) -> list[Argument]:
    return [argument for argument in (*verb.arguments, *_ALWAYS) if argument.is_option]


def _before() -> list[Argument]:
    """What may be given before a verb, or without one."""
    default = next(verb for verb in VERBS if verb.name == DEFAULT)
    return [argument for argument in (*_ALWAYS, _VERSION, *default.arguments) if argument.is_option]


def _places(verb: Verb) -> list[Argument]:
    return [argument for argument in verb.arguments if not argument.is_option]


# --- bash


def _bash() -> Iterator[str]:
    verbs = "|".join(verb.name for verb in VERBS)
    yield _bash_row("-", [*map(_bash_option, _before()), f"one:{verbs}"])
    for verb in VERBS:
        places = [f"{'many' if place.many == '*' else 'one'}:{_value(place)}" for place in _places(verb)]
        yield _bash_row(verb.name, [*map(_bash_option, _options(verb)), *places])


def _bash_row(name: str, words: list[str]) -> str:
    quoted = " ".join(f"'{word}'" if "|" in word else word for word in words)
    return f"        {name}) echo {quoted} ;;"


def _bash_option(argument: Argument) -> str:
    return f"{argument.name}={_value(argument)}" if argument.value else argument.name


# --- zsh


def _zsh_verbs() -> Iterator[str]:
    for verb in VERBS:
        yield f"        {_quoted(f'{verb.name}:{verb.help}')}"


def _zsh_before() -> Iterator[str]:
    for argument in _before():
        yield f"        {_zsh_option(argument)} \\"


def _zsh_cases() -> Iterator[str]:
    for verb in VERBS:
        places = [_zsh_place(place) for place in _places(verb)]
        specs = [*map(_zsh_option, _options(verb)), *places]
        yield f"        {verb.name}) _arguments {' '.join(specs)} ;;"


def _zsh_option(argument: Argument) -> str:
    help = re.sub(r"([\[\]:\\])", r"\\\1", argument.help)
    if not argument.value:
        return _quoted(f"{argument.name}[{help}]")
    return _quoted(f"{argument.name}=[{help}]:{argument.value.lower()}:{_zsh_action(argument)}")


def _zsh_place(place: Argument) -> str:
    count = "*" if place.many == "*" else "1:" if place.many == "?" else "1"
    return _quoted(f"{count}:{place.name.lower()}:{_zsh_action(place)}")


def _zsh_action(argument: Argument) -> str:
    return f"({' '.join(argument.choices)})" if argument.choices else f"_idlectl_{_value(argument).lower()}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish


def _fish() -> Iterator[str]:
    for argument in _before():
        yield _fish_option("-", argument)
    for verb in VERBS:
        yield f"complete -c idlectl -n '__idlectl_verb -' -a {verb.name} -d {_fish_quoted(verb.help)}"
    for verb in VERBS:
        for argument in _options(verb):
            yield _fish_option(verb.name, argument)
        for place in _places(verb):
            once = "" if place.many == "*" else " alone"
            yield f"complete -c idlectl -n '__idlectl_verb {verb.name}{once}' -a {_fish_action(place)}"


def _fish_takes() -> Iterator[str]:
    names = {argument.name for argument in (*_before(), *(one for verb in VERBS for one in _options(verb)))}
    takes = {one.name for verb in VERBS for one in _options(verb) if one.value}
    yield f"            case {' '.join(sorted(names & takes))}"


def _fish_option(verb: str, argument: Argument) -> str:
    takes = f" -x -a {_fish_action(argument)}" if argument.value else ""
    name = argument.name.removeprefix("--")
    return f"complete -c idlectl -n '__idlectl_verb {verb}' -l {name}{takes} -d {_fish_quoted(argument.help)}"


def _fish_action(argument: Argument) -> str:
    if argument.choices:
        return _fish_quoted(" ".join(argument.choices))
    return f"'(__idlectl_candidates {_value(argument)})'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_MARKS: Final[Mapping[tuple[str, str], Callable[[], Iterator[str]]]] = {
    ("bash", "table"): _bash,
    ("zsh", "verbs"): _zsh_verbs,
    ("zsh", "before"): _zsh_before,
    ("zsh", "cases"): _zsh_cases,
    ("fish", "takes"): _fish_takes,
    ("fish", "table"): _fish,
}
