"""One open connection to an endpoint: a request and its reply over a stream of our own.

So one deadline bounds the whole exchange, and large tensors move without a copy.
`hybridmodel.remote.http.connect` opens it.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.http.http1 import ChunkedBody, Head, HeadReader, head_start, header_lines
from hybridmodel.remote.http.tls import Stream
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire.json_text import ERROR_BYTES, JSON_BYTES
from hybridmodel.remote.wire.protocol import HEADER_LENGTH, MAX_BODY_BYTES, parse_header_length
from hybridmodel.remote.wire.tensor_data import Buffer

_HEADER_LENGTH = HEADER_LENGTH.lower()
_SMALL_BYTES = 1 << 16
_ENDED = "the server closed the connection in the answer"
Body = tuple[bytes | bytearray, Buffer]
"""The JSON part of a body, and the rest."""

_BROKE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(slots=True, kw_only=True)  # Frozen, it would take twice the time to make.
class HttpRequest:
    """One request, from the exchange through the transport to the connection; never changed.

    The key is among the `headers`, which other requests have as well, and `own` are those of this
    request alone; ``Host`` and ``Content-Length`` are added later. The parts of `body` are sent
    without being joined. The reply may have at most `json_bytes` of JSON. What `creates` something
    there is sent once and never again, and any status of success answers it.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    own: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Sequence[Buffer] = field(default=(), repr=False)
    deadline: Deadline
    json_bytes: int = JSON_BYTES
    creates: bool = False

    @property
    def successes(self) -> Collection[int]:
        """The statuses whose body is read as an answer."""
        return range(200, 300) if self.creates else (200,)


@dataclass(slots=True)  # Not kw_only: whoever writes a transport makes these. As above.
class Reply:
    """What came back; never changed.

    Names of `headers` are in lower case. `header` is the JSON part of the body, or all of it.
    `tensors` is the rest, writable and in a buffer of its own, so that the first tensor has an
    aligned address. `attempts` is 2 where the first connection was closed before the server read
    the request.
    """

    status: int
    headers: Mapping[str, str]
    header: bytes | bytearray
    tensors: Buffer
    attempts: int = 1


class StaleConnection(ConnectionError):
    """Raise when a connection ended before the first byte of an answer."""


