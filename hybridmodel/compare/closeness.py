"""Whether two sides give the same values, and how far apart their numbers are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

RTOL, ATOL = 1e-4, 1e-6
"""Floats are the same when ``|endpoint - local| <= ATOL + RTOL * |local|``."""


class Closeness(NamedTuple):
    """What two arrays of the same dtype and shape have in common.

    Attributes
    ----------
    unequal : ndarray of bool
        In the shape of both.
    distances : ndarray of float64, shape (n,)
        Absolute differences where they are finite; empty for what is no number.
    """

    unequal: Array
    distances: Array


def closeness(local: Array, endpoint: Array, rtol: float = RTOL, atol: float = ATOL) -> Closeness:
    """Compare two arrays value by value.

    Parameters
    ----------
    local, endpoint : ndarray
        Of the same dtype and shape.
    rtol, atol : float
        For floats, of which NaN equals NaN; anything else has to be the same.
    """
    kind = local.dtype.kind
    if kind not in "fiu":
        return Closeness(np.asarray(local != endpoint, dtype=bool), np.empty(0))
    # In float64, since float16 has no room for the tolerance.
    here, there = local.astype(np.float64), endpoint.astype(np.float64)
    if kind == "f":
        unequal = ~np.isclose(there, here, rtol=rtol, atol=atol, equal_nan=True)
    else:
        unequal = local != endpoint
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.abs(there - here)
    return Closeness(np.asarray(unequal), distances[np.isfinite(distances)])
