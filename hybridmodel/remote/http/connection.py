"""One open connection to an endpoint: a request and its reply over a stream of our own.

Only so does one deadline bound the whole exchange, and do large tensors move without a copy.
`hybridmodel.remote.http.connect` opens it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.http.bounded_socket import Stream
from hybridmodel.remote.http.http1 import ChunkedBody, Head, HeadReader, encode_head
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.json_text import ERROR_BYTES, JSON_BYTES
from hybridmodel.remote.wire.protocol import HEADER_LENGTH, MAX_BODY_BYTES, parse_header_length
from hybridmodel.remote.wire.tensor_data import Buffer

_HEADER_LENGTH = HEADER_LENGTH.lower()
_SMALL_BYTES = 1 << 16
_BROKE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, from the exchange through the transport to the connection.

    Attributes
    ----------
    method, url : str
        What to ask.
    headers : mapping of str to str
        All but ``Host`` and ``Content-Length``; the key is among them.
    body : sequence of buffers
        Sent one after the other, without being joined.
    deadline : Deadline
        Ends the exchange, wherever it stands.
    json_bytes : int
        The most JSON that the reply may have.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Sequence[Buffer] = field(default=(), repr=False)
    deadline: Deadline
    json_bytes: int = JSON_BYTES


@dataclass(frozen=True, slots=True)  # Not kw_only: whoever writes a transport makes these.
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
    attempts : int
        Times that the request was sent: twice where the first connection was closed already.
    """

    status: int
    headers: Mapping[str, str]
    header: bytes | bytearray
    tensors: Buffer
    attempts: int = 1


class StaleConnection(ConnectionError):
    """Raise when a connection ended before the first byte of an answer."""


