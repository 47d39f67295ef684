"""What a server says of a model: ``GET /v2/models/{model}`` of the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.remote.wire.json_fields import (
    declared_shape_of,
    dtype_of,
    name_of,
    objects_of,
    shown,
)
from hybridmodel.remote.wire.json_text import JsonLimit, decode_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hybridmodel.remote.wire.tensor_data import Buffer


def decode_metadata(body: Buffer, limit: JsonLimit | None = None) -> ModelSpec:
    """Read a server's description of a model.

    Raises
    ------
    ProtocolError
        If it is not one, holds more than the limit, or names a datatype that has no place in ONNX.
    """
    head = decode_object(body, limit)
    return ModelSpec(
        tuple(_declared_tensor(item, "input") for item in objects_of(head, "inputs")),
        tuple(_declared_tensor(item, "output") for item in objects_of(head, "outputs")),
    )


def _declared_tensor(item: Mapping[str, Any], what: str) -> TensorSpec:
    where = f"{what} {shown(name_of(item, what))}"
    dtype_of(item, where)
    return TensorSpec(item["name"], item["datatype"], declared_shape_of(item, where))
