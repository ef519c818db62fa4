# SPDX-License-Identifier: LGPL-2.1-or-later
"""The engine by scenario: what it has done, when, and in which order.

The limits are 15 min idle with warnings at 2 min and 30 s, unless a scenario says otherwise.
"""

from dataclasses import replace
from typing import Any, Final

import pytest

from idled.core.activity import ConnectionLook
from idled.core.events import (
    Forget,
    HangUp,
    Kind,
    LookAt,
    Looked,
    Opened,
    Remember,
    Restored,
    Scanned,
    Stepped,
    Survived,
    Warn,
    Woken,
)
from idled.core.model import Extent, Mode, Reason, SessionId
from idled.core.span import HOUR, MIN, SEC, Usec

from .driver import T0, Driver, policy, terminal

IDLE: Final[dict[str, Any]] = {"idle_timeout": 15 * MIN}
UNKNOWN: Final = SessionId("boot", 9, 9)


def ended(at: float, reason: str = "idle") -> list[str]:
    return [f"{at:g} hang-up {reason}", f"{at:g} release", f"{at:g} ended {reason}"]


def driver(mode: Mode = Mode.ENFORCE, **values: Any) -> Driver:
    return Driver(policy(mode, **(IDLE | values)))


# How a session ends


@pytest.mark.parametrize(
    ("values", "until", "story"),
    [
        ({}, 900, ["780 warn idle 120", "870 warn idle 30", *ended(900)]),
        ({}, 899.9, ["780 warn idle 120", "870 warn idle 30"]),
        ({"warn_before": ()}, 900, ended(900)),
        ({"warn_before": (20 * MIN, 15 * MIN, MIN)}, 900, ["840 warn idle 60", *ended(900)]),
        ({"idle_timeout": 10 * SEC}, 60, ended(10)),
        ({"idle_timeout": None}, 99_999, []),
        (
            {"idle_timeout": None, "absolute_timeout": 600 * SEC},
            600,
            ["480 warn absolute 120", "570 warn absolute 30", *ended(600, "absolute")],
        ),
        (
            {"absolute_timeout": 1000 * SEC, "warn_before": (150 * SEC,)},
            900,
            ["750 warn idle 150", "850 warn absolute 150", *ended(900)],
        ),
        (
            {"absolute_timeout": 15 * MIN, "warn_before": ()},
            900,
            ended(900),
        ),
    ],
)
def test_left_alone(values: dict[str, Any], until: float, story: list[str]) -> None:
    run = driver(**values)
    run.open()
    run.until(until)
    assert run.told() == story
    assert len(run.engine.sessions()) == (0 if story[-1:] and "ended" in story[-1] else 1)


def test_active_until_the_absolute_timeout() -> None:
    run = driver(absolute_timeout=25 * MIN)
    session = run.open()
    for at in range(0, 1500, 300):
        run.until(at)
        run.active(session)
    run.until(1500)
    assert run.told() == ["1380 warn absolute 120", "1470 warn absolute 30", *ended(1500, "absolute")]


def test_looks_are_few() -> None:
    run = driver()
    run.open()
    run.until(779)
    assert run.looks == [0, 1, 2, *range(4, 62, 3), 122, 244, 488]
    run.until(800)
    assert run.looks[26:] == [780 + n for n in range(21)]


def test_looks_are_few_once_a_long_silence_was_seen() -> None:
    run = driver()
    session = run.open()
    run.until(500)
    run.active(session)
    run.looks.clear()
    run.until(1279)
    assert run.looks == [780, 1268]


def test_looks_are_few_at_once_where_one_who_was_silent_for_long_is_found() -> None:
    run = driver()
    run.open(age=300, found=True)
    run.until(479)
    assert run.looks == [0, 300]


def test_warned_and_stayed() -> None:
    run = driver()
    session = run.open()
    run.until(800.5)
    assert run.told() == ["780 warn idle 120"]
    assert run.status(session).warned
    run.active(session)
    run.until(801)
    assert run.told() == ["801 withdraw"]
    assert run.records[-1].kind is Kind.WARNING_CLEARED
    assert run.records[-1].reason is Reason.IDLE
    assert not run.status(session).warned
    run.until(1700.5)
    assert run.told() == ["1580.5 warn idle 120", "1670.5 warn idle 30", *ended(1700.5)]


