# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which files count, and which are not trusted."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from idled.config import files
from idled.config.files import drop_ins, read_all
from idled.config.problems import ConfigError

from ..peer import NOBODY, needs_root, public_folder


def problem(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_all(path)
    (only,) = caught.value.problems
    assert only.file == str(path)
    return only.text


@pytest.fixture
def main(tmp_path: Path) -> Path:
    path = tmp_path / "idled.toml"
    path.write_text("")
    path.chmod(0o644)
    return path


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o444, 0o755])
def test_files_that_only_root_can_write_are_read(main: Path, mode: int) -> None:
    main.chmod(mode)
    assert [source.path for source in read_all(main)] == [str(main)]


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o602])
def test_a_file_that_others_can_write_is_refused(main: Path, mode: int) -> None:
    main.chmod(mode)
    assert problem(main) == f"has mode {mode:04o}, expected no write access for group and others (chmod go-w)"


@needs_root
def test_a_file_of_somebody_else_is_refused_also_through_a_link_of_root(main: Path) -> None:
    os.chown(main, NOBODY, 0)
    link = main.with_name("link.toml")
    link.symlink_to(main)
    assert problem(main) == problem(link) == "belongs to uid 65534, expected root (0)"


@needs_root
def test_a_file_that_cannot_be_read_is_said_to_be_so() -> None:
    with public_folder() as folder:
        path = folder / "idled.toml"
        path.write_text("")
        path.chmod(0o600)
        os.seteuid(NOBODY)
        try:
            assert problem(path) == "cannot be read: Permission denied"
        finally:
            os.seteuid(0)


@needs_root
def test_a_folder_that_cannot_be_read_is_said_to_be_so() -> None:
    with public_folder() as folder:
        path = folder / "idled.toml"
        path.write_text("")
        (folder / "conf.d").mkdir(mode=0o700)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(ConfigError, match=r"conf.d: cannot be read: Permission denied"):
                read_all(path)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (Path.mkdir, "cannot be read: Is a directory"),
        (os.mkfifo, "is not a regular file"),  # and nobody waits for who might write into it
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.write_bytes(b"#\xff"), "byte 1 is not UTF-8, expected a TOML file in UTF-8"),
        (lambda path: path.write_bytes(b"#" * (1 << 20)), "has 1048576 bytes, expected less than 1048576"),
    ],
)
def test_what_is_no_readable_text_is_refused(tmp_path: Path, make: Callable[[Path], None], text: str) -> None:
    path = tmp_path / "odd.toml"
    make(path)
    assert problem(path) == text


@pytest.fixture
def folders(main: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The three folders of drop-ins, as if this main file were the installed one."""
    found = {name: main.parent / name for name in ("etc", "run", "lib")}
    for folder in found.values():
        folder.mkdir()
    monkeypatch.setattr(files, "MAIN", main)
    monkeypatch.setattr(files, "_DROP_INS", tuple(found.values()))
    return found


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["lib/50-b.toml", "run/10-a.toml", "etc/90-c.toml"], ["run/10-a.toml", "lib/50-b.toml", "etc/90-c.toml"]),
        (["lib/a.toml", "run/a.toml"], ["run/a.toml"]),
        (["lib/a.toml", "run/a.toml", "etc/a.toml"], ["etc/a.toml"]),
        (["lib/a.toml", "etc/a.toml -> /dev/null"], []),
        (["etc/a.toml", "lib/a.toml -> /dev/null"], ["etc/a.toml"]),
        (["lib/a.toml", "run/a.toml -> /dev/null", "etc/b.toml"], ["etc/b.toml"]),
        (["etc/a.toml.bak", "etc/a.conf", "etc/README"], []),
        (["etc/.a.toml", "etc/.toml", "etc/.#b.toml -> you@here.77", "etc/b.toml"], ["etc/b.toml"]),  # being edited
    ],
)
def test_drop_ins_follow_systemd(main: Path, folders: dict[str, Path], there: list[str], expected: list[str]) -> None:
    for entry in there:
        name, _, target = entry.partition(" -> ")
        path = main.parent / name
        path.symlink_to(target) if target else path.write_text("")
    assert [str(path.relative_to(main.parent)) for path in drop_ins(main)] == expected


def test_a_main_file_elsewhere_has_its_drop_ins_beside_it(main: Path) -> None:
    (main.parent / "conf.d").mkdir()
    (main.parent / "conf.d" / "a.toml").write_text("")
    assert [Path(source.path).name for source in read_all(main)] == ["idled.toml", "a.toml"]


def test_a_file_where_the_drop_ins_should_be_is_no_silent_loss(main: Path) -> None:
    (main.parent / "conf.d").write_text('mode = "enforce"')
    with pytest.raises(ConfigError, match=r"conf.d: cannot be read: Not a directory"):
        read_all(main)


def test_of_a_main_file_that_cannot_be_the_drop_ins_are_not_to_blame(main: Path) -> None:
    with pytest.raises(ConfigError, match=r"idled.toml/x: cannot be read: Not a directory"):
        read_all(main / "x")


def test_a_drop_in_that_leads_nowhere_or_is_writable_is_no_silent_loss(main: Path) -> None:
    folder = main.parent / "conf.d"
    folder.mkdir()
    (folder / "a.toml").symlink_to("gone")
    with pytest.raises(ConfigError, match=r"conf.d/a.toml: cannot be read"):
        read_all(main)


@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_a_name_is_shown_without_what_a_terminal_obeys(main: Path, mode: int) -> None:
    folder = main.parent / "conf.d"
    folder.mkdir()
    drop_in = folder / "\x1b]0;x\x07.toml"
    drop_in.write_text("")
    drop_in.chmod(mode)
    try:
        shown = read_all(main)[-1].path
    except ConfigError as error:
        shown = str(error).removesuffix(error.problems[0].text).removesuffix(": ")
    assert shown == f"{folder}/?]0;x?.toml"


def test_files_are_where_administrators_and_packages_put_them() -> None:
    assert [str(path) for path in (files.MAIN, *files._DROP_INS)] == [
        "/etc/idled/idled.toml",
        "/etc/idled/conf.d",
        "/run/idled/conf.d",
        "/usr/lib/idled/conf.d",
    ]
