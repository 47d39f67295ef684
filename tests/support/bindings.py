"""Data bound to the inputs of a model, for tests."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd

from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.tensors import ModelSpec, TensorSpec

MATRIX = TensorSpec("x", "FP32", (-1, 3), batched=True)
VECTOR = TensorSpec("v", "INT64", (-1,), batched=True)
IMAGES = TensorSpec("image", "FP32", (-1, 3, 2, 2), batched=True)
TEXTS = TensorSpec("text", "BYTES", (-1, 1), batched=True)
SCALAR = TensorSpec("s", "FP64", ())
NUMBER = TensorSpec("n", "INT64", (-1, 1), batched=True)
WORD = TensorSpec("w", "BYTES", (-1,), batched=True)
FLAG = TensorSpec("f", "BOOL", (-1, 1), batched=True)
IMAGE = TensorSpec("i", "UINT8", (-1, 2, 2), batched=True)
PAIR = TensorSpec("p", "FP32", (-1, 2), batched=True)
ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def binding(*inputs: TensorSpec, names: list[str] | None = None) -> Binding:
    """Make a binding for inputs, each of which is given back as an output."""
    return Binding(ModelSpec(inputs, inputs), names)


def bound(data: Any, *inputs: TensorSpec, names: list[str] | None = None) -> Bound:
    """Bind, and check that the caller's data is as before."""
    before = copy.deepcopy(data)
    made = binding(*inputs, names=names).bind(data)
    assert_unchanged(data, before)
    for spec in inputs:
        assert made.feeds[spec.name].dtype == spec.dtype
        assert spec.fits(made.feeds[spec.name].shape)
    return made


def assert_unchanged(data: Any, before: Any) -> None:
    """Compare data with a copy of it made before."""
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(data, before)
    elif isinstance(data, pd.Series):
        pd.testing.assert_series_equal(data, before)
    elif isinstance(data, dict):
        assert list(data) == list(before)
        for key, value in data.items():
            assert_unchanged(value, before[key])
    else:
        np.testing.assert_array_equal(np.asarray(data), np.asarray(before))


def frame(*columns: Any, **named: Any) -> pd.DataFrame:
    """Make a frame of two rows."""
    return pd.DataFrame({**dict(zip("abc", columns, strict=False)), **named})
