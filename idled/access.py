# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may do what with whose sessions: decided by the caller's credentials, which the kernel vouches for, alone.

`TABLE` says it all; what is not in it may not be done. [access] in the policy names users and groups. Users are
compared by uid; the groups of a caller are those that its process has, as the kernel says, not those of its user by
NSS. So who is put into a group may do more from the next login on, as everywhere. Which uid and gid a name has is asked
of NSS in the background, when the policy is loaded and at each scan, and never while somebody waits.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Final

from . import procfs
from .control.peer import Peer
from .control.wire import VarlinkError
from .core.engine import Engine
from .core.model import Session
from .sources.registry import Registry


class Deed(Enum):
    """What somebody may do."""

    VIEW = "see it, how it comes to its limits, and its events"
    EXTEND = "extend it, within what its rules allow"
    MOVE = "move any limit of it, with a reason"
    END = "end it"
    OVERSEE = "ask about a login that has not happened, and see events of no session and what is wrong in the policy"
    RELOAD = "have the policy read anew"


class Whose(Enum):
    """Sessions of the caller's own uid, that of another in which the caller runs (su), or any of others."""

    OWN = "own"
    WITHIN = "another's, in which one is"
    OTHERS = "others'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Somebody, and what they may do with which sessions."""

    who: str  # root, anybody, or the key of [access] that names them
    deeds: frozenset[Deed]
    whose: frozenset[Whose] = frozenset(Whose)


#: Who may end or extend a session must see it; a right over others' sessions moves no limit of one's own.
TABLE: Final = (
    Row(who="root", deeds=frozenset(Deed)),
    Row(who="anybody", deeds=frozenset({Deed.VIEW, Deed.EXTEND}), whose=frozenset({Whose.OWN})),
    Row(who="anybody", deeds=frozenset({Deed.VIEW}), whose=frozenset({Whose.WITHIN})),
    Row(who="view", deeds=frozenset({Deed.VIEW, Deed.OVERSEE})),
    Row(who="extend", deeds=frozenset({Deed.VIEW})),
    Row(who="extend", deeds=frozenset({Deed.MOVE}), whose=frozenset({Whose.WITHIN, Whose.OTHERS})),
    Row(who="end", deeds=frozenset({Deed.VIEW, Deed.END})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The uids and gids that one key of [access] names."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()

    def name(self, peer: Peer) -> bool:
        """Whether the peer is among them."""
        return peer.uid in self.uids or not self.gids.isdisjoint(peer.gids)


def may(peer: Peer, deed: Deed, owner: int | None, grants: Mapping[str, Grants], *, within: bool = False) -> bool:
    """Whether a peer may do it with a session of that uid, in which it runs or not; None: with no session."""
    whose = Whose.OWN if owner == peer.uid else Whose.WITHIN if within else Whose.OTHERS
    return any(deed in row.deeds and whose in row.whose and _is(peer, row.who, grants) for row in TABLE)


def _is(peer: Peer, who: str, grants: Mapping[str, Grants]) -> bool:
    if who == "root":
        return peer.uid == 0
    return who == "anybody" or (who in grants and grants[who].name(peer))


class Access:
    """The table, applied to the sessions under watch."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry
        self._grants: dict[str, Grants] = {}

    async def refresh(self) -> None:
        """Ask NSS which uids and gids the policy names. A name that it does not know now grants nothing."""
        access = self._engine.policy.access
        keys = [key.name for key in fields(access)]
        found = await asyncio.gather(*(self._resolved(getattr(access, key)) for key in keys))
        self._grants = dict(zip(keys, found, strict=True))

    async def _resolved(self, names: tuple[str, ...]) -> Grants:
        registry = self._registry
        uids = await asyncio.gather(*(registry.uid_of(name[5:]) for name in names if name.startswith("user:")))
        gids = await asyncio.gather(*(registry.gid_of(name[6:]) for name in names if name.startswith("group:")))
        return Grants(
            uids=frozenset(uid for uid in uids if uid is not None),
            gids=frozenset(gid for gid in gids if gid is not None),
        )

    def may(self, peer: Peer, deed: Deed, session: Session | None = None) -> bool:
        """Whether the table lets the peer do it."""
        return may(peer, deed, None if session is None else session.uid, self._grants)

    def demand(self, peer: Peer, deed: Deed, session: Session | None = None) -> None:
        """Raise NotPermitted where the table does not let the peer do it."""
        if self.may(peer, deed, session):
            return
        within = session is not None and self.around(peer) == session
        if not within or not may(peer, deed, session.uid if session else None, self._grants, within=True):
            raise VarlinkError("io.idled.NotPermitted")

    def meant(self, peer: Peer, name: str | None) -> Session:
        """The session with that id or name, or without one that in which the peer runs; or raise NoSuchSession."""
        found = self.around(peer) if name is None else self._named(name)
        if found is None:
            raise VarlinkError("io.idled.NoSuchSession", session=name or "")
        return found

    def around(self, peer: Peer) -> Session | None:
        """The session in which the peer runs, by its ancestors and its cgroup; of root in sudo that of the person."""
        process = procfs.process(peer.pid)
        if process is None or process.start * procfs.TICK > peer.seen_at:
            return None
        found = self._registry.around(peer.pid)
        return found if peer.lives else None

    async def who(self, peer: Peer) -> str:
        """The peer in words, for the journal and for the person: root in sudo with the session it came from."""
        name = await self._registry.name_of(peer.uid) or f"uid {peer.uid}"
        session = self.around(peer)
        if session is None or session.uid == peer.uid:
            return name
        return f"{name} in session {session.name} of {session.user}"

    def _named(self, name: str) -> Session | None:
        return next((session for session in self._engine.sessions() if name in (str(session.id), session.name)), None)
