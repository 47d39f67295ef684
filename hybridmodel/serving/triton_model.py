"""A model of Triton's python backend that runs ``model.onnx`` beside it with onnxruntime.

`hybridmodel.serving.repository` copies this file as ``model.py`` into a model repository. It runs
in one of Triton's processes, in an environment without hybridmodel, and imports nothing from it.

Source: the README of Triton's python backend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_decode, _encode = np.frompyfunc(bytes.decode, 1, 1), np.frompyfunc(str.encode, 1, 1)


class TritonPythonModel:
    """The class that Triton's python backend requires, with the methods that it calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the ONNX model; Triton passes its configuration, repository and version."""
        import onnxruntime

        config = json.loads(args["model_config"])
        parameters = config.get("parameters", {})
        model = Path(args["model_repository"], args["model_version"], "model.onnx")
        if model.is_dir():  # A model with external data.
            model /= "model.onnx"
        self.outputs = [item["name"] for item in config["output"]]
        self.labels: dict[str, list[Any]] = json.loads(_value(parameters, "labels", "{}"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(_value(parameters, "intra_op_thread_count", "0"))
        self.session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request on its own, so that an error affects no other request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as triton

        try:
            tensors = [triton.Tensor(name, value) for name, value in self._run(request)]
            return triton.InferenceResponse(tensors)
        except Exception as error:  # noqa: BLE001 - raising would stop the model
            return triton.InferenceResponse(error=triton.TritonError(f"onnxruntime: {error}"))

    def _run(self, request: Any) -> list[tuple[str, Array]]:
        feeds = {item.name(): _converted(item.as_numpy(), _decode) for item in request.inputs()}
        asked = request.requested_output_names()
        names = [name for name in self.outputs if name in asked]
        values = self.session.run(names, feeds)
        return [
            (name, self._to_array(name, value)) for name, value in zip(names, values, strict=True)
        ]

    def _to_array(self, name: str, value: Any) -> Array:
        if name in self.labels:
            rows = [[row[label] for label in self.labels[name]] for row in value]
            return np.array(rows, np.float32).reshape(len(rows), len(self.labels[name]))
        return _converted(np.ascontiguousarray(value), _encode)


def _value(parameters: dict[str, Any], key: str, default: str) -> str:
    found = parameters.get(key, {}).get("string_value", default)
    return str(found)


def _converted(array: Array, function: Any) -> Array:
    return function(array) if array.dtype == object else array
