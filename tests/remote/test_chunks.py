"""Rows that do not fit into one request: cut, sent, and put together, all or nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import (
    CircuitOpen,
    EndpointRefused,
    EndpointUnavailable,
    HybridOnnxModel,
    ModelSpec,
    ProtocolError,
    TensorSpec,
    TritonEndpoint,
)
from hybridmodel.remote.answers import can_cut, cut, join
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.sizes import rows_within
from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.chunk_server import FEEDS, SPEC, Server, X, Y, assert_doubled, client


@given(st.integers(1, 50), st.integers(1, 60))
def test_what_is_cut_comes_together_again(rows: int, size: int) -> None:
    """No row is lost, doubled or moved, in whatever order the chunks come back."""
    feeds = {"x": np.arange(rows * 2).reshape(rows, 2), "z": np.arange(rows)}
    parts = list(cut(feeds, rows, size))
    assert all(part.stop - part.start <= size for part, _ in parts)
    assert all(np.shares_memory(chunk["x"], feeds["x"]) for _, chunk in parts)
    spec = ModelSpec((), (TensorSpec("x", "INT64", (-1, 2)), TensorSpec("z", "INT64", (-1,))))
    whole = join(reversed(parts), rows, spec)
    np.testing.assert_array_equal(whole["x"], feeds["x"])
    np.testing.assert_array_equal(whole["z"], feeds["z"])


def test_chunks_of_other_shapes_do_not_go_together() -> None:
    """An output that is wider in one chunk than in another is no answer."""
    parts = [(slice(0, 1), {"y": np.ones((1, 2))}), (slice(1, 2), {"y": np.ones((1, 3))})]
    with pytest.raises(ProtocolError, match="rows from 1"):
        join(parts, 2, ModelSpec((), (TensorSpec("y", "FP64", (-1, -1)),)))


@pytest.mark.parametrize(
    ("size_bytes", "expected"), [(8, 1), (16, 2), (17, 2), (1, 1), (10_000, 1250)]
)
def test_rows_are_counted_by_their_bytes(size_bytes: int, expected: int) -> None:
    """A row has the bytes of all inputs; there is always at least one."""
    assert rows_within({"x": np.ones((10, 2), np.float32)}, 10, size_bytes) == expected


@pytest.mark.parametrize(
    ("spec", "cuttable"),
    [
        (SPEC, True),
        (ModelSpec((X, TensorSpec("k", "INT64", (1,))), (Y,)), False),
        (ModelSpec((X,), (Y, TensorSpec("mean", "FP32", ()))), False),
    ],
)
def test_only_rows_are_cut(spec: ModelSpec, cuttable: bool) -> None:
    """An input or output that does not count rows keeps a call in one piece."""
    assert can_cut(spec, spec.output_names) is cuttable


def test_the_servers_batch_size_is_asked_for_when_it_refuses() -> None:
    """One refusal, one look at the configuration, and from then on chunks of that size."""
    server = Server(4, config=b'{"max_batch_size": 4}')
    asking = client(server)
    assert assert_doubled(asking) == 5
    assert sorted(server.rows) == [4, 4, 4, 4, 4, 20]
    assert assert_doubled(asking) == 5
    assert (server.configs, len(server.rows)) == (1, 11)


@pytest.mark.parametrize(
    "config", [None, b'{"max_batch_size": 0}', b"{}", b'{"max_batch_size": 64}']
)
def test_a_refusal_that_is_not_about_rows_stays_one(config: bytes | None) -> None:
    """When the configuration explains nothing, the server's own words are raised, once."""
    server = Server(4, config=config)
    with pytest.raises(EndpointRefused, match="answered 400: too many"):
        client(server).infer(FEEDS, ("y",), rows=20)
    assert server.rows == [20]


def test_too_large_is_halved_until_it_fits() -> None:
    """413 says nothing of how much would do."""
    server = Server(6, status=413)
    asking = client(server, max_in_flight=1)
    assert assert_doubled(asking) == 4
    assert server.rows[0] == 20
    assert set(server.rows[-4:]) == {5}
    assert asking.infer({"x": FEEDS["x"][:6]}, ("y",), rows=6).attempts == 2


def test_one_row_that_is_too_large_is_refused() -> None:
    """There is an end to halving."""
    with pytest.raises(EndpointRefused, match="413"):
        client(Server(0, status=413)).infer(FEEDS, ("y",), rows=20)


def test_bytes_bound_a_request() -> None:
    """A request is cut so that about so many bytes go at a time, several at once."""
    server = Server(100)
    assert assert_doubled(client(server, max_request_bytes=24, max_in_flight=3)) == 7
    assert max(server.rows) == 3
    assert 1 <= server.most_at_once <= 3


def test_a_failing_chunk_fails_the_call() -> None:
    """There are no partial answers."""

    class Failing(Server):
        def send(self, sent: HttpRequest) -> Reply:
            if len(self.rows) == 2:
                return Reply(503, {}, bytearray(), bytearray())
            return super().send(sent)

    failing = Failing(100)
    asking = client(failing, max_batch_size=4, max_in_flight=1, max_attempts=1)
    with pytest.raises(EndpointUnavailable):
        asking.infer(FEEDS, ("y",), rows=20)
    assert len(failing.rows) == 2


def test_a_real_triton_of_small_batches_answers_many_rows() -> None:
    """A model that Triton serves four rows at a time answers a hundred, in order."""
    if reason := unsupported():
        pytest.skip(reason)
    rows = np.arange(400, dtype=np.float32).reshape(100, 4)
    with TritonServer({"linear": models.linear()}, max_batch_size=4) as server:
        model = HybridOnnxModel(models.linear(), endpoint=server.endpoint("linear"))
        answer = model.infer(rows, use_azure=True)
        model.close()
    np.testing.assert_allclose(answer.outputs["y"], model.predict(rows), rtol=1e-5)
    assert answer.attempts == 25


def test_a_call_of_several_requests_finds_out_that_the_server_is_back() -> None:
    """While the breaker is open one request is its probe, and the others of the call follow it."""

    class Returning(Server):
        is_down = True

        def send(self, sent: HttpRequest) -> Reply:
            if self.is_down:
                raise EndpointUnavailable("no connection")
            time.sleep(0 if self.rows else 0.2)  # The probe takes longer than others need to begin.
            return super().send(sent)

    server, now_s = Returning(100), [0.0]
    endpoint = TritonEndpoint(
        uri="http://localhost",
        model_name="m",
        auth_key_env=None,
        binary=True,
        max_batch_size=1,
        max_attempts=1,
        breaker_failures=1,
    )
    state = EndpointState(endpoint, lambda: now_s[0])
    asking = EndpointClient(endpoint, SPEC, make_transport=lambda _: server, state=state)
    for kind in (EndpointUnavailable, CircuitOpen):
        with pytest.raises(kind):
            asking.infer(FEEDS, ("y",), rows=20)
    server.is_down = False
    now_s[0] = 60.0
    assert assert_doubled(asking) == 20
