# SPDX-License-Identifier: LGPL-2.1-or-later
"""Extensions: what the rules allow, nothing else, and what follows from a granted one."""

from dataclasses import replace

import pytest

from idled.core.events import EndAsked, Kind, Opened
from idled.core.extension import Request, last_resort, refusal
from idled.core.model import Allowance, Limits, Mode, Reason, SessionId
from idled.core.policy import Policy
from idled.core.span import DAY, HOUR, MIN, SEC, Usec

from .driver import Driver, policy

ALLOWANCE = Allowance(limit=Reason.ABSOLUTE, by_at_most=HOUR, times=2)
LIMITS = Limits(idle_timeout=15 * MIN, absolute_timeout=12 * HOUR, extend=ALLOWANCE)


def asked(by: Usec = HOUR, limit: Reason = Reason.ABSOLUTE, *, root: bool = False) -> Request:
    return Request(limit=limit, by=by, who="root" if root else "alice", uid=0 if root else 1001, privileged=root)


@pytest.mark.parametrize(
    ("request_", "limits", "used", "room", "said"),
    [
        (asked(), LIMITS, 0, None, ""),
        (asked(), LIMITS, 1, HOUR, ""),
        (asked(), LIMITS, 2, None, "extended 2 times already"),
        (asked(HOUR + 1), LIMITS, 0, None, "at most 1h at a time"),
        (asked(SEC - 1), LIMITS, 0, None, "a span between 1s and"),
        (asked(-HOUR), LIMITS, 0, None, "a span between 1s and"),
        (asked(limit=Reason.IDLE), LIMITS, 0, None, "only the absolute timeout"),
        (asked(), Limits(absolute_timeout=HOUR), 0, None, "no rule lets"),
        (asked(), Limits(extend=ALLOWANCE), 0, None, "has no absolute timeout"),
        (asked(), LIMITS, 0, HOUR - 1, "is left until logind ends the session"),
        (asked(), LIMITS, 0, 0, "nothing is left"),
        (asked(root=True), Limits(absolute_timeout=HOUR), 9, None, ""),
        (asked(7 * DAY, root=True), LIMITS, 0, None, ""),
        (asked(31 * DAY, root=True), LIMITS, 0, None, "a span between 1s and"),
        (asked(limit=Reason.IDLE, root=True), LIMITS, 0, 0, ""),
        (asked(limit=Reason.IDLE, root=True), Limits(), 0, None, "has no idle timeout"),
        (asked(root=True), LIMITS, 0, MIN, "no more than 1min is left"),
    ],
)
def test_what_is_granted(request_: Request, limits: Limits, used: int, room: Usec | None, said: str) -> None:
    why = refusal(request_, limits, used, room)
    assert said in why
    assert bool(why) == bool(said)


@pytest.mark.parametrize(
    ("request_", "limits", "used", "room", "said"),
    [
        (asked(), Limits(extend=ALLOWANCE), 0, None, "the session has no absolute timeout"),
        (asked(), Limits(absolute_timeout=HOUR), 0, None, "no rule lets this session be extended"),
        (asked(limit=Reason.IDLE), LIMITS, 0, None, "only the absolute timeout may be extended"),
        (asked(HOUR + 1), LIMITS, 0, None, "at most 1h at a time may be asked for"),
        (asked(), LIMITS, 1, None, ""),
        (asked(), LIMITS, 2, None, "it was extended 2 times already, which is all that may be"),
        (
            asked(),
            replace(LIMITS, extend=replace(ALLOWANCE, times=1)),
            1,
            None,
            "it was extended 1 time already, which is all that may be",
        ),
        (asked(30 * DAY, root=True), LIMITS, 0, None, ""),
        (asked(30 * DAY + 1, root=True), LIMITS, 0, None, "a span between 1s and 30d was expected"),
        (asked(), LIMITS, 0, 1, "no more than 1us is left until logind ends the session, as was set at its login"),
        (asked(), LIMITS, 0, 0, "nothing is left until logind ends the session, as was set at its login"),
    ],
)
def test_what_is_said(request_: Request, limits: Limits, used: int, room: Usec | None, said: str) -> None:
    assert refusal(request_, limits, used, room) == said


