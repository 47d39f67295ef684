"""What is fuzzed: each target reads any bytes, and fails where a law of the readers is broken.

The laws: nothing is raised but what a broken answer stands for; arrays have the sizes that were
announced; memory stays within a multiple of what came, and no length that is only announced counts;
and nothing depends on what came before. Runs without atheris; ``tests/remote/test_fuzz.py`` does.
"""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hybridmodel.data.tensors import BY_DATATYPE
from hybridmodel.exceptions import ProtocolError
from hybridmodel.remote.embeddings import wire
from hybridmodel.remote.http import connection, http1
from hybridmodel.remote.http.connection import Connection, HttpRequest, Reply
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.wire import layouts
from hybridmodel.remote.wire.json_text import ERROR_BYTES
from hybridmodel.remote.wire.layouts import decode_metadata
from hybridmodel.remote.wire.memo import Memo
from hybridmodel.remote.wire.protocol import decode_request
from tests.support.protocol_parts import decode_response

OBJECTS = 60
"""Bytes that one byte can take: of JSON, seven for an empty object with one key take 232."""

MARGIN_BYTES = 400_000
LARGEST_BODY = 1 << 20
"""Stands for the two gibibytes of which a server may announce that it will send them."""


@contextmanager
def bounded(most_bytes: int) -> Iterator[None]:
    """Check that no more memory is taken at any moment."""
    starts = not tracemalloc.is_tracing()
    if starts:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1] - before
        if starts:
            tracemalloc.stop()
        assert peak <= most_bytes, f"{peak} bytes were taken, {most_bytes} may be"


def response(data: bytes) -> None:
    """Read a response: one line of JSON, then raw bytes."""
    header, _, raw = data.partition(b"\n")
    layouts._layouts = Memo()
    first = _outcome(decode_response, "outputs", header, raw)
    assert _outcome(decode_response, "outputs", header, raw) == first
    if header.startswith(b'{"id":"a"'):
        # As another request's answer it says the same, but for the id.
        _outcome(decode_response, "outputs", header.replace(b'"a"', b'"bc"', 1), raw)
        assert _outcome(decode_response, "outputs", header, raw) == first


def request(data: bytes) -> None:
    """Read a request, as the embedded server does."""
    header, _, raw = data.partition(b"\n")
    _outcome(decode_request, "inputs", header, raw)


def metadata(data: bytes) -> None:
    """Read a server's description of a model."""
    with bounded(OBJECTS * len(data) + MARGIN_BYTES):
        try:
            spec = decode_metadata(data)
        except ProtocolError:
            return
    head = json.loads(data)
    assert [item["name"] for item in head["inputs"]] == list(spec.input_names)
    assert [item["name"] for item in head["outputs"]] == list(spec.output_names)


def http(data: bytes) -> None:
    """Read an HTTP answer: the first byte says in which pieces it comes."""
    size = data[0] + 1 if data else 1
    sent = data[1:]
    http1._heads = Memo()
    whole = _reply(sent, len(sent) + 1)
    pieces = _reply(sent, size)
    if whole is not None:
        # In pieces, it may have ended before what made it wrong came.
        assert pieces == whole
        assert _reply(sent, len(sent) + 1) == whole


def vectors(data: bytes) -> None:
    """Read the answer of an embeddings endpoint to two texts, with vectors of two numbers."""
    limit = wire.response_limit(2, 2)
    with bounded(OBJECTS * len(data) + MARGIN_BYTES):
        try:
            found = wire.decode_response(data, 2, 2, limit, lambda: None)
        except ProtocolError:
            return
    data_said = json.loads(data)["data"]
    assert sorted(item["index"] for item in data_said) == [0, 1]
    assert (found.values is None) == (found.width != 2)
    if found.values is not None:
        assert (found.values.shape, found.values.dtype) == ((2, 2), np.float32)
    assert all(type(count) is int and count >= 0 for count in found.usage.values())


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (response, request, metadata, http, vectors)
}


def _outcome(decode: Callable[..., Any], key: str, header: bytes, raw: bytes) -> str:
    """Decode, check what came out against what was announced, and say all about it."""
    buffer = bytearray(raw)
    try:
        with bounded(OBJECTS * (len(header) + len(raw)) + MARGIN_BYTES):
            decoded = decode(header, buffer)
    except ProtocolError as error:
        return str(error)[:1000]
    arrays, head = getattr(decoded, key), json.loads(header)
    assert [item["name"] for item in head[key]] == list(arrays)
    for item in head[key]:
        array = arrays[item["name"]]
        assert list(array.shape) == item["shape"]
        assert array.dtype == BY_DATATYPE[item["datatype"]].dtype
        assert array.size == math.prod(item["shape"])
        assert array.flags.writeable
    values = [(name, array.dtype, array.shape, array.tolist()) for name, array in arrays.items()]
    said = getattr(decoded, "model_name", None), getattr(decoded, "model_version", None)
    assert decoded.request_id in (None, head.get("id"))
    return repr((values, said, decoded.request_id))


class Canned:
    """A stream from which bytes come in pieces, and then the end."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = data
        self._size = size

    def send(self, *_: object) -> bool:
        """Take everything."""
        return True

    def receive(self, _: Deadline) -> bytes:
        """Give the next piece."""
        piece, self._data = self._data[: self._size], self._data[self._size :]
        return piece

    def receive_into(self, view: memoryview, _: Deadline) -> int:
        """Give the next piece."""
        size = min(self._size, len(view), len(self._data))
        view[:size], self._data = self._data[:size], self._data[size:]
        return size

    def has_something(self) -> bool:
        """Tell whether there is more."""
        return True

    def close(self) -> None:
        """Do nothing."""


def _reply(sent: bytes, size: int) -> tuple[Any, ...] | None:
    """Read an answer; None where it is none."""
    connection.MAX_BODY_BYTES = LARGEST_BODY
    # Room that is announced is made, but not touched until it is needed.
    with bounded(LARGEST_BODY + 3 * len(sent) + MARGIN_BYTES):
        try:
            one = Connection(Canned(sent, size), "", {})
            reply: Reply = one.exchange(
                HttpRequest(method="GET", url="http://h/v2", deadline=Deadline(60))
            )
        except (ProtocolError, ConnectionError):
            return None
    body = bytes(reply.header) + bytes(reply.tensors)
    length = reply.headers.get("content-length")
    plain = "transfer-encoding" not in reply.headers and reply.status not in (204, 304)
    if plain and length is not None and (reply.status == 200 or int(length) <= ERROR_BYTES):
        assert len(body) == int(length)
    assert len(body) <= LARGEST_BODY
    headers = dict(reply.headers)
    return reply.status, headers, bytes(reply.header), bytes(reply.tensors), one.reusable
