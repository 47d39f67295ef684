"""The event loop of a rehearsal, in a thread: its gateway and its controls."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hybridmodel.checks import needed_for
from hybridmodel.deploy.rehearsal.gateway import Gateway
from hybridmodel.deploy.rehearsal.keys import Keys
from hybridmodel.deploy.rehearsal.live_endpoint import LiveEndpoint
from hybridmodel.exceptions import ConfigurationError

with needed_for("a rehearsal"):
    from hybridmodel.deploy.rehearsal.admin import Admin, stop

HOST = "127.0.0.1"

_HANDSHAKE_S = 10.0
_BACKLOG = 512

T = TypeVar("T")


@contextmanager
def listen(port: int) -> Iterator[socket.socket]:
    """Listen on a port of this machine until the block ends; raises `ConfigurationError`."""
    # asyncio disables Nagle's delay only for sockets that name their protocol.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        if os.name != "nt":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen(_BACKLOG)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"port {port} is not available: {error}; choose another, or 0 for a free one"
            ) from error
        yield listening


class Listening:
    """Serves an endpoint on a socket, and its controls on a port of their own, until `stop`."""

    def __init__(
        self, live: LiveEndpoint, keys: Keys, listener: socket.socket, context: ssl.SSLContext
    ) -> None:
        self._live, self._listener, self._context = live, listener, context
        live.uri = f"https://localhost:{listener.getsockname()[1]}"
        self._gateway = Gateway(live, keys)
        self.admin = Admin(live, keys)
        self.admin_port = 0
        self._loop = asyncio.new_event_loop()
        name = "hybridmodel-rehearsal"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ending: list[Coroutine[Any, Any, None]] = []

    def start(self) -> None:
        """Return when both are served."""
        self._thread.start()
        self.run(self._open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have the loop do something, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        """End connections and work, and wait for the loop's end."""
        if self._thread.is_alive():
            self.run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def wait(self) -> None:
        """Wait until it has been stopped, or for Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(timeout=0.5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _open(self) -> None:
        self._server = await asyncio.start_server(
            self._gateway.serve,
            sock=self._listener,
            ssl=self._context,
            ssl_handshake_timeout=_HANDSHAKE_S,
        )
        controls = socket.create_server((HOST, 0))
        self.admin_port = controls.getsockname()[1]
        self.admin.page.events.open()
        self._admin_server = self.admin.server()
        serving = self._admin_server.serve(sockets=[controls])
        self._admin_serving = asyncio.get_running_loop().create_task(serving)

    async def _close(self) -> None:
        self._server.close()
        await self._gateway.close()
        if self._live.jobs is not None:
            await self._live.jobs.close()
        await self.admin.page.events.close()
        await stop(self._admin_server, self._admin_serving)
