"""Parts of requests and answers in JSON."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.data.tensors import Array
from hybridmodel.remote.wire.layouts import read_response
from hybridmodel.remote.wire.tensor_data import Buffer, fill

X = np.array([[1.0, 2.0]], "<f4")


RAW = X.tobytes()


OUT = {"name": "y", "datatype": "FP32", "shape": [1, 2]}


def head(**fields: Any) -> bytes:
    """Write a JSON header."""
    return json.dumps(fields).encode()


class Response(NamedTuple):
    """What a server said."""

    outputs: dict[str, Array]
    model_name: str | None
    model_version: str | None
    request_id: str | None


def decode_response(header: Buffer, tensors: Buffer = b"") -> Response:
    """Read a response as `hybridmodel.remote` does, but for what it knows of the local model."""
    layout, request_id = read_response(header)
    outputs = fill(layout.slots.values(), tensors, "output")
    return Response(outputs, layout.model_name, layout.model_version, request_id)


def response(item: Any, raw: bytes = b"") -> dict[str, Any]:
    """Read a response with one output."""
    return decode_response(head(outputs=[item]), raw).outputs
