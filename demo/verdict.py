# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether each session went as the policy says, measured where the person sits, beside what idled says."""

from dataclasses import dataclass

from . import plan
from .person import Person
from .servers import Daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one session went. Moments are CLOCK_BOOTTIME in seconds; `problems` is empty when it went as it should."""

    role: plan.Role
    due_at: float | None
    closed_at: float | None
    said_late: float | None  # what the daemon says of how late it was
    left: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def late(self) -> float | None:
        """How long after it was due the terminal was closed."""
        return None if self.due_at is None or self.closed_at is None else self.closed_at - self.due_at


def judge(person: Person, daemon: Daemon, left: list[str]) -> Finding:
    """Hold what happened against the role."""
    ended = next(daemon.of(person.role.name, "ended"), None)
    problems = [*_of_warning(person, daemon), *_of_end(person, daemon)]
    if left:
        problems.append(f"still there: {', '.join(left)}")
    return Finding(
        role=person.role,
        due_at=_due_at(person),
        closed_at=person.closed_at,
        said_late=int(ended["IDLED_LATE_USEC"]) / 1_000_000 if ended else None,
        left=tuple(left),
        problems=tuple(problems),
    )


def _due_at(person: Person) -> float | None:
    """When the limit that is to end the session is reached, as the person can tell."""
    if person.role.ended_by == "idle":
        return None if person.last_key_at is None else person.last_key_at + plan.IDLE
    if person.role.ended_by == "absolute":
        return None if person.let_in_at is None else person.let_in_at + plan.ABSOLUTE
    return None


def _of_warning(person: Person, daemon: Daemon) -> list[str]:
    warnings = [*daemon.of(person.role.name, "warned")]
    seen = "this session will be ended" in person.text
    if not person.role.warned:
        return ["was warned, for nothing"] if warnings or seen else []
    if not warnings or not seen:
        return ["was not warned"]
    if person.role.ended_by is None and "you are back" not in person.text:
        return ["the warning was not withdrawn"]
    return []


def _of_end(person: Person, daemon: Daemon) -> list[str]:
    name, reason = person.role.name, person.role.ended_by
    ends = [record.get("IDLED_REASON") for record in daemon.of(name, "ended")]
    if person.let_in_at is None:
        return ["could not log in"]
    if reason is None:
        if ends:
            return [f"was ended by the {ends[0]} limit"]
        closed = any(daemon.of(name, "session-closed")) and person.exit_code == 0
        return [] if closed else ["did not get to log out"]
    if person.closed_at is None:
        return ["was not ended"]
    if ends != [reason]:
        return [f"was not ended by the {reason} limit"]
    return _of_time(person)


def _of_time(person: Person) -> list[str]:
    due_at, reason = _due_at(person), person.role.ended_by or ""
    if due_at is None or person.closed_at is None:
        return []
    late = person.closed_at - due_at
    if late < 0:
        return [f"was ended {-late:.2f} s too early"]
    if late > plan.LATEST[reason]:
        return [f"was ended {late:.2f} s late, more than {plan.LATEST[reason]:g} s"]
    return []
