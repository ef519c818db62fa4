# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people read is one line, fits, and holds nothing that a terminal would obey."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idled import words
from idled.core.model import Limits, Reason
from idled.core.span import DAY, HOUR, LONGEST, MIN, SEC
from idled.sources.registrations import Answer

NOON = int(time.mktime(time.localtime()[:3] + (12, 0, 0, 0, 0, -1))) * SEC


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("alice", "alice"),
        ("Zoë 日本 👍", "Zoë 日本 👍"),
        ("a\x1b[2J\x07b", "a?[2J?b"),
        ("a\x9b2Jb", "a?2Jb"),  # CSI in one byte
        ("a\nb\r\tc\0\x7f", "a?b??c??"),
        ("a\u202eb\u2066c\u200fd\u200b", "a?b?c?d?"),  # bidi and invisible
        ("a\u2028b\u2029c\ufeff", "a?b?c?"),
        ("\ud800\udcff\ue000\uffff", "????"),
        ("x" * 10_000, "x" * 256),
        ("", ""),
    ],
)
def test_text_from_outside_is_harmless(text: str, cleaned: str) -> None:
    assert words.clean(text) == cleaned


@given(st.text(st.characters()), st.integers(0, 300))
def test_any_text_from_outside_is_harmless(text: str, length: int) -> None:
    cleaned = words.clean(text, length)
    assert len(cleaned) == min(len(text), length)
    assert not [sign for sign in cleaned if unicodedata.category(sign)[0] == "C"]
    assert words.clean(cleaned, length) == cleaned
    cleaned.encode()


@pytest.mark.parametrize(
    ("limits", "ends_at", "line"),
    [
        (Limits(), None, ""),
        (Limits(idle_timeout=15 * MIN), None, "This session ends after 15min without input."),
        (Limits(absolute_timeout=HOUR), NOON, "This session ends at 12:00:00 at the latest."),
        (
            Limits(idle_timeout=15 * MIN, absolute_timeout=HOUR),
            NOON,
            "This session ends after 15min without input and ends at 12:00:00 at the latest.",
        ),
    ],
)
def test_the_line_at_login(limits: Limits, ends_at: int | None, line: str) -> None:
    assert words.greeting(limits, ends_at) == line


def test_a_moment_of_another_day_has_its_day() -> None:
    then = NOON + 3 * DAY
    assert words.clock(then) == time.strftime("%a %d %b 12:00:00", time.localtime(then // SEC))


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (-5, "0 seconds"),
        (SEC, "1 second"),
        (29_600_000, "30 seconds"),
        (119 * SEC, "119 seconds"),
        (119_700_000, "2 minutes"),
        (119 * MIN, "119 minutes"),
        (2 * HOUR, "2h"),
        (25 * HOUR, "1d 1h"),
    ],
)
def test_a_span_to_count_down_by(span: int, said: str) -> None:
    assert words.in_words(span) == said


def test_warnings_say_what_when_why_and_how_to_stay() -> None:
    idle = words.warning(Reason.IDLE, 15 * MIN, 120 * SEC, NOON)
    assert idle == (
        "idled: this session will be ended in 2 minutes (at 12:00:00): no input; the idle limit is 15min. "
        "Press a key to stay."
    )
    absolute = words.warning(Reason.ABSOLUTE, 12 * HOUR, 30 * SEC, NOON)
    assert "in 30 seconds (at 12:00:00): it reaches its time limit of 12h." in absolute
    assert "Press a key" not in absolute, "no key helps there"


@pytest.mark.parametrize(
    ("reason", "limit", "said"),
    [
        (Reason.IDLE, 15 * MIN, "after 15min without input"),
        (Reason.ABSOLUTE, 12 * HOUR, "it was open for 12h"),
        (Reason.USER, None, "with another session of yours"),
        (Reason.IDLE, None, "session ended"),  # the limit was taken away meanwhile
    ],
)
def test_the_last_line_says_why(reason: Reason, limit: int | None, said: str) -> None:
    assert said in words.farewell(reason, limit)


def test_the_last_line_says_who_asked_for_it() -> None:
    assert words.farewell(Reason.REQUEST, None, "root") == "idled: session ended by root."
    assert words.farewell(Reason.REQUEST, None, "root", "new kernel") == "idled: session ended by root: new kernel"


@pytest.mark.parametrize(
    ("reason", "ends_at", "said"),
    [
        (Reason.IDLE, None, "idled: you are back, so this session stays."),
        (Reason.IDLE, NOON, "this session stays. Its time limit still ends it at "),
        (Reason.ABSOLUTE, NOON, "idled: this session now ends at "),
        (Reason.ABSOLUTE, None, "idled: this session has no time limit any more."),
    ],
)
def test_a_warning_is_withdrawn_for_what_it_was(reason: Reason, ends_at: int | None, said: str) -> None:
    assert said in words.withdrawn(reason, ends_at)


SPANS = st.integers(SEC, LONGEST)


@given(SPANS | st.none(), SPANS | st.none(), st.integers(-SEC, LONGEST), st.integers(0, 2 * LONGEST + NOON))
def test_every_line_is_one_line_and_fits_the_reply(
    idle: int | None, absolute: int | None, ends_in: int, ends_at: int
) -> None:
    limits = Limits(idle_timeout=idle, absolute_timeout=absolute)
    lines = [words.greeting(limits, ends_at), words.greeting(limits, None)]
    for reason in Reason:
        lines += [words.withdrawn(reason, None), words.withdrawn(reason, ends_at)]
        lines += [words.warning(reason, idle or SEC, ends_in, ends_at), words.farewell(reason, absolute)]
    for line in lines:
        assert words.clean(line, 512) == line
        assert len(line.encode()) <= 512
        assert len(Answer(text=line, runtime_max_sec=LONGEST).packet()) <= 1024
