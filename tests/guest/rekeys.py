# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that rekey all the time, and whether that is taken for traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from idled.core.activity import ConnectionLook, Look, Trace, first_trace, follow
from tests.terminal.bench import until

from .terminal import Terminal, boottime

#: What the client says about it.
_BEGUN, DONE = "SSH2_MSG_KEXINIT sent", "SSH2_MSG_NEWKEYS received"
#: It says something all the time; who has sent nothing at all does not rekey either.
_TELLING = ("RekeyLimit=default 2s", "ServerAliveInterval=1", "ServerAliveCountMax=100", "LogLevel=DEBUG1")
TELLING = tuple(word for option in _TELLING for word in ("-o", option))
GROUP_EXCHANGE = "diffie-hellman-group-exchange-sha256"
#: Hides what the privileged sshd is asked, and no release offers it by itself.
NOT_TOLD_APART = {"diffie-hellman-group-exchange-sha1"}


class Rekeying(NamedTuple):
    """A client that tells, and how its connection is looked at."""

    client: Terminal
    look: Callable[[], ConnectionLook]

    def at_rest(self, done: int) -> ConnectionLook:
        """A look when so many key exchanges are done and none has begun."""

        def look() -> ConnectionLook | None:
            counts, found = self._begun_and_done(), self.look()
            at_rest = counts == self._begun_and_done() and counts[0] == counts[1] >= done and not found.moving
            return found if at_rest else None

        return until(look, 60)

    def is_traffic_since(self, before: ConnectionLook, done: int) -> bool:
        """Whether what happened until so many are done is taken for traffic."""
        trace = _seen(first_trace(1), before)
        now = self.at_rest(done)
        if now.asked == before.asked != 0:  # what the client tells can come late: the look before had seen it already
            now = self.at_rest(done + 1)
        assert now.asked > before.asked or now.asked == 0  # where there is but one sshd it asks nobody
        return _seen(trace, now).traffic_until != trace.traffic_until

    def _begun_and_done(self) -> tuple[int, int]:
        return self.client.text.count(_BEGUN), self.done

    @property
    def done(self) -> int:
        """How many key exchanges are."""
        return self.client.text.count(DONE)


def _seen(trace: Trace, connection: ConnectionLook) -> Trace:
    return follow(trace, Look(at=boottime(), offset=0, connection=connection))


def taken_for_traffic(rekeying: Mapping[str, Rekeying]) -> list[str]:
    """Of which sessions without a terminal a rekey is."""
    before = {way: (one.at_rest(1), one.done + 1) for way, one in rekeying.items()}
    return [way for way, one in rekeying.items() if one.is_traffic_since(*before[way])]
