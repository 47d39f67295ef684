"""Threads are bounded, whatever hangs: for each endpoint, credential and model by a number."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from hybridmodel import EndpointError, HybridOnnxModel, TritonEndpoint
from hybridmodel.process.bounded import Crew, NoRoom, NotDone, call_with_timeout, crew_for
from hybridmodel.process.parallel import map_unordered
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.trust.credentials import AskedKey
from hybridmodel.routing import Hedge, Shadow
from tests.support import models
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, good, http

X = np.ones((3, 4), np.float32)


def ours(name: str = "hybridmodel") -> int:
    """Count the threads of the library that are alive."""
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


@contextmanager
def most_seen(name: str = "hybridmodel") -> Iterator[list[int]]:
    """Count them again and again, and keep the highest number."""
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.002):
            most[0] = max(most[0], ours(name))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> float:
    """Return after how many seconds something came true; it must."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s
        time.sleep(0.005)
    return time.monotonic() - started


def from_callers(count: int, seconds: float, call: Callable[[], Any]) -> int:
    """Have several threads call again and again, and return how many calls that made."""
    ends = time.monotonic() + seconds

    def caller() -> int:
        calls = 0
        while time.monotonic() < ends:
            call()
            calls += 1
        return calls

    with ThreadPoolExecutor(count) as threads:
        return sum(done.result(60) for done in [threads.submit(caller) for _ in range(count)])


def test_hedged_calls_of_a_slow_endpoint_leave_no_threads_behind() -> None:
    """From four callers in two seconds: never more than may be under way, and soon none."""
    with FaultyEndpoint(lambda _: faulty.wait(60)) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(max_in_flight=8))
        with most_seen("hybridmodel-hedge") as most:
            calls = from_callers(4, 2.0, lambda: model.infer(X, mode=Hedge(delay_s=0.01)))
        stats = model.stats()
        assert calls == stats["hedge.calls"] + stats["hedge.full"]
        assert stats["hedge.full"] > 0
        assert 0 < most[0] <= 8
        assert wait_until(lambda: ours("hybridmodel-hedge") == 0) < 2
        assert model.stats()["azure.in_flight"] == 0


def test_who_finds_no_room_is_answered_at_once() -> None:
    """A hedged call does not even wait its delay where as many as may be hang already."""
    with FaultyEndpoint(lambda _: faulty.wait(60)) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(max_in_flight=1))
        release = threading.Event()
        assert model.client.hedging.start(lambda: bool(release.wait(20)), name="busy")
        started = time.monotonic()
        answer = model.infer(X, mode=Hedge(delay_s=5.0))
        release.set()
    assert time.monotonic() - started < 2
    assert (answer.route, set(answer.reasons)) == ("local", {"endpoint full"})
    assert faulty.requests == []


def test_an_overtaken_request_is_cancelled() -> None:
    """The server sees the connection end within half a second, not after the endpoint's time."""
    ended: list[float] = []

    def watching(connection: socket.socket) -> None:
        started = time.monotonic()
        connection.settimeout(10)
        connection.recv(1)
        ended.append(time.monotonic() - started)

    with FaultyEndpoint(watching) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(timeout_s=30.0))
        assert model.infer(X, mode=Hedge(delay_s=0.05)).route == "local"
        wait_until(lambda: bool(ended))
    assert ended[0] < 2


def test_a_hedge_with_patience_opens_the_breaker() -> None:
    """An endpoint that is silent for more than half a second each time is left alone."""
    with FaultyEndpoint(lambda _: faulty.wait(60)) as faulty:
        endpoint = faulty.endpoint(breaker_failures=2, breaker_reset_s=60.0)
        model = HybridOnnxModel(models.linear(), endpoint=endpoint)
        for _ in range(2):
            assert set(model.infer(X, mode=Hedge(delay_s=0.6)).reasons) == {"slow endpoint"}
            wait_until(lambda: ours("hybridmodel-hedge") == 0)
        assert set(model.infer(X, mode=Hedge(delay_s=0.6)).reasons) == {"CircuitOpen"}


def test_a_connection_that_comes_too_late_serves_the_next_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where connecting takes longer than the delay, the endpoint answers the second call."""
    from hybridmodel.remote.http import connect

    opened, before = [], connect.dial

    def slowly(*args: Any, **options: Any) -> Any:
        opened.append(time.sleep(0.4))
        return before(*args, **options)

    monkeypatch.setattr(connect, "dial", slowly)
    body = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[3,2],"data":[0,0,0,0,0,0]}]}'
    with FaultyEndpoint(http(200, body)) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint())
        assert model.infer(X, mode=Hedge(delay_s=0.2)).route == "local"
        wait_until(lambda: ours("hybridmodel-hedge") == 0)
        assert model.infer(X, mode=Hedge(delay_s=0.2)).route == "azure"
    assert len(opened) == 1


def test_a_name_that_nobody_looks_up_holds_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that hangs gets one question for a host, however many calls time out."""
    release = threading.Event()

    def hanging(*_: Any, **__: Any) -> Any:
        release.wait(30)
        raise socket.gaierror("gone")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    endpoint = TritonEndpoint(
        uri="https://a.example",
        model_name="m",
        auth_key_env=None,
        binary=True,
        max_attempts=1,
        breaker_failures=None,
    )
    client = EndpointClient(endpoint, SPEC)

    def call() -> None:
        with pytest.raises(EndpointError):
            client.infer(FEEDS, ("y",), timeout_s=0.02)

    with most_seen("hybridmodel-connect") as most:
        calls = from_callers(8, 1.0, call)
    assert calls > 32
    assert most[0] == 1
    release.set()
    wait_until(lambda: ours("hybridmodel-connect") == 0)


