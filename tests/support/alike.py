"""When two answers are alike in everything, and a frame of several types to ask with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

INDEX = pd.Index(["b", "a", "b"], name="row")

COLUMNS = pd.DataFrame(
    {
        "flag": [True, False, True],
        "name": ["x", "", "zürich"],
        "age": [1.5, float("nan"), -3.0],
        "count": [1, 2**40, -5],
    },
    index=INDEX,
)


def chars(answer: Any) -> Any:
    """Return the letters of the dtypes, which tell int64 from the equal longlong."""
    if isinstance(answer, dict):
        return {name: chars(value) for name, value in answer.items()}
    if isinstance(answer, pd.DataFrame):
        return [chars(answer[name]) for name in answer]
    return getattr(answer.dtype, "char", str(answer.dtype))


def assert_alike(local: Any, remote: Any) -> None:
    """Compare two answers in everything: container, names, dtypes, index, order and values."""
    assert type(local) is type(remote)
    assert chars(local) == chars(remote)
    if isinstance(local, pd.DataFrame):
        pd.testing.assert_frame_equal(local, remote, rtol=1e-6)
    elif isinstance(local, pd.Series):
        pd.testing.assert_series_equal(local, remote, rtol=1e-6)
    elif isinstance(local, dict):
        assert list(local) == list(remote)
        for name in local:
            assert_alike(local[name], remote[name])
    else:
        assert (local.dtype, local.shape) == (remote.dtype, remote.shape)
        assert local.flags.writeable
        assert remote.flags.writeable
        if local.dtype == object:
            assert local.tolist() == remote.tolist()
            assert {type(value) for value in remote.ravel()} <= {str}
        else:
            np.testing.assert_allclose(local, remote, rtol=1e-6)
