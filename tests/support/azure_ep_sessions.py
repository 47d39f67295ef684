"""Sessions of `hybridmodel.azure_ep` for tests, with real options of onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from hybridmodel.azure_ep import InferenceSession
from tests.support import models
from tests.support.azure_ep_cases import KEY, answer

X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
MODEL = models.identity()
ECHO = answer({"y": X})
NOBODY = "http://127.0.0.1:9"


def session_options(uri: str = NOBODY, prefix: str = "azure", **entries: str | None) -> Any:
    """Make real SessionOptions with the usual entries, or others; None leaves one out."""
    options = onnxruntime.SessionOptions()
    usual: dict[str, str | None] = {"endpoint_type": "triton", "uri": uri, "model_name": "m"}
    for name, value in {**usual, **entries}.items():
        if value is not None:
            options.add_session_config_entry(f"{prefix}.{name}", value)
    return options


def run_options(key: str | None = KEY, use: str | None = "1", prefix: str = "azure") -> Any:
    """Make real RunOptions."""
    options = onnxruntime.RunOptions()
    for name, value in ((f"use_{prefix}", use), (f"{prefix}.auth_key", key)):
        if value is not None:
            options.add_run_config_entry(name, value)
    return options


def session(uri: str = NOBODY, model: bytes = MODEL, **entries: str | None) -> InferenceSession:
    """Make a session of ours."""
    return InferenceSession(model, session_options(uri, **entries))


def assert_equal(results: list[Any], expected: Any) -> None:
    """Compare the one output, dtype included."""
    (array,) = results
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
