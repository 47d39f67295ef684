"""A file to be read, wherever it lies, and how its rows are read."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from hybridmodel.batch.formats.kinds import TEXTS
from hybridmodel.batch.formats.streams import unzipped

if TYPE_CHECKING:
    import pyarrow.fs

READ_BYTES = 1 << 18
"""Read at a time: with more, or with a whole row group, memory grows with the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file to be read."""

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

        Raises `OSError` if it cannot be opened.
        """
        with self._open() as file:
            if self.kind not in TEXTS:
                yield file
                return
            # Arrow's files do not know lines.
            lines: Any = io.BufferedReader(file, READ_BYTES)
            yield unzipped(lines) if self.zipped else lines

    def _open(self) -> Any:
        try:
            return self.filesystem.open_input_file(self.path)
        except OSError as error:
            number = error.errno or (errno.EISDIR if self._is_folder() else None)
            if number is None:
                raise OSError(f"{self.name}: {error}") from error
            # In the words of Python, since those of Arrow are longer and name C++ functions.
            raise OSError(number, os.strerror(number), self.name) from error

    def _is_folder(self) -> bool:
        return bool(self.filesystem.get_file_info(self.path).type.name == "Directory")


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
