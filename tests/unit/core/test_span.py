# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time spans: every unit of systemd.time(7) is understood, what is none is refused, and what is printed reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idled.core.span import (
    DAY,
    HOUR,
    LONGEST,
    MIN,
    MONTH,
    MSEC,
    SEC,
    WEEK,
    YEAR,
    SpanError,
    Usec,
    format_span,
    parse_span,
)

UNITS = {
    "us usec µs μs": 1,
    "ms msec": MSEC,
    "s sec second seconds": SEC,
    "m min minute minutes": MIN,
    "h hr hour hours": HOUR,
    "d day days": DAY,
    "w week weeks": WEEK,
    "M month months": MONTH,
    "y year years": YEAR,
}


@pytest.mark.parametrize(("unit", "size"), [(unit, size) for units, size in UNITS.items() for unit in units.split()])
@pytest.mark.parametrize("text", ["3{}", "3 {}", " 3\t{} "])
def test_every_unit(text: str, unit: str, size: Usec) -> None:
    assert parse_span(text.format(unit)) == 3 * size


def test_the_sizes_are_those_of_systemd() -> None:
    assert (MONTH, YEAR) == (2_629_800 * SEC, 31_557_600 * SEC)  # 30.44 and 365.25 days


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90", 90 * SEC),
        ("0", 0),
        ("1.5h", 90 * MIN),
        ("0.000001s", 1),
        ("0.0000019", 1),
        ("1h30min", 90 * MIN),
        ("1h 30min 5", 90 * MIN + 5 * SEC),
        ("5min 5min", 10 * MIN),
        ("10y", LONGEST),
        ("2 h", 2 * HOUR),
        ("1m 1M", MIN + MONTH),
        ("0.1s 0.2s", 300 * MSEC),
    ],
)
def test_parse(text: str, span: Usec) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "an empty time span"),
        (" \t", "an empty time span"),
        ("min", "not a time span from 'min' on"),
        ("-5min", "not a time span from '-5min' on"),
        ("5min, 3s", "not a time span from ', 3s' on"),
        ("1.5.5", "not a time span from '.5' on"),
        ("1e3", "unknown unit of time 'e'"),
        ("5 Min", "unknown unit of time 'Min'"),
        ("5 parsecs", "unknown unit of time 'parsecs'"),
        ("infinity", "not a time span from 'infinity' on"),
        ("٣min", "not a time span from '٣min' on"),
        ("10y 1us", "longer than 10 years"),
        ("9" * 400, "longer than 10 years"),
    ],
)
def test_refused(text: str, complaint: str) -> None:
    with pytest.raises(SpanError, match="^") as refused:
        parse_span(text)
    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (0, "0s"),
        (1, "1us"),
        (9_999, "9999us"),
        (10 * MSEC, "10ms"),
        (999_999, "999ms"),
        (SEC, "1s"),
        (1_500_000, "1.5s"),
        (59_900_000, "59.9s"),
        (MIN, "1min"),
        (90 * SEC, "1min 30s"),
        (15 * MIN, "15min"),
        (12 * HOUR, "12h"),
        (HOUR + 5 * SEC, "1h 5s"),
        (DAY + HOUR + MIN, "1d 1h"),
        (WEEK, "7d"),
        (-90 * SEC, "-1min 30s"),
    ],
)
def test_format(span: Usec, text: str) -> None:
    assert format_span(span) == text


def resolution(span: Usec) -> Usec:
    """What may be lost in print."""
    steps = ((10 * MSEC, 1), (SEC, MSEC), (MIN, 100 * MSEC), (HOUR, SEC), (DAY, MIN), (LONGEST + 1, HOUR))
    return next(step for below, step in steps if span < below)


@given(st.integers(0, LONGEST))
def test_round_trip(span: Usec) -> None:
    assert abs(parse_span(format_span(span)) - span) < resolution(span)


PARTS = st.tuples(st.integers(0, 300), st.sampled_from([name for names in UNITS for name in names.split()[:1]]))


@given(st.lists(PARTS.filter(lambda part: part[1] not in ("y", "M", "w")), min_size=1, max_size=5))
def test_parts_add_up(parts: list[tuple[int, str]]) -> None:
    total = sum(parse_span(f"{number}{unit}") for number, unit in parts)
    assert parse_span(" ".join(f"{number}{unit}" for number, unit in parts)) == total


@given(st.text())
def test_any_text_is_a_span_or_a_span_error(text: str) -> None:
    try:
        assert 0 <= parse_span(text) <= LONGEST
    except SpanError as error:
        assert str(error)
