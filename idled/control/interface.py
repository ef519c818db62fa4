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
#
# Everybody may see and extend the own sessions; root may do all; [access] in the policy grants more, and who may end or
# extend the sessions of others sees them too. Who calls, the kernel says. A session is named by its id, by its name, or
# not at all: then it is the one that the caller runs in. All spans are microseconds.
#
# A call has at most 64 KiB and is whole within 10 s; a uid has at most 32 connections, each with one call at a time.
# Who passes these bounds is hung up on. Calls that come faster than 100 a second wait for their turn.
interface io.idled

# A session that is open.
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
  # what runs in it beside its terminals (sftp-server, rsync, ...), by names that its person can choose, so only to be
  # shown. Empty: nothing does, as with ssh -N; none where it cannot be told
  programs: ?[]string,
  # open, warned or ending
  state: string,
  # whether activity can be observed; if not, no idle timeout applies
  observed: bool,
  idleUSec: int,
  ageUSec: int,
  # limits, each with the rule that set it and what extensions added; none is no limit
  idleTimeoutUSec: ?int,
  idleRule: ?string,
  idleExtraUSec: ?int,
  absoluteTimeoutUSec: ?int,
  absoluteRule: ?string,
  absoluteExtraUSec: ?int,
  # a program for which the idle timeout waits
  heldBy: ?string,
  # the limit that ends it if nothing changes (idle or absolute), when, and when it is warned of that next
  reason: ?string,
  endsInUSec: ?int,
  warnsInUSec: ?int,
  # how its person may extend it, where that is allowed and not used up
  extend: ?Allowance
)

type Allowance (
  # idle or absolute
  limit: string,
  byAtMostUSec: int,
  timesLeft: int,
  # whether the password of the person is asked for
  reauthenticate: bool
)

# One record of the journal, as it is written.
type Event (
  # as IDLED_EVENT
  event: string,
  # what people read
  text: string,
  # as of syslog: 3 is an error, 4 a warning, 5 a notice, 6 information
  priority: int,
  # microseconds since 1970
  realtimeUSec: int,
  session: ?string,
  name: ?string,
  user: ?string
)

# A rule as it was asked about a session: why not is the first condition that does not hold, empty where it matches.
type Rule (
  name: string,
  whyNot: string,
  # the values it gives this session, as key = value
  gives: []string,
  # those that it has and an earlier rule gave
  overruled: []string
)

# What is known of a terminal. The spans are until now; queued is typed and not read.
type Terminal (
  name: string,
  stampedUSec: int,
  queued: int,
  # whether its stamp is believed; if not, it was set and not made by input
  believed: bool
)

type Connection (
  address: string,
  receivedUSec: int,
  sentUSec: int,
  # bytes the client delivered into the session, and that came out of it, counted from some point on, so that only
  # a change tells; none where they cannot be counted
  delivered: ?int,
  issued: ?int
)

# A moment to come if nothing changes: a warning or an end.
type Moment (
  # warn or end
  what: string,
  limit: string,
  inUSec: int
)

# The health of one source of sessions or evidence: logind, pam, utmp, journal, ...
type Source (
  name: string,
  works: bool,
  note: string
)

# The sessions the caller may see, as they are now; of thousands some as they were seen last. The mode is observe or
# enforce.
method ListSessions() -> (mode: string, sessions: []Session)

method GetSession(session: ?string) -> (session: Session)

# How a session comes to its limits, what its activity is told by, and what was not believed, in words.
method Explain(session: ?string) -> (
  session: Session,
  rules: []Rule,
  activity: []string,
  terminals: []Terminal,
  connection: ?Connection,
  notes: []string,
  moments: []Moment
)

# The same for a login that has not happened. Root and who may view only.
method ExplainLogin(user: string, service: ?string, remote: ?string, tty: ?string) -> (rules: []Rule)

# Move a limit of a session. Its person: within what the rules allow, with the password where they want it. Who may
# extend the sessions of others: any limit, with a reason. The limit and the span are those of the rules if not given.
method Extend(session: ?string, limit: ?string, byUSec: ?int, reason: ?string, password: ?string) -> (
  session: Session
)

# End a session now, whatever its limits are, in observe mode too. Its person is told who wanted it, and the reason.
method End(session: string, reason: ?string) -> ()

# Each event that the caller may see, from now on; to be called with more. Without, the next one. Events of no session
# are for root and who may view. Who takes them too slowly is hung up on.
method Monitor() -> (event: Event)

# Read the policy anew. Root only.
method Reload() -> (warnings: []string)

# How the daemon does. Sessions are counted, and troubles told, as far as the caller may see them.
method GetStatus() -> (
  version: string,
  mode: string,
  # whether sessions are being ended here if they are due, and if not, why not
  effective: bool,
  why: string,
  sessions: int,
  limited: int,
  unobserved: int,
  upUSec: int,
  files: []string,
  sources: []Source,
  # what went wrong last, newest first
  troubles: []Event
)

# There is none of that name; empty: the caller runs in none.
error NoSuchSession (session: string)
# The caller may not do that, or not with that session.
error NotPermitted ()
error ExtensionRefused (reason: string)
# Call again with the password of the session's user.
error AuthenticationRequired (user: string)
# What is wrong with the files; the policy before stays in force.
error PolicyRejected (problems: []string)
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


def session_view(status: Status, now: int, programs: list[str] | None) -> dict[str, Any]:
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
        "programs": programs,
        "state": "ending" if status.ending else "warned" if status.warned else "open",
        "observed": status.observed,
        "idleUSec": status.idle,
        "ageUSec": status.age,
        "idleTimeoutUSec": limits.idle_timeout,
        "idleRule": limits.rule(Reason.IDLE),
        "idleExtraUSec": status.extra[Reason.IDLE] or None,
        "absoluteTimeoutUSec": limits.absolute_timeout,
        "absoluteRule": limits.rule(Reason.ABSOLUTE),
        "absoluteExtraUSec": status.extra[Reason.ABSOLUTE] or None,
        "heldBy": status.holder or None,
        "reason": status.reason.value if status.reason else None,
        "endsInUSec": None if status.due_at is None else max(0, status.due_at - now),
        "warnsInUSec": None if status.warn_at is None else max(0, status.warn_at - now),
        "extend": _allowance_view(status),
    }
    return {key: value for key, value in view.items() if value is not None}


def _allowance_view(status: Status) -> dict[str, Any] | None:
    allowed = status.limits.extend
    if allowed is None or not status.times_left:
        return None
    return {
        "limit": allowed.limit.value,
        "byAtMostUSec": allowed.by_at_most,
        "timesLeft": status.times_left,
        "reauthenticate": allowed.reauthenticate,
    }
