"""How the rows that a caller passes become the inputs of a converted model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.checks import shown
from hybridmodel.data.names import check_same, listed
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.sklearn.converting.steps import steps

if TYPE_CHECKING:
    import pandas as pd

MATRIX = "X"
"""The input of a model that takes all columns as one tensor."""

OUTPUTS = ("label", "probabilities", "scores", "variable")
"""What the outputs of a converted model are called."""

TEXT = "BYTES"
NUMBER = {"float32": "FP32", "float64": "FP64"}
"""Datatypes of numbers by what a caller names them."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The inputs of a converted model: one for all columns, or one for each.

    Attributes
    ----------
    names : tuple of str or None
        Of the columns; None for arrays.
    datatypes : tuple of str
        Of the columns: ``FP32`` or ``FP64``, all numbers the same, and ``BYTES`` for texts.
    has_matrix : bool
        Whether all columns are one tensor of shape (n, k).
    """

    names: tuple[str, ...] | None
    datatypes: tuple[str, ...]
    has_matrix: bool

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """What `HybridOnnxModel` takes as such: inputs of one column have names of their own."""
        return self.names if self.has_matrix else None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return (MATRIX,) if self.has_matrix else self.names or ()

    def wide(self) -> Layout:
        """Return the same inputs with numbers of float64."""
        wider = (NUMBER["float64"] if item != TEXT else item for item in self.datatypes)
        return replace(self, datatypes=tuple(wider))

    def initial_types(self) -> list[tuple[str, Any]]:
        """Return the inputs as skl2onnx takes them."""
        from skl2onnx.common import data_types as kinds

        made = {
            "FP32": kinds.FloatTensorType,
            "FP64": kinds.DoubleTensorType,
            TEXT: kinds.StringTensorType,
        }
        width = len(self.datatypes) if self.has_matrix else 1
        named = zip(self.inputs, self.datatypes, strict=False)
        return [(name, made[datatype]([None, width])) for name, datatype in named]


def checked_rows(estimator: Any, rows: Any) -> Any:
    """Return rows as an array, or as a frame with the columns of an estimator in their order.

    Raises
    ------
    InputMismatch
        If they are of another kind, empty, or not what the estimator was fitted to.
    """
    import pandas as pd

    rows = _some_rows(rows)
    width, names = rows.shape[1], getattr(estimator, "feature_names_in_", None)
    if isinstance(rows, pd.DataFrame) and names is not None:
        check_same("X: column", rows.columns.tolist(), list(names))
        return rows[list(names)]
    expected = getattr(estimator, "n_features_in_", width)
    if width != expected:
        raise InputMismatch(f"X has {width} columns, the estimator was fitted to {expected}")
    if names is not None:
        return pd.DataFrame(rows, columns=list(names))
    if isinstance(rows, np.ndarray) or not _has_names(rows):
        return np.asarray(rows)
    check_same("X: column", rows.columns.tolist(), list(dict.fromkeys(rows.columns)))
    return rows


def _some_rows(rows: Any) -> Any:
    """Return rows as a frame or an array of two dimensions, with at least one row."""
    import pandas as pd

    if isinstance(rows, (list, tuple)):
        rows = np.asarray(rows)
    if not isinstance(rows, (np.ndarray, pd.DataFrame)) or rows.ndim != 2 or len(rows) == 0:
        raise InputMismatch(
            "X has to be rows to prove the conversion on: a DataFrame of pandas or an array of "
            f"shape (n, k), not {_told(rows)}"
        )
    return rows


def layout_of(estimators: Sequence[Any], rows: Any, dtype: str) -> Layout:
    """Return the inputs that estimators share, from rows as `checked_rows` returns them.

    Raises
    ------
    ConfigurationError
        If there is no such `dtype`, or a column has the name of an output.
    InputMismatch
        If a column holds neither numbers nor texts.
    """
    if dtype not in NUMBER:
        raise ConfigurationError(f"dtype is one of {listed(NUMBER)}, not {shown(dtype)}")
    names = tuple(rows.columns) if hasattr(rows, "columns") else None
    if names is not None:
        found = tuple(_kind_of(rows[name], f"column {name!r}", NUMBER[dtype]) for name in names)
    else:
        found = (_kind_of(rows, "X", NUMBER[dtype]),) * rows.shape[1]
    by_name = names is not None and any(map(selects_by_name, estimators))
    made = Layout(names=names, datatypes=found, has_matrix=len(set(found)) == 1 and not by_name)
    clash = set() if made.has_matrix else set(OUTPUTS).intersection(names or ())
    if clash:
        raise ConfigurationError(
            f"the columns {listed(sorted(clash))} have the names of outputs; rename them in X and "
            "fit the estimator again"
        )
    return made


def selects_by_name(estimator: Any) -> bool:
    """Return whether a step takes its columns by their names, as a ``ColumnTransformer`` may."""
    return any(hasattr(step, "transformers") for _, step in steps(estimator))


def rows_for(estimator: Any, rows: Any) -> Any:
    """Return rows as an estimator takes them: one that was fitted to arrays gets no names."""
    has_names = getattr(estimator, "feature_names_in_", None) is not None
    return rows if has_names or not hasattr(rows, "columns") else _array(rows)


def mixed(rows: Any, stretch: float | None = None, seed: int = 0) -> Any:
    """Return as many rows whose columns are shuffled: values that came, but not together.

    With `stretch`, every second float is so many times as far from the mean of its column.
    """
    random = np.random.default_rng(seed)
    if not hasattr(rows, "columns"):
        made = random.permuted(rows, axis=0)
        return _stretched(made, stretch) if made.dtype.kind == "f" else made
    import pandas as pd

    columns = {}
    for name, column in rows.items():
        values = column.array.take(random.permutation(len(rows)))
        is_float = getattr(column.dtype, "kind", "") == "f"
        columns[name] = _stretched(np.asarray(values), stretch) if is_float else values
    return pd.DataFrame(columns)


def _stretched(values: Any, stretch: float | None) -> Any:
    if stretch is None:
        return values
    finite = np.isfinite(values)
    mean = np.where(finite, values, 0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    moved = (mean + stretch * (values - mean)).astype(values.dtype)
    far = np.arange(len(values)) % 2 == 1
    return np.where(far[:, np.newaxis] if values.ndim == 2 else far, moved, values)


def both(rows: Any, others: Any) -> Any:
    """Return two tables, one after the other."""
    if not hasattr(rows, "columns"):
        return np.concatenate([rows, others])
    import pandas as pd

    return pd.concat([rows, others], ignore_index=True)


def _array(frame: pd.DataFrame) -> Any:
    return frame.to_numpy()


def _has_names(rows: Any) -> bool:
    return hasattr(rows, "columns") and all(isinstance(name, str) for name in rows.columns)


def _kind_of(values: Any, where: str, number: str) -> str:
    """Return the datatype of a column or an array."""
    dtype = values.dtype
    if getattr(dtype, "kind", "") in "fiub":
        return number
    if dtype.name in ("object", "str", "string") or dtype.kind == "U":
        found = np.asarray(values, dtype=object).ravel()
        others = _others(found)
        if not others:
            return TEXT
        has_texts = any(isinstance(value, str) for value in found)
        raise InputMismatch(f"{where}: {_what_instead(others, has_texts=has_texts)}")
    advice = f"; pass X.astype({{{values.name!r}: 'str'}})" if dtype.name == "category" else ""
    raise InputMismatch(
        f"{where}: is of dtype {dtype}, and a converted model takes numbers and texts{advice}"
    )


def _others(values: Iterable[Any]) -> set[str]:
    return {_named(value) for value in values if not isinstance(value, str)}


def _named(value: Any) -> str:
    is_missing = value is None or value != value  # Only NaN differs from itself.
    return "missing values" if is_missing else type(value).__name__


def _what_instead(others: set[str], *, has_texts: bool) -> str:
    if not has_texts:
        return (
            f"holds Python objects ({', '.join(sorted(others))}); a converted model takes numbers "
            "and texts: pass X.astype(float) if they are numbers"
        )
    return (
        f"holds texts and {', '.join(sorted(others))}; a converted model takes numbers, and texts "
        "without missing values: put a text of its own in their place before the estimator is "
        "fitted"
    )


def _told(rows: Any) -> str:
    shape = getattr(rows, "shape", None)
    advice = "; pass its toarray()" if hasattr(rows, "toarray") else ""
    advice = "; pass its to_pandas()" if hasattr(rows, "to_pandas") else advice
    kind = f"a {type(rows).__module__}.{type(rows).__qualname__}"
    return f"{kind} of shape {shape}{advice}" if shape is not None else f"{kind}{advice}"
