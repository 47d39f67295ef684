"""A transport that refuses more rows than it takes, and a client that asks it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from hybridmodel import (
    ModelSpec,
    TensorSpec,
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.wire.protocol import decode_request, encode_response

X = TensorSpec("x", "FP32", (-1, 2), True)


Y = TensorSpec("y", "FP32", (-1, 2), True)


SPEC = ModelSpec((X,), (Y,))


class Server:
    """A transport that answers twice what it is sent, and refuses more rows than it takes."""

    def __init__(self, most: int, status: int = 400, config: bytes | None = None) -> None:
        self.most, self.status, self.config = most, status, config
        self.rows: list[int] = []
        self.at_once = self.most_at_once = self.configs = 0
        self._lock = threading.Lock()

    def send(self, sent: HttpRequest) -> Reply:
        """Answer."""
        if sent.url.endswith("/config"):
            self.configs += 1
            status = 200 if self.config else 404
            return Reply(status, {}, bytearray(self.config or b""), bytearray())
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        request = decode_request(sent.body[0], b"".join(sent.body[1:]))
        x = request.inputs["x"]
        self.rows.append(len(x))
        with self._lock:
            self.at_once -= 1
        if len(x) > self.most:
            return Reply(self.status, {}, bytearray(b'{"error": "too many"}'), bytearray())
        message = encode_response(
            {"y": 2 * x},
            {"y": True},
            model_name="m",
            model_version="1",
            request_id=request.request_id,
        )
        tensors = bytearray(b"".join(message.tensors))
        return Reply(200, {}, bytearray(message.header), tensors)

    def close(self) -> None:
        """Do nothing."""


def client(server: Server, **options: Any) -> EndpointClient:
    """Make a client of that server."""
    endpoint = TritonEndpoint(
        uri="http://localhost", model_name="m", auth_key_env=None, binary=True, **options
    )
    return EndpointClient(endpoint, SPEC, make_transport=lambda _: server)


FEEDS = {"x": np.arange(40, dtype=np.float32).reshape(20, 2)}


def assert_doubled(client: EndpointClient) -> int:
    """Ask for twenty rows and return how many requests answered them."""
    answer = client.infer(FEEDS, ("y",), rows=20)
    np.testing.assert_array_equal(answer.outputs["y"], 2 * FEEDS["x"])
    assert answer.outputs["y"].flags.writeable
    return answer.attempts
