# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program of ``hold_while``: the idle timeout waits for it, the absolute timeout does not."""

from idled.core.span import MIN

from .driver import Driver, policy

APT = "/usr/bin/apt"


def test_idle_time_counts_from_when_it_was_let_go() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN))
    alice = driver.open()
    driver.until(60)
    driver.shown[alice].holder = APT
    driver.until(3600)
    assert driver.told() == []
    assert driver.status(alice).holder == APT
    driver.shown[alice].holder = ""
    driver.until(3600 + 15 * 60 + 4)
    warned, soon, hung_up, *_ = driver.told()
    assert warned.endswith("warn idle 120")
    assert soon.endswith("warn idle 30")
    moment, what, why = hung_up.split()
    assert (what, why) == ("hang-up", "idle")
    assert 3600 + 15 * 60 <= float(moment) <= 3600 + 15 * 60 + 3


def test_a_job_between_two_looks_delays_nothing() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN, warn_before=()))
    alice = driver.open()
    driver.until(130)
    driver.shown[alice].holder = APT
    driver.until(240)
    driver.shown[alice].holder = ""
    driver.until(901)
    assert driver.told()[0] == "900 hang-up idle"


def test_a_warning_is_withdrawn_where_it_comes_back() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN))
    alice = driver.open()
    driver.until(800)
    assert driver.told() == ["780 warn idle 120"]
    driver.shown[alice].holder = APT
    driver.until(2000)
    assert driver.told() == ["801 withdraw"]


def test_the_absolute_timeout_does_not_wait() -> None:
    driver = Driver(policy(idle_timeout=15 * MIN, absolute_timeout=60 * MIN, warn_before=()))
    driver.shown[driver.open()].holder = APT
    driver.until(3601)
    assert driver.told()[0] == "3600 hang-up absolute"


def test_a_restart_in_between_changes_nothing() -> None:
    rules = policy(idle_timeout=15 * MIN, warn_before=())
    driver = Driver(rules)
    alice = driver.open()
    driver.until(60)
    driver.shown[alice].holder = APT
    driver.until(1500)
    driver.restart(rules)
    driver.shown[alice].holder = ""
    driver.until(1500 + 15 * 60 + 4)
    assert driver.told()[0].endswith("hang-up idle")
    assert float(driver.looks[-1]) >= 1500 + 15 * 60
