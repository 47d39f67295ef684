"""What is tried again, after which pause, and what never is."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import (
    AuthenticationFailed,
    CircuitOpen,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    ProtocolError,
    RateLimited,
    TritonEndpoint,
)
from hybridmodel.remote.attempts import RetryBudget, RetryPolicy
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.faults import fault_of
from hybridmodel.remote.resilience import Deadline
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, Script, error, good, http

GOOD = good()


class Sleeps(list[float]):
    """Notes how long somebody wanted to sleep, and does not."""

    def __call__(self, seconds: float) -> None:
        """Note it."""
        self.append(seconds)


def client(faulty: FaultyEndpoint, sleeps: Sleeps, **options: Any) -> EndpointClient:
    """Make a client that tries three times and draws the largest pauses."""
    endpoint = faulty.endpoint(max_attempts=3, **options)
    policy = RetryPolicy(3, base_s=0.5, random=lambda: 1.0)
    return EndpointClient(endpoint, SPEC, policy=policy, sleep=sleeps)


def close(connection: socket.socket) -> None:
    """Go away without a word."""
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "failure",
    [
        http(429),
        http(500, b"<html>"),
        http(502),
        error(503, "queue full"),
        http(424, b"restarting"),
        error(424, "busy", ms_azureml_model_error_statuscode="503"),
        close,
    ],
    ids=["429", "500 of a gateway", "502", "503", "424 alone", "424 with 503", "closed"],
)
def test_what_passes_is_tried_again(failure: Script) -> None:
    """Two failures of a kind that passes, then an answer: the caller sees only the answer."""
    sleeps = Sleeps()
    with FaultyEndpoint(failure, failure, GOOD) as faulty:
        answer = client(faulty, sleeps).infer(FEEDS, ("y",))
    assert answer.outputs["y"].tolist() == [5.0]
    assert answer.attempts == len(faulty.requests) == 3
    assert sleeps == [0.5, 1.0]


def test_all_attempts_of_a_call_carry_one_id() -> None:
    """The server's logs show what belongs together."""
    with FaultyEndpoint(http(503), http(503), GOOD) as faulty:
        answer = client(faulty, Sleeps()).infer(FEEDS, ("y",))
    assert all(answer.request_id.encode() in request for request in faulty.requests)


@pytest.mark.parametrize(
    "failure",
    [
        error(400, "bad tensor"),
        http(401),
        http(403),
        http(404),
        http(408),
        http(413),
        error(500, "model crashed"),
        error(501, "no"),
        http(504),
        error(424, "x", ms_azureml_model_error_statuscode="500"),
        http(302, Location="https://elsewhere"),
        http(200, b"<html>"),
    ],
    ids=range(12),
)
def test_what_stays_is_not_tried_again(failure: Script) -> None:
    """One request, no pause, one error."""
    sleeps = Sleeps()
    with FaultyEndpoint(failure, GOOD) as faulty, pytest.raises(EndpointError) as caught:
        client(faulty, sleeps).infer(FEEDS, ("y",))
    assert (len(faulty.requests), caught.value.attempts, sleeps) == (1, 1, [])


def test_the_last_error_tells_how_often_it_was_tried() -> None:
    """After three failures the third is raised, with the number of attempts."""
    with FaultyEndpoint(http(503)) as faulty, pytest.raises(EndpointUnavailable) as caught:
        client(faulty, Sleeps()).infer(FEEDS, ("y",))
    assert caught.value.attempts == len(faulty.requests) == 3


def test_an_endpoint_can_be_tried_once_only() -> None:
    """`max_attempts=1` leaves retries to the caller."""
    with FaultyEndpoint(http(503)) as faulty, pytest.raises(EndpointUnavailable):
        EndpointClient(faulty.endpoint(max_attempts=1), SPEC).infer(FEEDS, ("y",))
    assert len(faulty.requests) == 1