def test_activity_before_the_warning_is_found_when_it_is_due() -> None:
    run = driver()
    session = run.open()
    run.until(700)
    run.active(session)
    run.until(1600)
    assert run.told() == ["1480 warn idle 120", "1570 warn idle 30", *ended(1600)]


def test_the_machine_slept_through_the_warnings() -> None:
    run = driver()
    run.open()
    run.until(700)
    run.jump(890)
    run.tell(Woken())
    run.until(900)
    assert run.told() == ["890 warn idle 10", *ended(900)]


def test_the_machine_slept_through_the_end() -> None:
    run = driver()
    run.open()
    run.until(700)
    run.jump(5000)
    run.tell(Woken())
    assert run.told() == ended(5000)
    assert run.records[-1].late == 4100 * SEC


def test_nobody_is_ended_unseen() -> None:
    run = driver(warn_before=())
    session = run.open()
    run.until(899)
    run.active(session)
    run.until(900)
    assert run.looks[-1] == 900
    assert run.told() == []


def test_remember_comes_before_the_hang_up() -> None:
    run = driver()
    session = run.open()
    run.until(900)
    hang_up = next(n for n, action in enumerate(run.actions) if isinstance(action, HangUp))
    before = run.actions[hang_up - 1]
    assert isinstance(before, Remember)
    assert before.memory.ending is not None
    assert before.memory.ending.reason is Reason.IDLE
    assert run.actions[hang_up] == HangUp(id=session, extent=Extent.SESSION, reason=Reason.IDLE, limit=15 * MIN)


def test_the_record_of_an_end() -> None:
    run = driver()
    run.open()
    run.until(900)
    record = run.records[-1]
    assert (record.kind, record.reason, record.late, record.took, record.survivors) == (
        Kind.ENDED,
        Reason.IDLE,
        0,
        0,
        (),
    )
    assert (record.idle, record.age) == (900 * SEC, 900 * SEC)
    assert run.kinds() == [
        Kind.SESSION_OPENED,
        Kind.LIMITS_SET,
        Kind.WARNED,
        Kind.WARNED,
        Kind.ENDED,
    ]
    assert run.disk == {}


def test_a_warning_says_when_and_why() -> None:
    run = driver()
    session = run.open()
    run.until(780)
    assert Warn(id=session, reason=Reason.IDLE, ends_at=T0 + 900 * SEC, limit=15 * MIN) in run.actions
    assert run.records[-1].ends_in == 120 * SEC


# What cannot be seen


@pytest.mark.parametrize("how", [{"exact": False}, {"blind": True}])
def test_unobserved_keeps_the_absolute_timeout(how: dict[str, Any]) -> None:
    run = driver(absolute_timeout=60 * MIN, warn_before=())
    session = run.open(**how)
    run.until(3599)
    assert run.told() == []
    assert not run.status(session).observed
    assert run.status(session).reason is Reason.ABSOLUTE
    assert max(later - sooner for sooner, later in zip(run.looks, run.looks[1:], strict=False)) <= 60
    run.until(3600)
    assert run.told() == ended(3600, "absolute")
    assert run.records[-1].idle is None


def test_unobserved_without_limits_sleeps() -> None:
    run = driver(idle_timeout=None)
    run.open(blind=True)
    assert run.engine.deadline is None


def test_unobserved_and_then_seen() -> None:
    run = driver()
    session = run.open(exact=False)
    run.until(2000)
    run.shown[session].exact = True
    run.active(session)
    run.until(2900)
    assert run.told()[-3:] == ended(2900)


def test_a_warning_is_withdrawn_when_nothing_can_be_seen_any_more() -> None:
    run = driver()
    session = run.open()
    run.until(800)
    run.shown[session].blind = True
    run.until(1000)
    assert run.told() == ["780 warn idle 120", "801 withdraw"]


