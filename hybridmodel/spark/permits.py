"""Limits the requests in flight of all Python workers of an executor by locks on files.

A lock on a file ends with the process that holds it, however that ends; a counter in a file, or a
byte in a pipe, would be lost with a worker that Spark kills.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hybridmodel.process.file_lock import take
from hybridmodel.remote.faults import NO_PERMIT, new_error
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.http.transport import Transport
from hybridmodel.remote.resilience import Deadline

_SHORTEST_S, _LONGEST_S = 0.001, 0.02
"""Of a wait before all files are tried again; requests take longer."""


class FilePermits:
    """A number of permits that all processes with the same local folder share."""

    def __init__(
        self,
        folder: Path,
        count: int,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._files = [folder / f"permit-{number}" for number in range(count)]
        self._sleep = sleep
        self._jitter = jitter

    @contextmanager
    def one(self, deadline: Deadline) -> Iterator[None]:
        """Hold one of the permits; raises `EndpointTimeout` if there is none in time."""
        held = self._wait(deadline)
        try:
            yield
        finally:
            os.close(held)

    def _wait(self, deadline: Deadline) -> int:
        wait_s = _SHORTEST_S
        while True:
            held = self._any()
            if held is not None:
                return held
            left_s = deadline.remaining_s()
            if not left_s:
                raise new_error(
                    NO_PERMIT,
                    f"the deadline of {deadline.timeout_s:g} s passed while waiting for one of the "
                    f"{len(self._files)} requests at a time of this executor to end",
                )
            self._sleep(min(left_s, wait_s * (0.5 + self._jitter())))
            wait_s = min(2 * wait_s, _LONGEST_S)

    def _any(self) -> int | None:
        for path in self._files:
            held = _locked(path)
            if held is not None:
                return held
        return None


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock on a file, None if another process holds it."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        held = take(opened)
    except BaseException:
        os.close(opened)
        raise
    if held:
        return opened
    os.close(opened)
    return None


class PermittedTransport:
    """A transport that holds a permit for each request."""

    def __init__(self, transport: Transport, permits: FilePermits) -> None:
        self._transport = transport
        self._permits = permits

    def send(self, request: HttpRequest, /) -> Reply:
        """Send a request when there is a permit, and return the reply."""
        with self._permits.one(request.deadline):
            return self._transport.send(request)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()
