# SPDX-License-Identifier: LGPL-2.1-or-later
"""The daemon: from its arguments to its end. It wires the parts together and decides nothing itself."""

import argparse
import asyncio
import os
import signal
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from systemd import daemon as systemd

from . import __version__, clock, procfs, words
from .access import Access
from .config import describe
from .config.files import MAIN
from .config.store import Store
from .control.service import Service
from .core import events
from .core.engine import Engine
from .core.events import Kind, Record
from .core.span import SEC, Usec
from .desk import Desk
from .hands import Hands
from .health import Health
from .journal import Journal
from .reception import Reception
from .slices import in_slices
from .sources import sshd, utmp
from .sources.registrations import Registrations
from .sources.registry import Registry
from .state import State
from .threads import Threads

_SCAN_EVERY: Final[Usec] = 60 * SEC
#: After somebody may have been missed: whoever just came may be on the way in still.
_SCAN_SOON: Final[Usec] = 2 * SEC
_SELDOM: Final[Usec] = SEC
_EX_SOFTWARE: Final = 70
#: Seconds for logind to tell of all sessions; after that the daemon goes on, and they are seen as they are told of.
_LISTING_PATIENCE: Final = 10.0
#: Seconds for what has begun to be done, and for the journal to take what waits, when the daemon stops.
_LAST_PATIENCE: Final = 1.0