def test_what_the_server_asks_to_wait_is_waited() -> None:
    """`Retry-After` counts where it is longer than the pause that was drawn."""
    sleeps = Sleeps()
    with FaultyEndpoint(http(429, Retry_After="7"), GOOD) as faulty:
        client(faulty, sleeps).infer(FEEDS, ("y",))
    assert sleeps == [7.0]


@pytest.mark.parametrize(
    ("headers", "waited_s"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "1.5"}, 1.5),
        ({"retry_after_ms": "2500"}, 2.5),
        ({"x_ms_retry_after_ms": "1200", "Retry_After": "9"}, 1.2),
        ({"Retry_After": "soon"}, 0.5),
        ({"Retry_After": "-3"}, 0.5),
        ({"Retry_After": "inf"}, 0.5),
        ({"retry_after_ms": "soon", "Retry_After": "3"}, 3.0),
    ],
)
def test_every_way_to_ask_for_a_pause_is_understood(
    headers: dict[str, str], waited_s: float
) -> None:
    """Azure's milliseconds are the finest; what cannot be read is as if it were not there."""
    sleeps = Sleeps()
    with FaultyEndpoint(http(429, **headers), GOOD) as faulty:
        client(faulty, sleeps).infer(FEEDS, ("y",))
    assert sleeps == [waited_s]


def test_a_pause_that_reaches_the_deadline_is_not_begun() -> None:
    """Who asks to wait longer than the call may take gets its error passed on at once."""
    sleeps = Sleeps()
    script = http(429, Retry_After="60")
    with FaultyEndpoint(script, GOOD) as faulty, pytest.raises(RateLimited) as caught:
        client(faulty, sleeps).infer(FEEDS, ("y",), timeout_s=5)
    assert (sleeps, caught.value.retry_after_s) == ([], 60.0)


def test_the_real_pauses_end_with_the_deadline() -> None:
    """With real sleeps and a dead endpoint a call still ends in time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    endpoint = TritonEndpoint(
        uri=f"http://127.0.0.1:{port}", model_name="m", auth_key_env=None, max_attempts=10
    )
    started = time.monotonic()
    with pytest.raises(EndpointUnavailable) as caught:
        EndpointClient(endpoint, SPEC).infer(FEEDS, ("y",), timeout_s=1.0)
    assert time.monotonic() - started < 3
    assert caught.value.attempts >= 1


def test_a_pause_can_be_interrupted() -> None:
    """Ctrl-C in a pause is the caller's, and nothing is sent after it."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    with FaultyEndpoint(http(503), GOOD) as faulty:
        waiting = EndpointClient(faulty.endpoint(max_attempts=3), SPEC, sleep=interrupted)
        with pytest.raises(KeyboardInterrupt):
            waiting.infer(FEEDS, ("y",))
    assert len(faulty.requests) == 1


def test_a_key_that_was_renewed_is_used_once() -> None:
    """After a 401 the credential is asked again, and another key gets one more attempt."""
    keys = iter(["old", "new", "newer"])
    with FaultyEndpoint(http(401), GOOD) as faulty:
        answer = EndpointClient(faulty.endpoint(), SPEC, lambda: next(keys)).infer(FEEDS, ("y",))
    assert answer.attempts == 2
    assert b"Bearer old" in faulty.requests[0]
    assert b"Bearer new\r\n" in faulty.requests[1]
    others = iter(["old", "new", "newer"])
    with FaultyEndpoint(http(401)) as faulty, pytest.raises(AuthenticationFailed) as caught:
        EndpointClient(faulty.endpoint(), SPEC, lambda: next(others)).infer(FEEDS, ("y",))
    assert caught.value.attempts == len(faulty.requests) == 2


def test_a_credential_that_fails_after_a_refusal_says_where_and_how_often() -> None:
    """The request that was refused counts, and the endpoint is named."""
    keys = iter(["old"])
    with FaultyEndpoint(http(401)) as faulty, pytest.raises(AuthenticationFailed) as caught:
        EndpointClient(faulty.endpoint(), SPEC, lambda: next(keys)).infer(FEEDS, ("y",))
    assert (caught.value.attempts, len(faulty.requests)) == (1, 1)
    assert caught.value.endpoint == f"{faulty.uri}/v2/models/m/versions/1"
    assert "the credential gave no key" in caught.value.message


