# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each of the four does."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from . import plan
from .person import Person, now

#: How long after an end is due somebody still waits for it, in seconds.
PATIENCE: Final = 8.0
_COMMANDS: Final = "date\recho I am still here\rid\r"


async def anna(person: Person) -> None:
    """Keeps typing, slowly, and goes before the absolute limit comes near."""
    await person.log_in()
    person.says("types commands, a key every two seconds")
    await person.type_on(_COMMANDS, 2, now() + plan.ABSOLUTE - plan.WARNING - 2)
    person.type("\x15")  # clears the line
    await person.leave()


async def ben(person: Person) -> None:
    """Leaves three jobs running, one that is deaf to SIGHUP and one in a session of its own, and walks away."""
    await person.log_in("-o", "ServerAliveInterval=3")
    await person.rest(2)
    for job in ("sleep 1000", "nohup sleep 2000", "setsid sleep 3000"):
        person.type(f"{job} >/dev/null 2>&1 &\r")
        await person.rest(0.5)
    person.says("leaves 3 background jobs and walks away; his client sends keepalives")
    await person.rest(plan.IDLE + PATIENCE)


async def cleo(person: Person) -> None:
    """Types all the time, and is still there when the absolute limit comes."""
    await person.log_in()
    person.says("types commands, two keys a second, and does not go")
    await person.type_on(_COMMANDS, 0.5, now() + plan.ABSOLUTE + PATIENCE)


async def dave(person: Person) -> None:
    """Reads what is on the screen, and answers the warning in time."""
    await person.log_in()
    person.says("looks at the clock, and reads")
    person.type("date\r")
    if await person.sees("Press a key to stay", plan.IDLE):
        await person.rest(2)
        person.says("presses Enter: he is still here")
        person.type("\r")
        await person.sees("you are back", 5)
    await person.rest(7)
    await person.leave()


PLAYS: Final[Mapping[plan.Role, Callable[[Person], Awaitable[None]]]] = {
    plan.ANNA: anna,
    plan.BEN: ben,
    plan.CLEO: cleo,
    plan.DAVE: dave,
}