def test_nobody_is_privileged_who_is_not_said_to_be() -> None:
    request = Request(limit=Reason.ABSOLUTE, by=HOUR, who="alice", uid=1001)
    assert refusal(request, Limits(absolute_timeout=HOUR), 0, None) == "no rule lets this session be extended"


def test_what_logind_was_told_bounds_no_idle_timeout() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN))
    alice = driver.open()
    driver.tell(Opened(session=replace(driver.status(alice).session, last_resort=HOUR)))
    assert ask(driver, alice, asked(MIN, Reason.IDLE, root=True)) == ""


@pytest.mark.parametrize("later", [policy(absolute_timeout=5 * HOUR), policy()])
@pytest.mark.parametrize("extended", [0, 1, 2])
def test_a_policy_that_is_relaxed_later_cannot_move_what_logind_was_told(later: Policy, extended: int) -> None:
    """It would end the session unwarned, long before what everybody is told."""
    driver = Driver(RULES)
    alice = driver.open()
    last = last_resort(driver.status(alice).limits)
    assert last == 3 * HOUR + 2 * MIN
    driver.tell(Opened(session=replace(driver.status(alice).session, last_resort=last)))
    for _ in range(extended):
        assert ask(driver, alice, asked()) == ""
    driver.told()
    driver.reload(later)
    status = driver.status(alice)
    assert status.due_at == status.session.opened_at + 3 * HOUR
    assert status.limits.rule(Reason.ABSOLUTE) == "its login"
    assert ask(driver, alice, asked(SEC, root=True)).startswith("nothing is left until logind")
    driver.until(4 * 3600)
    warned, again, hung_up, *_ = driver.told()
    assert (warned, again, hung_up) == (
        "10680 warn absolute 120",
        "10770 warn absolute 30",
        "10800 hang-up absolute",
    )


@pytest.mark.parametrize("timeout", [30 * MIN, 3 * HOUR])
def test_a_policy_that_comes_to_allow_no_more_is_not_touched_by_it(timeout: Usec) -> None:
    driver = Driver(RULES)
    alice = driver.open()
    driver.tell(Opened(session=replace(driver.status(alice).session, last_resort=3 * HOUR + 2 * MIN)))
    driver.reload(policy(absolute_timeout=timeout))
    assert driver.status(alice).limits == driver.engine.policy.limits(driver.status(alice).session, ())


@pytest.mark.parametrize(
    ("possible", "age"),
    [
        ([Limits(idle_timeout=HOUR)], None),
        ([Limits(absolute_timeout=HOUR)], HOUR + 2 * MIN),
        ([LIMITS], 14 * HOUR + 2 * MIN),
        ([Limits(absolute_timeout=HOUR, extend=Allowance(limit=Reason.IDLE, by_at_most=HOUR))], HOUR + 2 * MIN),
        ([Limits(absolute_timeout=HOUR, extend=replace(ALLOWANCE, by_at_most=365 * DAY))], HOUR + 60 * DAY + 2 * MIN),
        ([Limits(absolute_timeout=HOUR), LIMITS, Limits(absolute_timeout=MIN)], 14 * HOUR + 2 * MIN),
        ([LIMITS, Limits()], None),
    ],
)
def test_logind_waits_for_all_that_may_be_granted(possible: list[Limits], age: Usec | None) -> None:
    assert last_resort(*possible) == age


def test_there_is_room_for_all_that_may_be_granted_and_no_more() -> None:
    driver = Driver(RULES)
    alice = driver.open()
    session = replace(driver.status(alice).session, last_resort=last_resort(driver.status(alice).limits))
    driver.tell(Opened(session=session))
    assert [ask(driver, alice, asked()) for _ in range(2)] == ["", ""]
    assert ask(driver, alice, asked(SEC, root=True)).startswith("nothing is left until logind")
    driver.restart(policy(absolute_timeout=HOUR - MIN, extend=ALLOWANCE, warn_before=()))
    assert ask(driver, alice, asked(MIN + 1, root=True)).startswith("no more than 1min is left")
    assert ask(driver, alice, asked(MIN, root=True)) == ""


