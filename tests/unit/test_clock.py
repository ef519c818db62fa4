# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two timers of the kernel go off when they should, and only then."""

import errno
import select
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from idled import clock
from idled.core.span import DAY, SEC


def ready(timer: clock.Alarm | clock.StepWatch, seconds: float) -> bool:
    return bool(select.select([timer], [], [], seconds)[0])


@pytest.fixture
def alarm() -> Iterator[clock.Alarm]:
    with closing(clock.Alarm()) as found:
        yield found


def test_the_clocks_agree_with_the_kernel() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before - 0.001 <= clock.now() / SEC <= before + 1
    assert abs(clock.now() + clock.offset() - clock.wall()) < SEC
    assert abs(clock.wall() / SEC - time.time()) < 1
    assert clock.asleep() >= 0


def test_it_goes_off_at_its_moment_and_not_before(alarm: clock.Alarm) -> None:
    at = clock.now() + SEC
    alarm.set(at)
    assert not ready(alarm, 0)
    assert ready(alarm, 5)
    assert clock.now() >= at
    alarm.clear()
    assert not ready(alarm, 0)


@pytest.mark.parametrize("at", [-5, 0, 1])
def test_a_moment_that_has_passed_is_now(alarm: clock.Alarm, at: int) -> None:
    alarm.set(at)
    assert ready(alarm, 5)


def test_the_same_moment_again_goes_off_again(alarm: clock.Alarm) -> None:
    """What is due is done some at a time; the rest is due at the same moment still."""
    at = clock.now()
    for _ in range(3):
        alarm.set(at)
        assert ready(alarm, 5)
        alarm.set(at)
        assert ready(alarm, 5), "nobody has taken note of it"
        alarm.clear()
        assert not ready(alarm, 0)


@pytest.mark.parametrize("at", [None, 10_000 * DAY])
def test_never_and_far_away_are_not_now(alarm: clock.Alarm, at: int | None) -> None:
    alarm.set(0)
    assert ready(alarm, 5)
    alarm.set(at)
    assert not ready(alarm, 0)
    alarm.clear()  # although there is nothing to take note of


def test_a_wall_clock_that_nobody_sets_is_no_step() -> None:
    with closing(clock.StepWatch()) as watch:
        assert not ready(watch, 0)
        assert watch.step() is None


def test_a_step_is_told_with_its_size_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """That the kernel cancels the timer takes a machine of its own to show; here it is said to have."""
    with closing(clock.StepWatch()) as watch:
        before = clock.offset()
        monkeypatch.setattr(watch, "_read", lambda: True)
        monkeypatch.setattr(clock, "offset", lambda: before + 3600 * SEC)
        step = watch.step()
        assert step is not None
        assert abs(step - 3600 * SEC) < SEC
        assert watch.step() == 0


@pytest.mark.parametrize(("by", "told"), [(3600 * SEC, True), (-2 * SEC, True), (500_000, False), (-20_000, False)])
def test_a_step_that_the_kernel_does_not_tell_of_shows_in_the_clocks(
    monkeypatch: pytest.MonkeyPatch, by: int, told: bool
) -> None:
    with closing(clock.StepWatch()) as watch:
        before = clock.offset()
        monkeypatch.setattr(clock, "offset", lambda: before + by)
        assert (watch.step() is not None) is told
        assert watch.step() is None


@pytest.mark.parametrize("times", [1, 3])
def test_a_clock_that_is_set_again_just_then_is_a_step_too(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """The kernel refuses to set the timer then; no test can hit that moment, so the refusal is made up."""
    with closing(clock.StepWatch()) as watch:
        arm, refused = watch._set, list[object]()

        def refuse(*spec: int) -> None:
            if len(refused) < times:
                refused.append(spec)
                raise OSError(errno.ECANCELED, "timerfd_settime")
            arm(*spec)

        monkeypatch.setattr(watch, "_read", lambda: True)
        monkeypatch.setattr(watch, "_set", refuse)
        assert watch.step() is not None
        assert len(refused) == times


def test_a_timer_that_cannot_be_set_for_another_reason_is_a_failure() -> None:
    watch = clock.StepWatch()
    watch.close()
    with pytest.raises(OSError, match="timerfd_settime"):
        watch._arm()
