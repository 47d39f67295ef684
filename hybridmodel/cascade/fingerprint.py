"""One hash for data that has been made ready for a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def fingerprint(tensors: Mapping[str, Array | None]) -> str:
    """Return the sha256 over names, dtypes, shapes and values, as hexadecimal digits.

    Parameters
    ----------
    tensors : mapping of str to ndarray or None
        In the order that counts. Arrays of objects are hashed as texts.
    """
    digest = hashlib.sha256()
    for name, array in tensors.items():
        if array is None:
            digest.update(repr((name, None)).encode())
            continue
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(_content(array))
    return digest.hexdigest()


def _content(array: Array) -> bytes:
    if array.dtype.kind != "O":
        return array.tobytes()
    # With its length before each text, so that no two lists of texts look the same.
    texts = [str(item).encode("utf-8", "surrogatepass") for item in array.ravel().tolist()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)
