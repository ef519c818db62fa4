# SPDX-License-Identifier: LGPL-2.1-or-later
"""The interface io.idled: its description as varlink wants it, and how a session is shown in it.

Spans end in USec. Moments are not given: a span from the answer on can be counted down by any clock.
"""

from typing import Any, Final

from ..core.model import Reason
from ..core.watch import Status

NAME: Final = "io.idled"

DESCRIPTION: Final = """\
# Ends terminal and SSH sessions that are idle or open for too long.
interface io.idled

# A session that is open. All spans are microseconds.
type Session (
  # leader pid and its start time: never used twice while the machine runs
  id: string,
  # what people call it: the id of logind, or else the pid of the leader
  name: string,
  leader: int,
  user: string,
  uid: int,
  service: string,
  # where the person comes from; empty for a console
  remote: string,
  terminals: []string,
  # open, warned or ending
  state: string,
  # whether activity can be observed; if not, no idle timeout applies
  observed: bool,
  idleUSec: int,
  ageUSec: int,
  # limits, each with the rule that set it; none is no limit
  idleTimeoutUSec: ?int,
  idleRule: ?string,
  absoluteTimeoutUSec: ?int,
  absoluteRule: ?string,
  # a program for which the idle timeout waits
  heldBy: ?string,
  # the limit that ends it if nothing changes (idle or absolute), when, and when it is warned of that next
  reason: ?string,
  endsInUSec: ?int,
  warnsInUSec: ?int
)

# The sessions the caller may see: all for root, else those of the caller. The mode is observe or enforce.
method ListSessions() -> (mode: string, sessions: []Session)
"""

SERVICE_DESCRIPTION: Final = """\
# Every varlink service has this interface.
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
error PermissionDenied ()
"""


def session_view(status: Status, now: int) -> dict[str, Any]:
    """A session as the interface shows it. `now` is the moment of the answer on CLOCK_BOOTTIME."""
    session, limits = status.session, status.limits
    view = {
        "id": str(session.id),
        "name": session.name,
        "leader": session.id.pid,
        "user": session.user,
        "uid": session.uid,
        "service": session.service,
        "remote": session.remote,
        "terminals": list(status.terminals),
        "state": "ending" if status.ending else "warned" if status.warned else "open",
        "observed": status.observed,
        "idleUSec": status.idle,
        "ageUSec": status.age,
        "idleTimeoutUSec": limits.idle_timeout,
        "idleRule": limits.rule(Reason.IDLE),
        "absoluteTimeoutUSec": limits.absolute_timeout,
        "absoluteRule": limits.rule(Reason.ABSOLUTE),
        "heldBy": status.holder or None,
        "reason": status.reason.value if status.reason else None,
        "endsInUSec": None if status.due_at is None else max(0, status.due_at - now),
        "warnsInUSec": None if status.warn_at is None else max(0, status.warn_at - now),
    }
    return {key: value for key, value in view.items() if value is not None}
