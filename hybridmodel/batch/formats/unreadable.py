"""Turns the errors of file readers into `InputMismatch` that names the file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from hybridmodel.exceptions import InputMismatch

_KINDS: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    KeyError,
    NotImplementedError,
    EOFError,
    gzip.BadGzipFile,
    zlib.error,
)


@contextmanager
def readable(name: str, kind: str, *others: type[Exception]) -> Iterator[None]:
    """Turn any error about the bytes of a file into an `InputMismatch` that names file and kind."""
    try:
        yield
    except InputMismatch:
        raise
    except (*_KINDS, *others) as error:
        raise _unreadable(name, kind, error) from error
    except OSError as error:
        # Arrow's readers say with it that bytes are no good, and then there is no number.
        if error.errno is not None:
            raise
        raise _unreadable(name, kind, error) from error


def _unreadable(name: str, kind: str, error: Exception) -> InputMismatch:
    return InputMismatch(f"{name}: cannot be read as {kind}: {error}")