@pytest.mark.parametrize(
    ("shown", "counted"),
    [({"terminals": (terminal("pts/3", T0),), "exact": False}, True), ({}, True), ({"exact": False}, False)],
)
def test_a_restored_session_counts_as_observed_as_it_was_and_is_looked_at_at_once(
    shown: dict[str, Any], counted: bool
) -> None:
    run = driver()
    session = run.open(**shown)
    memory = run.disk[session]
    run.engine = driver().engine
    assert LookAt(id=session) not in run.engine.handle(Restored(memory=memory), run.now)
    assert run.status(session).observed is counted
    assert run.engine.deadline == run.now
    assert run.engine.handle(Woken(), run.now) == [LookAt(id=session)]


def test_a_restored_session_whose_connection_did_not_tell_what_was_delivered_is_not_observed() -> None:
    run = driver()
    session = run.open()
    memory = run.disk[session]
    connection = memory.trace.connection
    assert connection is not None
    memory = replace(memory, trace=replace(memory.trace, connection=replace(connection, delivered=None)))
    run.engine = driver().engine
    run.engine.handle(Restored(memory=memory), run.now)
    assert not run.status(session).observed


def test_forged_activity_is_recorded_once() -> None:
    run = driver()
    session = run.open(terminals=(terminal("pts/3", T0),))
    for at in (100, 200, 300, 400):
        run.until(at)
        stamp = (T0 // SEC + at) * SEC + 1_790_000_000 * SEC
        run.shown[session].terminals = (replace(terminal("pts/3", T0), atime=stamp, ctime=stamp),)
        run.tell(Scanned())
        run.tell(Stepped(by=0))
    assert run.told() == ["100 activity-forged"]
    run.until(1000)
    assert run.told()[-1] == "900 ended idle"


# Observe mode


def test_observe_only_notes() -> None:
    run = driver(Mode.OBSERVE)
    session = run.open()
    run.until(5000)
    assert run.told() == ["900 would-end idle"]
    assert run.records[-1].late == 0
    run.active(session)
    run.tell(Scanned())
    run.until(9000)
    assert run.told() == ["5900 would-end idle"]


def test_observe_notes_each_limit() -> None:
    run = driver(Mode.OBSERVE, absolute_timeout=20 * MIN)
    run.open()
    run.until(9000)
    assert run.told() == ["900 would-end idle", "1200 would-end absolute"]
    assert run.engine.deadline is None


def test_observe_of_a_session_long_overdue() -> None:
    run = driver(Mode.OBSERVE, absolute_timeout=20 * MIN)
    run.open(found=True, age=5000)
    run.until(10)
    assert run.told() == ["0 would-end idle", "0 would-end absolute"]


# Reloads


@pytest.mark.parametrize(
    ("at", "idle", "story"),
    [
        (100, 5, ["180 warn idle 120", "270 warn idle 30", *ended(300)]),
        (250, 5, ["250 warn idle 120", "340 warn idle 30", *ended(370)]),
        (700, 5, ["700 warn idle 120", "790 warn idle 30", *ended(820)]),
        (700, 1, ["700 warn idle 30", *ended(730)]),
    ],
)
def test_reload_tighter(at: float, idle: int, story: list[str]) -> None:
    run = driver()
    run.open()
    run.until(at)
    run.reload(policy(idle_timeout=idle * MIN))
    run.until(1000)
    assert run.told() == story


def test_reload_again_does_not_postpone() -> None:
    run = driver()
    run.open()
    run.until(700)
    for at in (700, 710, 720, 810):
        run.until(at)
        run.reload(policy(idle_timeout=5 * MIN))
    run.until(1000)
    assert run.told()[-3:] == ended(820)


def test_reload_looser_withdraws() -> None:
    run = driver()
    session = run.open()
    run.until(800)
    run.reload(policy(idle_timeout=30 * MIN))
    assert run.told() == ["780 warn idle 120", "800 withdraw"]
    assert run.status(session).due_at == T0 + 1800 * SEC
    run.reload(policy())
    run.until(9000)
    assert run.told() == []
    assert run.engine.deadline is None


def test_reload_from_observe_to_enforce() -> None:
    run = driver(Mode.OBSERVE)
    run.open()
    run.until(1000)
    assert run.told() == ["900 would-end idle"]
    run.reload(policy(**IDLE))
    run.until(2000)
    assert run.told() == ["1000 warn idle 120", "1090 warn idle 30", *ended(1120)]


def test_reload_from_enforce_to_observe_withdraws() -> None:
    run = driver()
    run.open()
    run.until(800)
    run.reload(policy(Mode.OBSERVE, **IDLE))
    run.until(2000)
    assert run.told() == ["780 warn idle 120", "800 withdraw", "900 would-end idle"]
    assert run.looks[-1] == 900
    assert run.engine.deadline is None


def test_reload_leaves_an_ending_alone() -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(901)
    looks = len(run.looks)
    run.reload(policy(idle_timeout=30 * MIN, end=Extent.USER, kill_after=60 * SEC))
    run.until(905)
    run.gone(session)
    assert run.told()[-4:] == ["905 kill", "905 end-escalated idle", "905 release", "905 ended idle"]
    assert len(run.looks) == looks
    assert {action.extent for action in run.actions if hasattr(action, "extent")} == {Extent.SESSION}


def test_limits_are_told_when_they_change() -> None:
    run = driver()
    run.open()
    run.reload(policy(**IDLE))
    assert run.kinds().count(Kind.LIMITS_SET) == 1
    run.reload(policy(idle_timeout=5 * MIN))
    assert run.kinds().count(Kind.LIMITS_SET) == 2
    assert run.records[-1].limits is not None
    assert run.records[-1].limits.idle_timeout == 5 * MIN


# Sessions found, known already, closed


def test_found_overdue_leaves_a_respite() -> None:
    run = driver()
    run.open(found=True, age=5000)
    run.until(200)
    assert run.told() == ["0 warn idle 120", "90 warn idle 30", *ended(120)]


def test_opened_overdue_leaves_none() -> None:
    run = driver()
    run.open(age=5000)
    assert run.told() == ended(0)


def test_opened_again_is_told_better() -> None:
    run = driver(special_idle_timeout=5 * MIN)
    session = run.open()
    known = replace(run.engine.sessions()[0], user="special", logind="c7")
    run.tell(Opened(session=known))
    assert run.kinds().count(Kind.SESSION_OPENED) == 1
    assert run.engine.sessions() == [known]
    run.until(300)
    assert run.told()[-3:] == ended(300)
    assert session not in run.engine


def test_opened_again_without_limits_is_not_looked_at_again() -> None:
    run = driver(special_idle_timeout=None)
    run.open()
    run.until(10)
    run.tell(Opened(session=replace(run.engine.sessions()[0], user="special")))
    assert run.engine.deadline is None


def test_opened_again_while_it_ends() -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(901)
    looks = len(run.looks)
    known = replace(run.engine.sessions()[0], logind="c7")
    run.tell(Opened(session=known))
    assert (len(run.looks), run.engine.sessions()) == (looks, [known])
    run.gone(session)
    assert run.told()[-1] == "901 ended idle"


def test_closed() -> None:
    run = driver()
    session = run.open()
    assert session in run.engine
    run.closed(session)
    assert session not in run.engine
    assert run.records[-1].kind is Kind.SESSION_CLOSED
    assert run.actions[-1] == Forget(id=session)
    assert run.engine.deadline is None
    run.closed(session)
    assert run.actions[-1] == Forget(id=session)


@pytest.mark.parametrize("event", ["gone", "closed"])
def test_events_of_the_unknown(event: str) -> None:
    run = driver()
    getattr(run, event)(UNKNOWN)
    run.tell(Survived(id=UNKNOWN, processes=("x",)))
    run.tell(Looked(id=UNKNOWN, look=None))
    assert run.actions == []
    assert run.engine.status(UNKNOWN, run.now) is None


def test_gone_and_survived_without_an_ending() -> None:
    run = driver()
    session = run.open()
    before = len(run.actions)
    run.gone(session)
    run.tell(Survived(id=session, processes=("x",)))
    assert len(run.actions) == before
    assert session in run.engine


# How it ends when it does not want to


def test_escalation() -> None:
    run = driver(kill_after=3 * SEC)
    session = run.open(gone=False)
    run.until(905)
    assert run.told()[2:] == [
        "900 hang-up idle",
        "903 kill",
        "903 end-escalated idle",
        "904 kill",
        "905 kill",
    ]
    escalated = next(record for record in run.records if record.kind is Kind.END_ESCALATED)
    assert (escalated.took, escalated.survivors) == (3 * SEC, ("2001 vim",))
    run.jump(905.25)
    run.gone(session)
    assert run.told() == ["905.25 release", "905.25 ended idle"]
    assert (run.records[-1].took, run.records[-1].late) == (round(5.25 * SEC), 0)
    assert session not in run.engine


def test_failed_and_again_for_ever() -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(940)
    story = run.told()[2:]
    assert story[:3] == ["900 hang-up idle", "905 kill", "905 end-escalated idle"]
    assert story[3:] == [f"{at} kill" for at in range(906, 915)] + [
        "915 end-failed idle",
        *(f"{at} kill" for at in range(915, 941, 5)),
    ]
    assert run.records[-1].survivors == ("2001 vim",)
    assert run.records[-1].took == 15 * SEC
    assert run.status(session).ending is Reason.IDLE
    run.gone(session)
    assert run.told() == ["940 release", "940 ended idle"]


def test_closed_during_an_ending_is_ignored_until_gone() -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(901)
    run.told()
    run.closed(session)
    assert session in run.engine
    assert run.told() == []
    run.gone(session)
    assert run.told() == ["901 release", "901 ended idle"]


def test_a_look_during_an_ending_changes_nothing() -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(906.5)
    run.told()
    deadline = run.engine.deadline
    run.tell(Looked(id=session, look=None))
    assert run.engine.deadline == deadline == T0 + 907 * SEC
    run.tell(Stepped(by=5))
    run.tell(Scanned())
    assert run.looks[-1] == 900
    assert run.told() == []


def test_the_users_other_sessions_end_too() -> None:
    run = driver(special_end=Extent.USER)
    other = run.open()
    stranger = run.open("bob")
    first = run.open("special", age=10)
    ending = run.open(gone=False, age=20)
    run.until(890)
    assert run.told()[-6:] == [
        "890 hang-up idle",
        "890 hang-up user",
        "890 release",
        "890 ended idle",
        "890 release",
        "890 ended user",
    ]
    assert first not in run.engine
    assert other not in run.engine
    assert stranger in run.engine
    assert run.status(ending).ending is Reason.IDLE
    limits = [action.limit for action in run.actions if isinstance(action, HangUp)]
    assert limits == [15 * MIN, 15 * MIN, None]


def test_a_look_that_was_asked_for_before_the_end() -> None:
    """Both are woken at once; the first takes the second with it before the second's look is answered."""
    run = driver(end=Extent.USER, warn_before=())
    first, second = run.open(gone=False), run.open(gone=False)
    run.until(899)
    run.jump(900)
    looks = [action for action in run.engine.handle(Woken(), run.now) if isinstance(action, LookAt)]
    assert looks == [LookAt(id=first), LookAt(id=second)]
    for look in looks:
        run.tell(Looked(id=look.id, look=run._look(run.shown[look.id])))
    assert run.told() == ["900 hang-up idle", "900 hang-up user"]
    assert run.engine.deadline == T0 + 905 * SEC


# Restarts


def test_restored_goes_on_where_it_was() -> None:
    run = driver()
    run.open()
    run.until(800)
    run.restart(policy(**IDLE))
    run.until(1000)
    assert run.told() == ["780 warn idle 120", "870 warn idle 30", *ended(900)]


def test_activity_while_nobody_looked() -> None:
    run = driver()
    session = run.open()
    run.until(700)
    run.jump(750)
    run.active(session)
    run.jump(1200)
    run.restart(policy(**IDLE))
    run.until(1700)
    assert run.told() == ["1530 warn idle 120", "1620 warn idle 30", *ended(1650)]


def test_restored_from_observe_to_enforce() -> None:
    run = driver(Mode.OBSERVE)
    run.open()
    run.until(1000)
    run.restart(policy(**IDLE))
    run.until(2000)
    assert run.told() == ["900 would-end idle", "1000 warn idle 120", "1090 warn idle 30", *ended(1120)]


@pytest.mark.parametrize("mode", list(Mode))
def test_restored_with_an_ending_goes_on(mode: Mode) -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(902)
    run.told()
    run.restart(policy(mode, **IDLE))
    assert run.told() == ["902 hang-up idle"]
    run.until(905)
    assert run.told() == ["905 kill", "905 end-escalated idle"]
    run.restart(policy(mode, **IDLE))
    run.until(906)
    assert run.told() == ["905 hang-up idle", "906 kill"]
    run.gone(session)
    assert run.disk == {}


def test_restored_with_tighter_limits_gets_a_respite() -> None:
    run = driver()
    run.open()
    run.until(700)
    run.restart(policy(idle_timeout=5 * MIN))
    run.until(1000)
    assert run.told() == ["700 warn idle 120", "790 warn idle 30", *ended(820)]


def test_a_respite_survives_a_restart() -> None:
    run = driver()
    run.open()
    run.until(700)
    run.reload(policy(idle_timeout=5 * MIN))
    for at in (750, 760):
        run.until(at)
        run.restart(policy(idle_timeout=5 * MIN))
    run.until(1000)
    assert run.told()[-3:] == ended(820)


# What is written down


def test_looks_that_tell_nothing_are_not_written_down() -> None:
    run = driver()
    session = run.open()
    run.until(60)
    written = sum(isinstance(action, Remember) for action in run.actions)
    run.until(779)
    assert sum(isinstance(action, Remember) for action in run.actions) == written
    run.active(session)
    run.until(780)
    assert run.disk[session].trace.active_until == T0 + 779 * SEC


def test_what_is_written_down_already_is_not_written_again_by_the_next_daemon() -> None:
    run = driver()
    run.open()
    run.until(60)
    run.actions.clear()
    run.restart(policy(**IDLE))
    run.until(779)
    assert not any(isinstance(action, Remember) for action in run.actions)
    run.until(780)
    assert run.disk != {}
    run.restart(policy(**IDLE))
    run.until(1000)
    assert run.told() == ["780 warn idle 120", "870 warn idle 30", *ended(900)]


@pytest.mark.parametrize(("step", "written"), [(SEC, 0), (SEC + 1, 1), (-SEC - 1, 1)])
def test_a_clock_that_was_set_is_written_down(step: Usec, written: int) -> None:
    run = driver()
    session = run.open()
    run.until(100)
    run.tell(Scanned())
    before = sum(isinstance(action, Remember) for action in run.actions)
    look = run._look(run.shown[session])
    assert look is not None
    run.tell(Looked(id=session, look=replace(look, offset=look.offset + step)))
    assert sum(isinstance(action, Remember) for action in run.actions) == before + written


def test_delivered_bytes_that_are_not_activity_are_written_down() -> None:
    run = driver()
    session = run.open(terminals=(terminal("pts/3", T0),))
    run.until(100)
    run.shown[session].sent += 9
    run.tell(Stepped(by=0))
    connection = run.disk[session].trace.connection
    assert connection is not None
    assert connection.delivered == 9


# Steps and scans


def test_stepped_looks_at_all() -> None:
    run = driver()
    sessions = [run.open(), run.open("bob"), run.open("special", gone=False, age=900)]
    run.until(100)
    run.actions.clear()
    run.tell(Stepped(by=3600 * SEC))
    assert run.records[-1].kind is Kind.CLOCK_STEPPED
    assert run.records[-1].late == 3600 * SEC
    looked = [action.id for action in run.actions if isinstance(action, LookAt)]
    assert looked == sessions[:2]


def test_scanned_looks_where_no_look_is_planned() -> None:
    run = driver(Mode.OBSERVE)
    noted = run.open(age=2000)
    unseen = run.open("bob", blind=True)
    run.open()
    run.until(100)
    run.actions.clear()
    run.tell(Scanned())
    assert [action.id for action in run.actions if isinstance(action, LookAt)] == [noted, unseen]


def test_one_look_at_a_time() -> None:
    run = driver()
    session = run.open()
    run.engine.handle(Stepped(by=0), run.now)
    assert LookAt(id=session) in run.engine.handle(Woken(), run.now)
    run.engine.handle(Stepped(by=0), run.now)
    assert LookAt(id=session) not in run.engine.handle(Woken(), run.now)


def test_of_many_that_are_due_some_are_looked_at_in_a_call_and_the_others_in_the_next() -> None:
    """So that no decision is taken by what was seen long before, and nobody else has to wait for all of them."""
    run = driver()
    sessions = [run.open() for _ in range(100)]
    run.engine.handle(Stepped(by=0), run.now)
    seen = list[SessionId]()
    for _ in range(7):
        assert run.engine.deadline == run.now
        looks = [action.id for action in run.engine.handle(Woken(), run.now) if isinstance(action, LookAt)]
        assert 0 < len(looks) <= 16
        seen += looks
    assert sorted(seen) == sorted(sessions)
    assert run.engine.handle(Woken(), run.now) == []


def test_looks_that_change_nothing_leave_nothing_behind() -> None:
    run = driver()
    run.open()
    run.until(100)
    for _ in range(100):
        run.tell(Stepped(by=0))
    assert len(run.engine._watches._queue) < 10


def test_woken_too_early_does_nothing() -> None:
    run = driver()
    run.open()
    deadline = run.engine.deadline
    assert run.engine.handle(Woken(), run.now) == []
    assert run.engine.deadline == deadline


def test_a_terminal_can_change_the_rule_without_a_respite() -> None:
    run = Driver(policy(special_idle_timeout=5 * MIN, **IDLE))
    session = run.open("special")
    run.until(200)
    run.shown[session].terminals = (terminal("pts/4", T0 + 200 * SEC), terminal("pts/3", T0 + 200 * SEC))
    run.tell(Stepped(by=0))
    status = run.status(session)
    assert status.terminals == ("pts/4", "pts/3")
    assert run.kinds().count(Kind.LIMITS_SET) == 1


# Status


def test_status() -> None:
    run = driver(absolute_timeout=60 * MIN)
    session = run.open()
    run.until(100)
    run.active(session)
    run.tell(Stepped(by=0))
    run.until(130)
    status = run.status(session)
    assert (status.idle, status.age, status.observed) == (30 * SEC, 130 * SEC, True)
    assert (status.due_at, status.reason, status.warn_at) == (T0 + 1000 * SEC, Reason.IDLE, T0 + 880 * SEC)
    assert (status.warned, status.ending, status.terminals) == (False, None, ())
    assert status.limits.rule(Reason.IDLE) == "defaults"
    run.until(890)
    status = run.status(session)
    assert (status.warned, status.warn_at) == (True, T0 + 970 * SEC)
    run.until(980)
    assert run.status(session).warn_at is None


def test_status_of_the_absolute_timeout() -> None:
    run = driver(absolute_timeout=10 * MIN)
    session = run.open()
    run.until(500)
    status = run.status(session)
    assert (status.reason, status.due_at, status.warned) == (Reason.ABSOLUTE, T0 + 600 * SEC, True)


def test_status_in_observe_mode() -> None:
    run = driver(Mode.OBSERVE)
    status = run.status(run.open())
    assert (status.reason, status.due_at, status.warn_at) == (Reason.IDLE, T0 + 900 * SEC, None)


def test_status_without_limits() -> None:
    run = driver(idle_timeout=None)
    status = run.status(run.open(found=True))
    assert (status.reason, status.due_at, status.warn_at, status.warned) == (None, None, None, False)


def test_status_while_it_ends() -> None:
    run = driver()
    session = run.open(gone=False)
    run.until(900)
    assert run.status(session).ending is Reason.IDLE


def test_that_bytes_cannot_be_counted_is_recorded_once() -> None:
    """Also across a restart; not at first, when an sshd has perhaps not made its other process yet."""
    run = Driver(policy(idle_timeout=HOUR))
    run.open(connection=ConnectionLook(received_at=T0, sent_at=T0, wire_in=3_000, wire_out=3_000))
    run.until(1)
    assert Kind.TROUBLE not in run.kinds()
    run.until(600)
    run.restart(policy(idle_timeout=HOUR))
    run.until(1200)
    (trouble,) = [record for record in run.records if record.kind is Kind.TROUBLE]
    assert trouble.session is not None
    assert "cannot be counted" in trouble.note
