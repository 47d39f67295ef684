"""A connected socket whose every wait ends at a deadline, and that listens while it sends.

The socket itself never blocks: what cannot be done at once is waited for, then tried again. That is
also the cheapest way, since a socket with a timeout polls before each operation.
`hybridmodel.remote.http.tls` does the same over it.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from hybridmodel.process.loops import current_loop, wait_for_socket
from hybridmodel.remote.resilience import LONGEST_WAIT_S, Deadline
from hybridmodel.remote.wire.tensor_data import Buffer

Hear = Callable[[bytes], bool]

AT_ONCE_BYTES = 1 << 16
"""Received at a time; four times as much would cost 12 µs for fresh memory."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)  # Windows has no poll.
_SENDING, _READING, _CONNECTING = "sending the request", "reading the answer", "connecting"


class BoundedSocket:
    """Sends and receives over TCP before a deadline; for one thread at a time.

    Every method raises `EndpointTimeout` or OSError if that was not possible in time.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(0)
        self._socket = sock
        self._selector: selectors.BaseSelector = _Selector()
        self._selector.register(sock, _READ)
        self._events = _READ

    def connect(self, address: Any, deadline: Deadline) -> None:
        """Connect to an address of `socket.getaddrinfo`; after an error the socket is useless."""
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

        `hear` is called with what the other side says before it has read everything, empty at its
        end, and returns whether to stop. After an error, some of it may have been sent.
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
        """Return what came, empty at the end."""
        while True:
            self._ready(_READ, deadline.check(_READING))
            with suppress(BlockingIOError):
                return self._socket.recv(AT_ONCE_BYTES)

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view` with what came, and return how much that was."""
        while True:
            self._ready(_READ, deadline.check(_READING))
            with suppress(BlockingIOError):
                return self._socket.recv_into(view)

    def close(self) -> None:
        """Close the socket."""
        self._selector.close()
        self._socket.close()

    def _heard(self, hear: Hear) -> bool:
        try:
            piece = self._socket.recv(AT_ONCE_BYTES)
        except BlockingIOError:
            return False
        return hear(piece)

    def _ready(self, events: int, timeout_s: float) -> int:
        """Wait until one of the events, and return which there are; all of them for an error."""
        if events != self._events:
            self._selector.modify(self._socket, events)
            self._events = events
        timeout_s = min(timeout_s, LONGEST_WAIT_S)
        if timeout_s > 0 and current_loop() is not None:
            wait_for_socket(self._socket.fileno(), events, timeout_s)
            timeout_s = 0
        found = self._selector.select(timeout_s)
        return found[0][1] if found else 0
