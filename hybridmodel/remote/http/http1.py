"""As much of HTTP/1.1 as one request and one response need, as pure functions of bytes.

The general clients spend more time on each exchange than a small model takes to answer, and bound
the wait for each piece of an answer instead of the whole. Sources: RFC 9112 (framing), RFC 9110
(status, ``Connection``, ``Content-Encoding``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.memo import Memo

MAX_HEAD_BYTES = 1 << 16
_MAX_HEADERS = 100
_END = b"\r\n\r\n"


@dataclass(frozen=True)  # Without slots, for what is worked out once.
class Head:
    """The first part of a response.

    Attributes
    ----------
    status : int
        Three digits.
    headers : mapping of str to str
        Names in lower case; of repeated ones the last.
    reusable : bool
        Whether the connection may carry another request.
    """

    status: int
    headers: Mapping[str, str]
    reusable: bool

    @cached_property
    def encoding(self) -> str:
        """What the body has to be unpacked with, which nobody asked for; empty for nothing."""
        value = self.headers.get("content-encoding", "").strip().lower()
        return "" if value == "identity" else value[:40]

    @cached_property
    def chunked(self) -> bool:
        """Whether the body comes in chunks of announced length.

        Raises
        ------
        ProtocolError
            If it comes in another encoding.
        """
        value = self.headers.get("transfer-encoding", "").strip().lower()
        if value not in ("", "chunked"):
            raise ProtocolError(f"the answer has the Transfer-Encoding {value[:40]!r}")
        return value == "chunked"

    @cached_property
    def length(self) -> int | None:
        """Announced length of the body in bytes, None where it ends with the connection.

        Raises
        ------
        ProtocolError
            If what is announced is no length.
        """
        if self.status in (204, 304):
            return 0
        value = self.headers.get("content-length")
        if value is None:
            return None
        if not (value.isascii() and value.isdigit()) or len(value) > 15:
            raise ProtocolError(f"Content-Length is {value[:40]!r}, not a number of bytes")
        return int(value)


def encode_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Write a request's first part.

    Raises
    ------
    ProtocolError
        If a header would end early; what it holds is not shown.
    """
    values = "".join(headers.values())
    if not (values.isascii() and values.isprintable()):
        bad = next(name for name, value in headers.items() if not _is_sendable(value))
        raise ProtocolError(f"the header {bad} holds control characters, or others beyond ASCII")
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable()


def split_head(data: bytes | bytearray) -> tuple[Head, int] | None:
    """Read a response's first part, and say where it ends; None while it is not complete.

    Raises
    ------
    ProtocolError
        If it is not HTTP, or longer than `MAX_HEAD_BYTES`.
    """
    end = data.find(_END)
    if end < 0:
        if len(data) > MAX_HEAD_BYTES or b"\n\n" in data or not data[:5] == b"HTTP/"[: len(data)]:
            raise ProtocolError(f"the answer is not HTTP: it begins {bytes(data[:40])!r}")
        return None
    text = bytes(data[:end])
    head = _heads.get(text)
    if head is None:
        head = _read_head(text)
        if head.headers.keys() <= _PLAIN:
            _heads.keep(text, head)
    return head, end + len(_END)


_PLAIN = {"content-type", "content-length", "inference-header-content-length"}
"""All that Triton says with an answer, neither time of day nor secret; a gateway says more."""

_heads: Memo[Head] = Memo()


class HeadReader:
    """Finds the head of an answer as its bytes come in; interim ones before it are dropped."""

    __slots__ = ("_data", "_dropped_bytes")

    def __init__(self) -> None:
        self._data = b""
        self._dropped_bytes = 0

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return bool(self._data or self._dropped_bytes)

    def feed(self, piece: bytes) -> tuple[Head, bytes] | None:
        """Take bytes from the connection; return the head and what follows it once it is there.

        Raises
        ------
        ProtocolError
            If it is not HTTP, or longer than `MAX_HEAD_BYTES`, or if as many come before it.
        """
        data = self._data + piece if self._data else piece
        while (found := split_head(data)) is not None:
            head, end = found
            data = data[end:]
            if head.status >= 200:
                self._data, self._dropped_bytes = b"", 0
                return head, data
            self._dropped_bytes += end
            if self._dropped_bytes > MAX_HEAD_BYTES:
                raise ProtocolError("interim answers come, and no answer")
        self._data = data
        return None


def _read_head(text: bytes) -> Head:
    version, status, lines = _status_line(text)
    headers = _headers(lines)
    connection = headers.get("connection", "").lower()
    keeps = "keep-alive" in connection or (version == "HTTP/1.1" and "close" not in connection)
    if "transfer-encoding" in headers and "content-length" in headers:
        keeps = False  # RFC 9112, 6.3: where the two meet, somebody between may be deceived.
    return Head(status, MappingProxyType(headers), keeps)


def _status_line(head: bytes) -> tuple[str, int, list[str]]:
    if head.count(b"\n") > _MAX_HEADERS:
        raise ProtocolError(f"the answer has more than {_MAX_HEADERS} headers")
    first, *lines = head.decode("latin-1").split("\r\n")
    if head.count(b"\n") != len(lines):
        raise ProtocolError("the answer is not HTTP: it has line feeds by themselves")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (status.isascii() and status.isdigit()):
        raise ProtocolError(f"the answer is not HTTP: it begins {first[:40]!r}")
    if status == "101":
        raise ProtocolError("the answer changes to another protocol, which nobody asked for")
    return version, int(status), lines


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name:
            raise ProtocolError(f"the answer has a line that is no header: {line[:40]!r}")
        name, value = name.lower(), value.strip()
        if name == "content-length" and headers.get(name, value) != value:
            raise ProtocolError("the answer has two lengths")
        headers[name] = value
    return headers


class ChunkedBody:
    """Puts a chunked body together as its bytes come in.

    Attributes
    ----------
    done : bool
        Whether the last chunk has come.
    """

    def __init__(self) -> None:
        self.done = False
        self._pending = bytearray()
        self._left = 0
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes | bytearray | memoryview) -> bytearray:
        """Take bytes from the connection and return those that belong to the body.

        Raises
        ------
        ProtocolError
            If they are not chunks, or something follows the last.
        """
        self._pending += data
        body = bytearray()
        at = 0
        while not self.done and (used := self._step(at, body)):
            at += used
        del self._pending[:at]
        if self.done and self._pending:
            raise ProtocolError(f"{len(self._pending)} bytes follow the answer")
        return body

    def _step(self, at: int, body: bytearray) -> int:
        """Use some of what is pending from `at` on; return how much."""
        pending = self._pending
        if self._left > 2:
            piece = pending[at : at + self._left - 2]
            body += piece
            self._left -= len(piece)
            return len(piece)
        line_end = pending.find(b"\r\n", at)
        if line_end < 0:
            if len(pending) - at > MAX_HEAD_BYTES:
                raise ProtocolError("a chunk of the answer has no length")
            return 0
        self._take_line(bytes(pending[at:line_end]))
        return line_end + 2 - at

    def _take_line(self, line: bytes) -> None:
        if self._left:  # The line break behind a chunk.
            if line:
                raise ProtocolError("a chunk of the answer is longer than it announced")
            self._left = 0
        elif self._in_trailer:
            self.done = not line
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_HEAD_BYTES:
                raise ProtocolError("the trailer of the answer has no end")
        else:
            size = line.partition(b";")[0].strip()
            if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
                raise ProtocolError(f"a chunk of the answer has the length {size[:40]!r}")
            self._left = int(size, 16) + 2 if int(size, 16) else 0
            self._in_trailer = not self._left
