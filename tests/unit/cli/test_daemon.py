# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verbs about the daemon itself: what they say, and how they exit."""

import json
from typing import Any

from idled.control.wire import VarlinkError
from idled.core.span import HOUR

from .conftest import Fake, timeless


def test_reload_prints_warnings_and_exits_with_1_when_the_policy_is_not_taken(fake: Fake) -> None:
    with fake.answering(Reload={"warnings": ["/etc/x: rule[1]: odd"]}):
        assert fake.plain("reload") == ["warning: /etc/x: rule[1]: odd", "The policy was read anew and is in force."]
        assert json.loads("\n".join(fake.plain("reload", "--json"))) == {"warnings": ["/etc/x: rule[1]: odd"]}
    with fake.answering(
        Reload=VarlinkError("io.idled.PolicyRejected", problems=["/etc/x: a: wrong", "/etc/x: b: bad"])
    ):
        done, as_json = fake.run("reload"), fake.run("reload", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "idlectl: /etc/x: a: wrong",
        "idlectl: /etc/x: b: bad",
        "idlectl: the policy was not taken; the one in force stays (mend it, then: idlectl check)",
    ]
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout) == {"problems": ["/etc/x: a: wrong", "/etc/x: b: bad"]}


STATUS: dict[str, Any] = {
    "version": "1.2",
    "mode": "enforce",
    "effective": True,
    "why": "",
    "sessions": 3,
    "limited": 2,
    "unobserved": 1,
    "upUSec": 2 * HOUR,
    "files": ["/etc/idled/idled.toml", "/etc/idled/conf.d/50.toml"],
    "sources": [
        {"name": "logind", "works": True, "note": ""},
        {"name": "pam", "works": False, "note": "nobody registers"},
    ],
    "troubles": [{"event": "trouble", "text": "Trouble: no room", "priority": 4, "realtimeUSec": 10**15}],
}
STATUS_SHOWN = """\
idled 1.2, enforce mode, up for 2h
  effective   yes: sessions that are due are ended
  sessions    3 open, 2 with a limit; the activity of 1 cannot be observed
  policy      /etc/idled/idled.toml
              /etc/idled/conf.d/50.toml
  sources     logind: ok
              pam: FAILS: nobody registers
  troubles    HH:MM:SS  Trouble: no room
"""


def test_status_tells_how_the_daemon_is_and_exits_with_0_only_where_limits_are_enforced(fake: Fake) -> None:
    with fake.answering(GetStatus=STATUS):
        assert timeless("\n".join(fake.plain("status"))) == STATUS_SHOWN.rstrip()
        assert json.loads("\n".join(fake.plain("status", "--json"))) == STATUS
    idle = {"effective": False, "why": "observe mode", "mode": "observe", "troubles": [], "files": []}
    with fake.answering(GetStatus=STATUS | idle):
        done = fake.run("status")
        assert fake.run("status", "--json").returncode == 1
    assert done.returncode == 1
    assert "  effective   NO: observe mode\n" in done.stdout
    assert "  policy      none: the built-in one\n" in done.stdout
    assert "  troubles    none\n" in done.stdout
