"""What many modules check: how a value looks in a message, and whether a library is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hybridmodel.exceptions import MissingDependency

_MOST_BITS = 64


def shown(value: Any, longest: int = 60) -> str:
    """Return how a value looks in the source of a program, or its type where that is too long.

    An int of some thousand digits has no repr: Python refuses to write it.
    """
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the message is about something else
        text = ""
    return text if 0 < len(text) <= longest else f"a {type(value).__name__}"


@contextmanager
def needed_for(what: str) -> Iterator[None]:
    """Import a library of the package's dependencies, or say what cannot be done without it."""
    try:
        yield
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        raise MissingDependency(
            f"{what} needs {library}, which is not installed: pip install hybridmodel"
        ) from error
