"""One open connection to an endpoint: a request and its reply over the bare socket.

Only so does one deadline bound the whole exchange, and do large tensors move without a copy.
`hybridmodel.remote.connect` opens it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.bounded_socket import BoundedSocket
from hybridmodel.remote.http1 import ChunkedBody, Head, decompress, encode_head, split_head
from hybridmodel.remote.protocol import HEADER_LENGTH, MAX_BODY_BYTES, parse_header_length
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.tensor_data import Buffer

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

_HEADER_LENGTH = HEADER_LENGTH.lower()
_SMALL_BYTES = 1 << 16
_BROKE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes
    ----------
    status : int
        HTTP status.
    headers : mapping of str to str
        Names in lower case.
    header : bytes or bytearray
        The JSON part of the body, or all of it.
    tensors : buffer
        The rest, writable, in a buffer of its own so that the first tensor starts on an aligned
        address.
    """

    status: int
    headers: Mapping[str, str]
    header: bytes | bytearray
    tensors: Buffer


class StaleConnection(ConnectionError):
    """Raise when a connection ended before the first byte of an answer."""


class Connection:
    """One open socket, and how requests have to be addressed on it.

    Parameters
    ----------
    http : urllib3 connection
        Connected, through a proxy where there is one.
    prefix : str
        What stands before the path in a request.
    headers : mapping of str to str
        What a proxy wants besides.
    """

    def __init__(self, http: HTTPConnection, prefix: str, headers: Mapping[str, str]) -> None:
        self._http = http
        self._socket = BoundedSocket(http.sock)
        self._prefix = prefix
        self._headers = headers
        self._received = b""
        self.reusable = False

    def exchange(
        self,
        method: str,
        url: str,
        host: str,
        headers: Mapping[str, str],
        body: Sequence[Buffer],
        deadline: Deadline,
    ) -> Reply:
        """Send one request and read its reply; afterwards `reusable` says whether to go on.

        A reply that comes before everything is sent, as a refusal may, ends the sending.

        Raises
        ------
        EndpointTimeout, ProtocolError, OSError
            The connection must be closed then.
        """
        length = sum(map(len, body))
        head = {"Host": host, **headers, **self._headers}
        if body:
            head["Content-Length"] = str(length)
        target = self._prefix + url[url.index("/", 8) :]
        whole = self._send(_packed((encode_head(method, target, head), *body)), deadline)
        reply = self._receive(deadline)
        self.reusable = self.reusable and whole
        return reply

    def has_ended(self) -> bool:
        """Tell whether the server closed it, or sent something that nobody asked for."""
        return self._socket.has_something()

    def close(self) -> None:
        """Close the socket."""
        self._http.close()

    def _send(self, parts: Iterable[Buffer], deadline: Deadline) -> bool:
        """Return whether everything was sent."""
        try:
            return self._socket.send(parts, deadline, self._hear)
        except _BROKE as error:
            # A server that refuses a request early closes; what it said may still be there.
            if not self.has_ended():
                raise StaleConnection("the connection broke while the request was sent") from error
            return False

    def _hear(self, piece: bytes) -> bool:
        self._received += piece
        return not piece or self._final_head() is not None

    def _final_head(self) -> tuple[Head, int] | None:
        """Look for the head of the reply behind interim ones, which are dropped."""
        while (found := split_head(self._received)) is not None and found[0].status < 200:
            self._received = self._received[found[1] :]
        return found

    def _receive(self, deadline: Deadline) -> Reply:
        self._received = self._received or self._first(deadline)
        while (found := self._final_head()) is None:
            self._received += self._some(deadline)
        head, end = found
        received, self._received = self._received[end:], b""
        try:
            header, tensors = self._body(head, received, deadline)
        except ProtocolError as error:
            error.status = head.status
            raise
        self.reusable = head.reusable and (head.chunked or head.length is not None)
        return Reply(head.status, head.headers, header, tensors)

    def _first(self, deadline: Deadline) -> bytes:
        try:
            return _unless_ended(self._socket.receive(deadline))
        except _BROKE as error:
            raise StaleConnection("the server closed the connection without an answer") from error

    def _body(
        self, head: Head, received: bytes, deadline: Deadline
    ) -> tuple[bytes | bytearray, Buffer]:
        split = head.headers.get(_HEADER_LENGTH)
        encoding = head.headers.get("content-encoding", "").lower()
        if head.chunked:
            whole = self._chunks(received, deadline)
        elif head.length is None:
            whole = self._rest(received, deadline)
        elif encoding or split is None or not head.length:
            whole = bytearray(self._exactly(head.length, received, deadline))
        else:
            at = parse_header_length(split, head.length)
            header = received[:at]
            if len(header) < at:
                header = bytes(self._exactly(at, header, deadline))
            return header, self._exactly(head.length - at, received[at:], deadline)
        whole = decompress(whole, encoding, MAX_BODY_BYTES)
        at = parse_header_length(split, len(whole)) if whole else 0
        return whole[:at], whole[at:]

    def _exactly(self, length: int, received: bytes, deadline: Deadline) -> Buffer:
        if length > MAX_BODY_BYTES:
            raise ProtocolError(f"the answer announces {length} bytes, more than any answer has")
        if len(received) > length:
            raise ProtocolError(f"{len(received) - length} bytes follow the answer")
        if len(received) == length:
            return bytearray(received)
        try:
            # Memory that nobody has written to takes none: it may announce more than it sends.
            body = np.empty(length, np.uint8).data
        except MemoryError:
            raise ProtocolError(f"the answer announces {length} bytes, too many to hold") from None
        body[: len(received)] = received
        at = len(received)
        while at < length:
            count = self._socket.receive_into(body[at:], deadline)
            if count == 0:
                raise ConnectionResetError(f"{at} of {length} bytes came, then the end")
            at += count
        return body

    def _chunks(self, received: bytes, deadline: Deadline) -> bytearray:
        chunks, body = ChunkedBody(), bytearray()
        body += chunks.feed(received)
        while not chunks.done:
            body += chunks.feed(self._some(deadline))
            _check_length(body)
        return body

    def _rest(self, received: bytes, deadline: Deadline) -> bytearray:
        body = bytearray(received)
        while piece := self._socket.receive(deadline):
            body += piece
            _check_length(body)
        return body

    def _some(self, deadline: Deadline) -> bytes:
        return _unless_ended(self._socket.receive(deadline))


def _unless_ended(piece: bytes) -> bytes:
    if not piece:
        raise ConnectionResetError("the server closed the connection in the answer")
    return piece


def _packed(parts: Iterable[Buffer]) -> list[Buffer]:
    """Join what is small, so that it leaves in one packet; what is large stays where it is."""
    small: list[Buffer] = []
    packed: list[Buffer] = []
    for part in parts:
        if len(part) <= _SMALL_BYTES:
            small.append(part)
        else:
            packed += (b"".join(small), part)
            small = []
    return [*packed, b"".join(small)]


def _check_length(body: bytearray) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise ProtocolError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
