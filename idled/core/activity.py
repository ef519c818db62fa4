# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the looks at a session tell about when its person was last there.

Every kind of evidence is a bound: the latest moment at which something *can* have happened, for all that was seen.
A bound is never too early and only grows. What needs two kinds of evidence at once is bounded by the earlier bound.

1. Of a console: input on one of its terminals (`signs_until`, see ``stamps``).
2. Of an SSH session with terminals: such a sign, *and* bytes that its client delivered into the session
   (`bytes_until`). A stamp that was forged and input that was injected come without bytes; what a background job
   fetches through a forwarded agent comes without a sign. What is left of either is recorded once as forged.
   Some keys leave no sign: those of an unfinished line while a terminal takes input line by line, and those that the
   terminal itself takes (Ctrl-C, Ctrl-S). So in the first case the bytes alone count, and so they do when they are
   fewer than an agent's shortest answer (`hidden_until`). Among more bytes such a key is told only beside a sign of
   others: what then came in soon after the look before counts; what came over a long time does as far as a program
   wrote on a terminal (Ctrl-C brings a prompt). So it does in the look that shows a terminal first: what sshd said to
   get it is among the bytes.
3. Of an SSH session without terminals, or with none that sshd made for it: bytes that went into the session or came out
   of it (traffic). An editor's server makes terminals of its own, and who edits types in none of them.
   A rule may say otherwise for either kind, and may let output count (`output_until`); a line of ours, a warning, is
   none.
   Output counts while it is on its way: until the client acknowledged the last of it, over a slow line or a fast one,
   and no longer than the client acknowledges anything.
4. Bytes that were delivered between two looks were delivered, at the latest, when the connection last received
   anything. What arrives without delivering bytes (keepalives, chaff) blurs that; a session where this is seen is
   *chatty* and is looked at every few seconds, so that two looks are never far apart.
   Whether a client sends keepalives shows only once it is silent for as long as their interval, and no silence is
   longer. So looks at a connection are no farther apart than the longest *silence* that was seen of it, in which
   nothing came or went: if keepalives follow its last bytes, there is a look between.
   The kernel rounds that moment by up to a tick.
5. What the two sshd of a connection say to each other, to rekey, is no traffic; see ``rekeys``.
6. A doubtful stamp counts, since nobody may be ended for having typed ``mesg n``, or typing beside a job that forges
   stamps. Where no delivered bytes must agree it counts only three times in a session; and a session where one was
   seen is looked at every few seconds too.
7. What cannot be read is taken for activity until the present look where it was readable before. So is a terminal
   that is gone: its last input was perhaps how it was closed. But /proc may leave out what is there, so a look that
   lacks something is taken again first (`timing`, T13).
8. A sign without bytes can be the reading of what was typed before; a second one, or a doubtful one, is forged.
9. While a program that the policy names (``hold_while``) is in the foreground of a terminal, the session is *held*: as
   active as it can be, and looked at every few seconds, so that its idle time counts from when it was let go.
10. A look at a connection in the midst of a write can show less than went in or came out, never more. So the most that
   was seen is remembered. A look that shows even less than that tells nothing in a chatty session, where the next one
   is near; elsewhere it is taken for activity, as in 7.
11. An inner terminal, whose other side is not sshd's, may be fed from another session of the same user: a tmux that
    was started here, and attached to from there. So for its signs, input there is as good as bytes here; and while the
    user is active there, it is told no sharper than by the steps of its stamp.
12. On a console, what is typed ahead of a job leaves nothing but itself in the queue, which has no moment. So while a
    terminal there takes input line by line, or has some waiting, it is looked at every few seconds.
13. What has arrived and was not read by sshd, which is stuck then, was not delivered, and can be a key: it counts. But
    sshd runs as the user, who can stop it, and let the client's keepalives wait: so it does not in a chatty session,
    and only once after bytes were delivered.

