"""A connected socket whose every wait ends at a deadline, and that listens while it sends.

It never blocks by itself: what cannot be done at once is waited for, and only then tried again.
That is also the cheapest way, since a timeout of the socket costs a look before each operation.
`hybridmodel.remote.http.tls` does the same over it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.tensor_data import Buffer

Hear = Callable[[bytes], bool]

AT_ONCE_BYTES = 1 << 16
"""Asked for at a time. An object of four times that costs 12 µs, in fresh pages from the system."""

_READ, _WRITE = 1, 4  # POLLIN and POLLOUT everywhere; Windows has no names for them.
_LONGEST_S = 0.25
"""Of one wait: how long it takes until a call that was given up is noticed to be."""

_SENDING, _READING, _CONNECTING = "sending the request", "reading the answer", "connecting"


class Stream(Protocol):
    """Bytes both ways before a deadline, over TCP or over TLS; for one thread at a time."""

    def send(self, parts: Iterable[Buffer], deadline: Deadline, hear: Hear) -> bool:
        """Send everything, and return whether that was done; see `BoundedSocket.send`."""

    def receive(self, deadline: Deadline) -> bytes:
        """Return what came, empty at the end; see `BoundedSocket.receive`."""

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view`, and say how much that was."""

    def has_something(self) -> bool:
        """Tell whether there is something to read, or the end."""

    def close(self) -> None:
        """Close the socket."""


class BoundedSocket:
    """Sends and receives before a deadline; for one thread at a time.

    Parameters
    ----------
    sock : socket
        Of TCP. It is made non-blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self._socket = sock
        self._poll = select.poll() if hasattr(select, "poll") else _Select()
        self._poll.register(sock, _READ)
        self._events = _READ

    def connect(self, address: Any, deadline: Deadline) -> None:
        """Connect to an address as `socket.getaddrinfo` gives it.

        Raises
        ------
        EndpointTimeout, OSError
            Then the socket is of no use any more.
        """
        deadline.check(_CONNECTING)
        if self._socket.connect_ex(address) == 0:
            return
        # Writable once it is decided; until then nothing is known but that it has begun.
        while not self._ready(_WRITE, deadline.check(_CONNECTING)):
            pass
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def has_something(self) -> bool:
        """Tell whether there is something to read, or the end."""
        return bool(self._ready(_READ, 0))

    def send(self, parts: Iterable[Buffer], deadline: Deadline, hear: Hear) -> bool:
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
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    came = self._ready(_READ | _WRITE, left_s) & ~_WRITE
                    if came and self._heard(hear):
                        return False
        return True

    def receive(self, deadline: Deadline) -> bytes:
        """Return what came, empty at the end.

        Raises
        ------
        EndpointTimeout, OSError
            If nothing came in time, or the connection broke.
        """
        while True:
            self._ready(_READ, deadline.check(_READING))
            try:
                return self._socket.recv(AT_ONCE_BYTES)
            except BlockingIOError:
                continue

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view` with what came, and return how much that was.

        Raises
        ------
        EndpointTimeout, OSError
            If nothing came in time, or the connection broke.
        """
        while True:
            self._ready(_READ, deadline.check(_READING))
            try:
                return self._socket.recv_into(view)
            except BlockingIOError:
                continue

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _heard(self, hear: Hear) -> bool:
        try:
            piece = self._socket.recv(AT_ONCE_BYTES)
        except BlockingIOError:
            return False
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
