"""One output in both routes' answers: which values differ, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.data.tensors import Array, format_shape

# Floats are equal when ``|remote - local| <= ATOL + RTOL * |local|``.
RTOL, ATOL = 1e-4, 1e-6

SHOWN = 10  # Rows of each output of which the first differing value is kept.
_LONGEST_ARRAY = 16
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first differing value of a row, and where in the row it is; rows are counted from 0.

    Where the shapes differ, `local` and `remote` are both shapes.
    """

    row: int
    position: tuple[int, ...]
    local: Any
    remote: Any


@dataclass(frozen=True)
class OutputDifference:
    """How much one output differs between the routes.

    Attributes
    ----------
    name : str
    rows, differing_rows : int
        Rows compared, and those with a differing value. An output that does not count rows counts
        as one row a call.
    max_abs_diff, mean_abs_diff : float or None
        Of all pairs of finite numbers; None where there are none.
    max_cosine_distance, mean_cosine_distance : float or None
        Of all rows, where vectors are compared by their direction.
    """

    name: str
    rows: int
    differing_rows: int
    max_abs_diff: float | None
    mean_abs_diff: float | None
    max_cosine_distance: float | None = None
    mean_cosine_distance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The comparison of one output in one call, whose first axis counts rows.

    `unequal` has the differing values of each row, or is None where the shapes differ; `differing`
    has the rows with one. `distances` are those of all pairs of finite numbers, and
    `cosine_distances` those of the rows, where vectors are compared by their direction.
    """

    local: Array
    remote: Array
    unequal: Array | None
    differing: Array
    distances: Array
    cosine_distances: Array | None = None

    def first(self, most: int, start: int) -> list[Difference]:
        """Return the first differing value of each row; rows are counted from `start`."""
        if self.unequal is None:
            local, remote = format_shape(self.local.shape), format_shape(self.remote.shape)
            return [Difference(row=start, position=(), local=local, remote=remote)]
        found, shape = [], self.local.shape[1:]
        for row in np.flatnonzero(self.differing)[:most].tolist():
            position = tuple(map(int, np.unravel_index(self.unequal[row].argmax(), shape)))
            local, remote = (_scalar(array[row, *position]) for array in (self.local, self.remote))
            shown = position if math.prod(shape) > 1 else ()
            found.append(Difference(row=start + row, position=shown, local=local, remote=remote))
        return found


def compare_values(local: Array, remote: Array, rtol: float, atol: float) -> Values:
    """Compare two arrays of the same dtype whose first axis counts rows.

    Floats are equal within the tolerances, and NaN equals NaN; other values have to be the same.
    """
    by_row, differing, distances = None, np.ones(len(local), bool), np.empty(0)
    if local.shape == remote.shape:
        unequal, distances = _unequal(local, remote, rtol, atol)
        by_row = unequal.reshape(len(local), math.prod(local.shape[1:]))
        differing = np.asarray(by_row.any(axis=1))
    return Values(
        local=local, remote=remote, unequal=by_row, differing=differing, distances=distances
    )


class OutputTotal:
    """Adds up the comparisons of one output; not safe to share between threads."""

    def __init__(self) -> None:
        self.first: list[Difference] = []
        self._rows = self._differing = self._numbers = 0
        self._largest = self._sum = 0.0

    def add(self, found: Values) -> None:
        """Add the comparison of one call."""
        differing, missing = int(found.differing.sum()), SHOWN - len(self.first)
        if differing and missing:
            self.first += found.first(missing, self._rows)
        self._rows += len(found.differing)
        self._differing += differing
        self._numbers += found.distances.size
        self._largest = max(self._largest, float(found.distances.max(initial=0.0)))
        self._sum += float(found.distances.sum())

    def difference(self, name: str) -> OutputDifference:
        """Return the sums so far."""
        largest, mean = None, None
        if self._numbers:
            largest, mean = self._largest, self._sum / self._numbers
        return OutputDifference(name, self._rows, self._differing, largest, mean)


def plain(value: Any) -> Any:
    """Return a value in JSON's types: the beginning of a long one, text for what JSON lacks."""
    if isinstance(value, np.ndarray):
        shown = [plain(item) for item in value.reshape(-1)[:_LONGEST_ARRAY]]
        if value.ndim == 0:
            return shown[0]
        return [*shown, "…"] if value.size > _LONGEST_ARRAY else shown
    value = _scalar(value)
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _unequal(local: Array, remote: Array, rtol: float, atol: float) -> tuple[Array, Array]:
    """Return which values differ, and all finite distances."""
    kind = local.dtype.kind
    if kind not in "fiu":
        return np.asarray(local != remote, dtype=bool), np.empty(0)
    # In float64, since float16 has no room for the tolerance.
    one, other = local.astype(np.float64), remote.astype(np.float64)
    if kind == "f":
        unequal = ~np.isclose(other, one, rtol=rtol, atol=atol, equal_nan=True)
    else:
        unequal = local != remote
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.abs(other - one)
    return np.asarray(unequal), distances[np.isfinite(distances)]


def _scalar(value: Any) -> Any:
    """Return one value in Python's types; a float that is not finite becomes text."""
    if isinstance(value, np.floating) and np.isfinite(value):
        # The shortest text that names this float, of its own precision.
        return float(str(value))
    value = value.item() if isinstance(value, np.generic) else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
