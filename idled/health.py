# SPDX-License-Identifier: LGPL-2.1-or-later
"""GetStatus: whether limits are really enforced here, and if not, why not; and how each source does.

The first reason why not is told. A part that does not work is told among the sources, effective or not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .config.store import Store
from .core.engine import Engine
from .core.model import Mode
from .hands import Hands
from .journal import Journal
from .reception import Reception

_UTMP: Final = Path("/run/utmp")


class Health:
    """How the parts of the daemon do."""

    def __init__(self, *, hands: Hands, journal: Journal, store: Store, reception: Reception) -> None:
        self._hands = hands
        self._journal = journal
        self._store = store
        self._reception = reception

    @property
    def _engine(self) -> Engine:
        return self._hands.engine

    def why_not(self, *, whole: bool) -> str:
        """Why sessions that are due are not ended here; empty where they are. `whole`: what is wrong in a file, too."""
        policy = self._engine.policy
        if policy.mode is Mode.OBSERVE:
            return self._why_observe(whole)
        if not policy.sets_limits():
            return "no rule sets a limit"
        if not self._hands.logind.connected and not self._reception.registered and not self._engine.sessions():
            return f"no source tells of sessions: logind is {self._hands.logind.health}, and pam_idled registered none"
        return ""

    def _why_observe(self, whole: bool) -> str:
        if self._store.problems and not self._store.files:
            return f"the policy was rejected and the built-in one, which ends nobody, is in use{self._first(whole)}"
        by = "the daemon was started with --observe" if self._store.observe else 'the policy says mode = "observe"'
        return f"observe mode, in which nobody is warned or ended: {by}"

    def _first(self, whole: bool) -> str:
        """The first problem of the policy, for who may know what stands in it."""
        return f": {self._store.problems[0]}" if whole else ""

    def sources(self, *, whole: bool) -> list[dict[str, Any]]:
        """The health of each part that sessions, evidence and limits come from; `whole` as above."""
        return [{"name": name, "works": works, "note": note} for name, works, note in self._sources(whole)]

    def _sources(self, whole: bool) -> Iterator[tuple[str, bool, str]]:
        problems, registered = self._store.problems, self._reception.registered
        rejected = f"rejected, another is in use{self._first(whole)}" if problems else ""
        yield "policy", not problems, rejected or "as in the files"
        yield "logind", self._hands.logind.connected, self._hands.logind.health
        yield "pam", True, f"{registered} session{'' if registered == 1 else 's'} registered since the start"
        yield "utmp", True, "read every minute" if _UTMP.exists() else "there is none on this system"
        groupless = self._hands.registry.groupless
        yield "nss", not groupless, f"the groups of {groupless} sessions are not known yet" if groupless else "ok"
        uncounted = self._uncounted()
        yield "connections", not uncounted, f"the bytes of {uncounted} cannot be counted" if uncounted else "ok"
        yield "journal", *self._journal.health
        kept = self._hands.remembers
        yield "memory", kept, "ok" if kept else "what is known of sessions cannot be kept for a restart"

    def _uncounted(self) -> int:
        watches = [self._engine.watch(session.id) for session in self._engine.sessions()]
        return sum(watch is not None and watch.memory.trace.coarse for watch in watches)
