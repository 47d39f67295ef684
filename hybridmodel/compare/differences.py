"""Where two routes give different values for the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hybridmodel.compare.closeness import closeness
from hybridmodel.data.tensors import TensorSpec, format_shape

Array = np.ndarray[Any, Any]

SHOWN = 10


@dataclass(frozen=True)
class Difference:
    """The first differing value of a row.

    Attributes
    ----------
    row : int
        Counted from 0.
    position : tuple of int
        Of the value within the row; empty when the row has one value.
    local, endpoint : str, int, float or bool
        Both values; of arrays of different shapes, the shapes.
    """

    row: int
    position: tuple[int, ...]
    local: Any
    endpoint: Any


@dataclass
class OutputComparison:
    """One output from both routes, added batch by batch.

    Parameters
    ----------
    spec : TensorSpec
        An output that is not batched counts as one row for each batch.
    rtol, atol : float
        For floats: equal is ``|endpoint - local| <= atol + rtol * |local|``, NaN equal to NaN.
        Anything else has to be the same.

    Attributes
    ----------
    rows, differing_rows : int
        So far.
    max_abs_diff : float or None
        Largest finite distance of two numbers, None where there are none.
    differences : list of Difference
        The first `SHOWN`.
    """

    spec: TensorSpec
    rtol: float
    atol: float
    rows: int = 0
    differing_rows: int = 0
    max_abs_diff: float | None = None
    differences: list[Difference] = field(default_factory=list)

    def add(self, local: Array, endpoint: Array) -> None:
        """Compare the answers of both routes to one batch of rows.

        Parameters
        ----------
        local, endpoint : ndarray
            Of the same dtype.
        """
        if not self.spec.batched:
            local, endpoint = local[np.newaxis], endpoint[np.newaxis]
        if local.shape == endpoint.shape:
            self._add_values(local, endpoint)
        else:
            shapes = format_shape(local.shape), format_shape(endpoint.shape)
            self._add_row(Difference(self.rows, (), *shapes))
            self.differing_rows += len(local)
        self.rows += len(local)

    def to_dict(self) -> dict[str, Any]:
        """Describe the comparison in JSON's types."""
        return {
            "name": self.spec.name,
            "rows": self.rows,
            "differing_rows": self.differing_rows,
            "max_abs_diff": self.max_abs_diff,
            "differences": [
                {
                    "row": item.row,
                    "position": list(item.position),
                    "local": item.local,
                    "endpoint": item.endpoint,
                }
                for item in self.differences
            ],
        }

    def _add_values(self, local: Array, endpoint: Array) -> None:
        unequal, distances = closeness(local, endpoint, self.rtol, self.atol)
        unequal = unequal.reshape(len(local), -1)
        rows = np.flatnonzero(unequal.any(axis=1))
        self.differing_rows += len(rows)
        for row in rows[: SHOWN - len(self.differences)].tolist():
            position = np.unravel_index(int(unequal[row].argmax()), local.shape[1:])
            at = (row, *map(int, position))
            self._add_row(
                Difference(
                    self.rows + row,
                    at[1:] if math.prod(local.shape[1:]) > 1 else (),
                    _plain(local[at]),
                    _plain(endpoint[at]),
                )
            )
        if distances.size:
            self.max_abs_diff = max(float(distances.max()), self.max_abs_diff or 0.0)

    def _add_row(self, difference: Difference) -> None:
        if len(self.differences) < SHOWN:
            self.differences.append(difference)


def _plain(value: Any) -> Any:
    """Return a scalar in JSON's types; what JSON has no number for becomes text."""
    if isinstance(value, np.floating):
        # The shortest text that names this float, of its own precision.
        return float(str(value)) if np.isfinite(value) else str(value)
    return value.item() if isinstance(value, np.generic) else value
