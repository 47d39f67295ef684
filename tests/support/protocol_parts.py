"""Parts of requests and answers in JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from hybridmodel.remote.wire.protocol import (
    decode_response,
)

X = np.array([[1.0, 2.0]], "<f4")


RAW = X.tobytes()


OUT = {"name": "y", "datatype": "FP32", "shape": [1, 2]}


def head(**fields: Any) -> bytes:
    """Write a JSON header."""
    return json.dumps(fields).encode()


def response(item: Any, raw: bytes = b"") -> dict[str, Any]:
    """Read a response with one output."""
    return dict(decode_response(head(outputs=[item]), raw).outputs)
