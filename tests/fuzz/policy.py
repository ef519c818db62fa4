# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files of policy: a policy that can be used, told and asked; or complaints that can be read."""

import json

from idled.config.describe import lines, view
from idled.config.files import Source
from idled.config.loader import parse
from idled.config.problems import ConfigError
from idled.core.model import Session, SessionId
from idled.core.policy import LIMITS

SESSIONS = (
    (Session(id=SessionId("b", 1, 1), user="alice", uid=1, opened_at=0, groups=frozenset({"staff"})), ()),
    (Session(id=SessionId("b", 1, 1), user="root", uid=0, opened_at=0, service="sshd", remote="10.8.1.2"), ("pts/0",)),
    (Session(id=SessionId("b", 1, 1), user="", uid=0, opened_at=0, remote="::ffff:10.8.1.2"), ("tty1", "pts/0")),
    (Session(id=SessionId("b", 1, 1), user="bob", uid=2, opened_at=0, remote="fe80::1%eth0"), ("tty[", "")),
)


def policy(data: bytes) -> None:
    """The main file, and behind a form feed a drop-in."""
    sources = [Source(f"{number}.toml", text) for number, text in enumerate(data.decode().split("\f", 1))]
    try:
        loaded = parse(sources)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.fatal and problem.file and str(problem).isprintable(), problem
        raise
    assert all(not problem.fatal and str(problem).isprintable() for problem in loaded.warnings)
    assert parse(sources) == loaded
    assert all(line.isprintable() for line in lines(loaded.policy))
    json.dumps(view(loaded.policy))
    for session, terminals in SESSIONS:
        limits = loaded.policy.limits(session, terminals)
        for name in LIMITS:
            timeout = getattr(limits, name)
            assert timeout is None or (type(timeout) is int and timeout >= 1_000_000)
            assert timeout is None or loaded.policy.sets_limits()
            assert name not in limits.origin or limits.origin[name] in [rule.name for rule in loaded.policy.rules]
