"""Two models that answer differently, one for each route, and what each of them answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel import HybridOnnxModel, TritonEndpoint
from tests.support import models

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
DEAD = TritonEndpoint(
    uri="http://127.0.0.1:9", model_name="remote", auth_key_env=None, breaker_failures=None
)

REMOTE = models.graded(-1.0)
"""Like `models.graded()`, with all inputs negated."""


def local_outputs(rows: Any = X) -> dict[str, np.ndarray[Any, Any]]:
    """Answer as the local model does."""
    return HybridOnnxModel(models.graded()).infer(rows).outputs


def remote_outputs(rows: Any = X) -> dict[str, np.ndarray[Any, Any]]:
    """Answer as the endpoint's model does."""
    return HybridOnnxModel(REMOTE).infer(rows).outputs


def assert_same(found: Any, wanted: Any) -> None:
    """Compare two answers to the bit."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