def test_a_connection_that_dies_as_it_is_used_is_replaced_at_once() -> None:
    """What an idle connection's end swallows is sent again without a pause, and counted."""
    answered: list[Any] = []

    def once_each(connection: socket.socket) -> None:
        peer = connection.getpeername()
        if peer in answered:
            connection.shutdown(socket.SHUT_RDWR)
            return
        answered.append(peer)
        GOOD(connection)

    with FaultyEndpoint(once_each) as faulty:
        single = EndpointClient(faulty.endpoint(max_attempts=1), SPEC)
        attempts = [single.infer(FEEDS, ("y",)).attempts for _ in range(3)]
        single.close()
    assert (len(answered), attempts) == (3, [1, 2, 2])
    assert single.stats()["requests"] == sum(attempts) == len(faulty.requests)


def test_an_error_counts_the_request_that_an_ended_connection_swallowed() -> None:
    """Two requests were sent, the second to an endpoint that cannot answer."""

    def dies(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with FaultyEndpoint(GOOD, dies, http(503)) as faulty:
        single = EndpointClient(faulty.endpoint(max_attempts=1), SPEC)
        single.infer(FEEDS, ("y",))
        with pytest.raises(EndpointUnavailable) as caught:
            single.infer(FEEDS, ("y",))
        single.close()
    assert (caught.value.status, caught.value.attempts, len(faulty.requests)) == (503, 2, 3)
    assert "[2 requests, request id " in str(caught.value)
    assert single.stats()["requests"] == 3


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        (EndpointUnavailable, True),
        (RateLimited, True),
        (EndpointTimeout, False),
        (CircuitOpen, False),
        (EndpointRefused, False),
        (AuthenticationFailed, False),
        (ProtocolError, False),
    ],
)
def test_each_kind_of_error_is_tried_again_or_not(kind: type[EndpointError], again: bool) -> None:
    """The table, by class."""
    assert (fault_of(kind("failed")).retry == "yes") is again


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@given(
    st.floats(0, 1),
    st.integers(1, 9),
    st.floats(0.01, 100),
    st.none() | st.floats(0, 1000),
    st.floats(0.001, 1000),
)
def test_a_pause_never_passes_the_deadline_and_never_undercuts_the_server(
    drawn: float, attempt: int, base_s: float, asked_s: float | None, left_s: float
) -> None:
    """Whatever is drawn and asked, a pause lies between what was asked and what is left."""
    policy = RetryPolicy(10, base_s=base_s, cap_s=20.0, random=lambda: drawn)
    failure = EndpointUnavailable("failed", retry_after_s=asked_s)
    pause_s = policy.pause_s(failure, attempt, Deadline(left_s, Clock()))
    if pause_s is not None:
        assert (asked_s or 0.0) <= pause_s < left_s
        assert pause_s <= max(20.0, asked_s or 0.0)


def test_the_budget_stops_retries_while_all_fails() -> None:
    """A few calls may be tried again; when everything fails, calls are sent once each."""
    sleeps = Sleeps()
    with FaultyEndpoint(http(503)) as faulty:
        failing = client(faulty, sleeps, breaker_failures=None)
        for _ in range(10):
            with pytest.raises(EndpointUnavailable):
                failing.infer(FEEDS, ("y",))
    assert len(faulty.requests) == 10 + 5


def test_the_budget_fills_up_again_with_answers() -> None:
    """Ten good answers earn one retry."""
    budget = RetryBudget(4)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    for _ in range(10):
        budget.record_success()
    assert [budget.take() for _ in range(2)] == [True, False]
    for _ in range(100):
        budget.record_success()
    assert [budget.take() for _ in range(3)] == [True, True, False]
