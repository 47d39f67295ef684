"""When an endpoint is left alone, and how it is found to be there again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hybridmodel import (
    AuthenticationFailed,
    CircuitOpen,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InputMismatch,
    ProtocolError,
    RateLimited,
)
from hybridmodel.remote.attempts import state_of
from hybridmodel.remote.breaker import Breaker
from hybridmodel.remote.client import EndpointClient
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, error, good, http

GOOD = good()
DOWN = EndpointUnavailable("it is down")


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.time_s = 1000.0

    def __call__(self) -> float:
        """Tell it."""
        return self.time_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """Return one that opens after three failures, for ten seconds."""
    return Breaker(3, 10.0, clock=clock, now=lambda: 1_700_000_000.0)


def fail(breaker: Breaker, times: int = 1, failure: BaseException = DOWN) -> None:
    """Let so many requests fail, one after the other."""
    for _ in range(times):
        breaker.note(breaker.admit(), failure, 30.0)


def test_it_opens_after_failures_in_a_row_and_says_why(breaker: Breaker, clock: Clock) -> None:
    """The error tells since when, why, and when it will be tried again."""
    fail(breaker, 3)
    clock.time_s += 4
    with pytest.raises(CircuitOpen) as caught:
        breaker.admit()
    assert str(caught.value) == (
        "not asked, after 3 failures in a row since 22:13:20 UTC; tried again in 6.0 s; the last "
        "failure: it is down"
    )
    assert caught.value.retry_after_s == 6.0


def test_a_success_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    """Two failures, a success and two failures leave it closed."""
    fail(breaker, 2)
    breaker.note(breaker.admit(), None, 30.0)
    fail(breaker, 2)
    assert not breaker.is_open


@pytest.mark.parametrize(
    ("failure", "counts"),
    [
        (EndpointUnavailable("x"), True),
        (EndpointTimeout("x", status=504), True),
        (EndpointTimeout("x"), True),
        (RateLimited("x"), False),
        (EndpointRefused("x"), False),
        (AuthenticationFailed("x"), False),
        (ProtocolError("x"), False),
        (InputMismatch("x"), False),
        (KeyboardInterrupt(), False),
        (ValueError("a bug of ours"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_speaks_against_the_endpoint_counts(
    breaker: Breaker, failure: BaseException, counts: bool
) -> None:
    """An endpoint that refuses, limits or answers nonsense is there."""
    fail_once = [breaker.note(breaker.admit(), failure, 30.0) for _ in range(3)]
    assert breaker.is_open is counts
    assert fail_once == [None] * 3


def test_a_caller_without_patience_does_not_open_it_for_others(breaker: Breaker) -> None:
    """Timeouts of calls with less than half a second say nothing about the endpoint."""
    for _ in range(20):
        breaker.note(breaker.admit(), EndpointTimeout("x"), 0.01)
    assert not breaker.is_open


def test_requests_that_fail_together_count_once(breaker: Breaker) -> None:
    """Sixteen threads that meet one restart are one failure."""
    for _ in range(2):
        together = [breaker.admit() for _ in range(16)]
        for admitted in together:
            breaker.note(admitted, DOWN, 30.0)
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open


def test_one_probe_goes_through_and_its_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    """After the pause one request is let through; while it runs, all others are turned away."""
    fail(breaker, 3)
    clock.time_s += 10
    probe = breaker.admit()
    with pytest.raises(CircuitOpen, match="being tried by another call"):
        breaker.admit()
    breaker.note(probe, None, 30.0)
    assert not breaker.is_open
    fail(breaker, 2)
    assert not breaker.is_open


def test_when_to_come_back_is_never_at_once(breaker: Breaker, clock: Clock) -> None:
    """Whoever is turned away is told a time, and after that time somebody is let through."""
    fail(breaker, 3)
    let_through = 0
    for _ in range(8):
        with pytest.raises(CircuitOpen) as caught:
            breaker.admit()
        assert "in 0.0 s" not in str(caught.value)
        after_s = caught.value.retry_after_s or 0.0
        assert after_s > 0
        clock.time_s += after_s - 0.01
        with pytest.raises(CircuitOpen, match=r"in 0\.1 s"):
            breaker.check()
        clock.time_s += 0.02
        breaker.admit()
        let_through += 1
    assert let_through == 8


def test_the_late_success_of_a_first_probe_counts(breaker: Breaker, clock: Clock) -> None:
    """Where another was let through meanwhile, whichever answers first closes it."""
    fail(breaker, 3)
    clock.time_s += 10
    first = breaker.admit()
    clock.time_s += 2
    second = breaker.admit()
    breaker.note(first, None, 30.0)
    assert not breaker.is_open
    breaker.note(second, DOWN, 30.0)
    assert not breaker.is_open


def test_a_probe_that_fails_begins_another_pause(breaker: Breaker, clock: Clock) -> None:
    """The message keeps the time of the first failure, and names the last."""
    fail(breaker, 3)
    clock.time_s += 11
    breaker.note(breaker.admit(), EndpointUnavailable("still down"), 30.0)
    with pytest.raises(CircuitOpen, match=r"4 failures in a row .* in 10\.0 s; .*still down"):
        breaker.check()


def test_a_probe_without_news_lets_the_next_one_try(breaker: Breaker, clock: Clock) -> None:
    """A user who interrupts the probe does not keep the endpoint closed for everybody."""
    fail(breaker, 3)
    clock.time_s += 10
    breaker.note(breaker.admit(), KeyboardInterrupt(), 30.0)
    breaker.note(breaker.admit(), None, 30.0)
    assert not breaker.is_open


def test_the_late_end_of_an_old_call_changes_nothing(breaker: Breaker, clock: Clock) -> None:
    """A success from before it opened does not close it, nor a failure end a probe."""
    early, late = breaker.admit(), breaker.admit()
    fail(breaker, 3)
    breaker.note(early, None, 30.0)
    assert breaker.is_open
    clock.time_s += 10
    probe = breaker.admit()
    breaker.note(late, DOWN, 30.0)
    breaker.note(probe, None, 30.0)
    assert not breaker.is_open


def test_without_a_number_it_never_opens(clock: Clock) -> None:
    """`None` asks the endpoint whatever happened."""
    breaker = Breaker(None, 10.0, clock=clock)
    fail(breaker, 100)
    assert not breaker.is_open


def failing(faulty: FaultyEndpoint, **options: Any) -> EndpointClient:
    """Return a client that makes one attempt a call."""
    return EndpointClient(faulty.endpoint(**options), SPEC)


def test_a_dead_endpoint_is_left_alone_and_found_again() -> None:
    """Five calls fail, the sixth is not sent; after the pause the seventh is answered."""
    scripts = [http(503)] * 5 + [GOOD]
    with FaultyEndpoint(*scripts) as faulty:
        client = failing(faulty, breaker_reset_s=0.2)
        for _ in range(5):
            with pytest.raises(EndpointUnavailable):
                client.infer(FEEDS, ("y",))
        with pytest.raises(CircuitOpen, match="after 5 failures in a row") as caught:
            client.infer(FEEDS, ("y",))
        assert (caught.value.attempts, len(faulty.requests)) == (0, 5)
        assert caught.value.endpoint == client.endpoint.model_url
        assert client.stats()["circuit_open"] == 1
        assert client.stats()["requests"] == 5
        threading.Event().wait(caught.value.retry_after_s)
        assert client.infer(FEEDS, ("y",)).attempts == 1
        assert client.stats()["circuit_open"] == 0


def test_all_clients_of_an_endpoint_share_it_while_one_lives() -> None:
    """What one model has found out, another with the same endpoint need not find out again."""
    with FaultyEndpoint(http(503)) as faulty:
        first, second = failing(faulty, breaker_failures=1), failing(faulty, breaker_failures=1)
        with pytest.raises(EndpointUnavailable):
            first.infer(FEEDS, ("y",))
        with pytest.raises(CircuitOpen):
            second.infer(FEEDS, ("y",))
        state = state_of(first.endpoint)
        assert state_of(second.endpoint) is state
        assert state_of(faulty.endpoint(timeout_s=1.0)) is not state


def test_open_calls_do_not_wait_for_each_other() -> None:
    """While eight calls wait for slow answers, all eight requests are at the server."""
    together = threading.Barrier(8)

    def slow(connection: Any) -> None:
        together.wait(10)
        GOOD(connection)

    with FaultyEndpoint(slow) as faulty, ThreadPoolExecutor(8) as threads:
        client = failing(faulty)
        calls = [threads.submit(client.infer, FEEDS, ("y",)) for _ in range(8)]
        assert all(call.result(20).attempts == 1 for call in calls)


def test_while_it_is_open_questions_about_the_endpoint_are_still_asked() -> None:
    """`is_ready` and `metadata` are how one looks whether it is back."""
    with FaultyEndpoint(http(503), http(200, b"{}")) as faulty:
        client = failing(faulty, breaker_failures=1)
        with pytest.raises(EndpointUnavailable):
            client.infer(FEEDS, ("y",))
        assert client.is_ready()


def test_the_first_question_to_a_server_is_retried_as_well() -> None:
    """A 503 to `GET /v2`, which asks for the binary extension, does not end the call."""
    server = http(200, b'{"extensions": []}')
    with FaultyEndpoint(http(503), server, GOOD) as faulty:
        endpoint = faulty.endpoint(binary=None, max_attempts=2)
        client = EndpointClient(endpoint, SPEC, sleep=lambda _: None)
        assert client.infer(FEEDS, ("y",)).outputs["y"].tolist() == [5.0]
    assert [request.split()[1] for request in faulty.requests][:2] == [b"/v2", b"/v2"]


def test_a_model_that_fails_on_its_input_keeps_it_closed() -> None:
    """A caller with bad data does not take the endpoint away from others."""
    with FaultyEndpoint(error(500, "bad input")) as faulty:
        client = failing(faulty)
        for _ in range(10):
            with pytest.raises(EndpointRefused):
                client.infer(FEEDS, ("y",))
    assert len(faulty.requests) == 10


def test_errors_name_the_endpoint_once() -> None:
    """The cause inside the message does not repeat the address."""
    with FaultyEndpoint(http(503)) as faulty:
        client = failing(faulty, breaker_failures=1)
        for kind in (EndpointUnavailable, CircuitOpen):
            with pytest.raises(kind) as caught:
                client.infer(FEEDS, ("y",))
            assert isinstance(caught.value, EndpointError)
            assert str(caught.value).count(faulty.uri) == 1
