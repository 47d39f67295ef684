"""A file to be read, local or remote, and how its rows are read."""

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
"""Bytes per read; larger reads, such as of whole row groups, would let memory grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file to be read; messages call it `shown`, or by its path."""

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
        """Yield its bytes, unzipped, as a file, which can seek unless the bytes were zipped.

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
            # Python's message, since that of Arrow is longer and names C++ functions.
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
        The decimal mark of CSV.
    as_text : tuple of str
        Columns of CSV that are read as text, such as identifiers.
    """

    separator: str | None = None
    decimal: str = "."
    as_text: tuple[str, ...] = ()
