"""The labels of a sample: in what a caller may pass them, and what they cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hybridmodel.cascade.formatting import some
from hybridmodel.data.inputs import from_array_like
from hybridmodel.data.tensors import WILDCARD, Array, TensorSpec
from hybridmodel.exceptions import InputMismatch


def read_labels(y: Any, datatype: str) -> Array:
    """Return labels as an array of one datatype; a pandas category counts by its values.

    Booleans stay booleans where numbers are wanted, so that `check_booleans` can tell them.

    Raises
    ------
    InputMismatch
        If they do not fit.
    """
    values = np.asarray(y) if str(getattr(y, "dtype", "")) == "category" else y
    try:
        labels = from_array_like(values, TensorSpec("y", datatype, (WILDCARD,)))
    except InputMismatch as error:
        raise InputMismatch(
            f"labels do not fit the model, whose answers are {datatype}: "
            f"{str(error).removeprefix('input ')}"
        ) from error
    return labels.astype(bool) if labels.dtype.kind in "iu" and _is_boolean(values) else labels


def check_booleans(labels: Array, classes: Iterable[Any]) -> None:
    """Raise `InputMismatch` if labels are True and False, and the classes are others as well.

    Then they say whether a row has some class, or is in order, and not which class it has.
    """
    known = list(classes)
    if labels.dtype.kind == "b" and not set(known) <= {False, True}:
        raise InputMismatch(
            f"the labels are True and False, but the classes are {some(sorted(known))}; pass the "
            "class of each row"
        )


def check_with_answers(labels: Any, answers: Any) -> None:
    """Raise as `check_booleans` does, where both are arrays: one model's classes tell enough."""
    if isinstance(labels, np.ndarray) and isinstance(answers, np.ndarray):
        check_booleans(labels, np.unique(answers).tolist() if labels.dtype.kind == "b" else ())


def _is_boolean(values: Any) -> bool:
    kind = getattr(values, "dtype", getattr(values, "type", None))
    if kind is None:
        return bool(np.asarray(values).dtype.kind == "b")
    return str(kind).lower().startswith("bool")
