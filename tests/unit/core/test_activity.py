# SPDX-License-Identifier: LGPL-2.1-or-later
"""What counts as activity: every row of evidence as it was seen on real sessions, look by look.

Moments are seconds on the boot clock. The wall clock's offset is a multiple of 8 s, so blocks begin at multiples of 8.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from idled.core.activity import ConnectionLook, Look, Trace, first_trace, follow, lacks
from idled.core.model import Activity
from idled.core.span import MSEC, SEC, Usec
from idled.core.stamps import TICK, TerminalLook

OFFSET: Final = 1_790_000_000 * SEC
OPENED: Final = 1000.0
BLOCK_END: Final = 0.01


def usec(seconds: float) -> Usec:
    return round(seconds * SEC)


class Seen:
    """A session with what is to be seen of it, changed step by step, and its trace."""

    def __init__(self, *, ptys: int = 1, wire: bool = True, exact: bool = True) -> None:
        self.trace = first_trace(usec(OPENED))
        self.kinds: frozenset[Activity] = frozenset()
        self.offset = OFFSET
        self.ptys = {34816 + n: self.pty(34816 + n, OPENED) for n in range(ptys)}
        self.wire = ConnectionLook(
            received_at=usec(OPENED),
            sent_at=usec(OPENED),
            wire_in=3_200,
            wire_out=4_100,
            counted=812 if exact else None,
            delivered=40 if exact else None,
            issued=900 if exact else None,
        )
        self.connected = wire
        self.look(OPENED)

    def pty(self, device: int, born: float) -> TerminalLook:
        stamp = usec(born) + self.offset
        return TerminalLook(name=f"pts/{device - 34816}", device=device, atime=stamp, ctime=stamp, mtime=stamp)

    def change(self, n: int = 0, **fields: Usec) -> None:
        self.ptys[34816 + n] = replace(self.ptys[34816 + n], **fields)  # type: ignore[arg-type]

    def wall(self, at: float) -> Usec:
        return usec(at) + self.offset

    def net(self, at: float, *, into: int = 0, out: int = 0, wire: tuple[int, int] = (36, 36)) -> None:
        was = self.wire
        exact = was.delivered is not None and was.issued is not None
        self.wire = replace(
            was,
            received_at=usec(at),
            sent_at=usec(at),
            wire_in=was.wire_in + wire[0],
            wire_out=was.wire_out + wire[1],
            delivered=(was.delivered or 0) + into if exact else None,
            issued=(was.issued or 0) + out if exact else None,
        )

    def read(self, at: float, n: int = 0) -> None:
        """A program reads what was typed: the kernel's rule."""
        second = self.wall(at) // SEC
        if (second ^ self.ptys[34816 + n].atime // SEC) & ~7:
            self.change(n, atime=second * SEC)
        self.change(n, queued=0)

    def write(self, at: float, n: int = 0) -> None:
        """A program writes."""
        second = self.wall(at) // SEC
        if (second ^ self.ptys[34816 + n].mtime // SEC) & ~7:
            self.change(n, mtime=second * SEC)

    def key(self, at: float, n: int = 0) -> None:
        self.read(at, n)
        self.net(at, into=1, out=1)

    def shows(self, at: float) -> Look:
        return Look(
            at=usec(at),
            offset=self.offset,
            terminals=tuple(self.ptys.values()),
            connection=self.wire if self.connected else None,
        )

    def look(self, at: float) -> Trace:
        self.trace = follow(self.trace, self.shows(at), self.kinds)
        return self.trace

    def active(self, at: float) -> float:
        return self.look(at).active_until / SEC


def told(at: float) -> float:
    """When the connection says it was, rounded as the kernel may have rounded."""
    return at + TICK / SEC


def test_what_was_typed_before_the_clock_was_set_counts_by_the_clock_it_was_opened_under() -> None:
    """Nothing is remembered of the session, so this is the first look."""
    for step in (3600, -3600):
        seen = Seen(wire=False)
        seen.key(1100.0)
        seen.offset += usec(step)
        seen.trace = first_trace(usec(OPENED), OFFSET)
        assert seen.active(1200.0) == pytest.approx(1104 + BLOCK_END)


# What is a person


def a_keystroke(seen: Seen) -> None:
    seen.key(1100.0)


def the_second_multiplexed_terminal(seen: Seen) -> None:
    seen.ptys[34817] = seen.pty(34817, 1090)
    seen.key(1100.0, 1)


def enter_typed_ahead(seen: Seen) -> None:
    """Under a running `sleep` nobody reads."""
    seen.change(queued=1)
    seen.net(1100.0, into=1, out=2)


def a_keystroke_with_echo_off(seen: Seen) -> None:
    seen.read(1100.0)
    seen.net(1100.0, into=1)


def mesg_n_and_typing_on(seen: Seen) -> None:
    seen.change(ctime=seen.wall(1095.3))
    seen.key(1100.0)


def a_line_that_is_not_finished(seen: Seen) -> None:
    """Under `cat`: neither read nor waiting before Enter."""
    seen.change(canonical=True)
    seen.net(1100.0, into=1, out=1)


def a_line_that_was_not_finished(seen: Seen) -> None:
    seen.change(canonical=True)
    seen.look(1080)
    seen.change(canonical=False)
    seen.net(1100.0, into=1, out=1)


@pytest.mark.parametrize(
    "happens",
    [
        a_keystroke,
        a_line_that_is_not_finished,
        a_line_that_was_not_finished,
        the_second_multiplexed_terminal,
        enter_typed_ahead,
        a_keystroke_with_echo_off,
        mesg_n_and_typing_on,
    ],
)
def test_a_person(happens: Callable[[Seen], None]) -> None:
    seen = Seen()
    happens(seen)
    assert seen.active(1900) == told(1100.0)
    assert not seen.trace.forged


# What is none


def server_alive(seen: Seen) -> None:
    seen.net(1100, wire=(52, 28))


def client_alive(seen: Seen) -> None:
    seen.net(1100, wire=(36, 56))


def chaff(seen: Seen) -> None:
    """What obscures a keystroke: 3.3 kB in pieces of 36 bytes over 2 s."""
    seen.net(1102, wire=(3_312, 3_312))


def touch(seen: Seen) -> None:
    seen.change(atime=seen.wall(1100.2), ctime=seen.wall(1100.2))


def touch_to_tomorrow(seen: Seen) -> None:
    seen.change(atime=seen.wall(1100 + 86400), ctime=seen.wall(1100.2))


def injected(seen: Seen) -> None:
    """TIOCSTI: a program reads it, but no client sent it."""
    seen.read(1100)
    seen.net(1100, out=12, wire=(0, 36))


def agent_answer(seen: Seen) -> None:
    """A background job asks the forwarded agent."""
    seen.net(1100, into=9, out=35, wire=(84, 92))


def output(seen: Seen) -> None:
    seen.net(1100, out=65_536, wire=(0, 66_000))


def window_resized(seen: Seen) -> None:
    seen.net(1100, out=93, wire=(60, 128))


def asks(seen: Seen, *, asked: int, answered: int, read: int | None = None) -> None:
    """The user's sshd asks the privileged one, which may read more than that."""
    seen.net(1100, into=asked, out=answered, wire=(908, 2_728))
    before = seen.wire
    seen.wire = replace(
        before, asked=before.asked + (asked if read is None else read), answered=before.answered + answered
    )


def rekey_of_12(seen: Seen) -> None:
    asks(seen, asked=96, answered=92)


def rekey_of_13(seen: Seen) -> None:
    asks(seen, asked=115, answered=92)


def two_rekeys(seen: Seen) -> None:
    asks(seen, asked=230, answered=184)


def group_exchange(seen: Seen) -> None:
    asks(seen, asked=81, answered=1132, read=1_086_009)


NOBODY: Final = [
    server_alive,
    client_alive,
    chaff,
    touch,
    touch_to_tomorrow,
    injected,
    agent_answer,
    output,
    window_resized,
    rekey_of_12,
    rekey_of_13,
    two_rekeys,
    group_exchange,
]


@pytest.mark.parametrize("happens", NOBODY)
def test_nobody(happens: Callable[[Seen], None]) -> None:
    seen = Seen()
    seen.key(1050)
    assert seen.active(1090) == told(1050)
    happens(seen)
    assert seen.active(1900) <= 1056 + BLOCK_END


@pytest.mark.parametrize("happens", [server_alive, client_alive, chaff, output, window_resized, rekey_of_12])
def test_a_typed_key_stays_exact(happens: Callable[[Seen], None]) -> None:
    seen = Seen()
    seen.key(1050)
    seen.look(1090)
    happens(seen)
    assert seen.active(1900) == told(1050)


def test_nothing_is_hidden_once_no_terminal_takes_lines() -> None:
    seen = Seen()
    seen.change(canonical=True)
    seen.look(1050)
    seen.change(canonical=False)
    seen.look(1060)
    agent_answer(seen)
    assert seen.active(1900) <= 1060


def test_lines_hide_nothing_that_was_not_delivered() -> None:
    seen = Seen()
    seen.key(1020)
    seen.change(canonical=True)
    touch(seen)
    assert seen.active(1900) == told(1020)


# Keys that leave no sign, among others that do


def command(seen: Seen, at: float) -> None:
    """A line is typed, and read; a program answers."""
    seen.read(at)
    seen.write(at)
    seen.net(at, into=10, out=30)


def interrupt(seen: Seen, at: float) -> None:
    """Ctrl-C under a job: the terminal takes the key, and the shell writes its prompt."""
    seen.net(at, into=1, out=30)
    seen.write(at)


def test_an_interrupt_long_after_its_command() -> None:
    seen = Seen()
    command(seen, 1100)
    interrupt(seen, 1500)
    assert seen.active(1800) == told(1500)


def test_an_interrupt_after_a_command_in_a_block_that_was_seen() -> None:
    seen = Seen()
    seen.key(1100)
    seen.look(1101)
    command(seen, 1102)
    interrupt(seen, 1500)
    assert seen.active(1800) == told(1500)


@pytest.mark.parametrize("into", [0, 9])
def test_what_comes_after_a_command_is_no_interrupt(into: int) -> None:
    """A keepalive, an answer of the agent: nothing was written since the command."""
    seen = Seen()
    command(seen, 1100)
    seen.net(1500, into=into)
    assert seen.active(1800) == 1104 + BLOCK_END


@pytest.mark.parametrize(("forged", "block"), [(False, 1024), (True, 1104)])
def test_output_is_no_interrupt_neither_alone_nor_beside_a_forged_stamp(forged: bool, block: int) -> None:
    seen = Seen()
    seen.key(1020)
    seen.look(1090)
    if forged:
        touch(seen)
    seen.write(1500)
    seen.net(1500, into=9, out=500)
    assert seen.active(1800) == block + BLOCK_END


@pytest.mark.parametrize(("looked_at", "counts"), [(1105.5, True), (1106, True), (1106.1, False)])
def test_a_key_soon_after_others_counts_though_nothing_is_written(looked_at: float, counts: bool) -> None:
    """Ctrl-S, a second after a line, in the next block; seen by looks that are four seconds apart at most."""
    seen = Seen()
    seen.look(1102)
    command(seen, 1103.5)
    seen.net(1105, into=1)
    assert (seen.active(looked_at) == told(1105)) is counts


def test_a_key_beside_what_was_said_to_get_the_terminal() -> None:
    seen = Seen(ptys=0)
    seen.look(1006)
    seen.ptys[34816] = seen.pty(34816, 1007)
    seen.net(1007, into=62, out=80)
    seen.net(1009, into=1)
    assert seen.active(1009.5) == told(1009)


# Without a terminal


@pytest.mark.parametrize(
    ("into", "out"),
    [(120, 0), (0, 120), (32_768, 32_768), (96, 92), (81, 1132), (0, 92)],
)
def test_traffic_of_sftp_and_forwards(into: int, out: int) -> None:
    seen = Seen(ptys=0)
    seen.net(1100, into=into, out=out, wire=(5_000, 5_000))
    assert seen.active(1900) == told(1100)


@pytest.mark.parametrize("rekey", [rekey_of_12, rekey_of_13, two_rekeys, group_exchange])
@pytest.mark.parametrize(("into", "out"), [(1, 0), (0, 1), (64, 64)])
def test_bytes_beside_a_rekey_are_traffic(rekey: Callable[[Seen], None], into: int, out: int) -> None:
    seen = Seen(ptys=0)
    rekey(seen)
    seen.net(1100, into=into, out=out)
    assert seen.active(1900) == told(1100)


def test_a_rekey_hides_no_key() -> None:
    """Ctrl-C leaves no sign; it is still one byte."""
    seen = Seen()
    rekey_of_12(seen)
    seen.net(1100, into=1)
    assert seen.active(1900) == told(1100)


@pytest.mark.parametrize(
    "happens", [server_alive, client_alive, chaff, rekey_of_12, rekey_of_13, two_rekeys, group_exchange]
)
def test_the_connections_own_chatter_is_no_traffic(happens: Callable[[Seen], None]) -> None:
    seen = Seen(ptys=0)
    seen.net(1050, into=40, out=80)
    seen.look(1090)
    happens(seen)
    assert seen.active(1900) == told(1050)


def test_output_counts_when_it_was_sent_not_when_something_was_received() -> None:
    seen = Seen(ptys=0)
    seen.net(1100, out=500)
    seen.wire = replace(seen.wire, sent_at=usec(1080))
    assert seen.active(1900) == told(1080)


# What a rule lets count instead

INPUT, OUTPUT, TRAFFIC = Activity.INPUT, Activity.OUTPUT, Activity.TRAFFIC


@pytest.mark.parametrize(
    ("kinds", "ptys", "exact", "active"),
    [
        (set(), 1, True, 1100),
        (set(), 0, True, 1300),
        ({INPUT}, 1, True, 1100),
        ({INPUT}, 0, True, 1100),
        ({OUTPUT}, 1, True, 1300),
        ({TRAFFIC}, 1, True, 1300),
        ({INPUT, OUTPUT}, 1, True, 1300),
        ({OUTPUT}, 1, False, 1104 + BLOCK_END - TICK / SEC),  # where nothing else can be read, input is all there is
    ],
)
def test_what_a_rule_lets_count(kinds: set[Activity], ptys: int, exact: bool, active: float) -> None:
    seen = Seen(ptys=ptys, exact=exact)
    seen.kinds = frozenset(kinds)
    if ptys:
        seen.read(1100)
    seen.net(1100, into=9)
    seen.look(1200)
    seen.net(1300, out=4_000)
    assert seen.active(1900) == told(active)


@pytest.mark.parametrize(("out", "active"), [(93, 1000), (1024, 1000), (1025, 1300)])
def test_our_own_lines_are_no_output(out: int, active: float) -> None:
    seen = Seen()
    seen.kinds = frozenset({OUTPUT})
    seen.trace = replace(seen.trace, told=True)
    seen.net(1300, out=out, wire=(0, 200))
    assert seen.active(1350) == (told(active) if active > 1000 else active)
    assert not seen.trace.told
    seen.net(1400, out=1, wire=(0, 200))
    assert seen.active(1450) == told(1400)


# Bounds


def test_what_was_received_in_the_last_tick_is_not_in_the_future() -> None:
    seen = Seen()
    seen.key(1100)
    assert seen.active(1100.002) == 1100.002


def test_the_sign_and_the_bytes_may_be_seen_one_after_the_other() -> None:
    seen = Seen()
    seen.net(1100, into=9)
    assert seen.active(1100.001) == 1000 + 8 + BLOCK_END
    seen.read(1100.002)
    assert seen.active(1115) == 1100.001
    assert not seen.trace.forged


def test_input_that_does_not_move_the_stamp() -> None:
    seen = Seen()
    seen.key(1096)
    seen.look(1097)
    seen.key(1103)
    assert seen.active(1900) == told(1103)


def test_who_edits_by_a_server_with_a_terminal_of_its_own_is_there() -> None:
    """As editors do: nobody types in that terminal, which is not sshd's, and bytes come all the time."""
    seen = Seen()
    seen.change(inner=True)
    for at in range(1010, 2000, 10):
        seen.net(at, into=200, out=50)
        assert seen.active(at + 1) == told(at)
    assert seen.active(2900) == told(1990)


@pytest.mark.parametrize(("kinds", "last"), [((), 1300), ((Activity.INPUT,), 1200), ((Activity.OUTPUT,), 1300)])
def test_what_counts_where_no_terminal_is_sshds(kinds: tuple[Activity, ...], last: float) -> None:
    seen = Seen()
    seen.change(inner=True)
    seen.kinds = frozenset(kinds)
    seen.net(1200, into=200)
    seen.look(1250)
    seen.net(1300, out=200)
    seen.look(1350)
    for at in (1400, 1500, 1600):
        seen.read(at)
        seen.look(at + 50)
    assert seen.trace.active_until / SEC == told(last)
    assert not seen.trace.forged, "what its own server feeds it is no concern"


@pytest.mark.parametrize("kinds", [frozenset[Activity](), frozenset({Activity.INPUT})])
def test_such_a_terminal_that_is_fed_from_elsewhere(kinds: frozenset[Activity]) -> None:
    seen = Seen()
    seen.change(inner=True)
    seen.read(1200)
    trace = follow(seen.trace, seen.shows(1250), kinds, elsewhere_until=usec(1201))
    assert trace.active_until == usec(1201)


@pytest.mark.parametrize("ptys", [1, 2], ids=["alone", "beside one of sshd's"])
def test_such_a_terminal_that_is_fed_from_elsewhere_beside_a_connection_that_is_not_counted(ptys: int) -> None:
    seen = Seen(ptys=ptys, exact=False)
    seen.change(inner=True)
    seen.read(1200)
    trace = follow(seen.trace, seen.shows(1250), elsewhere_until=usec(1201))
    assert trace.active_until == usec(1201)


def test_what_was_traffic_stays_activity_when_a_terminal_appears() -> None:
    seen = Seen(ptys=0)
    seen.net(1100, out=500)
    assert seen.active(1110) == told(1100)
    seen.ptys[34816] = seen.pty(34816, 1111)
    assert seen.active(1120) == told(1100)


def test_a_bound_never_shrinks() -> None:
    seen = Seen()
    seen.key(1100)
    seen.look(1101)
    seen.wire = replace(seen.wire, received_at=usec(1050), delivered=1_000)
    assert seen.active(1900) == told(1100)


def test_the_wall_clock_set_between_looks() -> None:
    for step in (3600, -3600, 86400):
        seen = Seen()
        seen.key(1100)
        seen.offset += step * SEC
        assert seen.active(1900) == told(1100)


# Looks in the midst of a write (10)


def less(seen: Seen, at: float, by: int = 4_131) -> Trace:
    """A look that shows less than was delivered and issued."""
    whole = seen.wire
    seen.wire = replace(whole, delivered=(whole.delivered or 0) - by, issued=(whole.issued or 0) - by)
    trace = seen.look(at)
    seen.wire = whole
    return trace


def chatty(seen: Seen) -> None:
    server_alive(seen)
    seen.look(1100)
    assert seen.trace.chatty


@pytest.mark.parametrize("ptys", [0, 1])
def test_a_look_amid_a_write_is_no_activity_nor_is_the_next(ptys: int) -> None:
    seen = Seen(ptys=ptys)
    seen.change(canonical=True) if ptys else None
    chatty(seen)
    before = seen.trace.active_until
    for at in (1200, 1210, 1220):
        seen.net(at, wire=(36, 0))
        assert less(seen, at).active_until == before
        assert seen.look(at + 3).active_until == before


def test_keys_that_a_look_amid_a_write_did_not_show_are_seen_by_the_next() -> None:
    seen = Seen()
    chatty(seen)
    seen.key(1200)
    before = less(seen, 1200.5).active_until
    assert before < usec(1200)
    assert seen.active(1203) == told(1200)


def test_a_look_amid_a_write_long_after_the_one_before_ends_nobody() -> None:
    seen = Seen()
    seen.key(1200)
    assert less(seen, 1900).active_until == usec(told(1200))


def test_a_rekey_that_was_seen_amid_a_write_is_still_known_by_the_next_look() -> None:
    seen = Seen(ptys=0)
    chatty(seen)
    before = seen.trace.active_until
    rekey_of_12(seen)
    assert less(seen, 1200).active_until == before
    assert seen.look(1203).active_until == before


def test_a_look_amid_a_write_calls_nothing_forged() -> None:
    seen = Seen()
    for at in (1100.0, 1200.0):
        seen.read(at)
        assert not less(seen, at + 1).forged


def test_what_is_remembered_is_the_most() -> None:
    seen = Seen()
    less(seen, 1200)
    assert seen.trace.connection is not None
    assert (seen.trace.connection.delivered, seen.trace.connection.issued) == (40, 900)


def test_of_another_process_the_counters_begin_anew() -> None:
    seen = Seen(ptys=0)
    seen.wire = replace(seen.wire, counted=900, delivered=3, issued=4)
    seen.look(1100)
    assert seen.trace.connection is not None
    assert (seen.trace.connection.delivered, seen.trace.connection.issued) == (3, 4)
    seen.net(1200, into=1)
    assert seen.active(1900) == told(1200)


# Chatter (4)


def test_chatter_makes_wary_for_a_hundred_looks() -> None:
    seen = Seen()
    seen.look(1050)
    assert not seen.trace.wary
    seen.net(1100, wire=(52, 28))
    seen.look(1101)
    assert seen.trace.chatty == 100
    assert seen.trace.wary
    for look in range(100):
        assert seen.trace.wary
        seen.look(1104 + 3 * look)
    assert not seen.trace.wary


@pytest.mark.parametrize(("received_at", "chatty"), [(1050.009, False), (1050.02, True)])
def test_a_rounded_moment_is_no_chatter(received_at: float, chatty: bool) -> None:
    seen = Seen()
    seen.look(1050)
    seen.wire = replace(seen.wire, received_at=usec(received_at))
    assert seen.look(1100).wary is chatty


def test_a_key_is_no_chatter() -> None:
    seen = Seen()
    seen.key(1100)
    assert not seen.look(1101).wary


# What is forged (2, 6, 8)


@pytest.mark.parametrize("happens", [touch, touch_to_tomorrow])
def test_a_doubtful_sign_without_bytes_is_forged(happens: Callable[[Seen], None]) -> None:
    seen = Seen()
    happens(seen)
    assert seen.look(1900).forged


def test_an_injected_sign_is_forged_the_second_time() -> None:
    seen = Seen()
    injected(seen)
    assert not seen.look(1150).forged  # can be the reading of what was typed before
    seen.read(1200)
    assert seen.look(1250).forged


def test_bytes_explain_one_more_sign() -> None:
    seen = Seen()
    injected(seen)
    seen.look(1150)
    seen.key(1160)
    seen.look(1170)
    seen.read(1200)
    assert not seen.look(1250).forged


def test_one_key_seen_in_many_looks_is_not_forged() -> None:
    seen = Seen()
    seen.net(1096.001, into=1)
    seen.change(queued=1)
    for at in range(1097, 1105):
        seen.look(at)
    seen.read(1106)
    assert not seen.look(1107).forged


def test_signs_are_not_called_forged_while_the_connection_cannot_be_read() -> None:
    seen = Seen()
    seen.connected = False
    for at in (1100.0, 1200.0, 1300.0):
        seen.key(at)
        assert not seen.look(at + 50).forged


def test_a_doubtful_stamp_counts_three_times_on_a_console() -> None:
    seen = Seen(wire=False)
    for times, at in enumerate((1100.0, 1200.0, 1300.0)):
        assert not seen.trace.forged
        seen.change(atime=seen.wall(at), ctime=seen.wall(at))
        assert seen.active(at + 50) == (at // 8 + 1) * 8 + BLOCK_END
        assert seen.trace.doubts == times + 1
    assert seen.trace.forged
    assert seen.trace.wary
    seen.change(atime=seen.wall(1400), ctime=seen.wall(1400))
    assert seen.active(1401) == 1304 + BLOCK_END
    assert seen.active(1403) == 1304 + BLOCK_END  # nor while its block lasts
    seen.read(1500)
    assert seen.active(1501) == 1504 + BLOCK_END  # what is real still counts


def test_typing_beside_a_touch_loop() -> None:
    seen = Seen()
    for at in range(1100, 1200, 10):
        seen.change(atime=seen.wall(at), ctime=seen.wall(at))
        seen.look(at + 1)
    seen.change(atime=seen.wall(1300), ctime=seen.wall(1300))
    seen.net(1300, into=1, out=1)
    assert seen.active(1310) == told(1300)


def test_touch_loop_on_a_console() -> None:
    """Seen every 3 s, as what is wary is."""
    seen = Seen(wire=False)
    for at in range(1100, 1700, 3):
        if at % 30 == 20:
            seen.change(atime=seen.wall(at - 0.5), ctime=seen.wall(at - 0.5))
        seen.look(at)
    assert seen.trace.active_until <= usec(1100 + 4 * 30)


def test_a_stamp_forged_to_the_future_is_nothing_when_its_time_comes() -> None:
    seen = Seen(wire=False)
    seen.change(atime=seen.wall(1500), ctime=seen.wall(1100))
    assert seen.active(1101) == 1104 + BLOCK_END
    assert seen.active(1502) == 1104 + BLOCK_END
    seen.change(ctime=seen.wall(1502.5))  # chmod
    assert seen.active(1503) == 1104 + BLOCK_END
    seen.read(1600)
    assert seen.active(1700) == 1608 + BLOCK_END


def test_what_was_forged_stays_recorded() -> None:
    seen = Seen()
    touch(seen)
    seen.look(1150)
    seen.key(1160)
    assert seen.look(1200).forged


# What cannot be read (7)


def test_a_connection_that_cannot_be_read_any_more() -> None:
    seen = Seen()
    seen.key(1100)
    seen.connected = False
    assert seen.active(1150) == 1104 + BLOCK_END  # as a console
    seen.key(1200)
    assert seen.active(1250) == 1208 + BLOCK_END
    seen.key(1300)
    seen.connected = True
    assert seen.active(1350) == told(1300)


def test_traffic_that_cannot_be_read_any_more() -> None:
    seen = Seen(ptys=0)
    seen.connected = False
    seen.look(1150)
    seen.connected = True
    assert seen.active(1160) == 1150


def test_a_connection_that_never_could_be_read() -> None:
    seen = Seen(wire=False)
    seen.read(1100)
    assert seen.active(1150) == 1104 + BLOCK_END


def test_counters_that_cannot_be_read() -> None:
    seen = Seen(exact=False)
    seen.key(1100)
    seen.net(1102, wire=(52, 28))
    assert seen.active(1150) == told(1102)
    seen.net(1120, wire=(52, 28))
    assert seen.active(1160) == 1104 + BLOCK_END


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("direction", ["received_at", "sent_at"])
def test_counters_that_come_back(exact: bool, direction: str) -> None:
    """Of another process, or where there were none: what came before was perhaps traffic."""
    seen = Seen(ptys=0, exact=exact)
    moment: dict[str, Any] = {direction: usec(1100)}
    seen.wire = replace(seen.wire, counted=900, delivered=0, issued=0, **moment)
    assert seen.active(1150) == told(1100)


def test_counters_of_another_process_explain_nothing() -> None:
    seen = Seen()
    for at in (1100.0, 1200.0):
        seen.read(at)
        seen.wire = replace(seen.wire, counted=round(at))
        assert not seen.look(at + 50).forged


def test_a_terminal_that_is_gone_was_perhaps_closed_by_a_person() -> None:
    seen = Seen(ptys=2)
    seen.look(1010)
    seen.net(1100, into=5, out=9)  # exit and Enter
    del seen.ptys[34817]
    assert seen.active(1150) == told(1100)


def test_a_terminal_that_is_gone_without_bytes_is_nothing() -> None:
    seen = Seen(ptys=2)
    seen.look(1010)
    del seen.ptys[34817]
    assert seen.active(1150) <= 1008 + BLOCK_END


def no_terminal(seen: Seen) -> None:
    seen.ptys.clear()


def another_terminal(seen: Seen) -> None:
    seen.ptys[34900] = seen.pty(34900, 1090)


def another_in_place_of_one(seen: Seen) -> None:
    del seen.ptys[34816]
    another_terminal(seen)


def no_connection(seen: Seen) -> None:
    seen.connected = False


def a_connection(seen: Seen) -> None:
    seen.connected = True


def no_counters(seen: Seen) -> None:
    seen.wire = replace(seen.wire, counted=None, delivered=None, issued=None)


def counters_of_another_process(seen: Seen) -> None:
    seen.wire = replace(seen.wire, counted=900, delivered=40, issued=900)


@pytest.mark.parametrize(
    ("shown", "happens", "lacking"),
    [
        ({}, a_keystroke, False),
        ({}, another_terminal, False),
        ({}, no_terminal, True),
        ({"ptys": 2}, no_terminal, True),
        ({}, another_in_place_of_one, True),
        ({"ptys": 0}, another_terminal, False),
        ({}, no_connection, True),
        ({"ptys": 0}, no_connection, True),
        ({}, no_counters, True),
        ({}, counters_of_another_process, True),
        ({"exact": False}, no_connection, False),
        ({"exact": False}, counters_of_another_process, False),
        ({"wire": False}, a_connection, False),
        ({"wire": False}, no_connection, False),
        ({"wire": False}, no_terminal, True),
    ],
)
def test_what_a_look_lacks(shown: dict[str, Any], happens: Callable[[Seen], None], lacking: bool) -> None:
    seen = Seen(**shown)
    seen.look(1050)
    happens(seen)
    assert lacks(seen.trace, seen.shows(1100)) is lacking
    seen.look(1100)
    still = happens is no_connection  # what is known of it is kept for when it comes back
    assert lacks(seen.trace, seen.shows(1200)) is (lacking and still)


# Consoles, restarts


def test_a_console() -> None:
    seen = Seen(wire=False)
    seen.read(1100)
    assert seen.active(1101) == 1104 + BLOCK_END
    seen.read(1103.9)
    assert seen.active(1900) == 1104 + BLOCK_END


@pytest.mark.parametrize("wire", [True, False])
def test_a_trace_that_is_followed_later(wire: bool) -> None:
    """The daemon was away from 1050 until 1900, and the clock was set meanwhile."""
    seen = Seen(wire=wire)
    seen.look(1050)
    seen.key(1100)
    seen.offset -= 3600 * SEC
    assert seen.active(1900) == (told(1100) if wire else 1104 + BLOCK_END)


@pytest.mark.parametrize(
    ("ptys", "wire", "exact", "observed"),
    [
        (1, True, True, True),
        (1, False, True, True),
        (1, True, False, True),
        (0, True, True, True),
        (0, True, False, False),
        (0, False, False, False),
    ],
)
def test_what_can_be_observed(ptys: int, wire: bool, exact: bool, observed: bool) -> None:
    seen = Seen(ptys=ptys, wire=wire, exact=exact)
    look = Look(
        at=1, offset=OFFSET, terminals=tuple(seen.ptys.values()), connection=seen.wire if seen.connected else None
    )
    assert look.observed is observed


def test_the_kernels_tick() -> None:
    assert TICK == 10 * MSEC


# What sshd has not read


def test_what_sshd_has_not_read_can_be_a_key_once() -> None:
    seen = Seen()
    seen.wire = replace(seen.wire, received_at=usec(1050), wire_in=3_236, unread=36)
    assert seen.look(1060).active_until == usec(1050) + TICK
    seen.wire = replace(seen.wire, received_at=usec(1400), wire_in=3_272, unread=72)
    assert seen.look(1401).active_until == usec(1050) + TICK, "it is chatty"
    for second in range(1402, 1520):
        seen.look(second)
    assert not seen.trace.chatty
    seen.wire = replace(seen.wire, received_at=usec(1550), wire_in=3_308, unread=108)
    assert seen.look(1551).active_until == usec(1050) + TICK, "it counted once"
    seen.net(1560, into=1, out=1)
    seen.change(atime=seen.wall(1560), mtime=seen.wall(1560))
    seen.wire = replace(seen.wire, unread=0)
    assert seen.look(1561).active_until >= usec(1560)
    for second in range(1562, 1670):
        seen.look(second)
    assert not seen.trace.chatty
    seen.wire = replace(seen.wire, received_at=usec(1670), unread=36)
    assert seen.look(1671).active_until == usec(1670) + TICK


def test_what_sshd_had_not_read_at_the_look_before_is_nothing_new() -> None:
    seen = Seen()
    seen.wire = replace(seen.wire, received_at=usec(1050), unread=36)
    seen.look(1060)
    trace = seen.trace
    assert seen.look(1080).active_until == trace.active_until


def test_what_sshd_has_not_read_is_traffic_where_there_is_no_terminal() -> None:
    seen = Seen(ptys=0)
    seen.wire = replace(seen.wire, received_at=usec(1050), unread=36)
    assert seen.look(1060).active_until == usec(1050) + TICK
