"""The rows of a sample as tensors, and their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


def bind(model: HybridOnnxModel, data: Any) -> Bound:
    """Return a sample as tensors; raise `InputMismatch` unless it has rows that fit the model."""
    bound = Binding(model.spec, model.feature_names).bind(data)
    if bound.rows is None:
        raise InputMismatch(
            "a calibration needs a model that answers row by row: no input counts rows, or the "
            "inputs have different numbers of rows"
        )
    if bound.rows == 0:
        raise InputMismatch("a calibration needs at least one row; the sample has none")
    return bound


def aligned(y: Any, bound: Bound) -> Any:
    """Return labels as they came; raise `InputMismatch` unless they are one for each row."""
    try:
        count = len(y)
    except TypeError as error:
        raise InputMismatch(
            f"labels have to be one for each row, not a {type(y).__name__}"
        ) from error
    if count != bound.rows:
        raise InputMismatch(f"{count} labels came for {bound.rows} rows")
    index: Any = getattr(y, "index", None)  # A list has a method of that name.
    labelled = bound.frame_index is not None and hasattr(index, "equals")
    if labelled and not index.equals(bound.frame_index):
        raise InputMismatch(
            "the labels have another index than the rows; reorder them with y.loc[X.index], or "
            "pass y.to_numpy() if they are in order already"
        )
    return y


def fingerprint(tensors: Mapping[str, Any]) -> str:
    """Return the sha256 over names, dtypes, shapes and values, in the order of the tensors."""
    digest = hashlib.sha256()
    for name, values in tensors.items():
        if values is None:
            digest.update(repr((name, None)).encode())
            continue
        array = np.asarray(values)
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(_content(array))
    return digest.hexdigest()


def _content(array: Array) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    # With its length before each text, so that no two lists of texts look the same.
    texts = [str(item).encode("utf-8", "surrogatepass") for item in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
