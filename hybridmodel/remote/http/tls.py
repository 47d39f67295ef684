"""TLS over a stream of ours, so that no step of it waits, or works, beyond the deadline.

A socket of Python's `ssl` reads inside OpenSSL until something for the caller has come: a server
that sends session tickets, or one record byte by byte, keeps it there for as long as it likes.
OpenSSL only works on memory here; each piece is received by a `BoundedSocket`, which looks at the
deadline first. The stream below may be TLS itself, as with a proxy asked over
https.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from hybridmodel.remote.http.bounded_socket import AT_ONCE_BYTES, BoundedSocket, Hear
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.tensor_data import Buffer

T = TypeVar("T")

_RECORD_BYTES = 1 << 14
"""The most that one record holds, and that OpenSSL returns at a time."""

_UNREAD_BYTES = 1 << 20
"""The most that is received and kept while something has to be sent first."""


class TlsStream:
    """Sends and receives over TLS; for one thread at a time. `host` must be in the certificate."""

    def __init__(self, below: Stream, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self, deadline: Deadline) -> None:
        """Agree on keys, and check the certificate; raises ssl.SSLError if that fails."""
        try:
            self._do(deadline, self._tls.do_handshake)
        except ssl.SSLError:
            # The other side learns why, if it is still there.
            with suppress(OSError):
                self._flush(deadline)
            raise
        self._flush(deadline)

    def has_something(self) -> bool:
        """Tell whether there is something to read, or the end."""
        return bool(self._has_some() or self._below.has_something())

    def send(self, parts: Iterable[Buffer], deadline: Deadline, hear: Hear) -> bool:
        """Send everything, and return whether that was done.

        Takes and raises what `hybridmodel.remote.http.bounded_socket.BoundedSocket.send` does, and
        ssl.SSLError.
        """

        def heard(piece: bytes) -> bool:
            self._take(piece)
            try:
                while text := self._tls.read(_RECORD_BYTES):
                    if hear(text):
                        return True
            except ssl.SSLWantReadError:
                return False
            except ssl.SSLEOFError:
                pass
            hear(b"")
            return True

        for part in parts:
            view = memoryview(part)
            while view:
                # OpenSSL takes all that it is given, and a copy of it, before it comes back.
                view = view[self._do(deadline, self._tls.write, view[:AT_ONCE_BYTES]) :]
                if self._outgoing.pending >= AT_ONCE_BYTES and not self._push(deadline, heard):
                    return False
        return self._push(deadline, heard)

    def receive(self, deadline: Deadline) -> bytes:
        """Return what came, empty at the end."""
        return bytes(self._read(deadline, _RECORD_BYTES))

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view` with what came, and return how much that was."""
        return int(self._read(deadline, len(view), view))

    def _read(self, deadline: Deadline, *into: Any) -> Any:
        if not self._has_some():
            self._feed(deadline)
        try:
            return self._do(deadline, self._tls.read, *into)
        except ssl.SSLEOFError:
            # Many servers end without TLS's closing message.
            return 0 if len(into) > 1 else b""

    def close(self) -> None:
        """Close the socket."""
        self._below.close()

    def _has_some(self) -> int:
        """Tell whether OpenSSL has something to work on; to ask it in vain costs an exception."""
        return self._incoming.pending or self._tls.pending()

    def _do(self, deadline: Deadline, step: Callable[..., T], *arguments: Any) -> T:
        """Take a step as soon as all has come that OpenSSL needs for it, such as other keys."""
        while True:
            with suppress(ssl.SSLWantReadError):
                return step(*arguments)
            self._feed(deadline)

    def _feed(self, deadline: Deadline) -> None:
        """Send what OpenSSL has to send, then receive one piece for it."""
        if self._outgoing.pending:
            self._flush(deadline)
        self._take(self._below.receive(deadline))

    def _take(self, piece: bytes) -> None:
        if piece:
            self._incoming.write(piece)
        else:
            self._incoming.write_eof()

    def _flush(self, deadline: Deadline) -> None:
        def heard(piece: bytes) -> bool:
            self._take(piece)
            return not piece or self._incoming.pending > _UNREAD_BYTES

        if not self._push(deadline, heard):
            raise ConnectionResetError("the other side of the secure connection does not read")

    def _push(self, deadline: Deadline, heard: Hear) -> bool:
        """Send what is encrypted; `heard` gets what comes meanwhile, as it is on the wire."""
        return self._below.send((self._outgoing.read(),), deadline, heard)


Stream = BoundedSocket | TlsStream
"""Bytes both ways before a deadline, over TCP or over TLS; for one thread at a time."""
