"""Writes a model repository, the folder that Triton serves.

::

    repository/
      digits/
        config.pbtxt      names, types and shapes of inputs and outputs
        1/
          model.onnx      the model, byte for byte
          model.py        for the python backend only: runs model.onnx with onnxruntime

Source: Triton's docs/user_guide/model_repository.md and model_configuration.md, and
model_config.proto for the names of the fields.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hybridmodel.data.tensors import BY_DATATYPE, ModelSpec, TensorSpec, format_shape
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.onnx_file import OnnxFile

BACKENDS = ("onnxruntime", "python")

_PYTHON_MODEL = Path(__file__).with_name("triton_model.py")
_ENUMERATIONS = ("data_type", "kind")


def write_model(
    repository: Path,
    name: str,
    versions: Mapping[str, OnnxFile],
    spec: ModelSpec,
    *,
    backend: str = "onnxruntime",
    max_batch_size: int = 0,
) -> Path:
    """Write the folder of a model whose versions all have the tensors of `spec`; return it."""
    config = model_config(name, spec, backend=backend, max_batch_size=max_batch_size)
    _check_servable(name, spec, backend)
    folder = repository / name
    for version, onnx in versions.items():
        onnx.copy_to(folder / version)
        if backend == "python":
            shutil.copyfile(_PYTHON_MODEL, folder / version / "model.py")
    (folder / "config.pbtxt").write_text(to_text(config), encoding="utf-8")
    return folder


def model_config(
    name: str, spec: ModelSpec, *, backend: str = "onnxruntime", max_batch_size: int = 0
) -> dict[str, Any]:
    """Describe a model in the fields of Triton's ``ModelConfig``.

    With a `max_batch_size` of 0, shapes are complete and requests may have any number of rows.
    Otherwise Triton limits the rows of a request, and the first dimension of every tensor must be
    rows.
    """
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if max_batch_size < 0:
        raise ConfigurationError(f"max_batch_size is 0 or a positive number, not {max_batch_size}")
    where = f"model {name!r}"
    config: dict[str, Any] = {
        "name": name,
        "backend": backend,
        "max_batch_size": max_batch_size,
        "version_policy": {"all": {}},
        "input": [_declare(item, max_batch_size > 0, where) for item in spec.inputs],
        "output": [_declare(item, max_batch_size > 0, where) for item in spec.outputs],
    }
    if backend == "python":
        labels = {item.name: item.labels for item in spec.outputs if item.labels}
        config["instance_group"] = [{"kind": "KIND_CPU", "count": 1}]
        config["parameters"] = [{"key": "labels", "value": {"string_value": json.dumps(labels)}}]
    return config


def to_text(config: Mapping[str, Any]) -> str:
    """Return a configuration in the text format of protocol buffers."""
    return "\n".join(_lines(config)) + "\n"


def _check_servable(name: str, spec: ModelSpec, backend: str) -> None:
    for item in (*spec.inputs, *spec.outputs):
        where = f"model {name!r}: {item.name!r}"
        if not item.shape:
            raise ConfigurationError(f"{where} has no dimension; Triton requires at least one")
        if item.labels and backend == "onnxruntime":
            raise ConfigurationError(
                f"{where} is a list of maps (ZipMap), which Triton's onnxruntime backend cannot "
                "serve; convert the model with zipmap=False"
            )


def _declare(tensor: TensorSpec, batched: bool, where: str) -> dict[str, Any]:
    declared = {"name": tensor.name, "data_type": BY_DATATYPE[tensor.datatype].config}
    if not batched:
        return {**declared, "dims": list(tensor.shape)}
    if not tensor.batched:
        raise ConfigurationError(
            f"{where}: the first dimension of {tensor.name!r}{format_shape(tensor.shape)} is not "
            "rows, so the model can only be served with max_batch_size 0"
        )
    if len(tensor.shape) == 1:
        # Triton requires a dimension besides the rows; it removes this one for the model.
        return {**declared, "dims": [1], "reshape": {"shape": []}}
    return {**declared, "dims": list(tensor.shape[1:])}


def _lines(message: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in message.items():
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, Mapping) for item in items):
            for item in items:
                yield f"{indent}{key} {{"
                yield from _lines(item, indent + "  ")
                yield f"{indent}}}"
        elif isinstance(value, list):
            yield f"{indent}{key}: [{', '.join(map(str, value))}]"
        else:
            is_plain = isinstance(value, int) or key in _ENUMERATIONS
            yield f"{indent}{key}: {value if is_plain else json.dumps(value, ensure_ascii=False)}"
