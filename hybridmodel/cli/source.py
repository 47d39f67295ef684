"""The table that a command reads: path, format, and columns that are not features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hybridmodel.batch.formats.files import InputFile, Reading
from hybridmodel.batch.formats.kinds import Format, format_of
from hybridmodel.batch.formats.streams import told_apart

_STREAM = Path("-")


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
            format_of(str(self.path))

    @property
    def is_stream(self) -> bool:
        """Whether it is stdin, which can be read once only."""
        return self.path == _STREAM

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "stdin" if self.is_stream else str(self.path)

    @property
    def format(self) -> Format:
        """How a file of its name is written; not for stdin."""
        return format_of(str(self.path))

    @property
    def file(self) -> InputFile:
        """The file, where it is not stdin."""
        from pyarrow.fs import LocalFileSystem

        found = self.format
        return InputFile(
            path=str(self.path),
            kind=found.kind,
            filesystem=LocalFileSystem(),
            zipped=found.zipped,
        )

    def named(self) -> list[tuple[Any, str]]:
        """Return what is read, with its name."""
        return [(sys.stdin if self.is_stream else self.path, self.name)]

    @property
    def reading(self) -> Reading:
        """How its text is read: identifiers as they are written."""
        return Reading(separator=self.separator, decimal=self.decimal, as_text=self.id_columns)

    @contextmanager
    def opened(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Yield its kind, and a file of its bytes after unzipping.

        Raises
        ------
        OSError
            If it cannot be opened.
        """
        if self.is_stream:
            with told_apart(sys.stdin.buffer, "stdin") as found:
                yield found
            return
        with self.file.opened() as file:
            yield self.format.kind, file
