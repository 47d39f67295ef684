"""How many rows a request may have, and how instances and threads share the cores."""

from __future__ import annotations

import math

from hybridmodel.data.tensors import WILDCARD, ModelSpec, TensorSpec
from hybridmodel.exceptions import ConfigurationError

MOST_ROWS = 1024
SHARED_BYTES = 1 << 26
"""A model up to this size is small enough to be in memory once for each core."""

_REQUEST_BYTES = 1 << 23
_TEXT_BYTES = 64
_FREE_SIZE = 16


def rows_for(spec: ModelSpec) -> int:
    """Return a power of two up to `MOST_ROWS`, of rows that have at most 8 MiB together."""
    row = sum(map(_row_bytes, (*spec.inputs, *spec.outputs)))
    rows = max(1, min(MOST_ROWS, _REQUEST_BYTES // max(1, row)))
    return 1 << (rows.bit_length() - 1)


def instances_and_threads(
    cores: int | None, instances: int | None, size_bytes: int
) -> tuple[int, int | None]:
    """Return both, whose product is at most `cores`; no number of threads where none is known.

    Small models get an instance for each core, since requests are many and small, or two where the
    cores are not known; large ones get one that computes on all.
    """
    if cores is None:
        if instances is not None:
            raise ConfigurationError(
                f"instances is {instances}, and cores is not given: instances share the cores of "
                "the server, so say how many it has (cores)"
            )
        return 2 if size_bytes <= SHARED_BYTES else 1, None
    if instances is None:
        instances = cores if size_bytes <= SHARED_BYTES else 1
    if instances > cores:
        raise ConfigurationError(
            f"{instances} instances do not fit on {cores} cores, as each computes on one at least; "
            f"use at most {cores}"
        )
    return instances, cores // instances


def _row_bytes(tensor: TensorSpec) -> int:
    sizes = (_FREE_SIZE if size == WILDCARD else size for size in tensor.shape[1:])
    each = _TEXT_BYTES if tensor.dtype.kind == "O" else tensor.dtype.itemsize
    return math.prod(sizes) * each
