"""Answers: compared with what was asked for before anything is decoded, and put together in order.

No I/O and no threads. Rows that do not fit into one request are cut into chunks here;
`hybridmodel.remote.client` sends them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec, format_shape
from hybridmodel.exceptions import EndpointTimeout, ProtocolError
from hybridmodel.process.loops import apart, current_loop
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.wire.json_text import JSON_BYTES, JsonLimit, shown
from hybridmodel.remote.wire.layouts import Layout, read_response
from hybridmodel.remote.wire.tensor_data import Buffer, Slot, fill

_BYTES_PER_S = 20e6
"""How fast a slow machine reads JSON."""

_LONG_BYTES = 1 << 16
"""More JSON or text is not read on an event loop, which it would hold up for milliseconds."""

_UNKNOWN_BYTES = 1 << 26
"""The largest JSON answer where the model does not tell the size; Triton takes no more either."""

_VALUES, _VALUES_PER_TENSOR = 1000, 32
_NUMBER_BYTES = 64
"""The most for a number with its comma, or the brackets of a list, each on its own line."""

Written = Mapping[str, Callable[[], Buffer]]
"""Reads each output that a server may have written beside its answer, once."""

OutputsRead = tuple[dict[str, Array], str | None, tuple[str, ...]]
"""The outputs and the version of the model, or how the answer differs from what was expected."""


@dataclass(slots=True)
class Expected:
    """What the answers for the same outputs of as many rows have in common.

    `layout` is that of the last one; the next, which usually has the same, need not be compared.
    """

    limit: JsonLimit
    layout: Layout | None = None


def read_answer(
    call: Call, reply: Reply, spec: ModelSpec, expected: Expected, written: Written | None = None
) -> OutputsRead:
    """Read a reply to a call, if it is what the local model could have answered.

    Outputs of which it says neither where nor what they are, are read from what was `written`.

    JSON is read in one go, so it is refused with `EndpointTimeout` where the time is too short for
    it. The arrays are views of the reply's tensors, which must not be used again.
    """
    deadline, size_bytes = call.deadline, len(reply.header)
    if current_loop() is not None and _takes_long(call, reply, spec):
        return apart(partial(read_answer, call, reply, spec, expected, written))
    if size_bytes > JSON_BYTES and size_bytes / _BYTES_PER_S > deadline.remaining_s():
        raise EndpointTimeout(
            f"{size_bytes} bytes of JSON came, and reading them takes longer than is left of the "
            f"deadline of {deadline.timeout_s:g} s; binary tensors take less"
        )
    layout, request_id = read_response(reply.header, expected.limit)
    if request_id not in (None, "", call.request_id):
        raise ProtocolError(f"the answer is that of request {request_id!r:.80}")
    if layout is not expected.layout:
        if found := _differences(layout.slots, spec, call):
            return {}, None, found
        expected.layout = layout
    alive = partial(deadline.check, "reading the answer")
    if written:
        return _with_written(layout.slots, reply, written, alive), layout.model_version, ()
    arrays = fill(layout.slots.values(), reply.tensors, "output", alive)
    return arrays, layout.model_version, ()


def _with_written(
    slots: Mapping[str, Slot], reply: Reply, written: Written, alive: Callable[[], object]
) -> dict[str, Array]:
    """Read outputs behind the answer, and beside it."""
    apart = {
        slot.name: written[slot.name]()
        for slot in slots.values()
        if slot.size_bytes is None and slot.data is None and slot.name in written
    }
    inside = [slot for slot in slots.values() if slot.name not in apart]
    arrays = fill(inside, reply.tensors, "output", alive)
    for name, data in apart.items():
        arrays |= fill([replace(slots[name], size_bytes=len(data))], data, "output", alive)
    return arrays


def _takes_long(call: Call, reply: Reply, spec: ModelSpec) -> bool:
    if len(reply.header) > _LONG_BYTES:
        return True
    if len(reply.tensors) <= _LONG_BYTES:
        return False
    return any(spec.output(name).dtype.kind == "O" for name in call.outputs)


def _differences(came: Mapping[str, Slot], spec: ModelSpec, call: Call) -> tuple[str, ...]:
    """Say in one sentence each how an answer differs from what the local model would give."""
    known = spec.outputs_by_name
    found = []
    for name in came:
        if name not in known:
            found.append(f"output {shown(name)}: the local model does not have it")
    for name in call.outputs:
        if difference := _difference(known[name], came.get(name), call.rows):
            found.append(difference)
    return tuple(found)


def _difference(spec: TensorSpec, slot: Slot | None, rows: int | None) -> str | None:
    where = f"output {spec.name!r}"
    if slot is None:
        return f"{where}: missing"
    if slot.dtype != spec.dtype:
        return f"{where}: {slot.dtype} came, {spec.dtype} was expected"
    if slot.shape != _expected_shape(spec, rows) and not spec.fits(slot.shape):
        return (
            f"{where}: shape {format_shape(slot.shape)} came, {format_shape(spec.shape)} was "
            "expected"
        )
    if spec.batched and rows not in (None, slot.shape[0]):
        return f"{where}: {slot.shape[0]} rows came, {rows} were sent"
    return None


def description_limit(spec: ModelSpec) -> JsonLimit:
    """Return what a server's description of a model may hold."""
    most = _VALUES + _VALUES_PER_TENSOR * (len(spec.inputs) + len(spec.outputs))
    return JsonLimit(JSON_BYTES, most, most)


