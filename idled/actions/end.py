# SPDX-License-Identifier: LGPL-2.1-or-later
"""Making the processes of a session go away, and telling when they have.

Signals go to pidfds and cgroups only, so that no number in use again is ever hit. When to send which, and for how
long, is decided in ``core.timing``.
"""

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Final

from .. import clock, procfs
from ..core.model import Extent
from ..core.span import MSEC, SEC, Usec
from ..members import Handle, OfUser, Strays, concerned, living, members, of_leader, strays_of, whole
from ..procfs import Process

_FIRST_CHECK: Final[Usec] = 20 * MSEC
_SLOWEST_CHECK: Final[Usec] = 250 * MSEC
#: For which a debugger may hold what was killed: strace lets go at once.
_MAY_HOLD: Final[Usec] = 250 * MSEC
#: Processes whose debuggers are looked for in one turn of the loop; the others have their turn when those are gone.
_MOST_HELD: Final = 200
#: Times that what is left is looked for to stop it: what forks all the time may never be stopped altogether.
_HALTS: Final = 5


class End:
    """The end of one session to some extent, from the first signal to the moment when nothing is left.

    It remembers who is to go. When the leader has gone, and with it its terminals, nothing leads to those who ignored
    that; only what a cgroup holds need not be remembered.
    """

    def __init__(self, handle: Handle, extent: Extent) -> None:
        self._handle = handle
        self._extent = extent
        self._whole = whole(handle, extent)
        self._strays = strays_of(handle, extent)
        self._since = clock.now()  # what was started since may not be known
        self._known: list[Process] = []
        self._killed = False
        self._wholly: Future[None] | None = None  # killed, whatever was started meanwhile
        self._signalled = self._since  # when it was last, or who held it
        self._held: dict[tuple[int, int], Usec] = {}  # by whom, what: seen since when
        self.freed_from: set[str] = set()  # as name[pid], to be told
        self.forbidden: set[str] = set()  # those that may not be signalled, as name[pid]

    def hang_up(self) -> None:
        """SIGHUP to everything that goes, and SIGCONT, so that what is stopped can take it."""
        self._count()  # once for all whose end begins at the same moment
        for process in self._left():
            self._send(process, signal.SIGHUP, signal.SIGCONT)
        self._since = self._signalled = clock.now()

    def kill(self, killer: Executor) -> tuple[str, ...]:
        """SIGKILL to everything that is left; what that was, as ``name[pid]``.

        The `killer` sees to what is started meanwhile.
        """
        self._since = clock.now()
        self._count()
        left, self._killed = self._left(), True
        if self._whole is None:
            left = self._halted(left)
        self._kill_wholly(killer)
        for process in left:
            self._send(process, signal.SIGKILL)
        self._since = self._signalled = clock.now()
        self._free()  # nobody yet: who holds any of it is known from now on
        return tuple(f"{process.comm}[{process.pid}]" for process in left)

    def _halted(self, left: list[Process]) -> list[Process]:
        """Those, stopped, and what they had started since they were seen; once they are dead nothing may lead to it.

        The kernel lets none that has got a signal fork before it has taken it.
        """
        halted = set[tuple[int, int]]()
        for _ in range(_HALTS):
            running = [process for process in left if (process.pid, process.start) not in halted]
            if not running:
                break
            for process in running:
                self._send(process, signal.SIGSTOP)
                halted.add((process.pid, process.start))
            left = self._left()
        return left

    def _kill_wholly(self, killer: Executor) -> None:
        """SIGKILL to the cgroup, which nothing outruns; not by the loop, where there is a thread.

        To kill a cgroup takes the lock that also whoever moves a process into another one holds, until all that are
        about to exit or fork just then have done so (cgroup_threadgroup_rwsem). Of hundreds at nice 19, beside others
        that are busy, that takes seconds.
        """
        if self._whole is None or (self._wholly is not None and not self._wholly.done()):
            return
        try:
            self._wholly = killer.submit(self._whole.kill)
        except RuntimeError:  # all pids are taken
            self._whole.kill()

    def stands(self) -> bool:
        """Whether the cgroup that holds all that goes is there still; by its path it may be another session's.

        Where there are no such cgroups nothing tells.
        """
        return procfs.cgroup_root() is None or (self._whole is not None and self._whole.stands())

    def joined(self) -> bool:
        """Whether the user, of whom all was to go, has logged in anew."""
        return isinstance(self._whole, OfUser) and self._whole.joined()

    def gone(self) -> bool:
        """Whether nothing that was to go is left; OSError where descriptors or memory were too short to kill it."""
        if self._wholly is not None and self._wholly.done():
            self._wholly.result()
        if self._whole is not None and self._whole.populated():
            return False
        return not self._left() and not any(map(self._may_stray, self._strays))

    def _may_stray(self, strays: Strays) -> bool:
        """Whether there may be such strays: no count since the last signal has found none."""
        counted = strays.census.counted_since(self._since)
        if counted and strays.census.had(strays.number):
            self._since = clock.now()  # they are gone, but may have started others before
            return True
        return not counted

    def _count(self) -> None:
        """Know the strays of now, where that is not too often; or else those of a moment ago."""
        for strays in self._strays:
            strays.census.counted_since(self._since)

    async def until_gone(self) -> None:
        """Wait until nothing is left: soon after it happens when that is soon, four times a second later."""
        while not self.gone():
            if self._killed:
                self._free()
            ago = clock.now() - self._signalled
            await asyncio.sleep(min(max(ago, _FIRST_CHECK), _SLOWEST_CHECK) / SEC)

    def _send(self, process: Process, *signals: signal.Signals) -> None:
        """Root, too, may not signal what AppArmor or SELinux confines from it; what kills a cgroup asks neither."""
        try:
            procfs.send(process, *signals)
        except PermissionError:
            self.forbidden.add(f"{process.comm}[{process.pid}]")

    def _free(self) -> None:
        """SIGKILL to who goes on holding what got it at its exit (PTRACE_O_TRACEEXIT): nothing else helps.

        Such a debugger may run outside of the session. It goes only if it is of the same user as what it holds, who
        could kill it, too; root's stay.
        """
        now = clock.now()
        found = {(holder.pid, held.pid): holder for holder, held in self._holders()}
        self._held = {pair: self._held.get(pair, now) for pair in found}
        for holder in (found[pair] for pair, since in self._held.items() if now - since >= _MAY_HOLD):
            self._send(holder, signal.SIGKILL)
            if (name := f"{holder.comm}[{holder.pid}]") not in self.freed_from:
                self.freed_from.add(name)
                self._signalled = now

    def _holders(self) -> Iterator[tuple[Process, Process]]:
        """Each with what it holds of what is left; and who holds such a one, and so on."""
        stopped = [process for process in self._left() if process.state in "tZ"]  # its first thread, or that has ended
        to_do, known = stopped[:_MOST_HELD], set[int]()
        while to_do:
            held = to_do.pop()
            known.add(held.pid)
            for holder in procfs.holders(held):
                uid = procfs.real_uid(held.pid)
                if uid and uid == procfs.real_uid(holder.pid):
                    yield holder, held
                    to_do += [holder] if holder.pid not in known else []

    def _left(self) -> list[Process]:
        if self._whole is not None:
            self._known = living((*of_leader(self._handle), *self._again()))  # they may be outside of it
            return living((*self._known, *self._whole.members()))
        # Twice: a list of children may leave some out while others end, see proc_pid_task_children(5).
        found = {process.pid: process for _ in range(2) for process in self._found()}
        self._known = list(found.values())
        return self._known

    def _found(self) -> Iterator[Process]:
        yield from concerned(self._handle, self._extent)
        for strays in self._strays:
            yield from strays.left()
        yield from self._remembered()

    def _again(self) -> Iterator[Process]:
        """Those that were to go at the last look, as they are now."""
        for known in self._known:
            now = procfs.process(known.pid)
            if now is not None and now.start == known.start:
                yield now

    def _remembered(self) -> Iterator[Process]:
        """Those that were to go at the last look and live, and what they have started since."""
        sids = {known.sid for known in self._known}
        for now in self._again():
            yield from self._unless_detached([now, *procfs.descendants(now.pid)], sids)
        if self._extent is Extent.CONNECTION:
            yield from self._unless_detached(members(self._handle), sids)

    def _unless_detached(self, found: list[Process], sids: set[int]) -> Iterator[Process]:
        """Those that live; of a connection those that have not called setsid()."""
        stays = self._extent is Extent.CONNECTION
        return (process for process in found if process.alive and not (stays and process.sid not in sids))
