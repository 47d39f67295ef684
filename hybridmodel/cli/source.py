"""The table that a command reads: path, format, and columns that are not features."""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from hybridmodel.cli.unreadable import readable
from hybridmodel.exceptions import ConfigurationError

CSV, JSON_LINES, PARQUET = "csv", "json lines", "parquet"

_KINDS = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".parquet": PARQUET,
}
_ZIPPED = ".gz"
_STREAM = Path("-")
_GZIP_MAGIC, _PARQUET_MAGIC = b"\x1f\x8b", b"PAR1"
_SPOOL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Format:
    """How a file of a certain name is written.

    Attributes
    ----------
    kind : str
        `CSV`, `JSON_LINES` or `PARQUET`.
    zipped : bool
        Whether gzip is around it.
    """

    kind: str
    zipped: bool = False


def format_of(path: Path) -> Format:
    """Tell the format of a file by its name.

    Raises
    ------
    ConfigurationError
        If the name does not say it.
    """
    name = path.name.lower()
    zipped = name.endswith(_ZIPPED)
    kind = _KINDS.get(Path(name.removesuffix(_ZIPPED)).suffix)
    if kind is None or (zipped and kind == PARQUET):
        raise ConfigurationError(
            f"{path}: a name that ends with .csv, .tsv, .jsonl or .parquet was expected; all but "
            ".parquet may have .gz behind it"
        )
    return Format(kind, zipped)


@dataclass(frozen=True, slots=True)
class Source:
    """The input of a command.

    Parameters
    ----------
    path : Path
        A file whose name says its format, or ``-`` for stdin, whose first bytes say it.
    separator : str, optional
        Between the fields of CSV; None finds it in the header.
    decimal : str, default="."
        What CSV writes before the decimals of a number.
    id_columns : tuple of str
        Kept beside the rows, and no features.
    ignore_extra : bool, default=False
        Leave out columns that the model does not take.

    Raises
    ------
    ConfigurationError
        If the name does not say the format.
    """

    path: Path
    separator: str | None = None
    decimal: str = "."
    id_columns: tuple[str, ...] = ()
    ignore_extra: bool = False

    def __post_init__(self) -> None:
        if not self.is_stream:
            format_of(self.path)

    @property
    def is_stream(self) -> bool:
        """Whether it is stdin, which can be read once only."""
        return self.path == _STREAM

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "stdin" if self.is_stream else str(self.path)

    @contextmanager
    def opened(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Yield its kind, and a file of its bytes after unzipping.

        Raises
        ------
        OSError
            If it cannot be opened.
        """
        if self.is_stream:
            with _stream(sys.stdin.buffer) as found:
                yield found
            return
        written = format_of(self.path)
        with self.path.open("rb") as file:
            yield written.kind, _unzipped(file) if written.zipped else file


class _Joined(io.RawIOBase):
    """Bytes that were read already, and what comes after them."""

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
            got = self._rest.read1(wanted)
        buffer[: len(got)] = got
        return len(got)


def put_back(head: bytes, rest: IO[bytes]) -> IO[bytes]:
    """Return a file that begins with what has been read of it."""
    return io.BufferedReader(_Joined(head, rest))


@contextmanager
def _stream(stream: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Tell the format of stdin by its first bytes; Parquet is copied to a file to be seekable."""
    head = stream.read(len(_PARQUET_MAGIC))
    file = put_back(head, stream)
    if head.startswith(_GZIP_MAGIC):
        with readable("stdin", "gzip"):
            file = _unzipped(file)
            head = file.read(1)
            file = put_back(head, file)
    if head != _PARQUET_MAGIC:
        yield JSON_LINES if head.lstrip().startswith(b"{") else CSV, file
        return
    with TemporaryFile() as spooled:
        while piece := file.read(_SPOOL_BYTES):
            spooled.write(piece)
        spooled.seek(0)
        yield PARQUET, spooled


def _unzipped(file: IO[bytes]) -> IO[bytes]:
    unzipped: Any = gzip.GzipFile(fileobj=file, mode="rb")
    return unzipped  # type: ignore[no-any-return]
