"""What one request may hold: learned from refusals, and learned anew when that may have changed."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hybridmodel import EndpointRefused, ModelSpec, TensorSpec, TritonEndpoint
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.wire.protocol import decode_request, encode_response
from tests.support.chunk_server import FEEDS, SPEC, Server, Y, assert_doubled, client


class Time:
    """A clock that is set forward."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


def timed(server: Server, clock: Time, **options: Any) -> EndpointClient:
    """Make a client of that server that lives by that clock."""
    endpoint = TritonEndpoint(
        uri="http://localhost", model_name="m", auth_key_env=None, binary=True, **options
    )
    return EndpointClient(endpoint, SPEC, make_transport=lambda _: server, clock=clock)


def test_after_a_while_larger_requests_are_tried_again() -> None:
    """A gateway that took little once is asked for more each minute, until it takes all at once."""
    server, clock = Server(2, status=413), Time()
    asking = timed(server, clock, max_in_flight=1)
    assert assert_doubled(asking) == 10
    server.most = 100
    requests = []
    for _ in range(5):
        clock.now_s += 61
        requests.append(assert_doubled(asking))
    assert requests == [10, 4, 2, 1, 1]


def test_a_gateway_that_stays_small_is_tried_less_and_less_often() -> None:
    """In an hour of calls, no more than ten were sent in vain; and none failed."""
    server, clock = Server(3, status=413), Time()
    asking = timed(server, clock, max_in_flight=1)
    assert_doubled(asking)
    server.rows.clear()
    for _ in range(360):
        clock.now_s += 10
        assert assert_doubled(asking) in (7, 10)
    assert len([rows for rows in server.rows if rows > 3]) <= 10


def test_what_was_too_large_is_remembered_in_bytes() -> None:
    """After rows of a megabyte went one by one, small rows go together."""
    spec = ModelSpec((TensorSpec("x", "BYTES", (-1,), True),), (Y,))
    sent: list[int] = []

    class Sized(Server):
        def send(self, given: HttpRequest) -> Reply:
            if sum(map(len, given.body)) > 1_500_000:
                return Reply(413, {}, bytearray(), bytearray())
            request = decode_request(given.body[0], b"".join(given.body[1:]))
            rows = len(request.inputs["x"])
            sent.append(rows)
            message = encode_response(
                {"y": np.ones((rows, 2), np.float32)},
                {"y": True},
                model_name="m",
                model_version="1",
                request_id=request.request_id,
            )
            tensors = bytearray(b"".join(message.tensors))
            return Reply(200, {}, bytearray(message.header), tensors)

    endpoint = TritonEndpoint(
        uri="http://localhost", model_name="m", auth_key_env=None, binary=True, max_in_flight=1
    )
    asking = EndpointClient(endpoint, spec, make_transport=lambda _: Sized(0))
    large = np.array(["a" * 1_000_000] * 4, object)
    assert asking.infer({"x": large}, ("y",), rows=4).attempts == 4
    small = np.array(["a"] * 1000, object)
    assert asking.infer({"x": small}, ("y",), rows=1000).attempts == 1
    assert sent[-1] == 1000


@pytest.mark.parametrize(("most", "requests"), [(2, 10), (10, 2), (0, 1)])
def test_the_rows_of_a_server_that_was_replaced_are_learned_anew(most: int, requests: int) -> None:
    """Whether it takes fewer rows, more, or any number: a minute later it gets what it takes."""
    server, clock = Server(4, config=b'{"max_batch_size": 4}'), Time()
    asking = timed(server, clock)
    assert assert_doubled(asking) == 5
    server.most = most or 100
    server.config = b'{"max_batch_size": %d}' % most
    clock.now_s += 61
    assert assert_doubled(asking) == requests
    assert server.configs == 2


def test_fewer_rows_are_found_out_at_once() -> None:
    """A server in its place that takes fewer rows fails no call, though nothing has timed out."""
    server, clock = Server(4, config=b'{"max_batch_size": 4}'), Time()
    asking = timed(server, clock)
    assert_doubled(asking)
    server.most, server.config = 2, b'{"max_batch_size": 2}'
    clock.now_s += 6
    assert assert_doubled(asking) == 10


def test_a_configuration_that_is_hidden_by_now_changes_nothing() -> None:
    """What was learned is kept where the server no longer says it."""
    server, clock = Server(4, config=b'{"max_batch_size": 4}'), Time()
    asking = timed(server, clock)
    assert_doubled(asking)
    server.config = None
    clock.now_s += 61
    assert assert_doubled(asking) == 5


def test_threads_that_are_refused_together_learn_together() -> None:
    """Of eight calls that meet the refusal at the same time, all are answered."""
    together = threading.Barrier(8)

    class Meeting(Server):
        def send(self, sent: HttpRequest) -> Reply:
            if (
                sent.body
                and len(decode_request(sent.body[0], b"".join(sent.body[1:])).inputs["x"]) == 20
            ):
                together.wait(10)
            return super().send(sent)

    server = Meeting(4, config=b'{"max_batch_size": 4}')
    asking = client(server, max_in_flight=64)
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(assert_doubled, asking) for _ in range(8)]
        assert [call.result(30) for call in calls] == [5] * 8
    assert server.configs == 1


def test_whether_a_server_speaks_binary_is_asked_again() -> None:
    """After a refusal, and once a minute where it did not, since another may have come."""
    asked: list[bytes] = []
    speaks, clock = True, Time()

    class Changing(Server):
        def send(self, sent: HttpRequest) -> Reply:
            if not sent.url.endswith("/v2"):
                if len(sent.body) > 1 and not speaks:
                    return Reply(400, {}, bytearray(b'{"error": "what?"}'), bytearray())
                return super().send(sent)
            extensions = ["binary_tensor_data"] if speaks else []
            asked.append(json.dumps({"extensions": extensions}).encode())
            return Reply(200, {}, bytearray(asked[-1]), bytearray())

    endpoint = TritonEndpoint(uri="http://localhost", model_name="m", auth_key_env=None)
    asking = EndpointClient(endpoint, SPEC, make_transport=lambda _: Changing(100), clock=clock)
    assert_doubled(asking)
    assert_doubled(asking)
    assert len(asked) == 1
    speaks = False
    clock.now_s += 6
    with pytest.raises(EndpointRefused):
        asking.infer(FEEDS, ("y",), rows=20)
    assert_doubled(asking)
    assert_doubled(asking)
    assert len(asked) == 2
    speaks = True
    clock.now_s += 61
    assert_doubled(asking)
    assert len(asked) == 3
