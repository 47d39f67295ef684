"""Packs the rows of many batches into few requests; all but the last are full.

No I/O and no threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from hybridmodel.data.binding import Bound
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

MOST_REQUEST_ROWS = 1 << 11
"""Of a request: so many hide its own cost, and more rows no longer fit into a processor's cache."""
_MOST_REQUEST_BYTES = 1 << 22
"""Of a request, if the endpoint sets no limit: larger ones would leave fewer in flight."""


@dataclass(frozen=True, slots=True)
class Request:
    """Rows that are answered together; the number counts from 0.

    They go in one request, or in several if the server accepts only a few rows.
    """

    number: int
    feeds: Mapping[str, Array]
    rows: int


def packed(some: Iterable[Bound], size: int, first: int = 0) -> Iterator[Request]:
    """Pack rows into requests of exactly `size` rows; only the last has fewer.

    Raises `InputMismatch` if rows of different shapes would have to go together.
    """
    waiting: list[Mapping[str, Array]] = []
    have, number = 0, first
    for bound in some:
        start, rows = 0, bound.rows or 0
        while have + rows - start >= size:
            behind = start + size - have
            feeds = _joined([*waiting, _sliced(bound.feeds, start, behind)])
            yield Request(number, feeds, size)
            number, start, waiting, have = number + 1, behind, [], 0
        if start < rows:
            # Copied, since a few rows would keep the whole batch in memory.
            waiting.append(_sliced(bound.feeds, start, rows, copy=True))
            have += rows - start
    if have:
        yield Request(number, _joined(waiting), have)


def request_rows(told: int, row_bytes: float) -> int:
    """Return the rows of a full request: at most `told`, fewer if a row has many bytes."""
    within = int(_MOST_REQUEST_BYTES / row_bytes) if row_bytes > 0 else MOST_REQUEST_ROWS
    return max(1, min(told, within, MOST_REQUEST_ROWS))


def _sliced(
    feeds: Mapping[str, Array], start: int, stop: int, *, copy: bool = False
) -> dict[str, Array]:
    made = {name: array[start:stop] for name, array in feeds.items()}
    return {name: array.copy() for name, array in made.items()} if copy else made


def _joined(several: list[Mapping[str, Array]]) -> Mapping[str, Array]:
    if len(several) == 1:
        return several[0]
    try:
        return {name: np.concatenate([feeds[name] for feeds in several]) for name in several[0]}
    except ValueError as error:
        raise InputMismatch(f"rows of different shapes cannot go in one request: {error}") from None
