"""Turns the errors of file readers into `InputMismatch` that names the file."""

from __future__ import annotations

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
    OSError,
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
        # Readers also raise an OSError about bad bytes, which has no error number then.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputMismatch(f"{name}: cannot be read as {kind}: {error}") from error
