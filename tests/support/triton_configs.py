"""Reads ``config.pbtxt`` with NVIDIA's own description of the format."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def parsed(text: str | Path) -> Any:
    """Return the ``ModelConfig`` of a text, or of the file in a model's folder."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    if isinstance(text, Path):
        text = (text / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tensors(message: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, type and dimensions of inputs or outputs."""
    from tritonclient.grpc import model_config_pb2

    kinds = model_config_pb2.DataType
    return [(item.name, kinds.Name(item.data_type), tuple(item.dims)) for item in message]
