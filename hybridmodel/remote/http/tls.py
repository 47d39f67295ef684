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

from hybridmodel.remote.http.bounded_socket import AT_ONCE_BYTES, Hear, Stream
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.tensor_data import Buffer

_RECORD_BYTES = 1 << 14
"""The most that one record holds, and that OpenSSL gives at a time."""

_UNREAD_BYTES = 1 << 20
"""Kept, while there is something to be sent first, of what came."""


class TlsStream:
    """Sends and receives over TLS; for one thread at a time.

    Parameters
    ----------
    below : Stream
        Connected.
    context : ssl.SSLContext
        Says whom to trust.
    host : str
        Whose certificate is expected.
    """

    def __init__(self, below: Stream, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self, deadline: Deadline) -> None:
        """Agree on keys, and check the certificate.

        Raises
        ------
        ssl.SSLError
            If there is no agreement, or the certificate is not accepted.
        EndpointTimeout, OSError
            If it takes too long, or the connection breaks.
        """
        try:
            while not self._done(self._tls.do_handshake):
                self._feed(deadline)
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
            while (text := self._decrypted()) is not None:
                if hear(text) or not text:
                    return True
            return False

        for part in parts:
            view = memoryview(part)
            while view:
                view = view[self._encrypted(view, deadline) :]
                if self._outgoing.pending >= AT_ONCE_BYTES and not self._push(deadline, heard):
                    return False
        return self._push(deadline, heard)

    def receive(self, deadline: Deadline) -> bytes:
        """Return what came, empty at the end.

        Raises
        ------
        EndpointTimeout, OSError
            If nothing came in time, or the connection broke.
        """
        if not self._has_some():
            self._feed(deadline)
        while (text := self._decrypted()) is None:
            self._feed(deadline)
        return text

    def receive_into(self, view: memoryview, deadline: Deadline) -> int:
        """Fill the beginning of `view` with what came, and return how much that was.

        Raises
        ------
        EndpointTimeout, OSError
            If nothing came in time, or the connection broke.
        """
        if not self._has_some():
            self._feed(deadline)
        while (count := self._decrypted_into(view)) is None:
            self._feed(deadline)
        return count

    def close(self) -> None:
        """Close the socket."""
        self._below.close()

    def _has_some(self) -> int:
        """Tell whether OpenSSL has something to work on; to ask it in vain costs an exception."""
        return self._incoming.pending or self._tls.pending()

    def _done(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        return True

    def _encrypted(self, view: memoryview, deadline: Deadline) -> int:
        """Take the beginning of `view` to be sent, and return how much that was."""
        while True:
            try:
                # OpenSSL takes all that it is given, and a copy of it, before it comes back.
                return self._tls.write(view[:AT_ONCE_BYTES])
            except ssl.SSLWantReadError:  # The server wants other keys first.
                pass
            self._feed(deadline)

    def _decrypted(self) -> bytes | None:
        """Return what came as far as it is here, empty at the end; None if more has to come."""
        try:
            return self._tls.read(_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError:
            return b""  # Many servers end without the farewell of TLS.

    def _decrypted_into(self, view: memoryview) -> int | None:
        try:
            return self._tls.read(len(view), view)  # type: ignore[return-value]
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError:
            return 0

    def _feed(self, deadline: Deadline) -> None:
        """Receive one piece for OpenSSL to work on; first send what it has to say itself."""
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