What is not here: how all this is read (``evidence``), and what follows from it (``engine``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .model import Activity
from .rekeys import apart
from .span import SEC, Usec
from .stamps import STEP, TICK, Sign, TerminalLook, Window, sign, written_until

_DOUBTS: Final = 3
#: Of chatter: looks without it, a second or more apart, until the session is no longer chatty.
_CALM_LOOKS: Final = 100
#: From a key there to its sign here, at most.
_FED: Final = SEC
#: More bytes than sshd itself has under way, even in a rekey.
_CHATTER: Final = 8_192
#: A client that acknowledges nothing for so long, although there is something to, is not there.
_DEAF: Final = 3 * SEC
#: Bytes of an ssh-agent's shortest answer: its length and a type.
_ANSWER: Final = 5
#: More bytes than a line of ours comes to.
_TOLD: Final = 1024
#: Looks no farther apart blur when bytes came by no more than an SSH session may be late.
_NEAR: Final = 4 * SEC


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLook:
    """One SSH connection at one moment. The counters count bytes since it began; None where they cannot be read."""

    received_at: Usec  # when the kernel last received data on it
    sent_at: Usec  # when it last sent data
    wire_in: int  # bytes on the wire
    wire_out: int  # of those sent, the ones that were acknowledged
    unread: int = 0  # of those received, what sshd has not read yet
    stopped: bool = False  # and will not, as its user stopped it, or took it to where it can be frozen
    unheard: int = 0  # bytes that were written and not yet acknowledged
    heard_at: Usec | None = None  # when the client last acknowledged anything
    counted: int | None = None  # pid of the sshd whose counters the next two come from
    delivered: int | None = None  # what the client delivered into the session
    issued: int | None = None  # what came out of the session
    asked: int = 0  # what the privileged sshd read in all, and
    answered: int = 0  # wrote, if it is another
    moving: bool = False  # they were in the midst of something, so all four may not fit together


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was to be seen of a session at the moment `at`."""

    at: Usec
    offset: Usec  # wall clock minus CLOCK_BOOTTIME at that moment
    terminals: tuple[TerminalLook, ...] = ()
    connection: ConnectionLook | None = None
    holder: str = ""  # path of a program that holds the session (9)

    @property
    def observed(self) -> bool:
        """Whether activity of this session can be seen at all."""
        return bool(self.terminals) or (self.connection is not None and not self.coarse)

    @property
    def outer(self) -> bool:
        """Whether any of its terminals is its own: a console's, or one that sshd made (3)."""
        return not all(terminal.inner for terminal in self.terminals)

    @property
    def coarse(self) -> bool:
        """Whether there is a connection whose counters cannot be read: no OpenSSH, or no privilege."""
        return self.connection is not None and self.connection.delivered is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is remembered of all looks so far. `active_until` is the bound on activity that counts."""

    at: Usec
    offset: Usec | None  # as of the look; None before the first of a session whose opening told of none
    active_until: Usec
    signs_until: Usec
    hidden_until: Usec
    bytes_until: Usec
    traffic_until: Usec
    output_until: Usec = 0
    out_to: int = 0  # where on the wire the session's last output ends, so far as is known
    told: bool = False  # we wrote on its terminals since the last look
    terminals: tuple[TerminalLook, ...] = ()
    connection: ConnectionLook | None = None
    doubts: int = 0
    chatty: int = 0  # looks that are still to be taken in quick succession
    waited: bool = False  # what waits to be read by sshd was counted, and no bytes were delivered since (13)
    silence: Usec = 0  # the longest time, seen of its connection, for which nothing came or went (4)
    unexplained: int = 0  # signs since bytes were last delivered
    forged: bool = False  # the session showed activity that was none (2, 6, 8)
    holder: str = ""  # what held the session at the last look (9)
    inner_until: Usec = 0  # the signs of inner terminals alone (11)
    coarse: bool = False  # it was recorded that the bytes of its connection cannot be counted

    @property
    def inner(self) -> bool:
        """Whether it has terminals that may be fed from elsewhere (11)."""
        return any(terminal.inner for terminal in self.terminals)

    @property
    def wary(self) -> bool:
        """Whether the next look must not be far away (4, 6, 9, 12)."""
        typed_ahead = any(terminal.canonical or terminal.queued for terminal in self.terminals)
        return self.chatty > 0 or self.doubts > 0 or self.holder != "" or (typed_ahead and self.connection is None)


def first_trace(opened_at: Usec, offset: Usec | None = None) -> Trace:
    """Before the first look: opening a session is activity. `offset`: of the wall clock at that moment, if known."""
    return Trace(
        at=opened_at,
        offset=offset,
        active_until=opened_at,
        signs_until=opened_at,
        hidden_until=opened_at,
        bytes_until=opened_at,
        traffic_until=opened_at,
    )


def lacks(trace: Trace, look: Look) -> bool:
    """Whether a terminal is not to be seen that was at the look before, or the bytes of the connection are not (7)."""
    was, now = trace.connection, look.connection
    uncounted = was is not None and was.counted is not None and (now is None or now.counted != was.counted)
    seen = {terminal.device for terminal in look.terminals}
    return uncounted or any(terminal.device not in seen for terminal in trace.terminals)


def follow(
    trace: Trace, look: Look, kinds: frozenset[Activity] = frozenset(), elsewhere_until: Usec | None = None
) -> Trace:
    """The trace after one more look. `kinds`: what counts as activity; empty is what counts by itself (1 to 3).

    `elsewhere_until`: until when the user can have been active in another session; None where there is none (11).
    """
    before = {terminal.device: terminal for terminal in trace.terminals}
    window = _window(trace, look)
    signs = [sign(before.get(terminal.device), terminal, window) for terminal in look.terminals]
    doubtful = any(found.doubtful for found in signs)
    moved = any(found.moved for found in signs)
    exact = look.connection is not None and look.connection.counted is not None
    believed = [found.until for found in signs if exact or not found.doubtful or trace.doubts < _DOUBTS]
    new = replace(
        trace,
        at=look.at,
        offset=look.offset,
        signs_until=max([trace.signs_until, *believed, *_vanished(before, look)]),
        terminals=tuple(_remembered(before, *pair) for pair in zip(look.terminals, signs, strict=True)),
        doubts=min(trace.doubts + doubtful, _DOUBTS),
    )
    new = _with_connection(new, trace.connection, trace.at, look)
    new = replace(new, hidden_until=max(trace.hidden_until, _hidden_until(trace, look, signs, window, new.bytes_until)))
    new = _with_suspicion(new, trace, look, doubtful=doubtful, moved=moved)
    inner = [found for terminal, found in zip(look.terminals, signs, strict=True) if terminal.inner]
    outer = [found for terminal, found in zip(look.terminals, signs, strict=True) if not terminal.inner]
    new = replace(new, inner_until=max([trace.inner_until, *(found.until for found in inner)]))
    fed_until = elsewhere_until if elsewhere_until is not None and inner else 0
    if (exact and not outer) or (not any(found.moved for found in outer) and _explains(fed_until, trace.at, inner)):
        new = replace(new, unexplained=0, forged=trace.forged)
    held_until = look.at if look.holder or trace.holder else 0
    active_until = max(trace.active_until, _active_until(new, look, kinds, fed_until), held_until)
    return replace(new, active_until=active_until, holder=look.holder, told=False)


def _with_suspicion(new: Trace, trace: Trace, look: Look, *, doubtful: bool, moved: bool) -> Trace:
    """Take note of signs that nobody's input explains (6, 8)."""
    was, now = trace.connection, look.connection
    if was is None or now is None or was.counted is None or was.counted != now.counted:
        return replace(new, forged=new.forged or (doubtful and trace.doubts >= _DOUBTS - 1))
    if _moved(was, now)[0] != 0:
        return replace(new, unexplained=0)
    unexplained = trace.unexplained + moved
    return replace(new, unexplained=unexplained, forged=new.forged or (moved and (doubtful or unexplained >= 2)))


def _explains(fed_until: Usec, since: Usec, inner: Iterable[Sign]) -> bool:
    """Whether what moved since the look before can have been typed elsewhere, until then (11)."""
    return fed_until + _FED >= max([since, *(found.until - STEP for found in inner if found.moved)])


def _window(trace: Trace, look: Look) -> Window:
    return Window(
        begin=trace.at,
        end=look.at,
        begin_offset=look.offset if trace.offset is None else trace.offset,
        end_offset=look.offset,
    )


def _vanished(before: Mapping[int, TerminalLook], look: Look) -> list[Usec]:
    """Until when there can have been input on a terminal that is gone (7)."""
    return [look.at] if before.keys() - {terminal.device for terminal in look.terminals} else []


def _remembered(before: Mapping[int, TerminalLook], now: TerminalLook, found: Sign) -> TerminalLook:
    """What the next look is compared with (`stamps`, 5)."""
    was = before.get(now.device)
    stays = was is not None and was.doubted and was.atime == now.atime
    return replace(now, mtime=0, doubted=found.doubtful or stays)


def _active_until(trace: Trace, look: Look, kinds: frozenset[Activity], fed_until: Usec) -> Usec:
    """The bound on what counts; where the counters cannot be read, input is all there is."""
    exact = look.connection is not None and look.connection.delivered is not None
    bounds = {
        Activity.INPUT: _input_until(trace, look, fed_until),
        Activity.OUTPUT: trace.output_until,
        Activity.TRAFFIC: max(trace.traffic_until, min(trace.inner_until, fed_until)),
    }
    kinds = kinds or frozenset({Activity.INPUT if look.outer else Activity.TRAFFIC})
    return max(bounds[kind] for kind in (kinds if exact else (Activity.INPUT,)))


def _input_until(trace: Trace, look: Look, fed_until: Usec) -> Usec:
    if look.connection is None:
        return trace.signs_until
    if look.connection.delivered is None:
        own = min(trace.signs_until, look.connection.received_at + TICK)
        return max(own, min(trace.inner_until, fed_until))
    if not look.outer:
        return max(trace.bytes_until, min(trace.inner_until, fed_until))
    own = min(max(trace.signs_until, trace.hidden_until), trace.bytes_until)
    return max(own, min(trace.inner_until, fed_until))


def _hidden_until(trace: Trace, look: Look, signs: list[Sign], window: Window, bytes_until: Usec) -> Usec:
    """Until when there can have been keys that left no sign (2); 0: since the look before none that are told."""
    if _hides(trace, look):
        return bytes_until
    known = {terminal.device for terminal in trace.terminals}
    outer = [pair for pair in zip(look.terminals, signs, strict=True) if not pair[0].inner]
    shown = [pair for pair in outer if pair[1].until and not pair[1].doubtful]
    if not shown:
        return 0
    new = any(found.moved or terminal.device not in known for terminal, found in shown)
    if new and window.end - window.begin <= _NEAR:
        return bytes_until
    return min(bytes_until, max(written_until(terminal, window) for terminal, _ in outer))


def _hides(trace: Trace, look: Look) -> bool:
    """Whether the bytes that came since the look before, delivered (2) or not (13), can be keys that left no sign."""
    line_by_line = any(terminal.canonical for terminal in (*trace.terminals, *look.terminals))
    was, now = trace.connection, look.connection
    if was is None or now is None or was.delivered is None or now.delivered is None:
        return line_by_line
    went_in, _ = _moved(was, now)
    return _waits(trace, trace.at, now) or (_counts(trace, went_in) and (line_by_line or went_in < _ANSWER))


def _waits(trace: Trace, since: Usec, now: ConnectionLook) -> bool:
    """Whether sshd is stuck, and what came in since the look before, which it did not read, can be a key (13)."""
    return now.unread > 0 and now.received_at > since + TICK and not trace.chatty and not trace.waited


def _with_connection(trace: Trace, was: ConnectionLook | None, was_at: Usec, look: Look) -> Trace:
    """Take in what the connection shows (3, 4, 5, 7, 10)."""
    now = look.connection
    if now is None:
        until = trace.bytes_until if was is None else look.at
        return replace(trace, bytes_until=until, traffic_until=max(until, trace.traffic_until))
    received_at, sent_at = min(now.received_at + TICK, look.at), min(now.sent_at + TICK, look.at)
    silence = max(trace.silence, look.at - max(received_at, sent_at))
    if was is None or was.counted is None or was.counted != now.counted:
        traffic = max(trace.traffic_until, received_at, sent_at)
        bytes_until = max(trace.bytes_until, received_at)
        out_to = now.wire_out + now.unheard if now.unheard > _CHATTER else 0
        return replace(
            trace, connection=now, bytes_until=bytes_until, traffic_until=traffic, out_to=out_to, silence=silence
        )
    into, out_of = _moved(was, now)
    ours = trace.told and out_of <= _TOLD * len(look.terminals)
    went_in, came_out = _counts(trace, into), _counts(trace, out_of) and not ours
    waits = _waits(trace, was_at, now)
    bytes_until = max(trace.bytes_until, received_at) if went_in or waits else trace.bytes_until
    out_until, out_to = _output(trace, was, look, came_out=came_out)
    traffic_until = max(trace.traffic_until, bytes_until, out_until)
    chatter = not went_in and now.received_at > was_at + TICK
    return replace(
        trace,
        connection=most(was, now),
        bytes_until=bytes_until,
        traffic_until=traffic_until,
        output_until=max(trace.output_until, out_until),
        out_to=out_to,
        waited=not went_in and (trace.waited or waits),
        chatty=_CALM_LOOKS if chatter else max(0, trace.chatty - (look.at - was_at >= SEC)),
        silence=0 if chatter else silence,
    )


def _output(trace: Trace, was: ConnectionLook, look: Look, *, came_out: bool) -> tuple[Usec, int]:
    """Until when output was on its way since the look before (0: it was not), and where on the wire it ends."""
    now = look.connection
    assert now is not None
    heard_at = look.at if now.heard_at is None else min(now.heard_at + TICK, look.at)
    if came_out:
        unanswered = now.unheard > 0 and heard_at < look.at - _DEAF
        until = heard_at if unanswered else min(now.sent_at + TICK, look.at)
        return until, now.wire_out + now.unheard
    arrived = now.wire_out > was.wire_out and trace.out_to > was.wire_out
    return heard_at if arrived else 0, trace.out_to


def _moved(was: ConnectionLook, now: ConnectionLook) -> tuple[int, int]:
    """How many bytes went into the session, and came out of it, between two looks (5); below 0 is unclear (10)."""
    return apart(
        (now.delivered or 0) - (was.delivered or 0),
        (now.issued or 0) - (was.issued or 0),
        now.asked - was.asked,
        now.answered - was.answered,
    )


def _counts(trace: Trace, moved: int) -> bool:
    """Whether so many bytes between two looks are some; what is unclear is where the next look is far away (10)."""
    return moved > 0 or (moved < 0 and not trace.chatty)


def most(was: ConnectionLook, now: ConnectionLook) -> ConnectionLook:
    """The present look, with the most that was seen to be delivered and issued, and what was known with it (10)."""
    if (now.delivered or 0) < (was.delivered or 0):
        now = replace(now, delivered=was.delivered, asked=was.asked)
    if (now.issued or 0) < (was.issued or 0):
        now = replace(now, issued=was.issued, answered=was.answered)
    return now
