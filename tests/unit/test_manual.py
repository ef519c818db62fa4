# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual pages tell all that the program's tables know, their examples are right, and they can be read."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from generate import manual
from idled import access
from idled.cli.verbs import COMMON, VERBS
from idled.config.files import Source
from idled.config.loader import parse
from idled.config.schema import _ALLOWANCE, MATCH, SETTINGS
from idled.control.interface import DESCRIPTION
from idled.core.events import Kind, Record
from idled.core.model import Activity, Extent, Limits, Mode, Reason, Session, SessionId, Unobserved
from idled.core.policy import Access
from idled.journal import MESSAGE_IDS, fields_of

ROOT = Path(__file__).resolve().parents[2]
each_page = pytest.mark.parametrize("name", manual.PAGES)


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages as they are installed."""
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, "-m", "generate", folder], cwd=ROOT, check=True)
    return folder / "man"


def shown(page: Path) -> tuple[str, str]:
    """A page as man(1) shows it in 80 columns, and what it warns of."""
    env = {"PATH": os.environ["PATH"], "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANOPT": "--no-hyphenation"}
    done = subprocess.run(["man", "--warnings", "-l", page], env=env, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


@pytest.fixture(scope="session")
def read(pages: Path) -> dict[str, str]:
    """What people read, by page; all that is white is one blank."""
    return {name: re.sub(r"\s+", " ", shown(pages / f"{name}.gz")[0]) for name in manual.PAGES}


@each_page
def test_a_page_is_shown_without_warnings_and_within_80_columns(pages: Path, name: str) -> None:
    text, warnings = shown(pages / f"{name}.gz")
    assert warnings == ""
    assert max(map(len, text.splitlines())) <= 80
    linted = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "error", pages / f"{name}.gz"], capture_output=True, text=True
    )
    assert linted.stdout == ""


@each_page
def test_a_page_leaves_no_mark_and_no_markup(read: dict[str, str], name: str) -> None:
    title = re.match(r"(\S+)\((\d)\) ", read[name])
    assert title is not None
    assert name == f"{title[1]}.{title[2]}"
    assert not re.search(r"; ?@|@\w+@|\\", read[name])
    assert not re.search(r"(?<![\w/\]])\*[a-z]", read[name]), "bold that was not closed"


def test_what_refers_to_a_page_finds_it() -> None:
    sources = [*ROOT.glob("systemd/*"), *ROOT.glob("packaging/man/*"), ROOT / "idled" / "desk.py"]
    for source in sources:
        for found, section in re.findall(r"\*?\b(idle[\w.]*|pam\\?_idled)\*?\((\d)\)", source.read_text()):
            assert f"{found}.{section}".replace("\\", "") in manual.PAGES, source


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_idlectl_tells_each_verb(read: dict[str, str], verb: Any) -> None:
    page = read["idlectl.1"]
    rest = page.partition(" VERBS ")[2]
    part = rest.partition(f" idlectl {verb.name} ")[2]
    for argument in verb.arguments:
        sentence = f"{argument.help[0].upper()}{argument.help[1:]}"
        value = "|".join(argument.choices) or argument.value
        assert f" {argument.name}{f' {value}' if argument.is_option and value else ''} {sentence}" in part
    for said in (*re.split(r"\n\n", verb.text), verb.json, *(f"Exit code {code} {says}" for code, says in verb.exits)):
        assert said in part
    for example in verb.examples:
        assert example.call in page
    assert f" {verb.name} {verb.help} " in page


def test_idlectl_tells_what_all_verbs_take(read: dict[str, str]) -> None:
    for argument in COMMON:
        assert argument.name in read["idlectl.1"].partition(" OPTIONS ")[2]
    for word in ("--help", "--version", "SESSION", "SPAN", "MOMENT"):
        assert f" {word} " in read["idlectl.1"].partition(" OPTIONS ")[2]


def test_the_policy_is_told_whole(read: dict[str, str]) -> None:
    page = read["idled.toml.5"]
    settings = page.partition(" SETTINGS")[2].partition(" EXAMPLES ")[0]
    for key, setting in SETTINGS.items():
        assert f" {key} = {setting.example} {setting.does}" in settings
    for match, row in MATCH.items():
        assert f" {match} {row.does[0].upper()}{row.does[1:]}." in page
    for kind in (Extent, Unobserved, Activity):
        for member in kind:
            assert f" {member.value} " in settings
    for word in (*_ALLOWANCE, *(mode.value for mode in Mode), *get_type_hints(Access)):
        assert word in page


def policies() -> list[str]:
    """The examples of policies."""
    source = manual.page("idled.toml.5") + manual.page("idled.8")
    examples = re.findall(r"^```\n(.*?)^```", source, re.MULTILINE | re.DOTALL)
    return [text for text in examples if re.search(r"^\[", text, re.MULTILINE)]


@pytest.mark.parametrize("text", policies())
def test_examples_of_policies_are_right(text: str) -> None:
    odd = [warning.text for warning in parse([Source("example", text)]).warnings]
    elsewhere = ("on this machine", "cannot be read")  # users and programs of the examples
    assert not [text for text in odd if not text.endswith(elsewhere)]


REACHES = {
    "\\-": set(),
    "own": {access.Whose.OWN},
    "own\\*": {access.Whose.OWN, access.Whose.WITHIN},
    "others'": {access.Whose.WITHIN, access.Whose.OTHERS},
    "all": set(access.Whose),
}


def test_the_access_table_is_the_one_that_is_enforced() -> None:
    lines = re.search(r"^\[\[ .*?\n\n", manual.page("idled.8"), re.MULTILINE | re.DOTALL)
    assert lines is not None
    head, *rows = [[cell.strip(" <[") for cell in re.split(r"\n:", row)] for row in re.split(r"\n\|", lines[0].strip())]
    whos = [who.strip("*") for who in head[1:]]
    assert len(rows) == len(access.Deed)
    for deed, cells in zip(access.Deed, rows, strict=True):
        assert cells[0] == deed.value
        for who, cell in zip(whos, cells[1:], strict=True):
            rights: list[frozenset[access.Whose]] = [
                row.whose for row in access.TABLE if row.who == who and deed in row.deeds
            ]
            assert frozenset().union(*rights) == REACHES[cell]


def test_each_event_is_told(read: dict[str, str]) -> None:
    events = read["idled.8"].partition(" EVENTS ")[2]
    for kind in Kind:
        assert re.search(rf" {kind.value} \S.{{20,600}} MESSAGE_ID={MESSAGE_IDS[kind]}", events)


def full() -> Record:
    """A record that has every field."""
    session = Session(
        id=SessionId("boot", 1, 2), user="a", uid=1, opened_at=0, service="sshd", tty="tty1", remote="::1", logind="3"
    )
    limits = Limits(idle_timeout=1, origin={"idle_timeout": "rule"})
    return Record(
        kind=Kind.ENDED,
        session=session,
        limits=limits,
        reason=Reason.IDLE,
        idle=1,
        age=1,
        late=1,
        took=1,
        asked=1,
        extra=1,
        survivors=("a",),
        by="b",
        by_uid=0,
    )


def test_each_field_of_records_is_told(read: dict[str, str]) -> None:
    source = (ROOT / "idled" / "journal.py").read_text()
    fields = fields_of(full())
    assert len(fields) == len(re.findall(r'^        "[A-Z_]+":', source, re.MULTILINE)), "not every field was asked for"
    told = set(re.findall(r"\bIDLED_\w+", read["idled.8"].partition(" FIELDS OF RECORDS ")[2]))
    assert told == set(fields)


def test_the_control_service_is_told(read: dict[str, str]) -> None:
    told = read["idled.8"].replace("# ", "")
    assert re.sub(r"\s+", " ", DESCRIPTION.replace("# ", "").replace("#\n", "")).strip() in told.replace(" # ", " ")


def test_the_daemon_takes_the_options_that_are_told(read: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "idled", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"(?<!\w)--[a-z]+", done.stdout))
    told = read["idled.8"].partition(" OPTIONS ")[2].partition(" HOW ")[0]
    assert {"--config", "--help"} <= options == set(re.findall(r"(?<!\w)--[a-z]+", told))


def test_the_module_takes_the_options_that_are_told(read: dict[str, str]) -> None:
    source = (ROOT / "pam" / "pam_idled.c").read_text().partition("parse_options(pam_handle_t")[2]
    options = set(re.findall(r'(?:after|strcmp)\(arg, "([a-z_]+(?:=[a-z]*)?)"', source))
    told = read["pam_idled.8"].partition(" OPTIONS ")[2].partition(" MODULE TYPES ")[0]
    terms = re.findall(r"(?:^| )([a-z_]+=\w+|silent|debug)(?= [A-Z])", told)
    assert options == {re.sub("[A-Z]+$", "", term) for term in terms}
