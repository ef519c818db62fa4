# SPDX-License-Identifier: LGPL-2.1-or-later
"""A policy in words, with each kind of value: for `idlectl check` and, to programs, over the control service."""

from idled.config.describe import lines, view
from idled.config.files import Source
from idled.config.loader import parse

POLICY = """
mode = "enforce"
[access]
view = ["user:root", "group:root"]
[defaults]
idle_timeout = "off"
warn_before = []
activity = ["traffic", "input"]
unobserved = "idle-from-start"
extend = { limit = "absolute", by_at_most = "1h", times = 1, reauthenticate = false }
[[rule]]
name = "first"
match = { user = ["root", "bin"], not_terminal = true }
kill_after = "5s"
extend = { limit = "idle", by_at_most = "90s", times = 2 }
hold_while = ["/usr/bin/env", "/usr/bin/false"]
[[rule]]
name = "second"
match.remote = "10.8.0.0/16"
warn_before = ["2min", "30s"]
extend = "off"
"""
WORDS = """\
mode enforce
may view the sessions of others: user:root, group:root

first:
    matches  user root or bin, not terminal true
    kill_after = 5s
    extend = idle, 1min 30s at most, 2 times, with the password
    hold_while = /usr/bin/env, /usr/bin/false

second:
    matches  remote 10.8.0.0/16
    warn_before = 2min, 30s
    extend = off

defaults:
    matches  every session
    idle_timeout = off
    warn_before = never
    activity = input, traffic
    unobserved = idle-from-start
    extend = absolute, 1h at most, 1 time, without the password
"""
FOUND = parse([Source("f", POLICY)]).policy


def test_for_people() -> None:
    assert "".join(f"{line}\n" for line in lines(FOUND)) == WORDS


def test_for_programs_in_the_same_words() -> None:
    shown = view(FOUND)
    assert (shown["mode"], shown["access"]) == (
        "enforce",
        {"view": ["user:root", "group:root"], "extend": [], "end": []},
    )
    assert shown["rules"][1:] == [
        {
            "name": "second",
            "matches": ["remote 10.8.0.0/16"],
            "gives": ["warn_before = 2min, 30s", "extend = off"],
        },
        {
            "name": "defaults",
            "matches": [],
            "gives": [line.strip() for line in WORDS.partition("every session\n")[2].splitlines()],
        },
    ]
