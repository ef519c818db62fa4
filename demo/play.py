# SPDX-License-Identifier: LGPL-2.1-or-later
"""The play: the servers start, four people log in at once, everything is shown, and at the end it is judged."""

import asyncio
import signal
from contextlib import suppress
from typing import Any, TextIO

from . import plan, stage
from .people import PATIENCE, PLAYS
from .person import Person, now
from .picture import Event, Row
from .servers import Daemon, NotStarted, Record, left_of, message, sshd_log, start_sshd
from .show import Show, show_on_stdout
from .verdict import Finding, judge

_LOOK_EVERY = 0.25
#: Whoever is still there after this many seconds is stuck.
_LONGEST = 90.0


async def run(*, observe: bool, svg: TextIO | None) -> int:
    """Play it all; the exit code."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with show_on_stdout(svg) as show:
        try:
            return await Play(show, stage.build()).run(observe=observe)
        except NotStarted as error:
            show.problem(str(error))
        except asyncio.CancelledError:
            show.problem("stopped")
    return 1


class Play:
    """One run of it."""

    def __init__(self, show: Show, uids: dict[str, int]) -> None:
        self._show = show
        self._uids = uids
        self._daemon = Daemon(self._record)
        self._people = [Person(role, self._event) for role in plan.ROLES]

    async def run(self, *, observe: bool) -> int:
        """From the first login to the verdict; 0 when all went well."""
        await self._daemon.start(observe=observe)
        await start_sshd()
        looker = asyncio.create_task(self._look_on())
        await self._act()
        await self._settle()
        looker.cancel()
        with suppress(asyncio.CancelledError):
            await looker
        findings = [judge(person, self._daemon, left_of(self._uids[person.role.name])) for person in self._people]
        self._show.picture(await self._rows())
        code = await self._daemon.stop()
        self._show.end(findings, self._problems(findings, code))
        return 1 if self._problems(findings, code) else 0

    async def _act(self) -> None:
        """All four, side by side; whoever is stuck is left where he is, and the verdict will tell."""
        acts = [asyncio.create_task(self._person(person, 0.4 * number)) for number, person in enumerate(self._people)]
        await asyncio.wait(acts, timeout=_LONGEST)
        for act in acts:
            if act.done():
                act.result()
            act.cancel()

    async def _person(self, person: Person, after: float) -> None:
        await asyncio.sleep(after)
        await PLAYS[person.role](person)

    async def _settle(self) -> None:
        """An end is over when its last process is gone, which may be later than the terminal."""
        until = now() + PATIENCE
        open_ones = {person.role.name for person in self._people if person.closed_at is not None}
        while now() < until and open_ones & {session["user"] for session in await self._daemon.sessions()}:
            await asyncio.sleep(_LOOK_EVERY)

    async def _look_on(self) -> None:
        while True:
            self._show.picture(await self._rows())
            await asyncio.sleep(_LOOK_EVERY)

    async def _rows(self) -> list[Row]:
        sessions = {session["user"]: session for session in await self._daemon.sessions()}
        return [self._row(person, sessions.get(person.role.name)) for person in self._people]

    def _row(self, person: Person, session: dict[str, Any] | None) -> Row:
        ended = any(self._daemon.of(person.role.name, "ended"))
        return Row(role=person.role, session=session, closed_at=person.closed_at, ended=ended)

    def _record(self, record: Record) -> None:
        if "logind" not in message(record):  # which is not on this stage; idled says so and goes on
            self._show.event(Event(at=now(), who="idled", text=message(record), kind=record.get("IDLED_EVENT", "")))

    def _event(self, who: str, text: str) -> None:
        self._show.event(Event(at=now(), who=who, text=text))

    def _problems(self, findings: list[Finding], code: int) -> list[str]:
        """All that went wrong, in words."""
        problems = [f"{finding.role.name} {problem}" for finding in findings for problem in finding.problems]
        if any("could not log in" in problem for problem in problems):
            problems.append(f"sshd says:\n{sshd_log()}")
        return problems + ([f"the daemon exited with {code}"] if code else [])