class Connection:
    """One open stream, and how requests have to be addressed on it.

    Parameters
    ----------
    stream : Stream
        Connected, through a proxy where there is one.
    prefix : str
        What stands before the path in a request.
    headers : mapping of str to str
        Of every request: ``Host``, and what a proxy wants.
    """

    def __init__(self, stream: Stream, prefix: str, headers: Mapping[str, str]) -> None:
        self._stream = stream
        self._prefix = prefix
        self._headers = headers
        self._reader = HeadReader()
        self._found: tuple[Head, bytes] | None = None
        self.reusable = False

    def exchange(self, request: HttpRequest) -> Reply:
        """Send one request and read its reply; afterwards `reusable` says whether to go on.

        A reply that comes before everything is sent, as a refusal may, ends the sending. No more
        than `json_bytes` of JSON are taken, and of a refusal no more than is ever shown.

        Raises
        ------
        EndpointTimeout, ProtocolError, OSError
            The connection must be closed then.
        """
        url, body = request.url, request.body
        headers = {**self._headers, **request.headers}
        if body:
            headers["Content-Length"] = str(sum(map(len, body)))
        head = encode_head(request.method, self._prefix + url[url.index("/", 8) :], headers)
        self._found = None
        whole = self._send(_packed((head, *body)), request.deadline)
        reply = self._receive(request.deadline, request.json_bytes)
        self.reusable = self.reusable and whole
        return reply

    def has_ended(self) -> bool:
        """Tell whether the server closed it, or sent something that nobody asked for."""
        return self._stream.has_something()

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()

    def _send(self, parts: Iterable[Buffer], deadline: Deadline) -> bool:
        """Return whether everything was sent."""
        try:
            return self._stream.send(parts, deadline, self._hear)
        except _BROKE as error:
            # A server that refuses a request early closes; what it said may still be there.
            if not self.has_ended():
                raise StaleConnection("the connection broke while the request was sent") from error
            return False

    def _hear(self, piece: bytes) -> bool:
        if piece:
            self._found = self._reader.feed(piece)
        return not piece or self._found is not None

    def _receive(self, deadline: Deadline, json_bytes: int) -> Reply:
        found = self._found
        while found is None:
            some = self._some if self._reader.has_begun else self._first
            found = self._reader.feed(some(deadline))
        head, received = found
        try:
            if head.status == 200:
                header, tensors = self._body(head, received, deadline, json_bytes)
                whole = True
            else:
                tensors = b""
                header, whole = self._beginning(head, received, deadline)
        except ProtocolError as error:
            error.status = head.status
            raise
        self.reusable = whole and head.reusable and (head.chunked or head.length is not None)
        return Reply(head.status, head.headers, header, tensors)

    def _first(self, deadline: Deadline) -> bytes:
        try:
            return _unless_ended(self._stream.receive(deadline))
        except _BROKE as error:
            raise StaleConnection("the server closed the connection without an answer") from error

    def _body(
        self, head: Head, received: bytes, deadline: Deadline, json_bytes: int
    ) -> tuple[bytes | bytearray, Buffer]:
        if head.encoding:
            raise ProtocolError(
                f"the answer is encoded as {head.encoding!r}, which was not asked for"
            )
        split = head.headers.get(_HEADER_LENGTH)
        length = None if head.chunked else head.length
        most = json_bytes if split is None else MAX_BODY_BYTES
        if length is not None and length > most:
            _check_length(length, most)
        if split is None or not length:
            whole = self._gathered(head, received, deadline, most)
            at = len(whole) if split is None else _json_length(split, len(whole), json_bytes)
            return (whole, b"") if at == len(whole) else (whole[:at], whole[at:])
        at = _json_length(split, length, json_bytes)
        header = received[:at]
        if len(header) < at:
            header = bytes(self._exactly(at, header, deadline))
        return header, self._exactly(length - at, received[at:], deadline)

    def _gathered(self, head: Head, received: bytes, deadline: Deadline, most: int) -> bytearray:
        whole = bytearray()
        for piece in self._pieces(head, received, deadline):
            whole += piece
            _check_length(len(whole), most)
        return whole

    def _beginning(self, head: Head, received: bytes, deadline: Deadline) -> tuple[bytearray, bool]:
        """Read as much of a refusal as may be shown; return whether that was all of it."""
        text = bytearray()
        for piece in self._pieces(head, received, deadline):
            text += piece
            if len(text) > ERROR_BYTES:
                del text[ERROR_BYTES:]
                return text, False
        return text, True

    def _pieces(self, head: Head, received: bytes, deadline: Deadline) -> Iterator[Buffer]:
        """Yield the body as it comes."""
        if head.chunked:
            chunks = ChunkedBody()
            yield chunks.feed(received)
            while not chunks.done:
                yield chunks.feed(self._some(deadline))
        elif head.length is None:
            yield received
            while piece := self._stream.receive(deadline):
                yield piece
        else:
            length, came = head.length, len(received)
            yield received
            while came < length:
                piece = self._stream.receive(deadline)
                if not piece:
                    raise ConnectionResetError(f"{came} of {length} bytes came, then the end")
                came += len(piece)
                yield piece
            if came > length:
                raise ProtocolError(f"{came - length} bytes follow the answer")

    def _exactly(self, length: int, received: bytes, deadline: Deadline) -> Buffer:
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
            count = self._stream.receive_into(body[at:], deadline)
            if count == 0:
                raise ConnectionResetError(f"{at} of {length} bytes came, then the end")
            at += count
        return body

    def _some(self, deadline: Deadline) -> bytes:
        return _unless_ended(self._stream.receive(deadline))


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


def _json_length(split: str, length: int, most: int) -> int:
    """Return how many bytes of a body are JSON."""
    at = parse_header_length(split, length) if length else 0
    _check_length(at, most)
    return at


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise ProtocolError(
            f"the answer has {length} bytes of JSON or more, and at most {most} were expected"
            if most < MAX_BODY_BYTES
            else f"the answer announces {length} bytes, more than any answer has"
        )
