# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is foretold of a session is what comes, to the microsecond, if nothing changes; what rules say when asked."""

from hypothesis import example, given
from hypothesis import strategies as st

from idled.core.events import LookAt
from idled.core.model import Mode, SessionId
from idled.core.policy import Condition, Policy, Rule
from idled.core.span import SEC
from idled.core.timing import moments

from .driver import T0, Driver, policy
from .test_policy import ALICE

SPAN = st.one_of(st.none(), st.integers(2, 2_000).map(lambda seconds: seconds * SEC))
LEADS = st.lists(st.integers(1, 600), max_size=3, unique=True).map(
    lambda leads: tuple(lead * SEC for lead in sorted(leads, reverse=True))
)


def foretold(driver: Driver, id: SessionId) -> list[tuple[float, str, str]]:
    watch = driver.engine.watch(id)
    assert watch is not None
    found = moments(watch.memory, watch.limits, driver.engine.policy.mode, watch.observed, driver.now)
    return [((moment.at - T0) / SEC, "warn" if moment.lead else "hang-up", moment.reason.value) for moment in found]


def comes(driver: Driver) -> list[tuple[float, str, str]]:
    lines = [line.split() for line in driver.told()]
    return [(float(line[0]), line[1], line[2]) for line in lines if line[1] in ("warn", "hang-up")]


@given(SPAN, SPAN, LEADS, st.integers(0, 2_500), st.integers(0, 2_500), st.sampled_from(Mode))
@example(100 * SEC, 100 * SEC, (50 * SEC, 20 * SEC), 0, 60, Mode.ENFORCE)
@example(2 * SEC, None, (), 1, 0, Mode.ENFORCE)
@example(100 * SEC, 160 * SEC, (70 * SEC,), 50, 60, Mode.ENFORCE)
@example(100 * SEC, 1000 * SEC, (50 * SEC,), 10, 0, Mode.ENFORCE)  # one limit would warn after the other's end
@example(100 * SEC, 150 * SEC, (50 * SEC,), 0, 0, Mode.ENFORCE)  # or just then
@example(150 * SEC, 100 * SEC, (50 * SEC,), 0, 0, Mode.ENFORCE)
@example(200 * SEC, 100 * SEC, (50 * SEC,), 10, 0, Mode.ENFORCE)
@example(100 * SEC, 130 * SEC, (50 * SEC, 20 * SEC), 0, 0, Mode.ENFORCE)  # of both at once
def test_what_is_foretold_is_what_comes(
    idle: int | None, absolute: int | None, leads: tuple[int, ...], active: int, asked: int, mode: Mode
) -> None:
    driver = Driver(policy(mode, idle_timeout=idle, absolute_timeout=absolute, warn_before=leads))
    id = driver.open()
    driver.until(active)
    driver.active(id)
    driver.until(active + asked)
    for looked in driver._answer(LookAt(id=id)) if id in driver.engine else ():  # who asks sees what is
        driver.tell(looked)
    if id not in driver.engine:
        return
    driver.told()
    expected = foretold(driver, id)
    driver.until(5_000)
    if mode is Mode.ENFORCE:
        assert comes(driver) == expected
    else:
        assert [what for _, what, _ in expected] in ([], ["hang-up"])


def test_a_warning_that_is_overdue_is_foretold_for_now() -> None:
    driver = Driver(policy(absolute_timeout=100 * SEC, warn_before=(50 * SEC, 20 * SEC)))
    id = driver.open()
    for now in (50, 60):
        driver.jump(now)
        assert foretold(driver, id) == [
            (now, "warn", "absolute"),
            (80, "warn", "absolute"),
            (100, "hang-up", "absolute"),
        ]
    driver.jump(90)
    assert foretold(driver, id) == [(90, "warn", "absolute"), (100, "hang-up", "absolute")]
    driver.jump(150)
    assert foretold(driver, id) == [(150, "hang-up", "absolute")]


def test_without_limits_nothing_is_foretold() -> None:
    driver = Driver(policy())
    assert foretold(driver, driver.open()) == []


def test_each_rule_says_what_it_gives_and_what_was_given_before() -> None:
    user = Condition(key="user", values=("alice",))
    other = Condition(key="user", values=("bob",))
    rules = (
        Rule(name="a", match=(user, other, other), values={"idle_timeout": 1}),
        Rule(name="b", match=(user,), values={"idle_timeout": 2}),
        Rule(name="c", values={"absolute_timeout": 4, "idle_timeout": 3}),
    )
    asked = list(Policy(rules=rules).ask(ALICE, ()))
    assert [(one.missed, one.gives, one.overruled) for one in asked] == [
        (other, (), ()),
        (None, ("idle_timeout",), ()),
        (None, ("absolute_timeout",), ("idle_timeout",)),
    ]
    limits = Policy(rules=rules).limits(ALICE, ())
    assert (limits.idle_timeout, limits.absolute_timeout) == (2, 4)
    assert limits.origin == {"idle_timeout": "b", "absolute_timeout": "c"}
