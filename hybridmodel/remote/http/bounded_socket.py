"""A connected socket whose every wait ends at a deadline, and that listens while it sends.

What cannot be done at once is waited for, then tried again. A thread that waits for an answer does
so inside of `recv`, which the kernel ends after a while: that takes one system call, where waiting
first and receiving then takes two. `hybridmodel.remote.http.tls` does the same over it.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from hybridmodel.process.loops import current_loop, sleep, wait_for_socket
from hybridmodel.remote.resilience import LONGEST_WAIT_S, Deadline
from hybridmodel.remote.wire.tensor_data import Buffer

Hear = Callable[[bytes], bool]

AT_ONCE_BYTES = 1 << 16
"""Received at a time; four times as much would cost 12 µs for fresh memory."""

_FIRST_BYTES = 1 << 13
"""Received at first of an answer, most of which are short; so much costs 1 µs less."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)  # Windows has no poll.
_SENDING, _READING, _CONNECTING = "sending the request", "reading the answer", "connecting"

_AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0)
"""Keeps one operation from waiting. Windows has no such flag, so no operation ever waits there."""

_LONGEST_RECEIVE = struct.pack("@ll", 0, int(LONGEST_WAIT_S * 1e6))
"""A ``struct timeval``."""

_BEGUN = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR)
"""What connecting says before it is decided; on Windows the second."""

_FULL_PAUSE_S = 0.005
"""Until the next attempt where too many wait for a Unix socket's server already."""


class BoundedSocket:
    """Sends and receives over TCP, or a Unix socket, before a deadline; for one thread at a time.

    Every method raises `EndpointTimeout` or OSError if that was not possible in time.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None if _AT_ONCE else 0)
        if _AT_ONCE:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LONGEST_RECEIVE)
        self._socket = sock
        self._selector: selectors.BaseSelector = _Selector()
        self._selector.register(sock, _READ)
        self._events = _READ
        self._room_bytes = AT_ONCE_BYTES
        # Asked before each request, in half of a selector's time.
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll:
            self._poll.register(sock, select.POLLIN)

    def connect(self, address: Any, deadline: Deadline) -> None:
        """Connect to an address of `socket.getaddrinfo`; after an error the socket is useless."""
        error = self._begin(address, deadline)
        if error in _BEGUN:
            # Writable once it is decided; until then nothing is known but that it has begun.
            while not self._ready(_WRITE, deadline.check(_CONNECTING)):
                pass
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def has_something(self) -> bool:
        """Tell whether there is something to read, or the end."""
        return bool(self._poll.poll(0) if self._poll else self._ready(_READ, 0))

    def send(self, parts: Iterable[Buffer], deadline: Deadline, hear: Hear) -> bool:
        """Send everything, and return whether that was done.

        `hear` is called with what the other side says before it has read everything, empty at its
        end, and returns whether to stop. After an error, some of it may have been sent.
        """
        self._room_bytes = _FIRST_BYTES
        for part in parts:
            deadline.check(_SENDING)
            try:
                sent = self._socket.send(part, _AT_ONCE)
            except BlockingIOError:
                sent = 0
            # Nearly always all of it: a message of one row fits into any buffer.
            if sent < len(part) and not self._send_rest(memoryview(part)[sent:], deadline, hear):
                return False
        return True

    def receive(self, deadline: Deadline) -> bytes:
        """Return what came, empty at the end."""
        while True:
            flags = self._awaited(deadline)
            try:
                piece = self._socket.recv(self._room_bytes, flags)
            except BlockingIOError:
                continue
            self._room_bytes = AT_ONCE_BYTES
            return piece

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view` with what came, and return how much that was."""
        while True:
            flags = self._awaited(deadline)
            try:
                return self._socket.recv_into(view, 0, flags)
            except BlockingIOError:
                pass

    def close(self) -> None:
        """Close the socket."""
        self._selector.close()
        self._socket.close()

    def _begin(self, address: Any, deadline: Deadline) -> int:
        """Begin to connect; return 0 if that is done already, else the number of the error."""
        self._socket.setblocking(False)
        try:
            while True:
                deadline.check(_CONNECTING)
                begun = self._socket.connect_ex(address)
                # A Unix socket that has no room has not even begun.
                if begun != errno.EAGAIN or self._socket.family != getattr(socket, "AF_UNIX", -1):
                    return begun
                sleep(min(_FULL_PAUSE_S, deadline.remaining_s()))
        finally:
            self._socket.setblocking(bool(_AT_ONCE))

    def _send_rest(self, view: memoryview, deadline: Deadline, hear: Hear) -> bool:
        while view:
            left_s = deadline.check(_SENDING)
            try:
                view = view[self._socket.send(view, _AT_ONCE) :]
            except BlockingIOError:
                came = self._ready(_READ | _WRITE, left_s) & ~_WRITE
                if came and self._heard(hear):
                    return False
        return True

    def _heard(self, hear: Hear) -> bool:
        try:
            piece = self._socket.recv(AT_ONCE_BYTES, _AT_ONCE)
        except BlockingIOError:
            return False
        return hear(piece)

    def _awaited(self, deadline: Deadline) -> int:
        """Return the flags to receive with: where these wait, this need not."""
        left_s = deadline.check(_READING)
        if _AT_ONCE and left_s > LONGEST_WAIT_S and current_loop() is None:
            return 0
        self._ready(_READ, left_s)
        return _AT_ONCE

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
