# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time spans as people write them, by the grammar of systemd.time(7), and back.

Inside the program a span is an integer of microseconds (`Usec`), never a float and never seconds.
"""

import re
from decimal import Decimal
from typing import Final, TypeAlias

#: A span in microseconds, or a moment in microseconds on CLOCK_BOOTTIME. Which one, the name tells: moments end
#: in ``_at`` or ``_until``.
Usec: TypeAlias = int

MSEC: Final = 1_000
SEC: Final = 1_000_000
MIN: Final = 60 * SEC
HOUR: Final = 60 * MIN
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
MONTH: Final = 2_629_800 * SEC
YEAR: Final = 31_557_600 * SEC

_UNITS: Final = {
    name: size
    for names, size in (
        ("us usec µs μs", 1),
        ("ms msec", MSEC),
        ("s sec second seconds", SEC),
        ("m min minute minutes", MIN),
        ("h hr hour hours", HOUR),
        ("d day days", DAY),
        ("w week weeks", WEEK),
        ("M month months", MONTH),
        ("y year years", YEAR),
    )
    for name in names.split()
}
_PART: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµμ]*)", re.ASCII)
#: No limit of a session is sensibly longer; what is longer is a slip of the hand.
LONGEST: Final = 10 * YEAR


class SpanError(ValueError):
    """The text is no time span; the message says what was wrong with it."""


def parse_span(text: str) -> Usec:
    """Microseconds of a span such as ``15min``, ``1h 30min`` or ``90`` (seconds)."""
    total, end = Decimal(0), 0
    stripped = text.strip()
    if not stripped:
        raise SpanError("an empty time span")
    while end < len(stripped):
        part = _PART.match(stripped, end)
        if part is None:
            raise SpanError(f"not a time span from {stripped[end:].strip()!r} on")
        number, unit = part.groups()
        if unit and unit not in _UNITS:
            raise SpanError(f"unknown unit of time {unit!r}")
        total += Decimal(number) * _UNITS[unit or "s"]
        end = part.end()
    if total > LONGEST:
        raise SpanError("longer than 10 years")
    return int(total)


def format_span(span: Usec) -> str:
    """A span as a person reads it and as `parse_span` takes it: the two largest units that are not zero.

    Below a minute tenths of a second are kept, below ten milliseconds microseconds.
    """
    if span < 0:
        return "-" + format_span(-span)
    if span < 10 * MSEC:
        return f"{span}us" if span else "0s"
    if span < MIN:
        return f"{span / SEC:.1f}".removesuffix(".0") + "s" if span >= SEC else f"{span // MSEC}ms"
    seconds = span // SEC
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])
