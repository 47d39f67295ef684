"""The Open Inference Protocol v2 and its binary tensor extension, as pure functions of bytes.

A message is a JSON header, then the raw tensors that the header announces, in its order: little
endian, row-major, no padding; for ``BYTES`` each element is a ``uint32`` length and its bytes.
Without the extension the tensors stand in the JSON as flat lists. Client and embedded server use
the same functions; nothing here does I/O or knows a URL.

Sources: the Open Inference Protocol (github.com/kserve/open-inference-protocol) and Triton's
binary tensor data extension (docs/protocol/extension_binary_data.md of its server repository).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple

import numpy as np

from hybridmodel.data.tensors import BY_DTYPE, Array, ModelSpec
from hybridmodel.exceptions import InputMismatch, ProtocolError
from hybridmodel.remote.wire.json_text import decode_object
from hybridmodel.remote.wire.layouts import flag_of, name_of, objects_of, slots_of, text_of
from hybridmodel.remote.wire.tensor_data import Buffer, fill, to_list, to_raw

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_EXTENSION = "binary_tensor_data"
MAX_BODY_BYTES = 2**31 - 1
"""Triton reads ``Content-Length`` as a signed 32-bit number."""


@dataclass(slots=True)  # Frozen, it would take twice the time to make.
class Message:
    """An encoded request or response; never changed.

    `header` is its JSON part. `tensors` are the raw ones behind it: views of the caller's arrays
    where these allow it.
    """

    header: bytes
    tensors: tuple[Buffer, ...] = ()

    @property
    def header_bytes(self) -> int:
        """Length of the JSON part; 0 where it is the whole body."""
        return len(self.header) if any(map(len, self.tensors)) else 0

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of HTTP that say how the body is laid out."""
        return body_headers(self.header_bytes)

    def body(self) -> bytes:
        """Join the parts: the only copy that is made of a contiguous tensor."""
        return b"".join((self.header, *self.tensors))


def body_headers(header_bytes: int) -> dict[str, str]:
    """Return the headers of HTTP for a body whose JSON part is so long; 0 for all of the body."""
    if not header_bytes:
        return {"Content-Type": "application/json"}
    return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(header_bytes)}


class Extent(NamedTuple):
    """Where a tensor lies in a region of shared memory, in bytes."""

    start: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.size_bytes


@dataclass(frozen=True)
class InferRequest:
    """What a client asked.

    `outputs` tells in the order asked whether each is wanted binary, and is empty for all; `binary`
    tells it for those that are not listed.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, bool]
    binary: bool
    request_id: str | None


def encode_request(
    inputs: Mapping[str, Array], outputs: Iterable[str], *, request_id: str, binary: bool = True
) -> Message:
    """Write an infer request.

    Each output is asked for by name and marked ``binary_data`` by itself: Triton ignores the
    request-wide ``binary_data_output`` for every output that is listed. Raises `InputMismatch` if a
    datatype has no form in JSON, or the request is larger than any server takes.
    """
    raw: list[Buffer] = []
    if binary:
        tensors = []
        for name, array in inputs.items():
            raw.append(to_raw(array))
            tensors.append((name, array.dtype, array.shape, len(raw[-1])))
        rest = _binary_request(tuple(tensors), tuple(outputs))
    else:
        described, _ = _encode_tensors(inputs, dict.fromkeys(inputs, False))
        rest = _dump({"inputs": described, "outputs": [{"name": name} for name in outputs]})
    # First, so that what follows is the same text each time.
    header = b'{"id":%b,%b' % (encode_basestring_ascii(request_id).encode(), rest[1:])
    size = len(header) + sum(map(len, raw))
    if size > MAX_BODY_BYTES:
        raise InputMismatch(
            f"the request would have {size} bytes, and a server takes at most "
            f"{MAX_BODY_BYTES}; send fewer rows at a time"
        )
    return Message(header, tuple(raw))


def encode_shared_request(
    feeds: Mapping[str, Array],
    outputs: Iterable[str],
    *,
    request_id: str,
    region: str,
    inputs: Mapping[str, Extent],
    written: Mapping[str, Extent],
) -> Message:
    """Write an infer request some of whose tensors lie in a region of shared memory.

    `inputs` says where there the server finds some of the feeds, `written` where it puts some of
    the outputs. The others go, and come, behind the JSON part.
    """
    described, raw = [], []
    for name, array in feeds.items():
        described.append(_described(name, BY_DTYPE[array.dtype].datatype, array.shape))
        if name not in inputs:
            raw.append(to_raw(array))
        inline = {} if name in inputs else {"binary_data_size": len(raw[-1])}
        described[-1]["parameters"] = inline or _extent(region, inputs[name])
    asked = []
    for name in outputs:
        placed = _extent(region, written[name]) if name in written else {"binary_data": True}
        asked.append({"name": name, "parameters": placed})
    return Message(_dump({"id": request_id, "inputs": described, "outputs": asked}), tuple(raw))


def encode_region(name: str, size_bytes: int) -> Message:
    """Write what registers a segment of shared memory as a region (Triton's extension)."""
    return Message(_dump({"key": f"/{name}", "offset": 0, "byte_size": size_bytes}))


def encode_response(
    outputs: Mapping[str, Array],
    binary: Mapping[str, bool],
    *,
    model_name: str,
    model_version: str,
    request_id: str | None,
) -> Message:
    """Write an infer response; `binary` says for each output which of the two forms it takes."""
    tensors, raw = _encode_tensors(outputs, binary)
    head: dict[str, Any] = {"id": request_id} if request_id else {}
    head.update(model_name=model_name, model_version=model_version, outputs=tensors)
    return Message(_dump(head), raw)


def decode_request(header: Buffer, tensors: Buffer = b"") -> InferRequest:
    """Read an infer request, as a server does."""
    head = decode_object(header)
    asked = {
        name_of(item, "output"): flag_of(item, "binary_data")
        for item in objects_of({"outputs": [], **head}, "outputs")
    }
    return InferRequest(
        inputs=fill(slots_of(head, "input").values(), tensors, "input"),
        outputs=asked,
        binary=flag_of(head, "binary_data_output"),
        request_id=text_of(head, "id"),
    )


def encode_metadata(name: str, versions: Sequence[str], spec: ModelSpec) -> dict[str, Any]:
    """Describe a model as ``GET /v2/models/{name}`` does."""
    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": [_described(item.name, item.datatype, item.shape) for item in spec.inputs],
        "outputs": [_described(item.name, item.datatype, item.shape) for item in spec.outputs],
    }