def test_a_credential_that_hangs_is_asked_twice_at_the_most() -> None:
    """Calls that time out leave two threads, and what comes late is kept for the next."""
    release, asked = threading.Event(), []

    def ask() -> str:
        asked.append(1)
        release.wait(30)
        return "the-key"

    source = AskedKey(ask)

    def call() -> None:
        with pytest.raises(EndpointError):
            source.key(Deadline(0.02))

    with most_seen("hybridmodel-credential") as most:
        assert from_callers(4, 0.5, call) > 4
    assert (most[0], len(asked)) == (2, 2)
    release.set()
    wait_until(lambda: ours("hybridmodel-credential") == 0)
    assert source.key(Deadline(0.02)) == "the-key"
    assert len(asked) == 2


def test_parts_of_calls_that_fail_leave_a_bounded_number_of_threads() -> None:
    """Of calls whose first part fails while the others hang, four threads a turn are left."""
    turn = [0]

    def first_fails(connection: socket.socket) -> None:
        turn[0] += 1
        if turn[0] % 4 == 1:
            http(404)(connection)
        else:
            faulty.wait(20)

    with FaultyEndpoint(first_fails) as faulty:
        endpoint = faulty.endpoint(max_batch_size=1, max_in_flight=4)
        client = EndpointClient(endpoint, SPEC)
        feeds = {"x": np.ones(40, np.float32)}

        def call() -> None:
            with pytest.raises(EndpointError):
                client.infer(feeds, ("y",), rows=40, timeout_s=0.5)

        with most_seen("hybridmodel-chunk") as most:
            from_callers(8, 1.5, call)
        assert 0 < most[0] <= 16
        assert wait_until(lambda: ours("hybridmodel-chunk") == 0) < 2


def test_without_room_the_caller_works_itself() -> None:
    """Nobody waits for threads of others: all items are done, in order, one by one."""
    crew, release = Crew(1), threading.Event()
    assert crew.start(lambda: bool(release.wait(20)), name="busy")
    here = threading.current_thread()
    found = list(
        map_unordered(
            lambda item: (item, threading.current_thread()), range(5), 3, crew=crew, name="test"
        )
    )
    release.set()
    assert found == [(item, here) for item in range(5)]


def test_shadows_have_one_thread_for_a_model() -> None:
    """However many callers there are."""
    with FaultyEndpoint(good()) as faulty:
        model = HybridOnnxModel(models.linear(), endpoint=faulty.endpoint(breaker_failures=None))
        with most_seen("hybridmodel-shadow") as most:
            from_callers(4, 0.5, lambda: model.infer(X, mode=Shadow()))
    assert most[0] == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_ends_its_thread_does_not_end_the_others() -> None:
    """After a SystemExit in the background the next job is done all the same."""
    from hybridmodel.process.background import Background

    background, done = Background("test-background"), threading.Event()

    def leave() -> None:
        raise SystemExit

    for job in (leave, done.set):
        assert background.offer(lambda job=job: job, 1, most=5, most_bytes=100)
        assert background.wait(10)
        wait_until(lambda: ours("test-background") == 0 or done.is_set())
    assert done.is_set()


def test_a_crew_has_room_again_when_a_thread_has_ended() -> None:
    """Who waits for room gets it then; who does not wait is told."""
    crew, release = Crew(1), threading.Event()
    assert call_with_timeout(5.0, lambda: 7, crew=crew, name="test") == 7
    assert crew.start(lambda: bool(release.wait(20)), name="busy")
    with pytest.raises(NoRoom, match="1 others"):
        call_with_timeout(5.0, lambda: 7, crew=crew, name="test", queues=False)
    with pytest.raises(NoRoom):
        call_with_timeout(0.05, lambda: 7, crew=crew, name="test")
    threading.Timer(0.05, release.set).start()
    assert call_with_timeout(10.0, lambda: 7, crew=crew, name="test") == 7
    wait_until(lambda: crew.size == 0)


def test_a_crew_is_one_for_a_place_while_it_works() -> None:
    """All who connect to a host share its bound; another host has its own."""
    release = threading.Event()
    crew = crew_for("a", 1)
    assert crew.start(lambda: bool(release.wait(20)), name="busy")
    del crew
    assert not crew_for("a", 1).start(lambda: None, name="test")
    assert crew_for("b", 1).start(lambda: None, name="test")
    release.set()


def test_a_function_that_times_out_itself_is_not_waited_for_any_longer() -> None:
    """Its own TimeoutError is raised as it is; a late result is handed to who can give it back."""
    release, late = threading.Event(), threading.Event()

    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        call_with_timeout(5.0, fail, crew=Crew(1), name="test")
    with pytest.raises(NotDone):
        call_with_timeout(
            0.05,
            lambda: release.wait(20),
            crew=Crew(1),
            name="test",
            too_late=lambda _: late.set(),
        )
    release.set()
    assert late.wait(10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_forked_child_has_room_for_all() -> None:
    """Threads of the parent take no room in its child."""
    crew, release = Crew(1), threading.Event()
    assert crew.start(lambda: bool(release.wait(20)), name="busy")
    child = os.fork()
    if child == 0:
        os._exit(0 if call_with_timeout(5.0, lambda: 7, crew=crew, name="test") == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
