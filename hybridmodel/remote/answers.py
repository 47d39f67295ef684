"""How an answer of the endpoint differs from what the local model would give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hybridmodel.data.tensors import ModelSpec, TensorSpec, format_shape
from hybridmodel.remote.wire.json_fields import shown

Array = np.ndarray[Any, Any]


class Described(Protocol):
    """An array, or what is known of it before it is made."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""


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
    found = [
        f"output {shown(name)}: the local model does not have it"
        for name in came
        if name not in spec.output_names
    ]
    compared = (_difference(spec.output(name), came.get(name), rows) for name in outputs)
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
