"""What the laws are tried with: arrays of every datatype, frames, ONNX models, damaged bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hybridmodel.data.tensors import BY_DATATYPE

Array = np.ndarray[Any, Any]

law = settings(
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""Decorates every law: a number of examples, and no clock."""

datatypes = st.sampled_from(list(BY_DATATYPE))
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@st.composite
def arrays(draw: st.DrawFn, datatype: Any = datatypes, shape: Any = shapes) -> Array:
    """Draw an array of a datatype, with every special value that it has."""
    dtype = BY_DATATYPE[draw(datatype)].dtype
    size = draw(shape)
    if dtype.kind != "O":
        return draw(npst.arrays(dtype, size))
    count = int(np.prod(size))
    values = np.empty(count, dtype=object)
    values[:] = draw(st.lists(texts, min_size=count, max_size=count))
    return values.reshape(size)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw `whole` with bytes changed, removed, doubled or cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 8))
        data[start:end] = draw(
            st.one_of(st.binary(max_size=8), st.just(bytes(data[start:end]) * 2))
        )
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
"""Whatever JSON can say, and the NaN and Infinity that Python's reader takes as well."""
