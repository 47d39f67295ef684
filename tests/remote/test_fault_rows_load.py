"""Rows 12 to 28 of the fault table: size, load, slow answers and outages."""

from __future__ import annotations

import itertools
import logging
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    Answer,
    CircuitOpen,
    EndpointTimeout,
    EndpointUnavailable,
    RateLimited,
)
from tests.support.fault_report import Note
from tests.support.fault_rows import (
    Crowd,
    X,
    Y,
    answered,
    ask,
    assert_right,
    environment,
    expected,
    hybrid,
    json_answer,
    note,
    raised,
    upstream,
)
from tests.support.faulty import (
    Gateway,
    Rule,
    Script,
    first,
    forward,
    http,
)
from tests.support.remote_answers import answer, good, silent

__all__ = ["environment", "note", "upstream"]  # Fixtures.


def test_row_12_too_large(upstream: Any, note: Note) -> None:
    """Chunks are halved until they pass, and the rows come back in order."""
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)

    def rule(request: bytes) -> Script | None:
        return http(413, b"too large") if len(request) > 2000 else None

    with Gateway(upstream.port, rule) as gateway, hybrid(gateway) as model:
        result = ask(model, rows)
        arrived = len(gateway.requests)
        afterwards = ask(model, rows)
    note(12, "413 above 2,000 bytes, for 3,200", result, result.seconds)
    assert_right(result, expected(rows))
    assert_right(afterwards, expected(rows))
    # One of 200 rows, one or two of 100, four of 50; and only four the second time.
    assert (result.answer.attempts, arrived in (6, 7)) == (4, True)
    assert len(gateway.requests) == arrived + 4