class Connection:
    """One open stream, and how requests are addressed on it.

    `prefix` comes before the path in a request, and `headers` are those of every request. URLs
    begin with `base`; where that is not said, with a scheme and a host. `reusable` says whether
    another request may follow; `has_ended`, whether the server closed the connection or sent
    something unasked.
    """

    # Without ``vars``, since the last head has the key in it.
    __slots__ = (
        "_base_letters",
        "_deadline",
        "_found",
        "_has_begun",
        "_headers",
        "_last",
        "_prefix",
        "_reader",
        "_stream",
        "close",
        "has_ended",
        "reusable",
    )

    def __init__(
        self, stream: Stream, prefix: str, headers: Mapping[str, str], base: str = ""
    ) -> None:
        self._stream = stream
        self._prefix = prefix
        self._headers = headers
        self._base_letters = len(base)
        self._last: tuple[str, str, Mapping[str, str] | None, str] = ("", "", None, "")
        self._reader = HeadReader()
        self._found: tuple[Head, bytes] | None = None
        self._has_begun = False
        self.reusable = False
        self.has_ended = stream.has_something
        self.close = stream.close

    def exchange(self, request: HttpRequest) -> Reply:
        """Send one request and read its reply; afterwards `reusable` says whether to go on.

        A reply that comes before everything is sent, as a refusal may, ends the sending. No more
        than `json_bytes` of JSON are read, and of a refusal no more than is ever shown. After an
        error, the connection must be closed.
        """
        self._found, self._has_begun, self._deadline = None, False, request.deadline
        body = request.body
        size_bytes = sum(map(len, body)) if body else 0
        head = self._head_of(request, size_bytes)
        whole = self._send(
            (b"".join((head, *body)),) if size_bytes <= _SMALL_BYTES else _packed(head, body)
        )
        reply = self._receive(request)
        self.reusable = self.reusable and whole
        return reply

    def _head_of(self, request: HttpRequest, size_bytes: int) -> bytes:
        """Write the head of a request; what it shares with the last one is written only once."""
        method, url, headers, start = self._last
        if request.headers is not headers or request.url != url or request.method != method:
            method, url, headers = request.method, request.url, request.headers
            at = self._base_letters or url.index("/", 8)
            start = head_start(method, self._prefix + url[at:], {**self._headers, **headers})
            self._last = (method, url, headers, start)
        length = f"Content-Length: {size_bytes}\r\n" if request.body else ""
        return f"{start}{header_lines(request.own)}{length}\r\n".encode("ascii")

    def _send(self, parts: Iterable[Buffer]) -> bool:
        """Return whether everything was sent."""
        try:
            return self._stream.send(parts, self._deadline, self._hear)
        except _BROKE as error:
            # A server that refuses a request early closes; what it said may still be there.
            if not self.has_ended():
                raise StaleConnection("the connection broke while the request was sent") from error
            return False

    def _hear(self, piece: bytes) -> bool:
        if piece:
            self._has_begun = True
            self._found = self._reader.feed(piece)
        return not piece or self._found is not None

    def _receive(self, request: HttpRequest) -> Reply:
        head, received = self._found or self._next_head()
        tensors: Buffer = b""
        try:
            if head.status in request.successes:
                _check_encoding(head)
                header, tensors = self._body(head, received, request.json_bytes)
                whole = True
            else:
                # No more than may be shown.
                header, whole = self._gathered(head, received, ERROR_BYTES)
                del header[ERROR_BYTES:]
        except ProtocolError as error:
            error.status = head.status
            raise
        self.reusable = whole and head.reusable and (head.chunked or head.length is not None)
        return Reply(head.status, head.headers, header, tensors)

    def _next_head(self) -> tuple[Head, bytes]:
        """Return the head of the answer, and what came with it of the body."""
        try:
            found = None
            while found is None:
                if not (piece := self._stream.receive(self._deadline)):
                    raise ConnectionResetError(_ENDED)
                self._has_begun = True
                found = self._reader.feed(piece)
        except _BROKE as error:
            if self._has_begun:
                raise
            raise StaleConnection("the server closed the connection without an answer") from error
        return found

    def _some(self) -> bytes:
        piece = self._stream.receive(self._deadline)
        if not piece:
            raise ConnectionResetError(_ENDED)
        return piece

    def _body(self, head: Head, received: bytes, json_bytes: int) -> Body:
        split = head.headers.get(_HEADER_LENGTH)
        length = None if head.chunked else head.length
        if split is not None and received and length == len(received):
            # All of it is there, as it is for a few rows.
            at = parse_header_length(split, length)
            if at <= json_bytes:
                return received[:at], bytearray(received[at:])
        most = json_bytes if split is None else MAX_BODY_BYTES
        _check_length(length or 0, most)
        if split is None or not length:
            whole, _ = self._gathered(head, received, most)
            return _divided(whole, split, most, json_bytes)
        return self._in_two(_json_length(split, length, json_bytes), length, received)

    def _in_two(self, at: int, length: int, received: bytes) -> Body:
        """Read a body of this length whose JSON ends at a byte."""
        header = received[:at]
        if len(header) < at:
            header = bytes(self._exactly(at, header))
        return header, self._exactly(length - at, received[at:])

    def _gathered(self, head: Head, received: bytes, most: int) -> tuple[bytearray, bool]:
        """Read the body until it is longer than `most`; return whether that was all of it."""
        whole = bytearray()
        chunked = head.chunked
        for piece in self._chunks(received) if chunked else self._pieces(head.length, received):
            whole += piece
            if len(whole) > most:
                return whole, False
        return whole, True

    def _chunks(self, received: bytes) -> Iterator[Buffer]:
        chunks = ChunkedBody()
        yield chunks.feed(received)
        while not chunks.done:
            yield chunks.feed(self._some())

    def _pieces(self, length: int | None, received: bytes) -> Iterator[Buffer]:
        """Yield a body of this length, or one that ends with the connection, as it comes."""
        came = len(received)
        yield received
        while length is None or came < length:
            piece = self._stream.receive(self._deadline)
            if not piece and length is None:
                return
            if not piece:
                raise ConnectionResetError(f"{came} of {length} bytes came, then the end")
            came += len(piece)
            yield piece
        if came > length:
            raise ProtocolError(f"{came - length} bytes follow the answer")

    def _exactly(self, length: int, received: bytes) -> Buffer:
        if len(received) > length:
            raise ProtocolError(f"{len(received) - length} bytes follow the answer")
        if len(received) == length:
            return bytearray(received)
        try:
            # Untouched memory is not allocated yet: the server may announce more than it sends.
            body = np.empty(length, np.uint8).data
        except MemoryError:
            raise ProtocolError(f"the answer announces {length} bytes, too many to hold") from None
        body[: len(received)] = received
        at = len(received)
        while at < length:
            count = self._stream.receive_into(body[at:], self._deadline)
            if count == 0:
                raise ConnectionResetError(f"{at} of {length} bytes came, then the end")
            at += count
        return body


def _packed(head: bytes, body: Sequence[Buffer]) -> list[Buffer]:
    """Join what is small, so that it leaves in one packet; what is large stays where it is."""
    small: list[Buffer] = [head]
    packed: list[Buffer] = []
    for part in body:
        if len(part) <= _SMALL_BYTES:
            small.append(part)
        else:
            packed += (b"".join(small), part)
            small = []
    return [*packed, b"".join(small)]


def _check_encoding(head: Head) -> None:
    if head.encoding:
        raise ProtocolError(f"the answer is encoded as {head.encoding!r}, which was not asked for")


def _divided(whole: bytearray, split: str | None, most: int, json_bytes: int) -> Body:
    """Return the JSON of a whole body, and the rest."""
    _check_length(len(whole), most)
    at = len(whole) if split is None else _json_length(split, len(whole), json_bytes)
    return (whole, b"") if at == len(whole) else (whole[:at], whole[at:])


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
