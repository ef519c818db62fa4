# SPDX-License-Identifier: LGPL-2.1-or-later
"""The desk with its engine and real hands, without a daemon: for tests of what callers get and cause."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from idled.access import Access
from idled.config.store import Store
from idled.control.peer import Peer
from idled.control.service import Answer, Call
from idled.control.wire import VarlinkError
from idled.core.engine import Engine
from idled.core.events import Opened, Record, Reloaded
from idled.core.model import Session, SessionId
from idled.desk import Desk
from idled.hands import Hands
from idled.health import Health
from idled.journal import Journal
from idled.reception import Reception
from idled.state import State

POLICY = """
mode = "enforce"
[defaults]
idle_timeout = "15min"
[access]
"""


class Notebook(Journal):
    """A journal that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)
        super().write(record)


class FrontOffice:
    """All that the desk needs, in a folder of its own."""

    def __init__(self, folder: Path, policy: str = POLICY) -> None:
        self.main = folder / "idled.toml"
        self.main.write_text(policy)
        self.store = Store(self.main, folder / "state", observe=False)
        self.journal = Notebook()
        found, records = self.store.start()
        for record in records:
            self.journal.write(record)
        self.engine = Engine(found)
        self.hands = Hands(
            engine=self.engine, journal=self.journal, state=State(folder / "sessions"), start=self._start
        )
        self.access = Access(self.engine, self.hands.registry)
        self.reception = Reception(self.hands, lambda what: None)
        self.refused: list[str] = []
        self.desk = Desk(
            hands=self.hands,
            journal=self.journal,
            store=self.store,
            access=self.access,
            health=Health(hands=self.hands, journal=self.journal, store=self.store, reception=self.reception),
            reload=self.reload,
            refuse=self.refused.append,
        )
        self.methods = self.desk.methods()
        self._tasks: set[asyncio.Task[None]] = set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Let go of what the hands hold, as the end of a daemon does."""
        self.hands._connections._netlink.close()
        self.hands._alarm.close()

    async def reload(self) -> None:
        policy, records = self.store.reload()
        for record in records:
            self.journal.write(record)
        if policy is not None:
            self.hands.handle(Reloaded(policy=policy))

    def open(self, pid: int, uid: int, **what: Any) -> Session:
        """A session that no process has."""
        session = Session(id=SessionId("b", pid, pid), user=f"u{uid}", uid=uid, opened_at=0, logind=str(pid))
        session = replace(session, **what)
        self.hands.handle(Opened(session=session))
        return session

    async def ask(self, peer: Peer, method: str, **parameters: Any) -> Answer:
        """What a peer gets."""
        found: Any = self.methods[method](Call(peer=peer, parameters=parameters))
        answer: Answer = await found
        return answer

    async def refusal(self, peer: Peer, method: str, **parameters: Any) -> str:
        """The name of the error that a peer gets; empty for an answer."""
        try:
            await self.ask(peer, method, **parameters)
        except VarlinkError as error:
            return error.name.rpartition(".")[2]
        return ""


def acting(folder: Path, story: Callable[[FrontOffice], Awaitable[None]], policy: str = POLICY) -> None:
    """Let a story happen in an office of that policy."""

    async def all_of_it() -> None:
        office = FrontOffice(folder, policy)
        try:
            await story(office)
        finally:
            office.close()

    asyncio.run(all_of_it())


@asynccontextmanager
async def serving(office: FrontOffice, path: Path) -> AsyncIterator[Path]:
    """The desk on a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(socket.SOMAXCONN)
        service = office.desk.service()
        service.listen(listener)
        failures: list[dict[str, Any]] = []  # a daemon would end for each
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        yield path
        service.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        while others:
            task = others.pop()
            task.cancel()
            await asyncio.wait((task,))
        gc.collect()
        assert failures == []
