# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is shown of a session is what the interface says, to whom it says."""

import re
from dataclasses import replace

import pytest

from idled.control.interface import DESCRIPTION, session_view
from idled.core.model import Allowance, Limits, Reason, Session, SessionId
from idled.core.span import HOUR, MIN, SEC
from idled.core.watch import Status

SESSION = Session(id=SessionId("b", 7, 70), user="u", uid=5, opened_at=0, service="sshd", remote="10.0.0.1", logind="3")
LIMITS = Limits(
    idle_timeout=15 * MIN,
    absolute_timeout=12 * HOUR,
    extend=Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR),
    origin={"idle_timeout": "contractors", "absolute_timeout": "defaults"},
)
STATUS = Status(
    session=SESSION,
    limits=LIMITS,
    terminals=("pts/1", "pts/2"),
    observed=True,
    idle=MIN,
    age=HOUR,
    ending=None,
    warned=False,
    extra={Reason.IDLE: MIN, Reason.ABSOLUTE: HOUR},
    times_left=1,
    holder="/usr/bin/apt",
    due_at=20 * SEC,
    reason=Reason.IDLE,
    warn_at=12 * SEC,
)
NOTHING = {"programs", "heldBy", "reason", "endsInUSec", "warnsInUSec", "extend"} | {
    f"{limit}{what}" for limit in ("idle", "absolute") for what in ("TimeoutUSec", "Rule", "ExtraUSec")
}
KINDS = {"string": str, "int": int, "bool": bool, "[]string": list, "Allowance": dict}


def described() -> dict[str, str]:
    """Name and type of each field of the type Session, read as varlink defines it."""
    (body,) = re.findall(r"^type Session \((.*?)^\)", DESCRIPTION, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"#.*", "", body)
    return dict(re.split(r"\s*:\s*", field.strip(), maxsplit=1) for field in text.split(","))


@pytest.mark.parametrize(
    "status",
    [
        STATUS,
        replace(STATUS, ending=Reason.USER, warned=True),
        replace(STATUS, limits=Limits(), due_at=None, reason=None, warn_at=None, terminals=(), observed=False),
    ],
)
def test_a_session_is_shown_as_it_is_described(status: Status) -> None:
    view = session_view(status, 0, ["sftp-server"])
    required = {name for name, kind in described().items() if not kind.startswith("?")}
    assert required <= view.keys() <= described().keys()
    for name, value in view.items():
        assert type(value) is KINDS[described()[name].removeprefix("?")], name


def test_all_that_may_be_missing_is_missing_without_limits_and_there_with_them() -> None:
    assert session_view(STATUS, 0, []).keys() == described().keys()
    unmoved = dict.fromkeys(STATUS.extra, 0)
    bare = replace(STATUS, limits=Limits(), extra=unmoved, holder="", due_at=None, reason=None, warn_at=None)
    left_out = described().keys() - session_view(bare, 0, None).keys()
    assert left_out == NOTHING - {"idleRule", "absoluteRule"} or left_out == NOTHING


def test_the_values_are_those_of_the_session() -> None:
    view = session_view(STATUS, 8 * SEC, [])
    assert (view["id"], view["name"], view["leader"]) == ("7-70", "3", 7)
    assert (view["endsInUSec"], view["warnsInUSec"], view["idleRule"]) == (12 * SEC, 4 * SEC, "contractors")
    late = session_view(STATUS, 30 * SEC, [])
    assert (late["endsInUSec"], late["warnsInUSec"]) == (0, 0)


@pytest.mark.parametrize(
    ("ending", "warned", "state"),
    [(None, False, "open"), (None, True, "warned"), (Reason.IDLE, True, "ending"), (Reason.IDLE, False, "ending")],
)
def test_the_state_is_one_of_three(ending: Reason | None, warned: bool, state: str) -> None:
    assert session_view(replace(STATUS, ending=ending, warned=warned), 0, [])["state"] == state
