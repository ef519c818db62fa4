# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is given on the command line and is more than text: each reader says what was expected, by ArgumentTypeError."""

import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from typing import Any, Final


def span(text: str) -> int:
    """A span as in the policy."""
    from ..core.span import SpanError, parse_span

    try:
        return parse_span(text)
    except SpanError as error:
        raise ArgumentTypeError(f"{error}; expected a span, as 30min or 1h 15min") from None


def moment(text: str) -> int:
    """A moment in microseconds since 1970: a span ago, a time of today, or a date with or without a time."""
    from datetime import datetime

    for read in (_ago, _today, datetime.fromisoformat):
        if text.isdigit():  # seconds, an hour or a day: who knows
            break
        try:
            found = read(text.strip())
        except ValueError:
            continue
        return found if isinstance(found, int) else int(found.timestamp()) * 1_000_000
    raise ArgumentTypeError(f"{text!r} is no moment; expected one as 2h (ago), 14:30 or '2026-11-23 14:30'")


def _ago(text: str) -> int:
    from ..core.span import parse_span

    return time.time_ns() // 1000 - parse_span(text)


def _today(text: str) -> Any:
    from datetime import datetime
    from datetime import time as time_of_day

    return datetime.combine(datetime.now(), time_of_day.fromisoformat(text))


#: By the value that an argument has in the table of verbs; all others are text.
READERS: Final[Mapping[str, Callable[[str], int]]] = {"SPAN": span, "MOMENT": moment}
