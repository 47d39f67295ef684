"""How many requests are under way at a time, and who waits."""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import EndpointTimeout, RateLimited
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.concurrency import ConcurrencyLimiter, Permit
from hybridmodel.remote.resilience import Deadline
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, good, http

GOOD = good()
LATER = Deadline(3600.0)


def enter(limiter: ConcurrencyLimiter, deadline: Deadline = LATER) -> Permit:
    """Begin a request."""
    permit = Permit(deadline)
    limiter.enter(permit)
    return permit


def leave(limiter: ConcurrencyLimiter, permit: Permit, *, limited: bool = False) -> None:
    """End a request that was answered, or turned away for being too many."""
    limiter.leave(permit, limited=limited, answered=not limited)


def test_never_more_than_the_bound_are_under_way() -> None:
    """Forty calls from twenty threads reach the server at most three at a time."""
    lock = threading.Lock()
    under_way, most = 0, 0

    def counting(connection: socket.socket) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.005)
        with lock:
            under_way -= 1
        GOOD(connection)

    with FaultyEndpoint(counting) as faulty, ThreadPoolExecutor(20) as threads:
        client = EndpointClient(faulty.endpoint(max_in_flight=3), SPEC)
        calls = [threads.submit(client.infer, FEEDS, ("y",)) for _ in range(40)]
        assert all(call.result(30).attempts == 1 for call in calls)
    assert most == 3
    assert client.stats()["in_flight"] == 0


def test_waiting_for_a_turn_counts_towards_the_deadline() -> None:
    """Who never gets its permit is told what it was waiting for."""
    limiter = ConcurrencyLimiter(1)
    enter(limiter)
    with pytest.raises(EndpointTimeout, match="one of 1 requests at a time"):
        enter(limiter, Deadline(0.05))
    assert (limiter.running, limiter.limit) == (1, 1)


def test_turns_come_in_the_order_of_the_queue() -> None:
    """Nobody overtakes: the one who waits longest is next."""
    limiter = ConcurrencyLimiter(1)
    entered = enter(limiter)
    order: list[int] = []

    def wait(number: int) -> None:
        permit = enter(limiter)
        order.append(number)
        leave(limiter, permit)

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(limiter._waiting) < number + 1:
            time.sleep(0.001)
    leave(limiter, entered)
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]


def test_it_halves_when_there_were_too_many_and_grows_slowly() -> None:
    """Requests that were under way together say it together, and halve once."""
    limiter = ConcurrencyLimiter(16)
    together = [enter(limiter) for _ in range(16)]
    for entered in together:
        leave(limiter, entered, limited=True)
    assert limiter.limit == 8
    for _ in range(8):
        leave(limiter, enter(limiter))
    assert limiter.limit == 8
    leave(limiter, enter(limiter))
    assert limiter.limit == 9
    leave(limiter, enter(limiter), limited=True)
    assert limiter.limit == 4


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 64))
def test_the_bound_stays_between_one_and_the_most(limited: list[bool], most: int) -> None:
    """Whatever the endpoint says, at least one request can be made, and never more than allowed."""
    limiter = ConcurrencyLimiter(most)
    for said in limited:
        leave(limiter, enter(limiter), limited=said)
        assert 1 <= limiter.limit <= most
        assert limiter.running == 0


def test_who_does_not_wait_is_told_at_once() -> None:
    """A function is called when it is its permit, or not at all; its permit ends with it."""
    limiter = ConcurrencyLimiter(1)
    assert limiter.run(LATER, lambda: limiter.running) == 1
    entered = enter(limiter)
    with pytest.raises(EndpointTimeout):
        limiter.run(LATER, lambda: 7, waits=False)
    leave(limiter, entered)
    assert limiter.run(LATER, lambda: 7, waits=False) == 7
    assert (limiter.running, len(limiter._waiting)) == (0, 0)


def test_an_interrupt_while_waiting_gives_the_turn_on() -> None:
    """Nobody waits for a permit that was given to a thread that has gone."""
    limiter = ConcurrencyLimiter(1)
    entered = enter(limiter)

    class Interrupted(Deadline):
        def remaining_s(self) -> float:
            leave(limiter, entered)  # The permit comes at this very moment.
            raise KeyboardInterrupt

    waiting = Permit(Interrupted(60.0))
    with pytest.raises(KeyboardInterrupt):
        limiter.enter(waiting)
    leave(limiter, waiting)
    assert limiter.running == 0
    enter(limiter)
    with pytest.raises(EndpointTimeout):
        enter(limiter, Deadline(0.01))


def test_a_server_that_takes_two_at_a_time_is_found_out() -> None:
    """Behind an endpoint that answers 429 above two, sixteen threads end in answers."""
    lock = threading.Lock()
    under_way = 0

    def narrow(connection: socket.socket) -> None:
        nonlocal under_way
        with lock:
            under_way += 1
            too_many = under_way > 2
        if too_many:
            http(429)(connection)
        else:
            time.sleep(0.002)
            GOOD(connection)
        with lock:
            under_way -= 1

    with FaultyEndpoint(narrow) as faulty, ThreadPoolExecutor(16) as threads:
        client = EndpointClient(faulty.endpoint(max_attempts=10), SPEC)
        calls = [threads.submit(client.infer, FEEDS, ("y",)) for _ in range(64)]
        ends = [call.exception(30) for call in calls]
    assert all(end is None or isinstance(end, RateLimited) for end in ends)
    assert client.stats()["in_flight_limit"] < 16
    assert client.stats()["failed.RateLimited"] >= 1


def test_a_call_that_was_never_permitted_sent_nothing() -> None:
    """It says so, counts no request, and leaves the breaker as it is."""
    with FaultyEndpoint(GOOD) as faulty:
        client = EndpointClient(faulty.endpoint(max_in_flight=1, breaker_failures=1), SPEC)
        entered = enter(client._state.limiter)
        with pytest.raises(EndpointTimeout, match="1 requests at a time") as caught:
            client.infer(FEEDS, ("y",), timeout_s=0.05)
        leave(client._state.limiter, entered)
        assert (caught.value.attempts, len(faulty.requests)) == (0, 0)
        assert "request id" not in str(caught.value)
        assert "requests" not in client.stats()
        assert client.infer(FEEDS, ("y",)).attempts == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_fork_starts_with_nothing_under_way() -> None:
    """Requests of the parent do not take the turns of its child."""
    with FaultyEndpoint(GOOD) as faulty:
        client = EndpointClient(faulty.endpoint(max_in_flight=1), SPEC)
        entered = enter(client._state.limiter)
        child = os.fork()
        if child == 0:
            try:
                client.infer(FEEDS, ("y",), timeout_s=5)
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        leave(client._state.limiter, entered)
