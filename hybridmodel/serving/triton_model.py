"""A model of Triton's python backend that runs ``model.onnx`` beside it with onnxruntime.

`hybridmodel.serving.repository` copies this file as ``model.py`` into a model repository. It runs
in a process of Triton's, in an environment without hybridmodel, and imports nothing of it.

Source: the README of Triton's python backend.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class TritonPythonModel:
    """The class that Triton's python backend looks for, with the methods that it calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the ONNX model.

        Parameters
        ----------
        args : dict of str
            What Triton tells: the configuration as JSON, the repository, the version.
        """
        import onnxruntime

        config = json.loads(args["model_config"])
        labels = json.loads(config["parameters"]["labels"]["string_value"])
        folder = Path(args["model_repository"], args["model_version"])
        self.outputs = [item["name"] for item in config["output"]]
        self.labels: dict[str, list[Any]] = labels
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself; an error answers only the request that caused it."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as triton

        try:
            tensors = [triton.Tensor(name, value) for name, value in self._run(request)]
            return triton.InferenceResponse(tensors)
        except Exception as error:  # noqa: BLE001 - any other end would take the model down
            return triton.InferenceResponse(error=triton.TritonError(f"onnxruntime: {error}"))

    def _run(self, request: Any) -> list[tuple[str, Array]]:
        feeds = {tensor.name(): _to_strings(tensor.as_numpy()) for tensor in request.inputs()}
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
        return _to_bytes(np.ascontiguousarray(value))


def _to_strings(array: Array) -> Array:
    return _each(array, bytes.decode) if array.dtype == object else array


def _to_bytes(array: Array) -> Array:
    return _each(array, str.encode) if array.dtype == object else array


def _each(array: Array, function: Any) -> Array:
    converted = np.empty(array.size, dtype=object)
    converted[:] = [function(value) for value in array.ravel().tolist()]
    return converted.reshape(array.shape)
