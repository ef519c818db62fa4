# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages as scdoc(5) takes them: the templates in packaging/man, with the tables where a mark stands.

A mark is a line ``; @NAME`` or ``; @NAME ARGUMENT`` (to scdoc a comment): what `BLOCKS` has by that name takes its
place. ``@NAME@`` within a line is one of `VALUES`.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from idled import access, journal, reauthenticate
from idled.cli.verbs import COMMON, DEFAULT, EXITS, VERBS, Argument, Verb
from idled.config import files
from idled.config.describe import setting
from idled.config.schema import MATCH, SETTINGS
from idled.control import interface
from idled.control.wire import SOCKET
from idled.core import extension
from idled.core.events import Kind
from idled.core.model import Limits
from idled.core.span import LONGEST, YEAR
from idled.words import in_words

_ROOT: Final = Path(__file__).resolve().parent.parent
TEMPLATES: Final = _ROOT / "packaging" / "man"
CATALOG: Final = _ROOT / "systemd" / "idled.catalog"
#: The files, each made from the template of its name.
PAGES: Final = ("idlectl.1", "idled.toml.5", "idled.8", "pam_idled.8")

_MARK: Final = re.compile(r"^; @(\w+) ?(\S*)\n", re.MULTILINE)
_VALUE: Final = re.compile(r"@(\w+)@")
_PRIORITIES: Final = {3: "error", 4: "warning", 5: "notice", 6: "info"}
#: Of lines that are shown as they are: 80 columns less the margins.
_WIDTH: Final = 66


def page(name: str) -> str:
    """One page, whole."""
    text = (TEMPLATES / f"{name}.scd").read_text()
    text = _MARK.sub(lambda mark: "\n".join(BLOCKS[mark[1]](*filter(None, [mark[2]]))).strip("\n") + "\n", text)
    return _VALUE.sub(lambda mark: plain(VALUES[mark[1]]), text)


def plain(text: str) -> str:
    """Text in which nothing means anything to scdoc."""
    return re.sub(r"([\\*_#|:;`~@\[\]+]|^[-.])", r"\\\1", text)


def _bold(text: str) -> str:
    return f"*{plain(text)}*"


def _under(text: str) -> str:
    return f"_{plain(text)}_"


def _item(term: str, *paragraphs: str) -> Iterator[str]:
    """A term, and below it, indented, what is said of it."""
    yield term
    for paragraph in paragraphs:
        yield from (f"\t{paragraph}", "")


def _literal(lines: Iterator[str]) -> Iterator[str]:
    yield "```"
    for line in lines:
        yield re.sub(r"([\\`])", r"\\\1", line)
    yield "```"
    yield ""


# --- idlectl(1)


def _option(argument: Argument) -> str:
    """How it is given."""
    value = "|".join(map(_bold, argument.choices)) or (_under(argument.value) if argument.value else "")
    if argument.is_option:
        return f"{_bold(argument.name)} {value}".strip()
    shape = {"?": "[{}]", "*": "[{}...]"}.get(argument.many, "{}")
    return plain(shape).replace("{}", _under(argument.name))


def _call(verb: Verb) -> str:
    options = [f"\\[{_option(argument)}\\]" for argument in verb.arguments if argument.is_option]
    places = [_option(argument) for argument in verb.arguments if not argument.is_option]
    return " ".join([_bold(verb.name), *places, *options])


def _verbs() -> Iterator[str]:
    for verb in VERBS:
        yield from (f"## {verb.name}", "", f"*idlectl* {_call(verb)}", "")
        for paragraph in verb.text.split("\n\n"):
            yield from (plain(paragraph), "")
        for argument in verb.arguments:
            term = _option(argument) if argument.is_option else _under(argument.name)
            yield from _item(term, plain(_sentence(argument.help)))
        yield from _item("*--json* gives", plain(verb.json))
        for code, says in verb.exits:
            yield from _item(f"Exit code *{code}*", plain(says))


def _synopsis() -> Iterator[str]:
    for verb in VERBS:
        name = f"\\[{_bold(verb.name)}\\]" if verb.name == DEFAULT else _bold(verb.name)
        more = " ..." if verb.arguments else ""
        yield f"*idlectl* \\[_OPTIONS_\\] {name}{more}++"
    yield "*idlectl* *--help* | *--version*"


def _overview() -> Iterator[str]:
    for first, verb in zip(["|", *["|"] * len(VERBS)], VERBS, strict=False):
        yield f"{first}[ {_bold(verb.name)}"
        yield f":< {plain(verb.help)}"
    yield ""


def _common() -> Iterator[str]:
    for argument in COMMON:
        yield from _item(_option(argument), plain(_sentence(argument.help)))


def _exits() -> Iterator[str]:
    for code, says in EXITS.items():
        yield from _item(f"*{code}*", plain(says))


def _examples() -> Iterator[str]:
    for verb in VERBS:
        for example in verb.examples:
            yield from (plain(_sentence(example.does)[:-1] + ":"), "")
            yield from _literal(iter([example.call]))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}".rstrip(".") + "."


# --- idled.toml(5)