@pytest.mark.parametrize(
    ("headers", "least_s"),
    [
        ({"Retry_After": "1"}, 1.0),
        ({"retry_after_ms": "300"}, 0.3),
        ({"x_ms_retry_after_ms": "300", "Retry_After": "9"}, 0.3),
    ],
)
def test_row_17_a_limit_that_says_how_long(
    headers: dict[str, Any], least_s: float, upstream: Any, note: Note
) -> None:
    """What is asked to wait is waited, and fewer requests are under way at a time afterwards."""
    with (
        Gateway(upstream.port, first(http(429, **headers))) as gateway,
        hybrid(gateway) as model,
    ):
        before = model.stats()["azure.in_flight_limit"]
        result = ask(model)
        after = model.stats()["azure.in_flight_limit"]
    shown = ", ".join(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
    answered(result, note, 17, f"429 with {shown}")
    assert result.seconds >= least_s
    assert after <= before / 2 + 1


def test_row_17_a_limit_longer_than_the_call(upstream: Any, note: Note) -> None:
    """A pause that cannot end in time is not begun."""
    script = http(429, b"quota", Retry_After="60")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        result = ask(model)
        assert len(gateway.requests) == 1
    failure = raised(result, note, 17, "429 with retry-after: 60", RateLimited, "quota")
    assert failure.retry_after_s == 60.0
    assert result.seconds < 1.0


def test_row_17_retries_do_not_multiply_the_load(upstream: Any, note: Note) -> None:
    """Of twenty calls that all fail, a quarter is tried again, and the rest is sent once."""
    with Gateway(upstream.port, lambda _: http(429)) as gateway, hybrid(gateway) as model:
        results = [ask(model) for _ in range(20)]
        arrived = len(gateway.requests)
    raised(results[-1], note, 17, f"429 for 20 calls: {arrived} requests", RateLimited)
    assert all(type(result.error) is RateLimited for result in results)
    assert arrived == 25


def test_row_17_many_threads_at_a_small_deployment(upstream: Any, note: Note) -> None:
    """Sixteen threads before a deployment that takes two at a time end well or limited."""
    crowd = Crowd(upstream.port, most=2)
    with Gateway(upstream.port, crowd) as gateway, hybrid(gateway) as model:
        with ThreadPoolExecutor(16) as threads:
            results = list(threads.map(lambda _: ask(model), range(160)))
        limit = model.stats()["azure.in_flight_limit"]
    good_ones = [result for result in results if isinstance(result.value, Answer)]
    for result in good_ones:
        assert_right(result)
    assert {type(result.value) for result in results} <= {Answer, RateLimited}
    slowest = max(result.seconds for result in results)
    saw = f"{len(good_ones)} right answers, the rest RateLimited, {crowd.refused} times 429"
    note(17, "160 calls of 16 threads, 429 above 2 at a time", saw, slowest)
    assert len(good_ones) > 100
    assert limit < 16


def test_row_24_infinity_in_json(upstream: Any, note: Note) -> None:
    """What Python's JSON writes beyond the standard is read; a real server answers in binary."""
    literals = b"NaN,Infinity,-Infinity,1,2,3"
    with Gateway(upstream.port, first(json_answer(literals))) as gateway:
        with hybrid(gateway, binary=False) as model:
            result = ask(model)
        with hybrid(gateway) as model:
            huge = ask(model, np.full((1, 4), 3e38, np.float32))
            nan = ask(model, np.full((1, 4), np.nan, np.float32))
    note(24, "NaN and infinities in JSON", result, result.seconds)
    came = result.answer.outputs["y"].ravel()
    np.testing.assert_array_equal(came, np.array([np.nan, np.inf, -np.inf, 1, 2, 3], np.float32))
    assert not np.isfinite(huge.answer.outputs["y"]).all()
    assert np.isnan(nan.answer.outputs["y"]).all()


@pytest.mark.parametrize("pieces", [10, 1000])
def test_row_25_an_answer_that_comes_slowly(pieces: int, upstream: Any, note: Note) -> None:
    """It is waited for within the deadline, and given up beyond it."""
    with (
        Gateway(upstream.port, lambda request: forward(upstream.port, request, pieces, 0.02)) as gw,
        hybrid(gw) as model,
    ):
        result = ask(model, timeout=1.0)
        assert len(gw.requests) == 1
    if pieces == 10:
        answered(result, note, 25, "an answer that takes 0.2 s to arrive, of 1 s")
    else:
        raised(result, note, 25, "an answer that takes longer than the call", EndpointTimeout)


def test_row_25_azure_says_that_it_delayed(upstream: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Who sends more than the endpoint's bandwidth is warned."""
    message = answer(y=Y)
    script = good(message, ms_azureml_bandwidth_response_delay_ms="1200")
    with Gateway(upstream.port, first(script)) as gateway, hybrid(gateway) as model:
        assert_right(ask(model))
    assert "1200" in caplog.text


def split(upstream: int) -> Rule:
    """Return a rule: half of the traffic for version 1, half for 3, unless one is pinned."""
    turns = itertools.cycle([b"1", b"3"])
    versions = {b"blue": b"1", b"green": b"3"}

    def rule(request: bytes) -> Script:
        pinned = re.search(rb"azureml-model-deployment: (\w+)", request)
        version = versions[pinned[1]] if pinned else next(turns)
        routed = request.replace(b"/versions/1/", b"/versions/" + version + b"/")
        return forward(upstream, routed)

    return rule


def test_row_26_two_deployments_behind_one_address(upstream: Any, note: Note) -> None:
    """Each answer says which version gave it, and one deployment can be pinned."""
    with Gateway(upstream.port, split(upstream.port)) as gateway:
        with hybrid(gateway) as model:
            results = [ask(model) for _ in range(6)]
        with hybrid(gateway, deployment="green") as model:
            pinned = [ask(model) for _ in range(4)]
    for result in results + pinned:
        assert_right(result, expected(version=int(result.answer.model_version or 0)))
    saw = " ".join(f"{result.answer.model_version}" for result in results)
    note(26, "traffic split in two", f"right answers of versions {saw}", results[0].seconds)
    assert {result.answer.model_version for result in results} == {"1", "3"}
    assert {result.answer.model_version for result in pinned} == {"3"}


def test_row_26_is_seen_in_the_log(upstream: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a split endpoint shows which version answered."""
    caplog.set_level(logging.DEBUG, "hybridmodel")
    with Gateway(upstream.port, split(upstream.port)) as gateway, hybrid(gateway) as model:
        ask(model), ask(model)
    assert "version 1" in caplog.text
    assert "version 3" in caplog.text


class Outage:
    """A rule that answers 503 until it is over, and then slowly."""

    over = False

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream

    def __call__(self, request: bytes) -> Script:
        """Answer."""
        if self.over:
            return forward(self._upstream, request, 1, 0.3)
        return http(503, b"no healthy upstream")


def test_row_27_an_outage(upstream: Any, note: Note) -> None:
    """Calls fail at once with the cause, nothing is asked meanwhile, and one probe ends it."""
    outage = Outage(upstream.port)
    with (
        Gateway(upstream.port, outage) as gateway,
        hybrid(gateway, max_attempts=1, breaker_failures=3, breaker_reset_s=0.5) as model,
    ):
        failing = [ask(model) for _ in range(3)]
        left_alone = [ask(model) for _ in range(20)]
        arrived = len(gateway.requests)
        outage.over = True
        time.sleep(left_alone[0].error.retry_after_s)
        with ThreadPoolExecutor(8) as threads:
            probing = list(threads.map(lambda _: ask(model), range(8)))
        probes = len(gateway.requests) - arrived
        afterwards = ask(model)
        here = model.infer(X)
    assert {type(result.error) for result in failing} == {EndpointUnavailable}
    for result in left_alone:
        assert type(result.error) is CircuitOpen
        assert result.seconds < 0.3
    says = ("3 failures in a row since", "again in", "no healthy upstream")
    failure = raised(left_alone[0], note, 27, "503 for all, the 4th call", CircuitOpen, *says)
    assert (arrived, failure.attempts, 0 < failure.retry_after_s <= 0.5) == (3, 0, True)
    answered(afterwards, note, 27, "the call after the probe")
    assert probes == 1
    assert sorted(type(one.value).__name__ for one in probing) == ["Answer"] + ["CircuitOpen"] * 7
    # Asked for, the local model answers all the time; not asked for, never.
    assert here.route == "local"


def test_row_28_many_threads(upstream: Any, note: Note) -> None:
    """No more requests are under way than were allowed, over no more connections."""
    crowd = Crowd(upstream.port)
    with (
        Gateway(upstream.port, crowd) as gateway,
        hybrid(gateway, max_in_flight=4) as model,
        ThreadPoolExecutor(24) as threads,
    ):
        results = list(threads.map(lambda _: ask(model), range(120)))
    for result in results:
        assert_right(result)
    saw = f"120 right answers, at most {crowd.highest} at a time, {len(crowd.peers)} connections"
    note(28, "24 threads, max_in_flight=4", saw, max(result.seconds for result in results))
    assert crowd.highest <= 4
    assert len(crowd.peers) <= 4


def test_row_28_waiting_for_a_turn_is_bounded(upstream: Any, note: Note) -> None:
    """Who waits behind a call that hangs waits no longer than its own deadline."""
    reached = threading.Event()

    def hang(connection: socket.socket) -> None:
        reached.set()
        silent(connection)

    with (
        Gateway(upstream.port, first(hang)) as gateway,
        hybrid(gateway, max_in_flight=1) as model,
        ThreadPoolExecutor(1) as thread,
    ):
        hanging = thread.submit(ask, model, timeout=1.5)
        assert reached.wait(5)
        result = ask(model, timeout=0.5)
        assert len(gateway.requests) == 1
        assert type(hanging.result().error) is EndpointTimeout
        assert_right(ask(model))
    raised(result, note, 28, "no turn within 0.5 s", EndpointTimeout, "0.5 s", "1 requests")
