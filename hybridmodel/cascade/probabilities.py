"""Outputs of a classifier as probabilities by class, and what can be read from them for each row.

Everything here has a row for each class and a column for each row of the data: numpy works on a few
long rows several times as fast as on many short ones. What is read for a row of the data is the
same to the last bit whatever rows come with it.

Numbers are compared as they come, and subtracted as float64: near 1 the steps of float32 are so
wide that the scores of all saturated rows would be equal.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import ConfigurationError

# How far a row's probabilities may be from a sum of one: half precision and int8 models round.
_TOLERANCE = 1e-2

_FEW_CLASSES = 32
_MANY_ROWS = 64


def by_class(values: Array, *, logits: bool = False) -> Array:
    """Return the probabilities of at least two classes.

    Parameters
    ----------
    values : ndarray of float, shape (n, k), (n, 1) or (n,)
        Probabilities, or logits; one column is that of the second of two classes.
    logits : bool, default=False
        Apply softmax first; to one column the logistic function.

    Returns
    -------
    ndarray of float32 or float64, shape (max(k, 2), n)
        float64 for logits and for one column. May be a view of `values`. What has a NaN in it may
        be anything besides, but keeps a NaN.

    Raises
    ------
    ConfigurationError
        If the shape is another, or what should be probabilities are none.
    """
    if logits:
        return _softmax(_classes(values, np.float64))
    classes = _of_two(_classes(values))
    found = _flaw(classes)
    if found is not None:
        raise ConfigurationError(
            f"the output holds no probabilities; {found}; for logits pass Score(..., logits=True)"
        )
    return classes


def flaw(values: Array) -> str | None:
    """Say what keeps an output from being probabilities as `by_class` takes them; None: nothing."""
    return _flaw(_of_two(_classes(values)))


def _flaw(classes: Array) -> str | None:
    if classes.size == 0:
        return None
    sums = classes.sum(axis=0)
    # Three reductions, without an array of distances: this is the way of every call.
    sums_fit = sums.min() >= 1 - _TOLERANCE and sums.max() <= 1 + _TOLERANCE
    if sums_fit and classes.min() >= -_TOLERANCE:
        return None
    # Comparisons with NaN are False: such a row has no score, and is no reason to fail.
    bad = np.abs(sums - 1) > _TOLERANCE
    negative = classes < -_TOLERANCE
    if not (bad.any() or negative.any()):
        return None
    row = int(np.argmax(bad | negative.any(axis=0)))
    return f"row {row} has {_shown(classes[:, row])} with the sum {float(sums[row]):.6g}"


def _of_two(classes: Array) -> Array:
    return _both(classes[0]) if len(classes) == 1 else classes


def _classes(values: Array, dtype: type[np.floating[Any]] | None = None) -> Array:
    """Return a table with a row for each class, as `dtype` or at least as float32."""
    table = values[:, np.newaxis] if values.ndim == 1 else values
    if table.ndim != 2 or table.dtype.kind != "f":
        raise ConfigurationError(
            f"the output has to hold floats of shape [?, classes]; it holds {values.dtype} of "
            f"shape {list(values.shape)}"
        )
    if table.size == 0:
        return np.empty((2, 0), table.dtype)
    classes = table.T
    if dtype is None and table.dtype.itemsize < 4:
        dtype = np.float32
    if _is_narrow(classes):
        return np.ascontiguousarray(classes, dtype)
    return classes if dtype is None else classes.astype(dtype)


def max_probability(classes: Array) -> Array:
    """Return the largest probability of each row, as float64."""
    return np.asarray(_top_two(classes)[0], dtype=np.float64)


def margin(classes: Array) -> Array:
    """Return how much larger the largest probability of each row is than the next, as float64."""
    best, second = _top_two(classes)
    return np.asarray(np.subtract(best, second, dtype=np.float64))


def entropy(classes: Array) -> Array:
    """Return 1 for a sure row and 0 for one whose classes are equally probable, as float64."""
    positive = np.maximum(classes, np.finfo(classes.dtype).tiny)
    parts = np.log(positive)
    parts *= positive
    nats = -_added(parts).astype(np.float64)
    return np.asarray(np.clip(1 - nats / math.log(len(classes)), 0.0, 1.0))


def _top_two(classes: Array) -> tuple[Array, Array]:
    """Return the largest and second largest of each row, NaN for a row that holds one."""
    if not _is_narrow(classes):
        part = np.partition(classes.T, len(classes) - 2, axis=1)
        return part[:, -1], part[:, -2]
    best, second = np.maximum(classes[0], classes[1]), np.minimum(classes[0], classes[1])
    lower = np.empty_like(best)
    for one in classes[2:]:
        np.minimum(best, one, out=lower)
        np.maximum(second, lower, out=second)
        np.maximum(best, one, out=best)
    return best, second


def _softmax(classes: Array) -> Array:
    if len(classes) == 1:
        return _both(0.5 + 0.5 * np.tanh(classes[0] / 2))
    with np.errstate(invalid="ignore"):  # Infinity minus infinity: a row without a score.
        powers = classes - classes.max(axis=0)
        np.exp(powers, out=powers)
        powers /= _added(powers)
    return np.asarray(powers)


def _added(classes: Array) -> Array:
    """Return the sum of each row.

    Left to itself numpy adds in an order that depends on the layout, and so on the number of rows.
    """
    if len(classes) <= _FEW_CLASSES:
        return np.asarray(reduce(np.add, classes))
    return np.asarray(np.ascontiguousarray(classes.T).sum(axis=1))


def _both(second: Array) -> Array:
    """Make the probabilities of both classes from the second's, as float64."""
    classes = np.empty((2, len(second)), np.float64)
    np.subtract(1, second, out=classes[0], dtype=np.float64)
    classes[1] = second
    return classes


def _is_narrow(classes: Array) -> bool:
    return classes.shape[1] >= _MANY_ROWS and len(classes) <= _FEW_CLASSES


def _shown(row: Array, most: int = 4) -> str:
    rest = ", …" if len(row) > most else ""
    return "[" + ", ".join(f"{value:.6g}" for value in row[:most].tolist()) + rest + "]"