def split_body(body: Buffer, header_length: str | None) -> tuple[memoryview, memoryview]:
    """Cut a body at the length that `HEADER_LENGTH` announced; without one, all of it is JSON."""
    view = memoryview(body)
    length = parse_header_length(header_length, len(view))
    return view[:length], view[length:]


def parse_header_length(value: str | None, size_bytes: int) -> int:
    """Return how many of `size_bytes` are the JSON header: all, where no header says otherwise."""
    if value is None:
        return size_bytes
    if not (value.isascii() and value.isdigit()) or len(value) > 10:
        raise ProtocolError(f"{HEADER_LENGTH} is {value[:40]!r}, not a number of bytes")
    if not 0 < int(value) <= size_bytes:
        raise ProtocolError(f"{HEADER_LENGTH} is {value}, but the body has {size_bytes} bytes")
    return int(value)


def _extent(region: str, where: Extent) -> dict[str, Any]:
    return {
        "shared_memory_region": region,
        "shared_memory_offset": where.start,
        "shared_memory_byte_size": where.size_bytes,
    }


def _dump(head: Mapping[str, Any]) -> bytes:
    return json.dumps(head, separators=(",", ":")).encode()


def _encode_tensors(
    named: Mapping[str, Array], binary: Mapping[str, bool]
) -> tuple[list[dict[str, Any]], tuple[Buffer, ...]]:
    described, raw = [], []
    for name, array in named.items():
        tensor = _described(name, BY_DTYPE[array.dtype].datatype, array.shape)
        if binary[name]:
            buffer = to_raw(array)
            tensor["parameters"] = {"binary_data_size": len(buffer)}
            raw.append(buffer)
        else:
            tensor["data"] = to_list(name, array)
        described.append(tensor)
    return described, tuple(raw)


@lru_cache(maxsize=64)
def _binary_request(
    tensors: tuple[tuple[str, np.dtype[Any], tuple[int, ...], int], ...], outputs: tuple[str, ...]
) -> bytes:
    """Write a request without its id; the raw tensors have these names, dtypes, shapes, sizes."""
    inputs = []
    for name, dtype, shape, size_bytes in tensors:
        inputs.append(_described(name, BY_DTYPE[dtype].datatype, shape))
        inputs[-1]["parameters"] = {"binary_data_size": size_bytes}
    asked = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return _dump({"inputs": inputs, "outputs": asked})


def _described(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
