"""An answer, held against what was asked for before anything of it is decoded or allocated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hybridmodel.data.tensors import ModelSpec, TensorSpec, format_shape
from hybridmodel.exceptions import EndpointTimeout, ProtocolError
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.wire.json_text import (
    BYTES_PER_S,
    JSON_BYTES,
    JsonLimit,
    shown,
)
from hybridmodel.remote.wire.layouts import read_response
from hybridmodel.remote.wire.tensor_data import Array, fill

OutputsRead = tuple[dict[str, Array], str | None, tuple[str, ...]]
"""The outputs, the version of the model, and instead of these how the answer differs."""


class Described(Protocol):
    """An array, or what is known of it before it is made."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""


def read_answer(
    call: Call,
    reply: Reply,
    spec: ModelSpec,
    outputs: Sequence[str],
    rows: int | None,
    limit: JsonLimit,
) -> OutputsRead:
    """Read an answer, if it is that of the local model.

    Parameters
    ----------
    call : Call
        What it is the answer to, and how much time there is.
    reply : Reply
        Its tensors must not be used again.
    spec : ModelSpec
        Of the local model.
    outputs : sequence of str
        Names that were asked for.
    rows : int or None
        That every batched output must have.
    limit : JsonLimit
        What its JSON may hold.

    Raises
    ------
    ProtocolError
        If it is anything but a complete answer to this call.
    EndpointTimeout
        If there is no time to read it.
    """
    if len(reply.header) > JSON_BYTES:
        _check_time(call, len(reply.header))
    layout, request_id = read_response(reply.header, limit)
    if request_id not in (None, "", call.request_id):
        raise ProtocolError(f"the answer is that of request {request_id!r:.80}")
    found = differences(layout.by_name, spec, outputs, rows)
    if found:
        return {}, None, found
    arrays = fill(layout.slots, reply.tensors, "output", lambda: call.deadline.check(_READING))
    return arrays, layout.model_version, ()


_READING = "reading the answer"


def _check_time(call: Call, size_bytes: int) -> None:
    """Raise if so much JSON cannot be read in the time that is left: it is read in one go."""
    if size_bytes / BYTES_PER_S > call.deadline.remaining_s():
        raise EndpointTimeout(
            f"{size_bytes} bytes of JSON came, and reading them takes longer than is left of the "
            f"deadline of {call.deadline.timeout_s:g} s; binary tensors take less"
        )


def differences(
    came: Mapping[str, Described], spec: ModelSpec, outputs: Sequence[str], rows: int | None
) -> tuple[str, ...]:
    """Say in one sentence each how an answer differs from what the local model would give.

    Parameters
    ----------
    came : mapping of str to ndarray or Slot
        The answer, as arrays or as its header announces them.
    spec : ModelSpec
        Of the local model.
    outputs : sequence of str
        Names that were asked for.
    rows : int or None
        That every batched output must have.
    """
    known = spec.outputs_by_name
    found = [
        f"output {shown(name)}: the local model does not have it"
        for name in came
        if name not in known
    ]
    compared = (_difference(known[name], came.get(name), rows) for name in outputs)
    return (*found, *filter(None, compared))


def _difference(spec: TensorSpec, array: Described | None, rows: int | None) -> str | None:
    where = f"output {spec.name!r}"
    if array is None:
        return f"{where}: missing"
    if array.dtype != spec.dtype:
        return f"{where}: {array.dtype} came, {spec.dtype} was expected"
    if not spec.fits(array.shape):
        return (
            f"{where}: shape {format_shape(array.shape)} came, {format_shape(spec.shape)} was "
            "expected"
        )
    if spec.batched and rows is not None and array.shape[0] != rows:
        return f"{where}: {array.shape[0]} rows came, {rows} were sent"
    return None