class Daemon:
    """One running daemon."""

    def __init__(self, store: Store, runtime: Path) -> None:
        self._store = store
        self._journal = Journal()
        policy, records = store.start()
        for record in records:
            self._journal.write(record)
        self._stop, self._reloading = asyncio.Event(), asyncio.Lock()
        self._exit_code = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._staying: list[asyncio.Task[None]] = []
        self._unsaid, self._said_at = Counter[Kind](), dict[Kind, Usec]()
        self._steps = clock.StepWatch()
        self._lister = Threads(1)
        self._engine = Engine(policy)
        self._hands = Hands(
            engine=self._engine, journal=self._journal, state=State(runtime / "sessions"), start=self._start
        )
        self._hands.registry.want_groups(policy.wants_groups())
        self._reception = Reception(self._hands, self._refuse)
        self._access = Access(self._engine, self._hands.registry)
        self._desk = Desk(
            hands=self._hands,
            journal=self._journal,
            store=store,
            access=self._access,
            health=Health(hands=self._hands, journal=self._journal, store=store, reception=self._reception),
            reload=self._reload,
            refuse=self._refuse,
        )

    async def run(self, pam: socket.socket, varlink: socket.socket) -> int:
        """Enforce until told to stop; the exit code."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._went_wrong(context))
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_reader(self._hands.fileno(), self._wake)
        loop.add_reader(self._steps.fileno(), self._stepped)
        service = self._desk.service()
        self._hands.get_ready()
        self._hands.recall(procfs.boot_id())
        self._stay(self._hands.logind.run())
        self._stay(self._begin(pam, varlink, service))
        await self._stop.wait()
        systemd.notify("STOPPING=1")
        self._journal.write(Record(kind=Kind.STOPPING))
        service.close()
        # Who logs in just now may have been answered and not be taken in yet. After a failure nothing is gone on with.
        for task in self._tasks if self._exit_code else self._staying:
            task.cancel()
        self._start(self._journal.taken())
        with suppress(TimeoutError):  # what takes longer must not hold up the end; the loop's own end cancels it
            async with asyncio.timeout(_LAST_PATIENCE):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        return self._exit_code

    async def _begin(self, pam: socket.socket, varlink: socket.socket, service: Service) -> None:
        """See who is there, then answer whoever comes. What is remembered is enforced meanwhile."""
        with suppress(TimeoutError):  # a logind that takes long holds up nobody who logs in or asks
            async with asyncio.timeout(_LISTING_PATIENCE):
                await self._hands.logind.first_listed.wait()
        await self._scan()
        registered, missed = self._reception.register, self._hands.registry.missed.set
        self._stay(Registrations(pam, registered, self._refuse, missed).run())
        service.listen(varlink)
        self._stay(self._scan_again())
        self._stay(self._watchdog())
        self._journal.write(Record(kind=Kind.STARTED, note=f"version {__version__}, {self._summary()}"))
        systemd.notify(f"READY=1\nSTATUS={self._summary()}")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _stay(self, work: Coroutine[Any, Any, None]) -> None:
        """Start what has no end of its own."""
        self._staying.append(self._start(work))

    def _task_done(self, task: asyncio.Task[None]) -> None:
        """A part that fails takes the daemon down; systemd starts it anew, and it goes on with what it remembers."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _went_wrong(self, context: dict[str, Any]) -> None:
        """In a callback it would otherwise be printed and forgotten, and with it maybe a deadline.

        A connection that failed was hung up on, and nobody's end depends on it: it is recorded, and the daemon goes on,
        or else whoever finds a call that fails could keep it from its work. The error may hold what the caller said, a
        password even, so its words are left out.
        """
        error = context.get("exception")
        if "peer" in context:
            what = f"internal error, {type(error).__name__}{_where(error)}, hung up on {context['peer']}"
            self._seldom(Kind.TROUBLE, f"{what}: {context['message']}")
        else:
            self._fail(error)

    def _fail(self, error: BaseException | None) -> None:
        if self._exit_code:  # it is told of again by those through whose hands it passes
            return
        self._exit_code = _EX_SOFTWARE  # first, or else it goes on, and fails again, should the record fail, too
        self._stop.set()
        what = f"internal error, exiting to be restarted: {error!r}{_where(error)}"
        self._journal.write(Record(kind=Kind.TROUBLE, note=what))

    def _summary(self) -> str:
        count = len(self._engine.sessions())
        return f"{self._engine.policy.mode.value} mode, {count} session{'' if count == 1 else 's'}"

    async def _watchdog(self) -> None:
        """Tell systemd that the event loop still turns, twice in the time it allows."""
        usec = int(os.environ.get("WATCHDOG_USEC", "0"))
        while usec:
            systemd.notify(f"WATCHDOG=1\nSTATUS={self._summary()}")
            await asyncio.sleep(usec / 2 / SEC)

    async def _scan(self) -> None:
        """The safety net: see what no source told of in time."""
        registry, logind = self._hands.registry, self._hands.logind
        if logind.connected and not logind.listing:
            await logind.relist()
        await self._scan_sshd(registry, logind=logind.connected)
        await self._scan_utmp(registry)
        await registry.connections_again()
        await registry.groups_again()
        await self._access.refresh()

    async def _scan_sshd(self, registry: Registry, *, logind: bool) -> None:
        folders = await self._folders(registry.folders) if logind else []
        processes = in_slices(procfs.members_of(folders) if folders else procfs.processes())
        candidates = [found async for process in processes if (found := sshd.candidate(process)) is not None]
        uids = await registry.uids_of(candidate.user for candidate in candidates)
        async for candidate in in_slices(candidates):
            uid = uids.get(candidate.user)
            if uid is not None and (sighting := sshd.sighting(candidate, uid)) is not None:
                await registry.see(sighting)

    async def _folders(self, known: Mapping[str, int]) -> list[str]:
        """See `sshd.folders`; who lists cgroups may have to wait, see `actions.end`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._lister, sshd.folders, known)
        except RuntimeError:  # all pids are taken: there is no thread
            return sshd.folders(known)

    async def _scan_utmp(self, registry: Registry) -> None:
        leaders = {session.id.pid for session in self._engine.sessions()}  # a check of each record costs more
        lines = [line for line in utmp.read() if line.pid not in leaders]
        uids = await registry.uids_of(line.user for line in lines)
        async for line in in_slices(lines):
            sighting = utmp.sighting(line, uids, self._refuse)
            if sighting is not None and registry.around(sighting.pid) is None:
                await registry.see(sighting)

    async def _scan_again(self) -> None:
        missed = self._hands.registry.missed
        missed.set()  # the daemon before this one may have gone while it answered somebody
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout((_SCAN_EVERY - _SCAN_SOON) / SEC):
                    await missed.wait()
            await asyncio.sleep(_SCAN_SOON / SEC)
            missed.clear()
            await self._scan()
            self._hands.handle(events.Scanned())
            self._stepped()

    def _wake(self) -> None:
        """Something is due; a step of the wall clock that the kernel did not tell of is told before what follows."""
        self._stepped()
        self._hands.wake()

    def _stepped(self) -> None:
        by = self._steps.step()
        if by is not None:
            self._hands.handle(events.Stepped(by=by))

    def _reload(self) -> asyncio.Task[None]:
        """Whoever waits for the task may be gone before it is done."""
        return self._start(self._reload_policy())

    async def _reload_policy(self) -> None:
        async with self._reloading:  # or an older policy could be in force after a newer one
            systemd.notify("RELOADING=1")
            policy, records = self._store.reload()
            if policy is not None:
                self._hands.registry.want_groups(policy.wants_groups())
                await self._hands.registry.groups_again()  # first: a rule may spare those of a group
            for record in records:
                self._journal.write(record)
            if policy is not None:
                self._hands.handle(events.Reloaded(policy=policy))
                self._start(self._access.refresh())
            systemd.notify(f"READY=1\nSTATUS={self._summary()}")

    def _refuse(self, what: str) -> None:
        """Bad input from outside."""
        self._seldom(Kind.INPUT_REFUSED, what)

    def _seldom(self, kind: Kind, what: str) -> None:
        """What others bring about as often as they like: counted, and recorded at most once a second."""
        now, others = clock.now(), self._unsaid[kind]
        if now - self._said_at.get(kind, -_SELDOM) < _SELDOM:
            self._unsaid[kind] += 1
            return
        more = f" ({others} more since the last record)" if others else ""
        self._journal.write(Record(kind=kind, note=words.clean(what) + more))
        self._unsaid[kind], self._said_at[kind] = 0, now


def _where(error: BaseException | None) -> str:
    """The line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)[-1:] if error else []
    return "".join(f" at {frame.filename}:{frame.lineno}" for frame in frames)


