"""A file to be read, wherever it lies, and how its rows are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from hybridmodel.batch.formats.streams import unzipped

if TYPE_CHECKING:
    import pyarrow.fs

READ_BYTES = 1 << 18
"""Read at a time: with more, or with a whole row group, memory grows with the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file to be read.

    Attributes
    ----------
    path : str
        As its file system takes it.
    kind : str
        ``"parquet"``, ``"csv"``, ``"jsonl"`` or ``"arrow"``.
    filesystem : pyarrow.fs.FileSystem
        Where it lies.
    zipped : bool
        Whether gzip is around it.
    shown : str
        What messages call it; by default its path.
    """

    path: str
    kind: str
    filesystem: pyarrow.fs.FileSystem
    zipped: bool = False
    shown: str = ""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.shown or self.path

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Yield a file of its bytes after unzipping; one that can seek where it is not zipped.

        Raises
        ------
        OSError
            If it cannot be opened.
        """
        with self.filesystem.open_input_file(self.path) as file:
            if self.zipped:
                yield unzipped(file)
            else:
                yield file


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the rows of text formats are read.

    Parameters
    ----------
    separator : str, optional
        Between the fields of CSV; None finds it in the header.
    decimal : str, default="."
        What CSV writes before the decimals of a number.
    as_text : tuple of str
        Columns of CSV that are read as they are written, such as identifiers.
    """

    separator: str | None = None
    decimal: str = "."
    as_text: tuple[str, ...] = ()
