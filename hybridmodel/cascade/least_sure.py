"""The least sure rows: so many, and always the same ones.

Rows are compared by their scores as float32, which is how files keep them; a row without a score is
less sure than any other. Of rows with the same score the earlier is taken first.
"""

from __future__ import annotations

import numpy as np

from hybridmodel.data.tensors import Array

_SIGN = np.uint32(1 << 31)


def order_keys(scores: Array) -> Array:
    """Return whole numbers that order rows as their scores do, those without one first.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
        NaN for rows without a score.

    Returns
    -------
    ndarray of uint32, shape (n,)
        Equal for scores that are equal as float32; 0 for NaN only.
    """
    with np.errstate(over="ignore"):
        # Adding zero makes one of the two zeros, which are equal and have different bits.
        values = scores.astype(np.float32) + np.float32(0)
    bits = values.view(np.uint32)
    keys: Array = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    keys[np.isnan(values)] = 0
    return keys


def least_sure(scores: Array, count: int) -> Array:
    """Tell for each row whether it is one of so many least sure rows.

    Returns
    -------
    ndarray of bool, shape (n,)
        True for exactly ``min(count, n)`` rows.
    """
    if count <= 0 or count >= len(scores):
        return np.full(len(scores), count > 0)
    keys = order_keys(scores)
    last = np.partition(keys, count - 1)[count - 1]
    chosen: Array = keys < last
    ties = np.flatnonzero(keys == last)
    chosen[ties[: count - int(np.count_nonzero(chosen))]] = True
    return chosen
