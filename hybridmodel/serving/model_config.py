"""The text of ``config.pbtxt``, in which Triton reads how a model is served; its only writer.

Source: Triton's docs/user_guide/model_configuration.md, and model_config.proto for the names of
the fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hybridmodel.data.tensors import BY_DATATYPE, WILDCARD, ModelSpec, TensorSpec, format_shape
from hybridmodel.exceptions import ConfigurationError

CONFIG_FILE, MODEL_FILE = "config.pbtxt", "model.onnx"
"""Names in the folder of a model, and in that of a version."""

BACKENDS = ("onnxruntime", "python")

_ENUMERATIONS = ("data_type", "kind", "timeout_action")
_TENSORS = re.compile(r"^(?:max_batch_size:.*|(?:input|output) \{\n(?: .*\n)*\})$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a server runs a model, beyond its tensors.

    Attributes
    ----------
    instances : int
        Copies of the model that compute at the same time.
    threads : int, optional
        Threads of each instance; None leaves them to onnxruntime. With a number, the instances
        compute on the CPU.
    queue_size : int
        Requests that may wait; the next one is refused at once. 0 sets no bound.
    queue_delay_us : int
        Microseconds that a request waits for others to share a batch with it.
    warm_up : bool
        Whether each instance answers one request of zeros before the model is ready.
    label_files : mapping of str to str
        For an output with classes: the file beside ``config.pbtxt`` that has a class a line.
    """

    instances: int = 1
    threads: int | None = None
    queue_size: int = 64
    queue_delay_us: int = 0
    warm_up: bool = True
    label_files: Mapping[str, str] = field(default_factory=dict)


def model_config(
    name: str,
    spec: ModelSpec,
    *,
    backend: str = "onnxruntime",
    max_batch_size: int = 0,
    running: Running | None = None,
) -> dict[str, Any]:
    """Describe a model in the fields of Triton's ``ModelConfig``.

    With a `max_batch_size` of 0, shapes are complete and requests may have any number of rows.
    Otherwise Triton limits the rows of a request, and the first dimension of every tensor must be
    rows. Without `running`, all that it could say is left to Triton.
    """
    if backend not in BACKENDS:
        raise ConfigurationError(f"backend {backend!r} is not one of {', '.join(BACKENDS)}")
    if max_batch_size < 0:
        raise ConfigurationError(f"max_batch_size is 0 or a positive number, not {max_batch_size}")
    where = f"model {name!r}"
    labels = running.label_files if running else {}
    config: dict[str, Any] = {
        "name": name,
        "backend": backend,
        "max_batch_size": max_batch_size,
        "version_policy": {"all": {}},
        "input": [_declare(item, max_batch_size > 0, where) for item in spec.inputs],
        "output": [
            _declare(item, max_batch_size > 0, where, labels.get(item.name))
            for item in spec.outputs
        ],
    }
    if running is not None:
        config |= _running(running, spec, max_batch_size)
    elif backend == "python":
        zipmaps = {item.name: item.labels for item in spec.outputs if item.labels}
        config["instance_group"] = [{"kind": "KIND_CPU", "count": 1}]
        config["parameters"] = [_parameter("labels", json.dumps(zipmaps))]
    return config


def to_text(config: Mapping[str, Any]) -> str:
    """Return a configuration in the text format of protocol buffers."""
    return "\n".join(_lines(config)) + "\n"


def tensors_in(text: str) -> list[str]:
    """Return what a text of `to_text` says of tensors and rows, which all versions share."""
    return sorted(_TENSORS.findall(text))


def _declare(
    tensor: TensorSpec, batched: bool, where: str, label_file: str | None = None
) -> dict[str, Any]:
    declared = {"name": tensor.name, "data_type": BY_DATATYPE[tensor.datatype].config}
    labelled = {"label_filename": label_file} if label_file else {}
    if not batched:
        return {**declared, "dims": list(tensor.shape), **labelled}
    if not tensor.batched:
        raise ConfigurationError(
            f"{where}: the first dimension of {tensor.name!r}{format_shape(tensor.shape)} is not "
            "rows, so the model can only be served with max_batch_size 0"
        )
    if len(tensor.shape) == 1:
        # Triton requires a dimension besides the rows; it removes this one for the model.
        return {**declared, "dims": [1], "reshape": {"shape": []}, **labelled}
    return {**declared, "dims": list(tensor.shape[1:]), **labelled}


def _running(running: Running, spec: ModelSpec, max_batch_size: int) -> dict[str, Any]:
    group: dict[str, Any] = {"count": running.instances}
    batching: dict[str, Any] = {"max_queue_delay_microseconds": running.queue_delay_us}
    if running.queue_size:
        batching["default_queue_policy"] = {
            "timeout_action": "REJECT",
            "max_queue_size": running.queue_size,
        }
    found: dict[str, Any] = {"instance_group": [group], "dynamic_batching": batching}
    if running.threads is not None:
        group["kind"] = "KIND_CPU"
        found["parameters"] = [
            _parameter("intra_op_thread_count", str(running.threads)),
            _parameter("inter_op_thread_count", "1"),
        ]
    if running.warm_up:
        found["model_warmup"] = [_warm_up(spec, max_batch_size > 0)]
    return found


def _warm_up(spec: ModelSpec, batched: bool) -> dict[str, Any]:
    return {
        "name": "zeros",
        "batch_size": 1,
        "count": 1,
        "inputs": [
            {
                "key": item.name,
                "value": {
                    "data_type": BY_DATATYPE[item.datatype].config,
                    "dims": smallest_shape(item)[batched:] or [1],
                    "zero_data": True,
                },
            }
            for item in spec.inputs
        ],
    }


def smallest_shape(tensor: TensorSpec) -> list[int]:
    """Return a shape that a tensor may have, with 1 for any size: that of the warm-up."""
    return [1 if size == WILDCARD else size for size in tensor.shape]


def _parameter(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"string_value": value}}


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
            yield f"{indent}{key}: {_plain(key, value)}"


def _plain(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) or key in _ENUMERATIONS else _quoted(value)


def _quoted(text: str) -> str:
    escaped = (f"\\{ord(sign):03o}" if sign < " " or sign in '"\\\x7f' else sign for sign in text)
    return f'"{"".join(escaped)}"'
