"""Rows for `tests.support.models.linear`, and what an endpoint says of them."""

from __future__ import annotations

import json

import numpy as np

from tests.support.faulty import http

X = np.ones((3, 4), np.float32)
ANSWER = {
    "model_version": "7",
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [3, 2], "data": [0.0] * 6}],
}
GOOD = http(200, json.dumps(ANSWER).encode())
