"""How much data a caller brought: known without reading them, for any container."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from hybridmodel.data.extent import is_large, values_in

FRAME = pd.DataFrame(np.zeros((20, 3)), columns=["a", "b", "c"])

CASES: dict[str, tuple[Any, int]] = {
    "array": (np.zeros((20, 3)), 60),
    "scalar array": (np.float32(1.0), 1),
    "frame": (FRAME, 60),
    "series": (FRAME["a"], 20),
    "list of rows": ([[1.0, 2.0, 3.0]] * 20, 60),
    "list of numbers": ([1.0] * 20, 20),
    "list of texts": (["a long text"] * 20, 20),
    "list of arrays": ([np.zeros(3)] * 20, 60),
    "empty list": ([], 0),
    "arrays by name": ({"x": np.zeros((20, 3)), "y": [1.0] * 20}, 80),
    "Arrow table": (pa.Table.from_pandas(FRAME), 60),
    "Arrow column": (pa.array([1.0] * 20), 20),
    "polars frame": (pl.from_pandas(FRAME), 60),
    "polars column": (pl.Series([1.0] * 20), 20),
    "nothing that counts": (object(), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_values_are_counted(name: str) -> None:
    """Rows times columns, where the container tells; a list is as its first row."""
    data, wanted = CASES[name]
    assert values_in(data) == wanted
    assert not is_large(data)


def test_what_is_large() -> None:
    """More than 10,000 values are."""
    assert not is_large(np.zeros((100, 100)))
    assert is_large(np.zeros((101, 100)))
    assert is_large([[0.0] * 100] * 101)
