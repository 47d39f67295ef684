"""What the client makes of each answer: outputs, or the error that says what to do."""

from __future__ import annotations

import socket
import time

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
    RateLimited,
    SpecMismatch,
)
from tests.support.faulty import FaultyEndpoint, Script, error, http, raw
from tests.support.remote_answers import Y, answer, ask, drip, good, silent


def test_a_good_answer_is_returned_with_who_gave_it() -> None:
    """Outputs, version, attempts and the id that was sent come back."""
    with FaultyEndpoint(good()) as faulty:
        result = ask(faulty)
    np.testing.assert_array_equal(result.outputs["y"], Y)
    assert (result.model_version, result.attempts) == ("7", 1)
    assert f"x-ms-client-request-id: {result.request_id}".encode() in faulty.requests[0]


def test_arrays_are_writable_and_aligned() -> None:
    """What is handed out belongs to the caller."""
    message = answer(y=Y, z=np.arange(3))
    with FaultyEndpoint(good(message)) as faulty:
        outputs = ask(faulty, ("z", "y")).outputs
    assert list(outputs) == ["z", "y"]
    for array in outputs.values():
        assert array.flags.writeable
        assert array.flags.aligned


@pytest.mark.parametrize(
    ("script", "kind", "said"),
    [
        (error(400, "bad tensor"), EndpointRefused, "answered 400: bad tensor"),
        (error(404, "unknown model"), EndpointRefused, "no such model or version"),
        (http(401, b""), AuthenticationFailed, "https://ml.azure.com/.default"),
        (http(403, b"no"), AuthenticationFailed, "onlineEndpoints/score/action"),
        (http(408, b"upstream request timeout"), EndpointTimeout, "request_timeout_ms"),
        (http(413, b"too big"), EndpointRefused, "fewer rows"),
        (http(429, b"slow down", Retry_After="7"), RateLimited, "too many requests"),
        (error(500, "model crashed"), EndpointRefused, "model crashed"),
        (http(500, b"<html>oops"), EndpointUnavailable, "oops"),
        (error(501, "compressed"), EndpointRefused, "compressed"),
        (http(502, b"bad gateway"), EndpointUnavailable, "bad gateway"),
        (error(503, "queue full"), EndpointUnavailable, "queue full"),
        (http(504, b""), EndpointTimeout, "answered 504"),
        (http(302, b"", Location="https://login/?secret"), EndpointRefused, "redirect"),
        (http(204), ProtocolError, "answered 204"),
        (
            error(424, "no", ms_azureml_model_error_statuscode="400"),
            EndpointRefused,
            r"424 \(model: 400\)",
        ),
        (
            error(424, "busy", ms_azureml_model_error_statuscode="503"),
            EndpointUnavailable,
            "busy",
        ),
        (error(424, "x", ms_azureml_model_error_statuscode="500"), EndpointRefused, "model: 500"),
        (http(424, b"restarting"), EndpointUnavailable, "restarting"),
    ],
)
def test_each_status_says_what_the_caller_can_do(
    script: Script, kind: type[EndpointError], said: str
) -> None:
    """Every status becomes the error of its kind, with status, URL, id and the server's words."""
    with FaultyEndpoint(script) as faulty, pytest.raises(kind, match=said) as caught:
        ask(faulty)
    assert type(caught.value) is kind
    assert caught.value.endpoint == f"{faulty.uri}/v2/models/m/versions/1"
    assert caught.value.status is not None
    assert str(caught.value.request_id).encode() in faulty.requests[0]


