"""A handler of a signal may raise anywhere: what a request held is given back all the same."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    TritonEndpoint,
)
from hybridmodel.process.background import Background
from hybridmodel.remote.attempts import EndpointState
from hybridmodel.remote.breaker import Breaker
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.concurrency import ConcurrencyLimiter, Permit
from hybridmodel.remote.exchange import Call
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.sizes import RequestSizes
from hybridmodel.remote.trust.credentials import AskedKey
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, good, http

LATER = Deadline(3600.0)
DOWN = EndpointUnavailable("it is down")


class Interrupt(BaseException):
    """What the handler raises."""


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.time_s = 1000.0

    def __call__(self) -> float:
        """Tell it."""
        return self.time_s


def interrupted(step: int, action: Callable[[], Any], module: str = "hybridmodel.remote") -> bool:
    """Raise at the n-th chance that a handler has in our code; tell whether it came to that.

    Python runs handlers where a function of ours begins, and behind each call of a builtin.
    """
    left = step

    def handler(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        ours = str(frame.f_globals.get("__name__")).startswith(module)
        left -= ours and event in ("call", "c_return")
        if ours and left == 0:
            raise Interrupt

    sys.setprofile(handler)
    try:
        action()
    except Interrupt:
        return True
    except EndpointError:
        return left <= 0
    finally:
        sys.setprofile(None)
    return left <= 0


def state_with(clock: Clock) -> EndpointState:
    """Make a state for one request at a time, whose breaker opens at the first failure."""
    endpoint = TritonEndpoint(
        uri="http://127.0.0.1:9", model_name="m", auth_key_env=None, max_in_flight=1
    )
    state = EndpointState(endpoint)
    state.breaker = Breaker(1, 10.0, clock=clock)
    return state


def call_within(timeout_s: float, feeds: Any = None) -> Call:
    """Make a call that wants no key."""
    return Call(deadline=Deadline(timeout_s), request_id=None, key=None, feeds=feeds or {})


def free(_: EndpointState, __: Clock) -> None:
    """Leave it as it is: the request goes through at once."""


def busy(state: EndpointState, _: Clock) -> None:
    """Have a request under way that ends while the next one waits."""
    permit = Permit(LATER)
    state.limiter.enter(permit)
    threading.Timer(
        0.005, state.limiter.leave, (permit,), {"limited": False, "answered": True}
    ).start()


def back_again(state: EndpointState, clock: Clock) -> None:
    """Have the breaker open, and its pause over: the next request is the probe."""
    state.breaker.note(state.breaker.admit(), DOWN, 30.0)
    clock.time_s += 10


def answered(_: Any) -> None:
    """Stand for a request that is answered."""


def failed(_: Any) -> None:
    """Stand for a request that fails."""
    raise EndpointUnavailable("still down")


@pytest.mark.parametrize("send", [answered, failed])
@pytest.mark.parametrize("situation", [free, busy, back_again])
def test_wherever_a_handler_raises_nothing_is_lost(
    situation: Callable[[EndpointState, Clock], None], send: Callable[[Any], None]
) -> None:
    """No permit stays taken, nobody stays in the queue, and the endpoint is soon tried again."""
    step = 0
    raised = True
    while raised:
        step += 1
        clock = Clock()
        state = state_with(clock)
        situation(state, clock)
        raised = interrupted(step, lambda state=state: state.run(call_within(60.0), send))
        while situation is busy and state.limiter.running:
            time.sleep(0.001)  # The request before, which its own thread ends.
        assert (state.limiter.running, len(state.limiter._waiting)) == (0, 0), step
        clock.time_s += 10
        state.run(call_within(5.0), answered)
        assert not state.breaker.is_open
    assert step > 10


def test_a_turn_that_was_lost_after_all_ends_soon_after_its_deadline() -> None:
    """Not even a thread that vanished holds its permit longer than its call might have lasted."""
    clock = Clock()
    limiter = ConcurrencyLimiter(1)
    limiter.enter(Permit(Deadline(5.0, clock)))
    clock.time_s += 5
    with pytest.raises(EndpointTimeout):
        limiter.enter(Permit(Deadline(0.01)))
    clock.time_s += 1.1
    later = Permit(Deadline(5.0))
    limiter.enter(later)
    limiter.leave(later, limited=False, answered=True)
    assert limiter.running == 0


def test_who_waits_is_not_forgotten_by_who_was_interrupted() -> None:
    """A permit that was freed without anybody being called is taken by the one who waits."""
    limiter = ConcurrencyLimiter(1)
    first = Permit(LATER)
    limiter.enter(first)
    waited: list[float] = []

    def wait() -> None:
        started = time.monotonic()
        limiter.enter(Permit(LATER))
        waited.append(time.monotonic() - started)

    thread = threading.Thread(target=wait)
    thread.start()
    while not limiter._waiting:
        time.sleep(0.001)
    limiter._running.discard(first)  # As `leave` does, before it is interrupted.
    thread.join(10)
    assert waited[0] < 5


def test_a_lost_probe_is_followed_by_another() -> None:
    """Whoever let itself through as the probe and vanished keeps the others out for two seconds."""
    clock = Clock()
    breaker = Breaker(1, 10.0, clock=clock)
    breaker.note(breaker.admit(), DOWN, 30.0)
    clock.time_s += 10
    breaker.admit()
    with pytest.raises(EndpointUnavailable, match="being tried by another call") as caught:
        breaker.admit()
    assert caught.value.retry_after_s == 2.0
    clock.time_s += caught.value.retry_after_s
    breaker.note(breaker.admit(), None, 30.0)
    assert not breaker.is_open


def test_wherever_a_handler_raises_a_credential_can_be_asked_again() -> None:
    """No call waits for one that was interrupted while it asked."""
    step, raised = 0, True
    while raised:
        step += 1
        source = AskedKey(lambda: "the-key")
        raised = interrupted(step, lambda source=source: source.key(Deadline(5.0)))
        assert source._asking.running == 0, step
        assert source.key(Deadline(1.0)) == "the-key"
    assert step > 10


def test_wherever_a_handler_raises_the_rows_of_a_server_can_be_asked_for_again() -> None:
    """The next refusal asks, and does not wait for who was interrupted."""
    refused = EndpointRefused("too many", status=400)
    feeds = {"x": np.ones(20, np.float32)}
    endpoint = TritonEndpoint(uri="http://127.0.0.1:9", model_name="m", auth_key_env=None)
    step, raised = 0, True
    while raised:
        step += 1
        clock = Clock()
        sizes = RequestSizes(endpoint, lambda _: 4, clock)
        call = call_within(5.0, feeds)

        def fewer(sizes: RequestSizes = sizes, call: Call = call) -> int:
            return sizes.fewer_rows(call, refused, 20, 20)

        raised = interrupted(step, fewer)
        clock.time_s += 6  # What it asked just before it was interrupted is not asked again.
        assert fewer() == 4
        assert sizes._asking.running == 0, step
    assert step > 10


def test_wherever_a_handler_raises_the_background_has_room_again() -> None:
    """An offer that was interrupted takes no place for ever."""
    step, raised = 0, True
    while raised:
        step += 1
        background = Background("test-background")

        def offer(background: Background = background) -> bool:
            return background.offer(lambda: lambda: None, 10, most=1, most_bytes=10)

        raised = interrupted(step, offer, "hybridmodel.process.background")
        assert background.wait(5), step
        assert offer()
        assert background.wait(5)
    assert step > 5


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="only where timers send signals")
def test_real_signals_leave_nothing_behind() -> None:
    """Five hundred handlers that raise while requests are made cost no permit and open nothing."""

    def raising(*_: Any) -> None:
        raise Interrupt

    before, tracer = signal.signal(signal.SIGALRM, raising), sys.gettrace()
    hits, later = 0, Call(deadline=LATER, request_id=None, key=None)
    try:
        with FaultyEndpoint(good()) as faulty:
            client = EndpointClient(faulty.endpoint(max_in_flight=2), SPEC)
            state = client._state
            # Coverage takes a lock of its own, which a handler that raises would leave shut.
            sys.settrace(None)
            for number in range(500):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-4 + number * 1e-6)
                    while True:
                        state.run(later, answered)
                except Interrupt:
                    hits += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert (hits, state.limiter.running, state.breaker.is_open) == (500, 0, False)
            assert client.infer(FEEDS, ("y",)).attempts == 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.settrace(tracer)
        signal.signal(signal.SIGALRM, before)


def test_a_hanging_probe_does_not_keep_the_others_out() -> None:
    """After the endpoint is back it is asked within seconds, though the probe hangs for longer."""
    hanging = threading.Event()

    def hang(_: Any) -> None:
        hanging.set()
        faulty.wait(20)

    with FaultyEndpoint(http(503), hang, good()) as faulty:
        endpoint = faulty.endpoint(breaker_failures=1, breaker_reset_s=0.3)
        client = EndpointClient(endpoint, SPEC)
        with pytest.raises(EndpointUnavailable):
            client.infer(FEEDS, ("y",))
        time.sleep(0.35)
        probe = threading.Thread(target=lambda: _quiet(client), daemon=True)
        probe.start()
        assert hanging.wait(10)
        with pytest.raises(EndpointUnavailable) as caught:
            client.infer(FEEDS, ("y",))
        assert 0 < (caught.value.retry_after_s or 0) <= 0.3
        time.sleep(caught.value.retry_after_s or 0)
        assert client.infer(FEEDS, ("y",)).attempts == 1
        assert client.stats()["circuit_open"] == 0
    probe.join(10)


def _quiet(client: EndpointClient) -> None:
    try:
        client.infer(FEEDS, ("y",), timeout_s=15)
    except EndpointError:
        return