def expected(spec: ModelSpec, outputs: Sequence[str], rows: int | None, binary: bool) -> Expected:
    """Return what `read_answer` is told of the answers for these outputs of so many rows."""
    return Expected(answer_limit(spec, outputs, rows, binary))


def answer_limit(
    spec: ModelSpec, outputs: Sequence[str], rows: int | None, binary: bool
) -> JsonLimit:
    """Return what the JSON of an answer may hold; `binary` says whether tensors follow it."""
    asked = [spec.output(name) for name in outputs]
    shapes = [_expected_shape(item, rows) for item in asked]
    known = sum(math.prod(shape) for shape in shapes if WILDCARD not in shape)
    most = _VALUES + _VALUES_PER_TENSOR * len(asked)
    texts = any(item.dtype.kind == "O" for item in asked)
    if texts or any(WILDCARD in shape for shape in shapes):
        size = max(JSON_BYTES if binary else _UNKNOWN_BYTES, _NUMBER_BYTES * known)
        # Servers write flat lists, or one for each row.
        return JsonLimit(size, None, None if texts else most + max(rows or 0, 100_000))
    # A nested list, which a server may write instead of a flat one, has these lists.
    lists = sum(math.prod(shape[:depth]) for shape in shapes for depth in range(len(shape)))
    size = max(JSON_BYTES, _NUMBER_BYTES * (known + lists))
    return JsonLimit(size, most + known, most + lists)


def _expected_shape(spec: TensorSpec, rows: int | None) -> tuple[int, ...]:
    """Return the shape of an output for so many rows, as far as it is known."""
    return (rows, *spec.shape[1:]) if spec.batched and rows is not None else spec.shape


def can_cut(spec: ModelSpec, outputs: Sequence[str]) -> bool:
    """Tell whether all inputs and the asked outputs have a row for each row."""
    return all(item.batched for item in spec.inputs) and all(
        spec.output(name).batched for name in outputs
    )


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
    """Put the outputs of chunks, which come in any order, together.

    Memory is allocated in advance only where the model tells how much; otherwise at the end.
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


def _together(name: str, pieces: list[tuple[slice, Array]]) -> Array:
    pieces.sort(key=lambda piece: piece[0].start)
    first = pieces[0][1]
    for part, array in pieces:
        if array.shape[1:] != first.shape[1:]:
            raise ProtocolError(
                f"output {name!r} has shape {list(array.shape)} for rows from {part.start}, "
                f"and rows of shape {list(first.shape[1:])} in other chunks"
            )
    return np.concatenate([array for _, array in pieces])
