# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever unprivileged callers call, in whatever order: no session ends, no limit moves but as ``extend`` says.

All methods of the control service, with the engine, the access rules and the policy that a daemon has. What an
extension may do is in test_extension_machine; here one is allowed, so that a way around it would show.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from idled import clock
from idled.control.peer import Peer
from idled.control.service import Call
from idled.control.wire import VarlinkError
from idled.core.model import Reason, SessionId
from idled.core.span import HOUR, Usec

from ..unit.front_office import FrontOffice, acting

POLICY = """
mode = "enforce"
[defaults]
idle_timeout = "15min"
absolute_timeout = "12h"
extend = { limit = "absolute", by_at_most = "1h", times = 2, reauthenticate = false }
[access]
view = ["user:root"]
"""
OWNER, OTHER, STRANGER = 5000, 6000, 7000
#: Leader and owner of each session; its name is the former.
SESSIONS = {41: OWNER, 42: OWNER, 43: OTHER}

ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just([]) | st.just({})
)
NAMES = st.sampled_from(["41", "42", "43", "p41", "b-41-41", "41-41", "", "*", "nobody's"])
SPANS = st.sampled_from([HOUR, HOUR + 1, 1, 0, -HOUR, 12 * HOUR, 2**63])
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "session": NAMES,
        "reason": st.sampled_from(["", "why not", "\x1b[2J"]),
        "limit": st.sampled_from(["absolute", "idle", "request", "user"]),
        "byUSec": SPANS,
        "password": st.just("x"),
        "user": st.sampled_from(["root", "u5000", "u6000"]),
    },
)
ODD = st.dictionaries(st.sampled_from(["session", "reason", "limit", "byUSec", "user", "uid", "mode"]), ANYTHING)
CALLS = st.lists(
    st.tuples(
        st.sampled_from([OWNER, OWNER, OTHER, STRANGER]),
        st.sampled_from(
            ["ListSessions", "GetSession", "Extend", "Extend", "Explain", "ExplainLogin", "End", "Monitor", "Reload"]
            + ["GetStatus"]
        ),
        PARAMETERS | ODD,
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(calls=CALLS)
def test_no_call_of_the_unprivileged_ends_a_session_or_moves_a_limit_beyond_its_rule(
    calls: list[tuple[int, str, dict[str, Any]]],
) -> None:
    async def story(office: FrontOffice) -> None:
        ids = {office.open(pid, uid, opened_at=clock.now()).id: uid for pid, uid in SESSIONS.items()}
        limits = {id: office.engine.limits(id) for id in ids}
        for uid, method, parameters in calls:
            before = {id: extras(office, id) for id in ids}
            granted = await call(office, uid, method, parameters)
            for id, owner in ids.items():
                watch = office.engine.watch(id)
                assert watch is not None and watch.memory.ending is None, f"{method} ended it"
                assert office.engine.limits(id) == limits[id]
                after = extras(office, id)
                if after != before[id]:
                    assert granted and method == "Extend" and uid == owner
                    assert after[0] == 0 and 0 < after[1] - before[id][1] <= HOUR
                assert watch.memory.absolute.grants <= 2 and after[1] <= 2 * HOUR
            assert office.engine.policy.mode.value == "enforce"

    with tempfile.TemporaryDirectory() as folder:
        acting(Path(folder), story, POLICY)


def extras(office: FrontOffice, id: SessionId) -> tuple[Usec, Usec]:
    """What was added to its idle timeout and its absolute one."""
    watch = office.engine.watch(id)
    assert watch is not None
    return watch.memory.track(Reason.IDLE).extra, watch.memory.track(Reason.ABSOLUTE).extra


async def call(office: FrontOffice, uid: int, method: str, parameters: dict[str, Any]) -> bool:
    """Whether it was answered, and not with an error."""
    peer = Peer(pid=0, uid=uid)
    try:
        if method == "Monitor":
            told: Any = office.methods[method](Call(peer=peer, parameters=parameters))
            following = asyncio.ensure_future(anext(told))
            await asyncio.sleep(0)
            following.cancel()
            await asyncio.wait((following,))
        else:
            await office.ask(peer, method, **parameters)
    except VarlinkError:
        return False
    return True