def _setting(key: str) -> Iterator[str]:
    row = SETTINGS[key]
    first, *more = textwrap.wrap(f"= {row.example}", _WIDTH - len(key))
    yield "++\n".join([f"{_bold(key)} {plain(first)}", *map(plain, more)])
    yield f"\t{plain(row.does)}{plain(_built_in(key))}"


def _built_in(key: str) -> str:
    """What holds where no rule sets it, in the words of `idlectl check`; of activity the setting itself says it."""
    value = getattr(Limits(), key)
    if not value and value is not None:
        return "" if key == "activity" else " Built in: none."
    return f" Built in: {setting(key, value).partition(' = ')[2]}."


def _matches() -> Iterator[str]:
    for key, row in MATCH.items():
        yield from _item(_bold(key), plain(_sentence(row.does)))


def _files() -> Iterator[str]:
    paths = [str(files.MAIN), *(f"{folder}/*.toml" for folder in files._DROP_INS)]
    yield "++\n".join(map(_under, paths))


# --- idled(8)


def _access() -> Iterator[str]:
    """Who may do what: deeds down, who across."""
    whos = list(dict.fromkeys(row.who for row in access.TABLE))
    yield "[[ *may*"
    for who in whos:
        yield f":[ {_bold(who)}"
    for deed in access.Deed:
        yield f"|< {plain(deed.value)}"
        yield from (f":[ {_reach(deed, who)}" for who in whos)
    yield ""


def _reach(deed: access.Deed, who: str) -> str:
    """Of whose sessions, in a word: a cell with more is broken badly. The page says what the words mean."""
    return _REACH[frozenset().union(*(row.whose for row in access.TABLE if row.who == who and deed in row.deeds))]


_REACH: Final[Mapping[frozenset[access.Whose], str]] = {
    frozenset(): "\\-",
    frozenset({access.Whose.OWN}): "own",
    frozenset({access.Whose.OWN, access.Whose.WITHIN}): "own\\*",
    frozenset({access.Whose.WITHIN, access.Whose.OTHERS}): "others'",
    frozenset(access.Whose): "all",
}


def catalog() -> dict[str, tuple[str, str]]:
    """Subject and explanation by message id, as journalctl -x has them."""
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG.read_text(), flags=re.MULTILINE)
    found = {}
    for id, entry in zip(parts[1::2], parts[2::2], strict=True):
        head, _, body = entry.partition("\n\n")
        found[id] = (head.partition("\n")[0].removeprefix("Subject: "), body.strip())
    return found


def _events() -> Iterator[str]:
    texts = catalog()
    for kind in Kind:
        id = journal.MESSAGE_IDS[kind]
        subject, body = texts[id]
        said = re.sub(r"@(IDLED_\w+)@", r"\1", " ".join(body.split()))
        about = f"Priority {_PRIORITIES[journal._PRIORITY.get(kind, journal._INFO)]}, MESSAGE_ID={id}"
        yield from _item(_bold(kind.value), f"{plain(subject)}. {plain(said)}", plain(about))


def _interface() -> Iterator[str]:
    """The description of the control service, in lines that fit."""
    yield from _literal(_fitting(interface.DESCRIPTION))


def _fitting(text: str) -> Iterator[str]:
    """Each run of comments, and each other line, filled anew."""
    for start, run in groupby(text.splitlines(), key=lambda line: re.match(r" *(# )?", line)[0]):  # type: ignore[index]
        if not start.endswith("# "):
            for line in run:
                yield from textwrap.wrap(line, _WIDTH, subsequent_indent=f"{start}    ") or [""]
            continue
        words = " ".join(line.removeprefix(start) for line in run)
        yield from textwrap.wrap(words, _WIDTH, initial_indent=start, subsequent_indent=start, break_on_hyphens=False)


BLOCKS: Final[Mapping[str, Callable[..., Iterator[str]]]] = {
    "synopsis": _synopsis,
    "overview": _overview,
    "verbs": _verbs,
    "common": _common,
    "exits": _exits,
    "examples": _examples,
    "setting": _setting,
    "matches": _matches,
    "files": _files,
    "access": _access,
    "events": _events,
    "interface": _interface,
}
_MODULE: Final = (_ROOT / "pam" / "pam_idled.c").read_text()


def _in_module(pattern: str) -> str:
    """What the PAM module's source has there."""
    found = re.search(pattern, _MODULE)
    assert found is not None, pattern
    return found[1]


#: What stands within lines.
VALUES: Final[Mapping[str, Any]] = {
    "config": str(files.MAIN),
    "socket": SOCKET,
    "longest": f"{LONGEST // YEAR} years",
    "most": in_words(extension.MOST),
    "margin": in_words(extension.MARGIN),
    "patience": f"{reauthenticate._PATIENCE:.0f} s",
    "tries": str(reauthenticate._MOST),
    "pamsocket": _in_module(r'DEFAULT_SOCKET "(.+)"'),
    "timeout": _in_module(r"TIMEOUT_DEFAULT_MS = (\d+)"),
    "timeoutmost": _in_module(r"TIMEOUT_MAX_MS = (\d+)"),
    "within": in_words(reauthenticate._WITHIN),
}
