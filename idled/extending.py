# SPDX-License-Identifier: LGPL-2.1-or-later
"""How an extension is asked for, from the call to the engine: the only way in which a limit is moved.

What the rules say of it stands in ``core.extension``, who may ask in ``access``. Here is the order: what is refused
anyway is refused before anybody is asked for a password; when the password was right the rules are asked again, as the
session may have ended, or been extended, meanwhile. Every grant and every refusal is recorded. The calls of one caller
take turns, and a refused one makes the next wait, so that nobody guesses fast or floods the journal.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from . import clock, words
from .access import Access, Deed
from .control.peer import Peer
from .control.service import Answer, Call, invalid
from .control.wire import VarlinkError
from .core.events import ExtensionAsked
from .core.extension import Request
from .core.model import Allowance, Limits, Reason, Session
from .hands import Hands
from .reauthenticate import Reauthentication

#: Seconds after a refusal until the same caller's next call is heard.
_PAUSE: Final = 1.0
#: Callers who may not extend the session they name take turns together, however many uids they have.
_STRANGERS: Final = -1
_LIMITS: Final = {reason.value: reason for reason in (Reason.IDLE, Reason.ABSOLUTE)}
_INT64: Final = range(-(2**63), 2**63)
#: Letters of a reason.
_REASON: Final = 200


class Extending:
    """The method Extend."""

    def __init__(
        self,
        *,
        hands: Hands,
        access: Access,
        reauthentication: Reauthentication,
        view: Callable[[Session], Answer],
    ) -> None:
        self._engine = hands.engine
        self._hands = hands
        self._access = access
        self._reauthentication = reauthentication
        self._view = view
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    async def extend(self, call: Call) -> Answer:
        """Move a limit of a session, or raise what is against it."""
        given = call.take(
            session=str | None, limit=str | None, byUSec=int | None, reason=str | None, password=str | None
        )
        password = _taken(call, given)
        try:
            return await self._extend(call.peer, given, password)
        finally:
            if password is not None:
                password[:] = bytes(len(password))

    async def _extend(self, peer: Peer, given: dict[str, Any], password: bytearray | None) -> Answer:
        session = self._access.meant(peer, given["session"])
        request = await self._request(peer, session, given)
        permitted = request.privileged or self._access.may(peer, Deed.EXTEND, session)
        if permitted and not self._against(session, request):
            self._want_password(session, request, password)
        async with self._turn(peer.uid if permitted else _STRANGERS):
            why = self._against(session, request) if permitted else "not permitted"
            if not why and self._want_password(session, request, password):
                why = await self._reauthentication.check(session.user, password or bytearray())
            why = why or self._engine.refusal(session.id, request, clock.now())
            self._hands.handle(ExtensionAsked(session=session, request=request, refused=why))
            if not permitted:
                raise VarlinkError("io.idled.NotPermitted")
            if why:
                raise VarlinkError("io.idled.ExtensionRefused", reason=why)
        return {"session": self._view(session)}

    async def _request(self, peer: Peer, session: Session, given: dict[str, Any]) -> Request:
        """What is asked for; what was left out is as the rules have it."""
        if given["limit"] not in (None, *_LIMITS):
            raise invalid("limit")
        if given["byUSec"] is not None and given["byUSec"] not in _INT64:
            raise invalid("byUSec")
        limits = self._engine.limits(session.id) or Limits()
        allowed = limits.extend or Allowance(limit=_the_one(limits), by_at_most=0)
        return Request(
            limit=allowed.limit if given["limit"] is None else _LIMITS[given["limit"]],
            by=allowed.by_at_most if given["byUSec"] is None else given["byUSec"],
            who=await self._access.who(peer),
            uid=peer.uid,
            privileged=self._access.may(peer, Deed.MOVE, session),
            note=words.clean(given["reason"] or "", _REASON),
        )

    def _against(self, session: Session, request: Request) -> str:
        """What there is against it, whoever knows the password."""
        if request.privileged and not request.note:
            return "a reason was expected"
        return self._engine.refusal(session.id, request, clock.now())

    def _want_password(self, session: Session, request: Request, password: bytearray | None) -> bool:
        """Whether the password is to be checked; where it is missing, say that it is wanted."""
        limits = self._engine.limits(session.id)
        if request.privileged or limits is None or limits.extend is None or not limits.extend.reauthenticate:
            return False
        if password is None and not self._reauthentication.closed(session.user):
            raise VarlinkError("io.idled.AuthenticationRequired", user=session.user)
        return True

    @asynccontextmanager
    async def _turn(self, caller: int) -> AsyncIterator[None]:
        lock = self._turns.setdefault(caller, asyncio.Lock())
        await lock.acquire()
        pause = _PAUSE
        try:
            yield
            pause = 0.0
        finally:
            asyncio.get_running_loop().call_later(pause, lock.release)


def _the_one(limits: Limits) -> Reason:
    """The limit that is meant where neither the caller nor a rule names one."""
    return Reason.IDLE if limits.absolute_timeout is None else Reason.ABSOLUTE


def _taken(call: Call, given: dict[str, Any]) -> bytearray | None:
    """The password, taken out of all that holds it, as something that can be overwritten."""
    call.parameters.pop("password", None)
    password = given.pop("password")
    return None if password is None else bytearray(password.encode(errors="surrogatepass"))
