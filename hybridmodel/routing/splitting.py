"""The calls or rows of a split that go to the endpoint, chosen by the hash of their data."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from hybridmodel.data.binding import Bound
from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch
from hybridmodel.routing.policies import Split


def chosen(policy: Split, bound: Bound) -> bool | Array:
    """Return whether the endpoint answers the call, or an array of bool with one for each row."""
    if policy.by == "index":
        if bound.frame_index is None:
            raise InputMismatch("a split by index needs a DataFrame or Series, not arrays")
        labels = [repr(label).encode() for label in bound.frame_index.tolist()]
        return np.array([_is_in(policy, label) for label in labels], bool)
    if policy.by == "row" and bound.rows is not None:
        return np.array([_is_in(policy, _bytes(bound, row)) for row in range(bound.rows)], bool)
    return _is_in(policy, _bytes(bound, slice(None)))


def _is_in(policy: Split, key: bytes) -> bool:
    salt = hashlib.blake2b(policy.salt.encode(), digest_size=hashlib.blake2b.SALT_SIZE).digest()
    digest = hashlib.blake2b(key, digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, "big") < policy.share * 2**64


def _bytes(bound: Bound, rows: int | slice) -> bytes:
    return b"".join(
        _text(array[rows]).encode() if array.dtype == object else array[rows].tobytes()
        for array in bound.feeds.values()
    )


def _text(values: Any) -> str:
    # One row of a column of texts is a text.
    return repr(values.tolist() if isinstance(values, np.ndarray) else values)