def test_what_is_over_is_not_extended_though_nobody_has_noticed() -> None:
    driver = Driver(RULES)
    alice = driver.open()
    driver.jump(3600)
    assert ask(driver, alice, asked()) == "the session is being ended"
    driver.reload(policy(Mode.OBSERVE, absolute_timeout=HOUR, extend=ALLOWANCE))
    assert ask(driver, alice, asked()) == "", "where nobody is ended nothing is over"


RULES = policy(absolute_timeout=HOUR, extend=ALLOWANCE, warn_before=(2 * MIN,))


def ask(driver: Driver, session: SessionId, request: Request) -> str:
    why = driver.engine.refusal(session, request, driver.now)
    driver.extend(session, request)
    return why


def test_the_end_moves_by_what_was_granted_and_no_more() -> None:
    driver = Driver(RULES)
    alice = driver.open()
    assert ask(driver, alice, asked(HOUR)) == ""
    assert ask(driver, alice, asked(30 * MIN)) == ""
    assert ask(driver, alice, asked(MIN)) != ""
    driver.until(3 * 3600)
    assert driver.told()[:2] == ["8880 warn absolute 120", "9000 hang-up absolute"]
    assert [driver.kinds().count(kind) for kind in (Kind.EXTENDED, Kind.EXTENSION_REFUSED)] == [2, 1]


def test_a_warning_is_withdrawn_and_given_again() -> None:
    driver = Driver(RULES)
    alice = driver.open()
    driver.until(3500)
    assert ask(driver, alice, asked(10 * MIN)) == ""
    driver.until(7000)
    assert driver.told()[:4] == ["3480 warn absolute 120", "3500 withdraw", "4080 warn absolute 120"] + [
        "4200 hang-up absolute"
    ]


def test_the_idle_timeout_grows_for_the_rest_of_the_session() -> None:
    extend = Allowance(limit=Reason.IDLE, by_at_most=10 * MIN)
    driver = Driver(policy(idle_timeout=15 * MIN, extend=extend, warn_before=()))
    alice = driver.open()
    assert ask(driver, alice, asked(10 * MIN, Reason.IDLE)) == ""
    driver.until(1000)
    driver.active(alice)
    driver.until(2499)
    assert driver.told() == []
    driver.until(2502)
    assert driver.told()[0].endswith("hang-up idle")


def test_an_extension_survives_a_restart_and_a_reload_and_no_other_session_has_it() -> None:
    driver = Driver(RULES)
    alice = driver.open()
    assert ask(driver, alice, asked(HOUR)) == ""
    driver.restart(RULES)
    driver.reload(policy(absolute_timeout=HOUR, warn_before=(2 * MIN,)))
    driver.open("bob")
    driver.until(2 * 3600)
    assert [line for line in driver.told() if "hang-up" in line] == ["3600 hang-up absolute", "7200 hang-up absolute"]


def test_what_is_being_ended_is_not_extended() -> None:
    driver = Driver(RULES)
    alice = driver.open(gone=False)
    driver.until(3600)
    assert ask(driver, alice, asked()) == "the session is being ended"
    assert ask(driver, alice, asked(root=True)) == "the session is being ended"


def test_a_refusal_from_outside_is_recorded_and_changes_nothing() -> None:
    driver = Driver(RULES)
    alice = driver.open()
    driver.extend(alice, asked(), "wrong password")
    driver.until(4000)
    assert "3600 hang-up absolute" in driver.told()
    assert [record.note for record in driver.records if record.kind is Kind.EXTENSION_REFUSED] == ["wrong password"]


def test_an_end_that_was_asked_for() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN))
    alice = driver.open()
    driver.until(10)
    driver.tell(EndAsked(id=alice, by="root", note="new kernel"))
    assert driver.told() == ["10 hang-up request", "10 release", "10 ended request"]
    (ended,) = [record for record in driver.records if record.kind is Kind.ENDED]
    assert (ended.by, ended.note, ended.late) == ("root", "new kernel", 0)


def test_one_that_is_asked_for_twice_is_one_end() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN))
    alice = driver.open(gone=False)
    for who in ("root", "alice"):
        driver.tell(EndAsked(id=alice, by=who))
    assert driver.told() == ["0 hang-up request"]