def sockets(runtime: Path) -> tuple[socket.socket, socket.socket]:
    """The PAM socket and the control socket: systemd's where it passes them, else our own."""
    names = {name: fd for fd, name in systemd.listen_fds_with_names().items()}
    if "pam" in names and "varlink" in names:
        return socket.socket(fileno=names["pam"]), socket.socket(fileno=names["varlink"])
    runtime.mkdir(parents=True, exist_ok=True)
    runtime.chmod(0o755)  # everybody may ask; systemd makes it so too
    pam = _listen(runtime / "pam", socket.SOCK_SEQPACKET, 0o600)
    return pam, _listen(runtime / "io.idled", socket.SOCK_STREAM, 0o666)


def _listen(path: Path, kind: socket.SocketKind, mode: int) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(socket.SOMAXCONN)
    return listener


def main(argv: list[str] | None = None) -> int:
    """The command ``idled``."""
    parser = argparse.ArgumentParser(
        prog="idled", description="End terminal and SSH sessions that are idle or open for too long."
    )
    parser.add_argument("--config", type=Path, default=MAIN, metavar="PATH", help=f"the policy (default {MAIN})")
    parser.add_argument("--check", action="store_true", help="print the policy as it is understood, and exit")
    parser.add_argument("--observe", action="store_true", help="end nobody, whatever the policy says; only log")
    parser.add_argument("--version", action="version", version=f"idled {__version__}")
    options = parser.parse_args(argv)
    if options.check:
        return describe.check(options.config)
    if os.geteuid() != 0:
        print("idled: must run as root: it reads other users' terminals and ends their processes", file=sys.stderr)
        return 1
    os.umask(0o077)
    runtime = Path(os.environ.get("RUNTIME_DIRECTORY", "/run/idled"))
    store = Store(options.config, Path(os.environ.get("STATE_DIRECTORY", "/var/lib/idled")), observe=options.observe)
    return asyncio.run(_run(store, runtime))


async def _run(store: Store, runtime: Path) -> int:
    pam, varlink = sockets(runtime)
    return await Daemon(store, runtime).run(pam, varlink)


if __name__ == "__main__":
    sys.exit(main())
