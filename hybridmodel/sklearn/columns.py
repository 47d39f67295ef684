"""What `fit` gets: its columns, its labels, and whether what comes in later is like it.

A model that knows the names of its columns judges frames itself, by name and in any order. Else
scikit-learn's own rules hold: the same names in the same order as in `fit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from hybridmodel.data.binding import Binding, Bound
from hybridmodel.data.names import check_same
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch
from hybridmodel.model import HybridOnnxModel

_FEW = 100
"""So many rows are enough to see what the local model answers."""


def known_names(model: HybridOnnxModel) -> Array | None:
    """Return the names of the columns that a model knows, in its order; None if it knows none."""
    names = model.feature_names
    if names is None and len(model.inputs) > 1:
        names = list(model.spec.input_names)
    return None if names is None else np.array(names, dtype=object)


def known_width(model: HybridOnnxModel) -> int | None:
    """Return how many columns a model declares; None where any number fits."""
    if len(model.inputs) > 1:
        return len(model.inputs)
    shape = model.inputs[0].shape
    declared = shape[1] if len(shape) > 1 else 1
    return None if declared < 1 else declared


def read_columns(estimator: Any, X: Any) -> Bound:
    """Set an estimator's ``n_features_in_`` and ``feature_names_in_`` from rows that fit its model.

    Returns
    -------
    Bound
        The rows as tensors.

    Raises
    ------
    ValueError
        If the rows are none, or do not fit; an `InputMismatch` where the model says so.
    """
    model: HybridOnnxModel = estimator.model
    names = known_names(model)
    if names is not None:
        estimator.feature_names_in_ = names  # scikit-learn deletes it where X has no names.
    if hasattr(X, "columns"):
        _check_once(X)
        validate_data(estimator, X, skip_check_array=True)
    else:
        validate_data(estimator, X, dtype=None, ensure_all_finite=False, allow_nd=True)
    if names is not None and "feature_names_in_" in vars(estimator):
        estimator.feature_names_in_ = names
    bound = Binding(model.spec, model.feature_names, has_told=True).bind(X)
    if bound.rows == 0:
        raise InputMismatch("fit needs at least one row to see what the model answers; X has none")
    return bound


def check_columns(estimator: Any, X: Any) -> None:
    """Raise scikit-learn's own errors and warnings for columns that are not those of `fit`."""
    if _is_familiar(estimator, X):
        return
    if issparse(X):
        raise InputMismatch("X is sparse, and a model takes dense data; pass X.toarray()")
    if isinstance(X, np.ndarray) and X.ndim == 1:
        raise InputMismatch(
            "X has one dimension, and an estimator takes rows and columns. Reshape your data: "
            "X.reshape(1, -1) is one row, X.reshape(-1, 1) is one column"
        )
    if estimator.model.feature_names is None and len(estimator.model.inputs) == 1:
        validate_data(estimator, X, reset=False, skip_check_array=True)


def head(estimator: Any, bound: Bound) -> dict[str, Array]:
    """Return the first rows of what `read_columns` returned, and other inputs as they are."""
    batched = {item.name: item.batched for item in estimator.model.inputs}
    return {name: array[:_FEW] if batched[name] else array for name, array in bound.feeds.items()}


def read_labels(X: Any, y: Any) -> Array:
    """Return classes as an array of shape (n,); raise a `ValueError` unless each row has one."""
    check_consistent_length(X, y)
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return np.asarray(labels)


def read_numbers(X: Any, y: Any) -> Array:
    """Return numbers as an array of shape (n,) or (n, m); raise as `read_labels` does."""
    check_consistent_length(X, y)
    numbers = np.asarray(check_array(y, ensure_2d=False, input_name="y"))
    return column_or_1d(numbers, warn=True) if numbers.shape[1:] == (1,) else numbers


def _check_once(X: Any) -> None:
    """Raise for a name that two columns have, before scikit-learn raises another library's."""
    if not getattr(X.columns, "is_unique", True):  # Only pandas has such frames.
        columns = X.columns.tolist()
        check_same("column", columns, list(dict.fromkeys(columns)))


def _is_familiar(estimator: Any, X: Any) -> bool:
    """Tell at once what `validate_data` takes 20 to 200 µs to tell."""
    fitted = vars(estimator)
    names = fitted.get("feature_names_in_")
    if type(X) is np.ndarray:
        return names is None and X.ndim > 1 and X.shape[1] == fitted.get("n_features_in_")
    columns = getattr(X, "columns", None)
    return names is not None and columns is not None and list(columns) == names.tolist()
