"""Streams of bytes: bytes can be put back, and the first bytes tell the format."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO, Any

from hybridmodel.batch.formats.arrow_ipc import FILE_MAGIC, STREAM_MAGIC
from hybridmodel.batch.formats.kinds import ARROW, CSV, JSON_LINES, PARQUET
from hybridmodel.batch.formats.unreadable import readable

_GZIP_MAGIC, _PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"
_HEAD_BYTES = 4
_SPOOL_BYTES = 1 << 20


class _Joined(io.RawIOBase):
    """Bytes that were read already, and the rest of the stream."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest: Any = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer)
        if self._head:
            got, self._head = self._head[:wanted], self._head[wanted:]
        else:
            # Arrow's files have no `read1`.
            got = getattr(self._rest, "read1", self._rest.read)(wanted)
        buffer[: len(got)] = got
        return len(got)


def put_back(head: bytes, rest: IO[bytes]) -> IO[bytes]:
    """Return a file that begins with the bytes already read from it."""
    return io.BufferedReader(_Joined(head, rest))


def unzipped(file: IO[bytes]) -> IO[bytes]:
    """Return the content of a gzip file."""
    inner: Any = gzip.GzipFile(fileobj=file, mode="rb")
    return inner  # type: ignore[no-any-return]


@contextmanager
def told_apart(stream: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the kind of a stream by its first bytes, and a file of them, after unzipping.

    Formats that are read from the end are copied to a temporary file first.
    """
    head = stream.read(_HEAD_BYTES)
    file = put_back(head, stream)
    if head.startswith(_GZIP_MAGIC):
        with readable(name, "gzip"):
            file = unzipped(file)
            head = file.read(1)
            file = put_back(head, file)
    if head == STREAM_MAGIC:
        yield ARROW, file
    elif head in (_PARQUET_MAGIC, FILE_MAGIC[:_HEAD_BYTES]):
        with TemporaryFile() as spooled:
            while piece := file.read(_SPOOL_BYTES):
                spooled.write(piece)
            spooled.seek(0)
            yield PARQUET if head == _PARQUET_MAGIC else ARROW, spooled
    else:
        yield JSON_LINES if head.lstrip().startswith(b"{") else CSV, file
