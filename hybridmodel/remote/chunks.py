"""Rows that do not fit into one request: cut into chunks, and put together again in order.

No I/O and no threads; `hybridmodel.remote.client` sends what is cut here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import WILDCARD, ModelSpec
from hybridmodel.exceptions import ProtocolError

Array = np.ndarray[Any, Any]

_MOST_VERSIONS = 5
"""That are named, of what a server says."""

_log = logging.getLogger("hybridmodel")


def can_cut(spec: ModelSpec, outputs: Sequence[str]) -> bool:
    """Tell whether all inputs and the asked outputs have a row for each row."""
    return all(item.batched for item in spec.inputs) and all(
        spec.output(name).batched for name in outputs
    )


def rows_within(feeds: Mapping[str, Array], rows: int, size_bytes: float) -> int:
    """Return how many rows have at most so many bytes; at least one."""
    row_bytes = size_of(feeds) / max(rows, 1)
    return max(1, int(size_bytes / row_bytes)) if row_bytes else rows


def size_of(feeds: Mapping[str, Array]) -> int:
    """Return about how many bytes feeds have in a request."""
    return sum(_size_bytes(array) for array in feeds.values())


def _size_bytes(array: Array) -> int:
    """Count strings by their length and the number before each, and not by where they lie."""
    if array.dtype.kind == "O":
        return sum(map(len, array.flat)) + 4 * array.size
    return array.nbytes


def cut(
    feeds: Mapping[str, Array], rows: int, size: int
) -> Iterator[tuple[slice, dict[str, Array]]]:
    """Yield the feeds of at most `size` rows at a time, as views, with where they belong."""
    for start in range(0, rows, size):
        part = slice(start, min(start + size, rows))
        yield part, {name: array[part] for name, array in feeds.items()}


def join(
    parts: Iterable[tuple[slice, Mapping[str, Array]]], rows: int, spec: ModelSpec
) -> dict[str, Array]:
    """Put the outputs of chunks together, each copied once to its place.

    Room is made in advance only where the model tells how much; else when everything is there.

    Parameters
    ----------
    parts : iterable of (slice, dict of str to ndarray)
        In any order; each output has the rows of its slice.
    rows : int
        Of all together.
    spec : ModelSpec
        Of the local model, which each part was held against.

    Raises
    ------
    ProtocolError
        If an output has another shape in one chunk than in another.
    """
    whole: dict[str, Array] = {}
    pieces: dict[str, list[tuple[slice, Array]]] = {}
    for part, outputs in parts:
        for name, array in outputs.items():
            tail = spec.output(name).shape[1:]
            if WILDCARD in tail:
                pieces.setdefault(name, []).append((part, array))
                continue
            if name not in whole:
                whole[name] = np.empty((rows, *tail), array.dtype)
            whole[name][part] = array
    whole.update((name, _together(name, found)) for name, found in pieces.items())
    return whole


def one_version(answers: Sequence[Answer], model_url: str) -> str | None:
    """Return the version that answered the parts of a call; warn where there were several."""
    versions = sorted({answer.model_version or "" for answer in answers})
    shown = versions[:_MOST_VERSIONS]
    if len(versions) > 1:
        _log.warning(
            "%s: versions %s of the model answered for parts of one call; pin one by "
            "model_version or deployment",
            model_url,
            " and ".join(shown),
        )
    return ", ".join(shown) or None


def _together(name: str, pieces: list[tuple[slice, Array]]) -> Array:
    pieces.sort(key=lambda piece: piece[0].start)
    first = pieces[0][1]
    for part, array in pieces:
        if array.shape[1:] != first.shape[1:]:
            raise ProtocolError(
                f"output {name!r} has shape {list(array.shape)} for rows from {part.start}, "
                f"and {list(first.shape[1:])} behind the rows elsewhere"
            )
    return np.concatenate([array for _, array in pieces])
