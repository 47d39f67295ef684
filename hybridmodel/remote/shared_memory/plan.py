"""Which tensors of a call go through shared memory, and where in a segment each lies. No I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec
from hybridmodel.remote.wire.protocol import Extent

LEAST_BYTES = 1 << 16
"""Smaller tensors are faster in the message: telling where they lie costs more than copying."""

_ALIGNED_BYTES = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Where in a segment of `size_bytes` the large inputs and outputs of a request lie."""

    inputs: Mapping[str, Extent]
    outputs: Mapping[str, Extent]
    size_bytes: int


def output_sizes(
    spec: ModelSpec, outputs: Sequence[str], rows: int | None
) -> tuple[tuple[str, int], ...]:
    """Return the bytes of each large output whose size is known before it comes."""
    found = []
    for item in map(spec.output, outputs):
        shape = (rows, *item.shape[1:]) if item.batched and rows is not None else item.shape
        if WILDCARD in shape or item.dtype.kind == "O":
            continue
        size_bytes = math.prod(shape) * item.dtype.itemsize
        if size_bytes >= LEAST_BYTES:
            found.append((item.name, size_bytes))
    return tuple(found)


def plan_for(feeds: Mapping[str, Array], outputs: Sequence[tuple[str, int]]) -> Plan | None:
    """Lay out the large tensors one after the other; None where there is none."""
    inputs = []
    for name, array in feeds.items():
        if array.nbytes >= LEAST_BYTES and array.dtype.kind != "O":
            inputs.append((name, array.nbytes))
    if not inputs and not outputs:
        return None
    first, end = _placed(inputs, 0)
    then, end = _placed(outputs, end)
    return Plan(first, then, end)


def _placed(sizes: Sequence[tuple[str, int]], at: int) -> tuple[dict[str, Extent], int]:
    found = {}
    for name, size_bytes in sizes:
        found[name] = Extent(at, size_bytes)
        at += -(-size_bytes // _ALIGNED_BYTES) * _ALIGNED_BYTES
    return found, at
