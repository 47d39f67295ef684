"""Which output of a model is what scikit-learn asks for: labels, probabilities or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridmodel.cascade.probabilities import flaw
from hybridmodel.cascade.scores import is_column, listed
from hybridmodel.data.tensors import Array, TensorSpec
from hybridmodel.exceptions import ConfigurationError, SpecMismatch
from hybridmodel.model import HybridOnnxModel

_LABELS = "biuO"


def label_output(model: HybridOnnxModel, named: str | None) -> TensorSpec | None:
    """Return the output with a class for each row; None where there is none, or no telling which.

    `named` is the caller's own choice, and has to fit.
    """
    if named is None:
        return _only(model, [item for item in _answered(model) if _holds_labels(item)])
    output = model.spec.output(named)
    if not is_column(output):
        raise ConfigurationError(
            f"label_output is an output of shape [?] or [?, 1], not {output}; {listed(model.spec)}"
        )
    return output


def proba_output(model: HybridOnnxModel, named: str | None) -> TensorSpec | None:
    """Return the output with a number for each class; None as `label_output` says."""
    if named is None:
        tables = [item for item in _answered(model) if item.labels or _holds_floats(item, (2,))]
        return _only(model, [item for item in tables if item.labels] or tables)
    output = model.spec.output(named)
    if not _holds_floats(output, (1, 2)):
        raise ConfigurationError(
            "proba_output is an output of floats and shape [?, classes], [?, 1] or [?], not "
            f"{output}; {listed(model.spec)}"
        )
    return output


def number_output(model: HybridOnnxModel, named: str | None) -> TensorSpec:
    """Return the output that a regressor answers with.

    Raises
    ------
    ConfigurationError
        If it is not numbers, or nothing tells which of several it is.
    """
    numbers = [item for item in _answered(model) if item.dtype.kind in "iuf"]
    found = _only(model, numbers) if named is None else model.spec.output(named)
    if found is None or found.dtype.kind not in "iuf":
        raise ConfigurationError(
            "a regressor needs an output of numbers: name one with output='NAME'; "
            f"{listed(model.spec)}"
        )
    return found


def width(output: TensorSpec) -> int | None:
    """Return for how many classes an output declares numbers; None if it declares nothing."""
    declared = len(output.labels) or (output.shape[1] if len(output.shape) == 2 else 1)
    return None if declared < 1 else max(declared, 2)


def column(values: Array, output: str) -> Array:
    """Return one value for each row, of shape (n,); a `SpecMismatch` has the shape that came."""
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1:
        raise SpecMismatch(
            f"output {output!r} has the shape {list(values.shape)}, which is not one value for "
            "each row"
        )
    return values


def table(values: Array, output: str, *, of_probabilities: bool = True) -> Array:
    """Return a number for each row and class, of shape (n, k) with k from 2 up.

    One column is that of the second of two classes. Raises `SpecMismatch` for other shapes.
    """
    if values.ndim == 2 and values.shape[1] != 1:
        return values
    second = column(values, output)
    return np.column_stack([1 - second if of_probabilities else -second, second])


def are_probabilities(values: Array) -> bool:
    """Tell whether an output holds probabilities; others of the same name hold decision values."""
    return flaw(values) is None


def _answered(model: HybridOnnxModel) -> list[TensorSpec]:
    return [model.spec.outputs_by_name[name] for name in model.spec.answered_names]


def _only(model: HybridOnnxModel, found: list[Any]) -> TensorSpec | None:
    preferred = [item for item in found if item.name == model.output]
    return next(iter(preferred or (found if len(found) == 1 else ())), None)


def _holds_labels(output: TensorSpec) -> bool:
    return output.dtype.kind in _LABELS and is_column(output)


def _holds_floats(output: TensorSpec, ranks: tuple[int, ...]) -> bool:
    return output.dtype.kind == "f" and len(output.shape) in ranks
