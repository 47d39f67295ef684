"""Turns the errors of file readers into `InputMismatch` that names the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from hybridmodel.exceptions import InputMismatch

_KINDS: tuple[type[Exception], ...] = (
    ValueError,
    NotImplementedError,
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
)


@contextmanager
def readable(name: str, kind: str, *others: type[Exception]) -> Iterator[None]:
    """Run a block that reads from a file of a kind.

    Raises
    ------
    InputMismatch
        If the bytes are not of that kind.
    """
    try:
        yield
    except InputMismatch:
        raise
    except (*_KINDS, *others) as error:
        raise InputMismatch(f"{name}: cannot be read as {kind}: {error}") from error
