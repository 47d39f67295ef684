"""Models that learn from answers on which rows the small model's answer is a loss."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from hybridmodel.cascade.gate_graph import EXTRA, FEATURES
from hybridmodel.checks import needed_for
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

BOOSTING, LOGISTIC = "boosting", "logistic"
KINDS = (BOOSTING, LOGISTIC)

LEAST_LOSSES = 30
"""Fewer teach nothing that holds for other rows."""


def trained(kind: str, features: Array, lost: Array, seed: int) -> Any:
    """Return a classifier of losses.

    Parameters
    ----------
    kind : str
        ``boosting`` or ``logistic``.
    features : ndarray of float32, shape (n, k)
        As the graph makes them.
    lost : ndarray of bool, shape (n,)
        Of both kinds at least one.
    seed : int
        Of what boosting draws.

    Raises
    ------
    ConfigurationError
        If the kind is another, or features are missing that it needs.
    MissingDependency
        If scikit-learn is not installed.
    """
    with needed_for("a gate", EXTRA):
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    if kind == BOOSTING:
        gate: Any = HistGradientBoostingClassifier(
            max_iter=200,
            learning_rate=0.06,
            max_leaf_nodes=15,
            l2_regularization=1.0,
            early_stopping=True,
            random_state=seed,
        )
    else:
        gate = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        if not np.isfinite(features).all():
            raise ConfigurationError(
                "inputs or outputs are missing (NaN) or infinite in some rows: pass "
                "kind='boosting', which can do without them"
            )
    return gate.fit(features, np.asarray(lost, dtype=np.int64))


def exported(gate: Any, width: int, opsets: Mapping[str, int]) -> Any:
    """Return a classifier as ``onnx.ModelProto`` with the input `FEATURES`.

    Raises
    ------
    ConfigurationError
        If it cannot be written with these versions of operators.
    MissingDependency
        If skl2onnx is not installed.
    """
    with needed_for("a gate", EXTRA):
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Its own, about numbers of numpy in protobuf.
            return to_onnx(
                gate,
                initial_types=[(FEATURES, FloatTensorType([None, width]))],
                target_opset=dict(opsets),
                options={"zipmap": False},
            )
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise ConfigurationError(
            f"a gate cannot be added to a model with the opsets {dict(opsets)}: {error}; export "
            "the model with a later opset"
        ) from error
