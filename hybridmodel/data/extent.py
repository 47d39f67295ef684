"""How much data a caller brought, as far as that is known without reading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MANY = 10_000
"""Values; so many take up to about half a millisecond to bind, if they are not text."""


def is_large(data: Any) -> bool:
    """Tell whether binding some data may take longer than an event loop should wait."""
    return values_in(data) > _MANY


def values_in(data: Any) -> int:
    """Return about how many values an array, a frame, a table, or lists or dicts of them have."""
    if isinstance(data, str | bytes):
        return 1
    size = getattr(data, "size", None)
    if isinstance(size, int):
        return size
    if isinstance(data, Mapping):
        return sum(map(values_in, data.values()))
    rows = _length(data)
    columns = getattr(data, "num_columns", None)
    if columns is None:
        columns = getattr(data, "width", None)
    if isinstance(columns, int):
        return rows * columns
    if isinstance(data, Sequence) and rows:
        # The first row stands for all of them.
        return rows * max(1, values_in(data[0]))
    return rows


def _length(data: Any) -> int:
    try:
        return len(data)
    except TypeError:
        return 0
