"""Requests and answers of the Open Inference Protocol, put together and read by hand.

Written without `remote.wire.protocol`, so that neither side's mistakes hide the other's.
"""

from __future__ import annotations

import http.client
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.data.tensors import BY_DATATYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = np.ndarray[Any, Any]
LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON part."""
        length = self.headers.get(LENGTH.lower())
        return json.loads(self.body[: int(length)] if length else self.body)

    @property
    def outputs(self) -> dict[str, Array]:
        """The decoded tensors, in the order of the answer."""
        arrays: dict[str, Array] = {}
        rest = self.body[int(self.headers.get(LENGTH.lower(), len(self.body))) :]
        for item in self.json["outputs"]:
            size = item.get("parameters", {}).get("binary_data_size")
            if size is None:
                arrays[item["name"]] = tensor_of(item, item["data"])
            else:
                arrays[item["name"]] = tensor_of(item, unpack(item["datatype"], rest[:size]))
                rest = rest[size:]
        assert rest == b""
        return arrays

    @property
    def forms(self) -> dict[str, str]:
        """For each output, whether it came as ``binary`` or ``json``."""
        return {
            item["name"]: "json" if "data" in item else "binary" for item in self.json["outputs"]
        }


@dataclass(frozen=True)
class Call:
    """A request to one model: JSON header, raw bytes behind it, and further HTTP headers."""

    model: str
    head: Any
    raw: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    version: str = ""

    def send(self, port: int) -> Answer:
        """Post it."""
        head = self.head if isinstance(self.head, bytes) else json.dumps(self.head).encode()
        headers = {LENGTH: str(len(head))} if self.raw else {}
        path = f"/v2/models/{self.model}{self.version}/infer"
        return ask(port, "POST", path, head + self.raw, {**headers, **self.headers})


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def tensor(name: str, datatype: str, array: Any, binary: bool = False) -> tuple[Any, bytes]:
    """Describe an input; return its JSON and its raw bytes."""
    array = np.asarray(array)
    described = {"name": name, "datatype": datatype, "shape": list(array.shape)}
    if not binary:
        return {**described, "data": array.ravel().tolist()}, b""
    raw = pack(datatype, array)
    return {**described, "parameters": {"binary_data_size": len(raw)}}, raw


def pack(datatype: str, array: Array) -> bytes:
    """Write raw bytes."""
    if datatype == "BYTES":
        texts = [text.encode() for text in array.ravel()]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return array.astype(BY_DATATYPE[datatype].dtype).tobytes()


def unpack(datatype: str, raw: bytes) -> Any:
    """Read raw bytes."""
    if datatype != "BYTES":
        return np.frombuffer(raw, BY_DATATYPE[datatype].dtype)
    texts = []
    while raw:
        end = 4 + struct.unpack_from("<I", raw)[0]
        texts.append(raw[4:end].decode())
        raw = raw[end:]
    return texts


def tensor_of(item: Mapping[str, Any], values: Any) -> Array:
    """Make the array that an output of an answer describes."""
    return np.array(values, BY_DATATYPE[item["datatype"]].dtype).reshape(item["shape"])
