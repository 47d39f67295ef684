"""Vectors of both routes, such as embeddings, compared by their direction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hybridmodel.compare.values import OutputDifference, Values
from hybridmodel.data.tensors import Array

COSINE = 0.01
"""Vectors are the same up to this cosine distance: 1 minus the cosine of the angle between them."""


def cosine_distances(local: Array, remote: Array) -> Array:
    """Return the cosine distance of each row.

    Parameters
    ----------
    local, remote : ndarray of shape (n, width)

    Returns
    -------
    ndarray of float64, shape (n,)
        From 0 to 2. Two vectors of zeros are 0 apart, one of zeros and another 1; NaN where a
        number is not finite.
    """
    one, other = local.astype(np.float64), remote.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        # Scaled first, since the squares of large numbers are infinite.
        one, other = _scaled(one), _scaled(other)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = np.einsum("ij,ij->i", one, other) / np.where(lengths == 0, 1, lengths)
    both_zero = ~one.any(axis=1) & ~other.any(axis=1)
    found: Array = np.where(both_zero, 0.0, np.clip(1 - cosines, 0.0, 2.0))
    return found


def compare_directions(values: Values, most: float) -> Values:
    """Let rows differ where their vectors are further apart than `most`, if shapes are the same."""
    if values.unequal is None or values.local.ndim != 2:
        return values
    distances = cosine_distances(values.local, values.remote)
    # NaN is not within any distance.
    return replace(values, differing=~(distances <= most), cosine_distances=distances)


class CosineTotal:
    """Adds up the distances of one output; not safe to share between threads."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._largest = 0.0

    def add(self, distances: Array | None) -> None:
        """Add those of one call; what is not finite counts nowhere."""
        if distances is None:
            return
        finite = distances[np.isfinite(distances)]
        self._count += finite.size
        self._sum += float(finite.sum())
        self._largest = max(self._largest, float(finite.max(initial=0.0)))

    def complete(self, found: OutputDifference) -> OutputDifference:
        """Return the difference of the output with its distances, where there are any."""
        if not self._count:
            return found
        mean = self._sum / self._count
        return replace(found, max_cosine_distance=self._largest, mean_cosine_distance=mean)


def _scaled(vectors: Array) -> Array:
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True)
    scaled: Array = vectors / np.where(largest == 0, 1, largest)
    return scaled
