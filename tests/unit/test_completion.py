# SPDX-License-Identifier: LGPL-2.1-or-later
"""The completions of idlectl, in the shells themselves: what is offered for a line that was begun."""

import json
import subprocess
from pathlib import Path

import pytest

from generate import completion
from idled.cli.verbs import COMMON, DEFAULT, VERBS, Verb

VERB_NAMES = {verb.name for verb in VERBS}
SESSIONS = {"12": "alice", "c3": "bob", "p4242": "carol"}
SHELLS = ("bash", "zsh", "fish")
each_shell = pytest.mark.parametrize("shell", SHELLS)
each_verb = pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}

#: Parts the line as readline does: "=" is a word of its own.
BASH = r"""
source "$1"
compopt() { :; }
line=${2//=/ = }
read -ra COMP_WORDS <<<"$line"
[[ $line != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_idlectl
printf '%s\n' "${COMPREPLY[@]}"
"""
FISH = "source $argv[1]; complete -C $argv[2]"
#: A zsh at a terminal, with all that it adds to its list written out as well; it is given the line and a tab.
ZSH_INSIDE = r"""
PROMPT=; bindkey '^I' complete-word; fpath=(${1:h} $fpath); autoload -Uz compinit; compinit -u -D
last() { print END; exit }
comppostfuncs=(last)
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
    local -a __hits
    builtin compadd -A __hits "$@"
    (( $#__hits )) && print -rl -- HIT:$^__hits
    builtin compadd "$@"
}
print READY
"""
ZSH = r"""
zmodload zsh/zpty
zpty inside 'zsh -f -i'
zpty -w inside "source $INSIDE $1"
while zpty -r inside line; do [[ $line == *READY* ]] && break; done
zpty -w -n inside "$2"$'\t'
while zpty -r inside line; do
    [[ $line == *HIT:* ]] && print -r -- ${${line#*HIT:}%%$'\r'*}
    [[ $line == *END* ]] && exit 0
done
exit 1
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with an idlectl that knows some sessions, the scripts, and some files."""
    sessions = [{"id": "1-2", "name": name, "leader": 1, "user": user} for name, user in SESSIONS.items()]
    (tmp_path / "answer").write_text(json.dumps({"mode": "enforce", "sessions": sessions}, indent=2))
    program = tmp_path / "bin" / "idlectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = "list --json" ] && cat {tmp_path}/answer || echo complaint >&2\n')
    program.chmod(0o755)
    for shell in CHECKS:
        script_of(tmp_path, shell).parent.mkdir()
        script_of(tmp_path, shell).write_text(completion.script(shell))
    (tmp_path / "inside").write_text(ZSH_INSIDE)
    (tmp_path / "work" / "folder").mkdir(parents=True)
    for name in ("new.toml", "notes.txt"):
        (tmp_path / "work" / name).touch()
    return tmp_path


def script_of(desk: Path, shell: str) -> Path:
    """The script, by the name under which the shell looks for it."""
    return desk / shell / completion.FILES[shell]


def offered(desk: Path, shell: str, line: str) -> set[str]:
    """What the shell offers for the last word of a line."""
    call = {
        "bash": ["bash", "-uc", BASH, "bash"],
        "zsh": ["zsh", "-fc", ZSH, "zsh"],
        "fish": ["fish", "--no-config", "-c", FISH],
    }[shell]
    env = {"PATH": f"{desk}/bin:/usr/bin:/bin", "HOME": str(desk), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    env["INSIDE"] = str(desk / "inside")
    call += [str(script_of(desk, shell)), line]
    done = subprocess.run(call, cwd=desk / "work", env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return {word.partition("\t")[0] for word in done.stdout.splitlines() if word}


def names(verb: Verb) -> set[str]:
    return {one.name for one in (*verb.arguments, *COMMON) if one.is_option} | {"--help"}


@pytest.mark.parametrize("shell", CHECKS)
def test_the_shell_takes_the_script(desk: Path, shell: str) -> None:
    done = subprocess.run([*CHECKS[shell], script_of(desk, shell)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "# @" not in script_of(desk, shell).read_text()


def test_the_linter_has_nothing_against_it(desk: Path) -> None:
    done = subprocess.run(["shellcheck", "--shell=bash", script_of(desk, "bash")], capture_output=True, text=True)
    assert done.stdout == ""


@each_shell
def test_verbs(desk: Path, shell: str) -> None:
    assert offered(desk, shell, "idlectl ") == VERB_NAMES
    assert offered(desk, shell, "idlectl --json --socket /x ") == VERB_NAMES
    assert offered(desk, shell, "idlectl ex") == {"explain", "extend"}


@each_shell
def test_options_before_the_verb_are_those_of_the_default_verb_too(desk: Path, shell: str) -> None:
    default = next(verb for verb in VERBS if verb.name == DEFAULT)
    assert offered(desk, shell, "idlectl --") == names(default) | {"--version"}


@each_shell
@each_verb
def test_options_of_a_verb(desk: Path, shell: str, verb: Verb) -> None:
    assert offered(desk, shell, f"idlectl --json {verb.name} --") - {"--json"} == names(verb) - {"--json"}


@each_shell
@pytest.mark.parametrize("line", ["show ", "end ", "--json explain ", "log --session ", "log --session="])
def test_sessions(desk: Path, shell: str, line: str) -> None:
    assert {word.removeprefix("--session=") for word in offered(desk, shell, f"idlectl {line}")} == SESSIONS.keys()


@each_shell
def test_only_end_takes_more_than_one_session(desk: Path, shell: str) -> None:
    assert {"12", "p4242"} <= offered(desk, shell, "idlectl end c3 ")
    for line in ("show 12 ", "reload "):
        assert not [word for word in offered(desk, shell, f"idlectl {line}") if not word.startswith("-")]


@each_shell
def test_users(desk: Path, shell: str) -> None:
    assert offered(desk, shell, "idlectl list --user roo") == {"root"}
    assert "daemon" in offered(desk, shell, "idlectl end --user d")


@each_shell
def test_choices(desk: Path, shell: str) -> None:
    assert offered(desk, shell, "idlectl extend --limit ") == {"idle", "absolute"}
    assert offered(desk, shell, "idlectl extend 12 --limit a") == {"absolute"}
    assert "30min" in offered(desk, shell, "idlectl extend --by ")
    assert offered(desk, shell, "idlectl extend --reason ") == set()


@each_shell
def test_a_policy_is_a_toml_file_or_a_folder(desk: Path, shell: str) -> None:
    assert {word.rstrip("/") for word in offered(desk, shell, "idlectl check n")} == {"new.toml"}
    assert {word.rstrip("/") for word in offered(desk, shell, "idlectl check fo")} == {"folder"}
    assert "notes.txt" in offered(desk, shell, "idlectl --socket n")


@each_shell
def test_a_daemon_that_cannot_be_asked_is_no_noise(desk: Path, shell: str) -> None:
    (desk / "answer").unlink()
    assert offered(desk, shell, "idlectl show ") == set()
