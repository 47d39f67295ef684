"""One open connection to an endpoint: a request and its reply over the bare socket.

Only so does one deadline bound the whole exchange, and do large tensors move without a copy.
`hybridmodel.remote.connect` opens it.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.http1 import ChunkedBody, Head, decompress, encode_head, split_head
from hybridmodel.remote.protocol import HEADER_LENGTH, MAX_BODY_BYTES, parse_header_length
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.tensor_data import Buffer

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

_HEADER_LENGTH = HEADER_LENGTH.lower()
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes
    ----------
    status : int
        HTTP status.
    headers : mapping of str to str
        Names in lower case.
    header : bytearray
        The JSON part of the body, or all of it.
    tensors : buffer
        The rest, writable, in a buffer of its own so that the first tensor starts on an aligned
        address.
    """

    status: int
    headers: Mapping[str, str]
    header: bytearray
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
        self._socket: socket.socket = http.sock
        self._prefix = prefix
        self._headers = headers
        self._readable = _readable(self._socket)
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
        self._send((encode_head(method, target, head), *body), deadline)
        return self._receive(deadline)

    def has_ended(self) -> bool:
        """Tell whether the server closed it, or sent something that nobody asked for."""
        return self._readable()

    def close(self) -> None:
        """Close the socket."""
        self._http.close()

    def _send(self, parts: Iterable[Buffer], deadline: Deadline) -> None:
        try:
            for piece in _pieces(parts):
                self._socket.settimeout(deadline.check("sending the request"))
                self._socket.sendall(piece)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            # A server that refuses a request early closes; what it said may still be there.
            if not self.has_ended():
                raise StaleConnection("the connection broke while the request was sent") from error

    def _receive(self, deadline: Deadline) -> Reply:
        received = bytearray(self._first(deadline))
        while (found := split_head(received)) is None or found[0].status < 200:
            if found is not None:
                del received[: found[1]]
                continue
            received += self._some(deadline)
        head, end = found
        try:
            header, tensors = self._body(head, received[end:], deadline)
        except ProtocolError as error:
            error.status = head.status
            raise
        self.reusable = head.reusable and (head.chunked or head.length is not None)
        return Reply(head.status, head.headers, header, tensors)

    def _first(self, deadline: Deadline) -> bytes:
        try:
            return self._some(deadline)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise StaleConnection("the server closed the connection without an answer") from error

    def _body(
        self, head: Head, received: bytearray, deadline: Deadline
    ) -> tuple[bytearray, Buffer]:
        split = head.headers.get(_HEADER_LENGTH)
        encoding = head.headers.get("content-encoding", "").lower()
        if head.chunked:
            whole = self._chunks(received, deadline)
        elif head.length is None:
            whole = self._rest(received, deadline)
        elif encoding or len(received) >= head.length or split is None:
            whole = bytearray(self._exactly(head.length, received, deadline))
        else:
            at = parse_header_length(split, head.length)
            header = bytearray(self._exactly(at, received[:at], deadline))
            return header, self._exactly(head.length - at, received[at:], deadline)
        whole = decompress(whole, encoding, MAX_BODY_BYTES)
        at = parse_header_length(split, len(whole)) if whole else 0
        return whole[:at], whole[at:]

    def _exactly(self, length: int, received: bytearray, deadline: Deadline) -> Buffer:
        if length > MAX_BODY_BYTES:
            raise ProtocolError(f"the answer announces {length} bytes, more than any answer has")
        if len(received) > length:
            raise ProtocolError(f"{len(received) - length} bytes follow the answer")
        if len(received) == length:
            return received
        # Memory that nobody has written to takes none: a server may announce more than it sends.
        body = np.empty(length, np.uint8).data
        body[: len(received)] = received
        at = len(received)
        while at < length:
            self._socket.settimeout(deadline.check("reading the answer"))
            count = self._socket.recv_into(body[at:])
            if count == 0:
                raise ConnectionResetError(f"{at} of {length} bytes came, then the end")
            at += count
        return body

    def _chunks(self, received: bytearray, deadline: Deadline) -> bytearray:
        chunks, body = ChunkedBody(), bytearray()
        body += chunks.feed(received)
        while not chunks.done:
            body += chunks.feed(self._some(deadline))
            _check_length(body)
        return body

    def _rest(self, received: bytearray, deadline: Deadline) -> bytearray:
        while piece := self._some(deadline, or_end=True):
            received += piece
            _check_length(received)
        return received

    def _some(self, deadline: Deadline, *, or_end: bool = False) -> bytes:
        self._socket.settimeout(deadline.check("reading the answer"))
        piece = self._socket.recv(_PIECE_BYTES)
        if not piece and not or_end:
            raise ConnectionResetError("the server closed the connection in the answer")
        return piece


def _readable(sock: socket.socket) -> Callable[[], bool]:
    """Return what tells at once whether there is something to read, or the end."""
    if not hasattr(select, "poll"):  # Windows, whose select takes any number of sockets.
        return lambda: bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return lambda: bool(poll.poll(0))


def _pieces(parts: Iterable[Buffer]) -> Iterable[Buffer]:
    """Join what is small, so that it leaves in one packet, and cut what is large, uncopied."""
    small = bytearray()
    for part in parts:
        if len(small) + len(part) <= _PIECE_BYTES:
            small += part
            continue
        yield small
        small = bytearray()
        view = memoryview(part)
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]
    yield small


def _check_length(body: bytearray) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise ProtocolError(f"the answer is longer than {MAX_BODY_BYTES} bytes")
