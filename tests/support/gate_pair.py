"""A small model that errs in a corner of its inputs unawares, and a big one that does not."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tests.support.strategies import Array

ROWS = 5_200


def rows(count: int = ROWS, seed: int = 1) -> tuple[Array, Array]:
    """Draw inputs and their true classes."""
    random = np.random.default_rng(seed)
    X = random.uniform(-1, 1, (count, 4)).astype(np.float32)
    truth = (X[:, 0] > 0) ^ _corner(X)
    return X, truth.astype(np.int64)


@cache
def models(opset: int = 17, *, zipmap: bool = False) -> tuple[bytes, bytes]:
    """Return the files of both models."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    X, y = rows(4_000, seed=0)
    small = LogisticRegression(C=1.0).fit(
        X[:, :1] * [1, 0, 0, 0] + 0 * X, (X[:, 0] > 0).astype(int)
    )
    big = DecisionTreeClassifier(max_depth=8, random_state=0).fit(X, y)
    made = [_onnx(to_onnx, model, X, opset, zipmap) for model in (small, big)]
    return made[0], made[1]


def _onnx(to_onnx: Any, model: Any, X: Array, opset: int, zipmap: bool) -> bytes:
    made = to_onnx(
        model, X[:1], options={"zipmap": zipmap}, target_opset={"": opset, "ai.onnx.ml": 3}
    )
    content: bytes = made.SerializeToString()
    return content


def _corner(X: Array) -> Array:
    return np.asarray((X[:, 1] > 0.5) & (X[:, 2] > 0))
