"""As much of HTTP/1.1 as one request and one response need, as pure functions of bytes.

General clients spend more time on each exchange than a small model takes to answer, and bound
the wait for each piece of an answer, but not for the whole. Sources: RFC 9112 (framing), RFC 9110
(status, ``Connection``, ``Content-Encoding``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.wire.memo import Memo

MAX_HEAD_BYTES = 1 << 16
_MAX_HEADERS = 100
_LENGTH = re.compile("[0-9]{1,15}")
_STATUS_LINE = re.compile("(HTTP/1[.][01]) ([0-9]{3})")
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """The first part of a response.

    Names of `headers` are in lower case; of repeated ones the last counts. `encoding` is the body's
    compression, empty for none. `length` is the announced one, None where the body ends with the
    connection.
    """

    status: int
    headers: Mapping[str, str]
    reusable: bool
    encoding: str
    chunked: bool
    length: int | None


def encode_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Write a request's first part; raises what `header_lines` does."""
    return f"{head_start(method, target, headers)}\r\n".encode("ascii")


def head_start(method: str, target: str, headers: Mapping[str, str]) -> str:
    """Write a request's first part up to where more headers may follow."""
    return f"{method} {target} HTTP/1.1\r\n{header_lines(headers)}"


def header_lines(headers: Mapping[str, str]) -> str:
    """Write headers, a line each; refuse one with control characters without showing it."""
    lines = ""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ProtocolError(
                f"the header {name} holds control characters, or others beyond ASCII"
            )
        lines += f"{name}: {value}\r\n"
    return lines


def split_head(data: bytes | bytearray) -> tuple[Head, int] | None:
    """Read a response's first part, and say where it ends; None while it is not complete."""
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
"""The headers of Triton, which hold neither a time nor a secret; a gateway sends more."""

_heads: Memo[Head] = Memo()


class HeadReader:
    """Finds the head of an answer as its bytes come in; interim ones before it are dropped."""

    __slots__ = ("_data", "_dropped_bytes")

    def __init__(self) -> None:
        self._data = b""
        self._dropped_bytes = 0

    def feed(self, piece: bytes) -> tuple[Head, bytes] | None:
        """Take bytes from the connection; return the head and what follows it once it is there."""
        data = self._data + piece if self._data else piece
        while (found := split_head(data)) is not None:
            head, end = found
            data = data[end:]
            if head.status >= 200:
                self._data, self._dropped_bytes = b"", 0
                return head, data
            self._dropped_bytes += end
            if self._dropped_bytes > MAX_HEAD_BYTES:
                raise ProtocolError("only interim answers came")
        self._data = data
        return None


def _read_head(text: bytes) -> Head:
    version, status, lines = _status_line(text)
    headers = _headers(lines)
    connection = headers.get("connection", "").lower()
    keeps = "keep-alive" in connection or (version == "HTTP/1.1" and "close" not in connection)
    if "transfer-encoding" in headers and "content-length" in headers:
        keeps = False  # RFC 9112, 6.3: a proxy may have read the other of the two.
    encoding = headers.get("content-encoding", "").strip().lower()
    encoding = "" if encoding == "identity" else encoding[:40]
    try:
        chunked, length = _framing(status, headers)
    except ProtocolError as error:
        error.status = status
        raise
    return Head(status, MappingProxyType(headers), keeps, encoding, chunked, length)


def _framing(status: int, headers: Mapping[str, str]) -> tuple[bool, int | None]:
    """Return whether a body comes in chunks, and its announced length."""
    coding = headers.get("transfer-encoding", "").strip().lower()
    if coding not in ("", "chunked"):
        raise ProtocolError(f"the answer has the Transfer-Encoding {coding[:40]!r}")
    length = headers.get("content-length")
    if status < 200 or status in (204, 304):
        length = "0"
    if length is not None and not _LENGTH.fullmatch(length):
        raise ProtocolError(f"Content-Length is {length[:40]!r}, not a number of bytes")
    return coding == "chunked", None if length is None else int(length)


def _status_line(head: bytes) -> tuple[str, int, list[str]]:
    if head.count(b"\n") > _MAX_HEADERS:
        raise ProtocolError(f"the answer has more than {_MAX_HEADERS} headers")
    first, *lines = head.decode("latin-1").split("\r\n")
    if head.count(b"\n") != len(lines):
        raise ProtocolError("the answer is not HTTP: it has line feeds without carriage returns")
    found = _STATUS_LINE.match(first)
    if found is None:
        raise ProtocolError(f"the answer is not HTTP: it begins {first[:40]!r}")
    if found[2] == "101":
        raise ProtocolError("the answer changes to another protocol, which was not asked for")
    return found[1], int(found[2]), lines


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name:
            raise ProtocolError(f"the answer has a line that is not a header: {line[:40]!r}")
        name, value = name.lower(), value.strip()
        if name == "content-length" and headers.get(name, value) != value:
            raise ProtocolError("the answer has two lengths")
        headers[name] = value
    return headers


class ChunkedBody:
    """Puts a chunked body together as its bytes come in, until it is `done`."""

    def __init__(self) -> None:
        self.done = False
        self._pending = bytearray()
        self._left = 0
        self._in_trailer = False
        self._trailer_bytes = 0

    def feed(self, data: bytes | bytearray | memoryview) -> bytearray:
        """Take bytes from the connection and return those that belong to the body."""
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
