# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where extensions are asked for: the engine on its virtual clock, callers that are made up, and a PAM that is.

The password of each user is the user's name, backwards.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import patch

from idled.access import Access
from idled.control.peer import Peer
from idled.control.service import Call
from idled.control.wire import VarlinkError
from idled.core.events import Event, Opened
from idled.core.model import Session, SessionId
from idled.core.policy import Policy
from idled.core.span import Usec
from idled.extending import Extending
from idled.hands import Hands
from idled.reauthenticate import Reauthentication
from idled.sources.registry import Registry

from .core.driver import Driver

UIDS: Final = {"root": 0, "alice": 1000, "bob": 1001, "helper": 1003}


def password_of(user: str) -> str:
    return user[::-1]


class Office:
    """One daemon after the other, as far as extensions go."""

    def __init__(self, policy: Policy) -> None:
        self.driver = Driver(policy)
        self.place: SessionId | None = None  # where callers run
        self.asked: list[tuple[str, bool]] = []  # whose password was given to PAM, and whether it was right
        self.turns = 1  # of the loop, that PAM takes
        self.start()

    def start(self) -> None:
        """What is made anew with each daemon."""
        hands = SimpleNamespace(engine=self.driver.engine, handle=self.handle)
        registry = SimpleNamespace(around=self._around, name_of=_name_of, uid_of=_uid_of)
        self.access = Access(self.driver.engine, cast(Registry, registry))
        self.troubles: list[str] = []
        self.extending = Extending(
            hands=cast(Hands, hands),
            access=self.access,
            reauthentication=Reauthentication(self.troubles.append),
            view=lambda session: {"id": str(session.id)},
        )

    def handle(self, event: Event) -> None:
        self.driver.tell(event)

    def session(self, id: SessionId) -> Session:
        return self.driver.status(id).session

    def open(self, user: str = "alice", *, last_resort: Usec | None = None) -> SessionId:
        id = self.driver.open(user)
        self.driver.tell(Opened(session=replace(self.session(id), uid=UIDS[user], last_resort=last_resort)))
        return id

    async def ask(self, who: str, **parameters: Any) -> str:
        """What comes of a call: nothing when it is granted, or else the error."""
        peer = Peer(pid=os.getpid(), uid=UIDS.get(who, 4000), seen_at=2**62)
        try:
            answer = await self.extending.extend(Call(peer=peer, parameters=parameters))
        except VarlinkError as error:
            return ": ".join([error.name.rpartition(".")[2], *map(str, error.parameters.values())])
        assert answer["session"]
        return ""

    async def ask_pam(self, user: str, password: bytearray) -> int:
        right = password == password_of(user).encode()
        self.asked.append((user, right))
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return 0 if right else 10

    @contextmanager
    def made_up(self) -> Iterator[None]:
        """With the virtual clock and the made-up PAM in place of the real ones, and nobody kept waiting."""
        with ExitStack() as stack:
            stack.enter_context(patch("idled.clock.now", lambda: self.driver.now))
            stack.enter_context(patch("idled.reauthenticate._ask_pam", self.ask_pam))
            stack.enter_context(patch("idled.extending._PAUSE", 0.0))
            yield

    def _around(self, _pid: int) -> Session | None:
        return self.session(self.place) if self.place is not None and self.place in self.driver.engine else None


async def _name_of(uid: int) -> str | None:
    return {uid: user for user, uid in UIDS.items()}.get(uid)


async def _uid_of(user: str) -> int | None:
    return UIDS.get(user)
