# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real service on a real socket: its event loop turns in a thread, the test is the peer."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from idled.control import interface
from idled.control.service import Interface, Peer, Service, no_parameters

from ..peer import public_folder

INFO = {"vendor": "idled", "product": "idled", "version": "9", "url": "man:idled(8)"}


def whoami(peer: Peer, parameters: dict[str, Any]) -> dict[str, Any]:
    no_parameters(parameters)
    return {"uid": peer.uid, "pid": peer.pid, "text": "naïve \x1b[31m \ud800"}


@pytest.fixture
def service() -> Iterator[Path]:
    """The socket of a service with the interface io.idled and one to try things with."""
    trial = Interface(name="org.trial", description="interface org.trial\n", methods={"WhoAmI": whoami})
    own = Interface(name=interface.NAME, description=interface.DESCRIPTION, methods={})
    with public_folder() as folder, serving(folder / "socket", own, trial) as path:
        yield path


class serving:  # noqa: N801, a context manager
    """A service, `of` another or with these interfaces, for as long as the block runs."""

    def __init__(self, path: Path, *interfaces: Interface, of: Service | None = None) -> None:
        self._path = path
        self._service = of or Service(INFO, interfaces, interface.SERVICE_DESCRIPTION)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._listening = threading.Event()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        self._path.chmod(0o666)
        listener.listen(128)
        server = await self._service.listen(listener)
        self._listening.set()
        await self._done.wait()
        server.close()
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