def test_retry_after_is_kept() -> None:
    """The caller learns how long the endpoint wants to be left alone."""
    script = http(429, b"", Retry_After="7")
    with FaultyEndpoint(script) as faulty, pytest.raises(RateLimited) as caught:
        ask(faulty)
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (http(200, b"<html>sign in</html>", Content_Type="text/html"), "cannot be read"),
        (http(200, b""), "cannot be read"),
        (http(200, b"[1]"), "not an object"),
        (http(200, b'{"error": "odd proxy"}'), "odd proxy"),
        (good(Inference_Header_Content_Length="99999"), "but the body has"),
        (good(Inference_Header_Content_Length="-5"), "not a number"),
        (good(Inference_Header_Content_Length="x" * 50), "not a number"),
        (http(200, answer(y=Y).body()), "cannot be read"),
        (http(200, b'{"outputs": [], "id": "another"}'), "that of request 'another'"),
        (http(200, b'{"outputs": 5}'), "not a list"),
    ],
    ids=range(10),
)
def test_an_answer_that_is_not_the_protocol_is_a_protocol_error(script: Script, said: str) -> None:
    """A 200 that lies or means something else never becomes an array."""
    with FaultyEndpoint(script) as faulty, pytest.raises(ProtocolError, match=said) as caught:
        ask(faulty)
    assert caught.value.status == 200


@pytest.mark.parametrize("change", [-1, 1], ids=["one byte short", "one byte more"])
def test_a_tensor_of_another_size_is_a_protocol_error(change: int) -> None:
    """Bytes that are missing or left over are noticed, not filled up or dropped."""
    message = answer(y=Y)
    body = message.body()[:change] if change < 0 else message.body() + b"x"
    script = http(200, body, Inference_Header_Content_Length=str(len(message.header)))
    with FaultyEndpoint(script) as faulty, pytest.raises(ProtocolError, match="bytes"):
        ask(faulty)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"z": np.arange(3)}, "'y': missing"),
        ({"y": Y, "other": Y}, "'other': the local model does not have it"),
        ({"y": Y.astype(np.float64)}, "float64 came, float32 was expected"),
        ({"y": Y.reshape(3, 1)}, r"shape \[3, 1\] came, \[\?\] was expected"),
        ({"y": np.arange(4, dtype=np.float32)}, "4 rows came, 3 were sent"),
    ],
)
def test_an_answer_of_another_model_is_a_spec_mismatch(
    outputs: dict[str, np.ndarray], said: str
) -> None:
    """Names, dtypes, shapes and row counts must be those of the local model."""
    script = good(answer(**outputs))
    with FaultyEndpoint(script) as faulty, pytest.raises(SpecMismatch, match=said) as caught:
        ask(faulty)
    assert len(caught.value.differences) == 1


def test_every_difference_is_listed_at_once() -> None:
    """Nobody has to repair an endpoint one error at a time."""
    message = answer(y=Y.astype(np.float64), z=np.arange(5))
    with FaultyEndpoint(good(message)) as faulty, pytest.raises(SpecMismatch) as caught:
        ask(faulty, ("y", "z"))
    assert len(caught.value.differences) == 2


@pytest.mark.parametrize(
    "script",
    [
        silent,
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", 0.02),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n", 0.02),
        drip(b"HTTP/1.1 200 OK\r\nX-Padding: ", 0.02),
    ],
    ids=["silence", "dripping body", "dripping chunk", "dripping header"],
)
def test_the_deadline_ends_an_answer_that_does_not_come(script: Script) -> None:
    """Neither silence nor a drip, wherever it drips, holds a call longer than its deadline."""
    with FaultyEndpoint(script) as faulty:
        started = time.monotonic()
        with pytest.raises(EndpointTimeout) as caught:
            ask(faulty, timeout_s=0.5)
        assert time.monotonic() - started < 5
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (lambda connection: None, EndpointUnavailable),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}"), EndpointUnavailable),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"), EndpointUnavailable),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}"), ProtocolError),
        (raw(b"not http at all\r\n\r\n"), ProtocolError),
        (raw(b"SSH-2.0-OpenSSH_9.2p1\r\n"), ProtocolError),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), ProtocolError),
    ],
    ids=range(11),
)
def test_a_broken_exchange_never_becomes_an_answer(
    script: Script, kind: type[EndpointError]
) -> None:
    """What breaks is unavailable, what is not HTTP is a protocol error; neither is half read."""

    def then_close(connection: socket.socket) -> None:
        script(connection)
        connection.shutdown(socket.SHUT_RDWR)

    with FaultyEndpoint(then_close) as faulty, pytest.raises(kind) as caught:
        ask(faulty)
    assert type(caught.value) is kind
