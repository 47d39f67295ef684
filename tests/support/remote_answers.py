"""Answers of a model, and scripts that spoil them."""

from __future__ import annotations

import socket
import time

import numpy as np

from hybridmodel import (
    ModelSpec,
    TensorSpec,
)
from hybridmodel.data.answer import Answer
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.wire.protocol import Message, encode_response
from tests.support.faulty import FaultyEndpoint, Script, http

SPEC = ModelSpec(
    (TensorSpec("x", "FP32", (-1, 2), batched=True),),
    (TensorSpec("y", "FP32", (-1,), batched=True), TensorSpec("z", "INT64", (-1,), batched=True)),
)


FEEDS = {"x": np.ones((3, 2), np.float32)}


Y = np.arange(3, dtype=np.float32)


def answer(**outputs: np.ndarray) -> Message:
    """Encode a response of a model that has these outputs, all binary."""
    return encode_response(
        outputs,
        dict.fromkeys(outputs, True),
        model_name="m",
        model_version="7",
        request_id=None,
    )


def good(message: Message | None = None, **headers: str) -> Script:
    """Return a script that gives a well-formed answer."""
    message = message or answer(y=Y)
    named = {name.replace("-", "_"): value for name, value in message.headers.items()}
    return http(200, message.body(), **{**named, **headers})


def ask(faulty: FaultyEndpoint, names: tuple[str, ...] = ("y",), **options: float) -> Answer:
    """Ask once."""
    client = EndpointClient(faulty.endpoint(), SPEC)
    try:
        return client.infer(FEEDS, names, rows=3, **options)
    finally:
        client.close()


def silent(connection: socket.socket) -> None:
    """Say nothing until the client goes away."""
    connection.settimeout(30)
    connection.recv(1)


def drip(head: bytes, pause_s: float) -> Script:
    """Return a script that writes an endless body, one byte at a time."""

    def script(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            time.sleep(pause_s)
            connection.sendall(b" ")

    return script
