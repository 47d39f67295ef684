"""Connections of coroutines: TLS, Unix sockets, ends of connections, and a real Triton."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial
from typing import Any

import numpy as np
import pytest

from hybridmodel import EndpointTimeout, EndpointUnavailable, HybridOnnxModel, TritonEndpoint
from hybridmodel.process.loops import run
from hybridmodel.remote.client import EndpointClient
from hybridmodel.serving import TritonServer
from tests.support import models
from tests.support.faulty import FaultyEndpoint, http
from tests.support.near_server import LARGE, SMALL, SPEC, NearServer
from tests.support.socket_server import authority, tls

__all__ = ["authority", "tls"]  # Fixtures.

ROW = np.ones((1, 4), np.float32)
ANSWER = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[5.0, 6.0]}]}'


async def ask(model: HybridOnnxModel, times: int, **options: Any) -> list[Any]:
    """Ask so many times at once."""
    calls = [model.apredict(ROW, use_azure=True, **options) for _ in range(times)]
    return await asyncio.gather(*calls, return_exceptions=True)


def test_many_calls_over_one_kind_of_connection(tls: ssl.SSLContext | None) -> None:
    """Plain or encrypted, each call gets its answer, and connections are used again."""
    with FaultyEndpoint(http(200, ANSWER), tls=tls) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(max_in_flight=4))
        for _ in range(2):
            for found in asyncio.run(ask(model, 20)):
                np.testing.assert_array_equal(found, [[5.0, 6.0]])
        assert len(faulty._open) <= 8  # A connection is there twice, once encrypted.


def test_a_handshake_that_hangs_ends_with_the_deadline(
    authority: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the other side says nothing, calls end in their time, all together."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"https://127.0.0.1:{silent.getsockname()[1]}"
        endpoint = TritonEndpoint(uri=uri, model_name="m", auth_key_env=None, max_attempts=1)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint)
        ends = asyncio.run(ask(model, 5, timeout=0.4))
        assert {type(end) for end in ends} <= {EndpointTimeout, EndpointUnavailable}


def closing(connection: socket.socket) -> None:
    """Answer, and end the connection without a word."""
    http(200, ANSWER)(connection)
    connection.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_ended_is_replaced() -> None:
    """A server that closes after each answer is asked over new connections."""
    with FaultyEndpoint(closing) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(max_in_flight=1))
        for found in asyncio.run(ask(model, 5)):
            np.testing.assert_array_equal(found, [[5.0, 6.0]])
        # One that was on its way when the connection ended may have been read, too.
        assert 5 <= len(faulty.requests) <= 10


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "by shared memory"])
def test_a_unix_socket_is_awaited_as_well(data: Any) -> None:
    """An endpoint on this machine answers coroutines, in the body or by shared memory."""
    with NearServer() as near:
        client = EndpointClient(near.endpoint(), SPEC)

        async def many() -> list[Any]:
            call = partial(client.infer, {"x": data}, ("y",), rows=len(data))
            return await asyncio.gather(*(run(call) for _ in range(8)))

        for answer in asyncio.run(many()):
            np.testing.assert_array_equal(answer.outputs["y"], 2 * data)
        assert bool(near.orders) == (data is LARGE)
        client.close()


@pytest.mark.parametrize("coalesce_rows", [0, 256])
@pytest.mark.parametrize("name", ["linear", "strings", "two_inputs", "classifier"])
def test_a_real_triton_answers_coroutines(
    name: str, coalesce_rows: int, triton: TritonServer
) -> None:
    """Numbers and text, alone or in shared requests: each row's answer is that of the model."""
    onnx = models.served()[name]
    endpoint = triton.endpoint(name, coalesce_rows=coalesce_rows)
    with HybridOnnxModel(onnx, endpoint=endpoint) as model:
        feeds = {item.name: _rows(item, 60) for item in model.inputs}
        wanted = model.infer(feeds).outputs

        async def each() -> list[Any]:
            rows = [{key: array[i : i + 1] for key, array in feeds.items()} for i in range(60)]
            return await asyncio.gather(*(model.ainfer(row, use_azure=True) for row in rows))

        found = asyncio.run(each())
        for key, array in wanted.items():
            got = np.concatenate([answer.outputs[key] for answer in found])
            if array.dtype.kind == "f":
                np.testing.assert_allclose(got, array, rtol=1e-5)
            else:
                np.testing.assert_array_equal(got, array)


def _rows(item: Any, rows: int) -> Any:
    shape = (rows, *(3 if size == -1 else size for size in item.shape[1:]))
    if item.dtype.kind == "O":
        return np.array([f"text {i}" for i in range(int(np.prod(shape)))], object).reshape(shape)
    return np.random.default_rng(3).normal(size=shape).astype(item.dtype)
