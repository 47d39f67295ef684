"""Several endpoints under load, on sockets, while the first is killed and revived at random."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.regions import RegionsClient
from tests.support.faulty import FEEDS, SPEC
from tests.support.regions import Killable

CALLERS, CALLS = 16, 640
TIMEOUT_S, RESET_S = 10.0, 0.1


def disturb(first: Killable, until: threading.Event, seed: int) -> int:
    """Kill and revive an endpoint at random times; return how often it was killed."""
    draw, kills = random.Random(seed), 0
    while not until.wait(draw.uniform(0.0, 0.05)):
        first.kill()
        kills += 1
        until.wait(draw.uniform(0.0, 0.1))
        first.revive()
    return kills


def test_no_call_is_lost_while_the_first_is_killed_and_revived() -> None:
    """Each of many calls at a time is answered rightly, by one or the other, within its time."""
    ended = threading.Event()
    with Killable() as west, Killable() as north, ThreadPoolExecutor(CALLERS + 1) as pool:
        endpoints = [one.endpoint(breaker_reset_s=RESET_S) for one in (west, north)]
        client = RegionsClient([EndpointClient(endpoint, SPEC) for endpoint in endpoints])
        kills = pool.submit(disturb, west, ended, 7)

        def call(_: int) -> tuple[str | None, float, np.ndarray]:
            started = time.monotonic()
            answer = client.infer(FEEDS, ("y",), rows=1, timeout_s=TIMEOUT_S)
            return answer.endpoint, time.monotonic() - started, answer.outputs["y"]

        try:
            answers = list(pool.map(call, range(CALLS)))
        finally:
            ended.set()
        assert kills.result() > 0
        west.revive()
        until = time.monotonic() + RESET_S
        while time.monotonic() < until:
            client.infer(FEEDS, ("y",), rows=1, timeout_s=TIMEOUT_S)
        assert call(0)[0] == endpoints[0].model_url
        client.close()
    by = Counter(endpoint for endpoint, _, _ in answers)
    assert set(by) <= {endpoint.model_url for endpoint in endpoints}
    assert by[endpoints[1].model_url] > 0
    assert max(took_s for _, took_s, _ in answers) < TIMEOUT_S
    assert all(values.tolist() == [5.0] for _, _, values in answers)


def test_a_frozen_endpoint_costs_half_of_the_time_once_in_a_while() -> None:
    """Nothing is refused where a server accepts and never answers; its breaker leaves it alone."""
    frozen = threading.Event()
    with Killable(frozen) as west, Killable() as north:
        first = west.endpoint(breaker_failures=1, breaker_reset_s=60.0)
        client = RegionsClient(
            [EndpointClient(endpoint, SPEC) for endpoint in (first, north.endpoint())]
        )
        started = time.monotonic()
        answers = [client.infer(FEEDS, ("y",), rows=1, timeout_s=1.2) for _ in range(5)]
        took_s = time.monotonic() - started
        frozen.set()
        client.close()
    assert {answer.endpoint for answer in answers} == {north.endpoint().model_url}
    assert [answer.attempts for answer in answers] == [2, 1, 1, 1, 1]
    assert 0.6 <= took_s < 1.2
