"""A connected socket whose every wait ends at a deadline, and that listens while it sends.

It never blocks by itself: what cannot be done at once is waited for, and only then tried again.
That is also the cheapest way, since a timeout of the socket costs a look before each operation.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.tensor_data import Buffer

T = TypeVar("T")

_AT_ONCE_BYTES = 1 << 16
"""Asked for at a time. An object of four times that costs 12 µs, in fresh pages from the system."""

_READ, _WRITE = 1, 4  # POLLIN and POLLOUT everywhere; Windows has no names for them.
_LONGEST_S = 0.25
"""Of one wait: how long it takes until a call that was given up is noticed to be."""

_SENDING, _READING = "sending the request", "reading the answer"


class BoundedSocket:
    """Sends and receives before a deadline; for one thread at a time.

    Parameters
    ----------
    sock : socket, ssl.SSLSocket, or what urllib3 makes of TLS inside TLS
        Connected.
    """

    def __init__(self, sock: Any) -> None:
        self._socket = sock
        # TLS inside TLS (to a proxy) would lose what it could not send at once.
        self._blocks = not isinstance(sock, socket.socket)
        if not self._blocks:
            sock.settimeout(0)
        self._decrypted: Callable[[], int] = getattr(sock, "pending", int)
        self._poll = select.poll() if hasattr(select, "poll") else _Select()
        self._poll.register(sock, _READ)
        self._events = _READ

    def has_something(self) -> bool:
        """Tell whether there is something to read, or the end."""
        return bool(self._ready(_READ, 0) or self._decrypted())

    def send(
        self, parts: Iterable[Buffer], deadline: Deadline, hear: Callable[[bytes], bool]
    ) -> bool:
        """Send everything, and return whether that was done.

        Parameters
        ----------
        parts : iterable of buffers
            Sent as they lie.
        deadline : Deadline
            Ends it.
        hear : callable
            Gets what the other side says before it has read everything, empty at its end, and
            returns whether to stop.

        Raises
        ------
        EndpointTimeout, OSError
            Then some of it may have been sent.
        """
        for part in parts:
            view = memoryview(part)
            while view:
                left_s = deadline.check(_SENDING)
                if self._blocks:
                    self._socket.settimeout(left_s)
                try:
                    view = view[self._socket.send(view) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    came = self._ready(_READ | _WRITE, left_s) & ~_WRITE
                    if came and self._heard(hear):
                        return False
                except ssl.SSLWantReadError:
                    if self._ready(_READ, left_s) and self._heard(hear):
                        return False
        return True

    def receive(self, deadline: Deadline) -> bytes:
        """Return what came, empty at the end.

        Raises
        ------
        EndpointTimeout, OSError
            If nothing came in time, or the connection broke.
        """
        piece: bytes = self._done(self._socket.recv, _AT_ONCE_BYTES, deadline)
        return piece

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view` with what came, and return how much that was.

        Raises
        ------
        EndpointTimeout, OSError
            If nothing came in time, or the connection broke.
        """
        count: int = self._done(self._socket.recv_into, view, deadline)
        return count

    def _done(self, operation: Callable[[Any], T], argument: Any, deadline: Deadline) -> T:
        wait = not self._decrypted()
        while True:
            left_s = deadline.check(_READING)
            if self._blocks:
                self._socket.settimeout(left_s)
            elif wait:
                self._ready(_READ, left_s)
            try:
                return operation(argument)
            except (BlockingIOError, ssl.SSLWantReadError):
                wait = True
            except ssl.SSLWantWriteError:
                wait = False
                self._ready(_WRITE, left_s)

    def _heard(self, hear: Callable[[bytes], bool]) -> bool:
        try:
            piece = self._socket.recv(_AT_ONCE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False  # What came was for TLS itself, such as a ticket to resume the session.
        return hear(piece)

    def _ready(self, events: int, timeout_s: float) -> int:
        """Wait until one of the events, and return which there are, and others for an error."""
        if events != self._events:
            self._poll.modify(self._socket, events)
            self._events = events
        found = self._poll.poll(min(timeout_s, _LONGEST_S) * 1000)
        return int(found[0][1]) if found else 0


class _Select:
    """As much of `select.poll` as is used here, for systems without it (Windows)."""

    def register(self, sock: socket.socket, events: int) -> None:
        self._socket, self._events = [sock], events

    modify = register

    def poll(self, timeout_ms: float) -> list[tuple[int, int]]:
        reading = self._socket if self._events & _READ else []
        writing = self._socket if self._events & _WRITE else []
        found = select.select(reading, writing, self._socket, timeout_ms / 1000)
        events = _READ * bool(found[0] or found[2]) | _WRITE * bool(found[1])
        return [(0, events)] if events else []
