# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real service on a real socket: its event loop turns in a thread, the test is the peer."""

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

from idled.control import interface
from idled.control.service import Answer, Call, Interface, Service
from idled.control.wire import VarlinkError

from ..peer import public_folder

INFO = {"vendor": "idled", "product": "idled", "version": "9", "url": "man:idled(8)"}
TRIAL = """\
interface org.trial

method WhoAmI() -> (uid: int, pid: int, gids: []int, lives: bool, text: string)
method Count(upto: ?int) -> (number: int)
method Wait() -> (number: int)
method Never() -> ()
method Fail() -> ()
method FailLate() -> ()
method FailStream() -> ()
method ToCome() -> ()

error Over (at: int)
"""


async def whoami(call: Call) -> Answer:
    call.take()
    peer = call.peer
    text = "naïve \x1b[31m \ud800"
    return {"uid": peer.uid, "pid": peer.pid, "gids": sorted(peer.gids), "lives": peer.lives, "text": text}


async def count(call: Call) -> AsyncGenerator[Answer, None]:
    """Count up to a number, then fail; without one for ever."""
    upto = call.take(upto=int | None)["upto"]
    number = 0
    while number != upto:
        yield {"number": number}
        number += 1
    raise VarlinkError("org.trial.Over", at=number)


async def wait(call: Call) -> AsyncGenerator[Answer, None]:
    """One answer, and then none."""
    call.take()
    yield {"number": 0}
    await asyncio.Event().wait()


async def never(call: Call) -> AsyncGenerator[Answer, None]:
    """Not one answer."""
    call.take()
    await asyncio.Event().wait()
    yield {}


async def fail(call: Call) -> Answer:
    """An error, just when the caller goes."""
    call.hang_up()
    raise VarlinkError("org.trial.Over", at=1)


async def fail_late(call: Call) -> Answer:
    """An error, just after."""
    call.hang_up()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise VarlinkError("org.trial.Over", at=1) from None
    return {}


async def fail_stream(call: Call) -> AsyncGenerator[Answer, None]:
    """The same in a stream."""
    yield {}
    call.hang_up()
    raise VarlinkError("org.trial.Over", at=1)


@pytest.fixture
def service() -> Iterator[Path]:
    """The socket of a service with the interface io.idled and one to try things with."""
    trial = Interface(
        name="org.trial",
        description=TRIAL,
        methods={
            "WhoAmI": whoami,
            "Count": count,
            "Wait": wait,
            "Never": never,
            "Fail": fail,
            "FailLate": fail_late,
            "FailStream": fail_stream,
        },
    )
    own = Interface(name=interface.NAME, description=interface.DESCRIPTION, methods={})
    with public_folder() as folder, serving(folder / "socket", own, trial) as path:
        yield path


class serving:  # noqa: N801, a context manager
    """A service, `of` another or with these interfaces, for as long as the block runs.

    Nothing goes wrong in it meanwhile, unless the test says that it `fails`, and looks at what the loop was told.
    """

    def __init__(self, path: Path, *interfaces: Interface, of: Service | None = None, fails: bool = False) -> None:
        self._path = path
        self._service = of or Service(INFO, interfaces, interface.SERVICE_DESCRIPTION)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._listening = threading.Event()
        self.failures: list[dict[str, Any]] = []
        self._fails = fails

    def _run(self) -> None:
        self._loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self._loop.run_until_complete(self._serve())
        gc.collect()
        self._loop.close()

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        self._path.chmod(0o666)
        listener.listen(128)
        self._service.listen(listener)
        self._listening.set()
        await self._done.wait()
        self._service.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def __enter__(self) -> Path:
        self._thread.start()
        assert self._listening.wait(10)
        return self._path

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        assert self._fails or self.failures == []
