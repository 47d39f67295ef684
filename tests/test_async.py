"""`apredict` and `ainfer`: the same calls as coroutines, and no thread for each."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    InputMismatch,
    TritonEndpoint,
)
from hybridmodel.data.binding import Binding
from hybridmodel.local.session import LocalSession
from hybridmodel.remote import answers, writing
from hybridmodel.routing import AzureFirst, Cascade, Hedge, LocalFirst, Shadow, Split
from hybridmodel.testing import fake_endpoint
from tests.support import models
from tests.support.counting_server import CountingServer
from tests.support.faulty import FaultyEndpoint, error, http
from tests.support.two_routes import DEAD, REMOTE, X, assert_same

COLUMNS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def counting() -> Iterator[CountingServer]:
    """Start one server for this file."""
    server = CountingServer(REMOTE)
    yield server
    server.close()


@pytest.fixture
def server(counting: CountingServer) -> CountingServer:
    """Count anew."""
    counting.forget()
    return counting


def model_of(server: Any, **options: Any) -> HybridOnnxModel:
    """Make the small model, whose endpoint has the other one."""
    return HybridOnnxModel(
        models.graded(), endpoint=server.endpoint(**options), feature_names=COLUMNS
    )


def threads() -> int:
    """Count the threads that the library or a loop has begun."""
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith(("hybridmodel", "asyncio")) for name in names)


class Heart:
    """Beats while the loop is free; `longest_s` is the longest time in which it was not."""

    def __init__(self) -> None:
        self.beats = 0
        self.longest_s = 0.0

    async def __aenter__(self) -> Heart:
        self._task = asyncio.ensure_future(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _beat(self) -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(0.002)
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            self.beats += 1


POLICIES: dict[str, Any] = {
    "local": False,
    "azure": True,
    "azure_first": AzureFirst(),
    "local_first": LocalFirst(),
    "hedge": Hedge(delay_s=20.0),
    "shadow": Shadow(),
    "cascade": Cascade(threshold=0.6, score="max_probability"),
    "split": Split(0.5),
    "function": lambda feeds: np.arange(len(X)) % 2 == 0,
}


def asked(policy: Any) -> dict[str, Any]:
    """Return the argument that names a policy."""
    return {"use_azure": policy} if isinstance(policy, bool) else {"mode": policy}


@pytest.mark.parametrize("name", POLICIES)
def test_each_policy_answers_as_in_a_thread(name: str, server: CountingServer) -> None:
    """Outputs, route and reasons are those of `infer`, to the bit."""
    with model_of(server) as model:
        given = asked(POLICIES[name])
        wanted = model.infer(X, **given)
        found = asyncio.run(model.ainfer(X, **given))
        assert_same(found.outputs, wanted.outputs)
        assert (found.route, found.attempts) == (wanted.route, wanted.attempts)
        assert list(found.reasons) == list(wanted.reasons)
        assert found.elapsed_s > 0


def test_a_frame_comes_back_as_a_frame(server: CountingServer) -> None:
    """The container, its index and `provenance` are those of `predict`."""
    frame = pd.DataFrame(X, columns=COLUMNS, index=range(100, 100 + len(X)))
    with model_of(server) as model:
        wanted = model.predict(frame, use_azure=True, provenance=True, output="label")
        found = asyncio.run(
            model.apredict(frame, use_azure=True, provenance=True, output="label", timeout=20)
        )
    pd.testing.assert_frame_equal(found, wanted)


def test_errors_are_those_of_predict(server: CountingServer) -> None:
    """Data, arguments and refusals fail with the same types, and the same words."""
    with model_of(server) as model:
        for wrong in ({"data": [[1.0]]}, {"data": X, "mode": "nonsense"}):
            with pytest.raises((InputMismatch, ConfigurationError)) as wanted:
                model.predict(**wrong)
            with pytest.raises(type(wanted.value)) as found:
                asyncio.run(model.apredict(**wrong))
            assert str(found.value) == str(wanted.value)
        server.refusals = [400]
        with pytest.raises(EndpointRefused, match="so it was said"):
            asyncio.run(model.apredict(X, use_azure=True))


def test_many_calls_are_under_way_without_a_thread_for_each(server: CountingServer) -> None:
    """256 calls of one loop are 16 requests at a time, as the endpoint permits, and no threads."""
    server.hold_s = 0.02
    rows = np.random.default_rng(1).normal(size=(256, 3)).astype(np.float32)

    async def all_of_them(model: HybridOnnxModel) -> tuple[list[Any], int, float]:
        async with Heart() as heart:
            calls = [
                model.apredict(row[None], use_azure=True, output="probabilities") for row in rows
            ]
            tasks = asyncio.gather(*calls)
            most, under_way = 0, 0.0
            while not tasks.done():
                most = max(most, threads())
                under_way = max(under_way, model.stats()["azure.in_flight"])
                await asyncio.sleep(0.01)
            assert heart.beats > 10
            return await tasks, most, under_way

    with model_of(server, max_in_flight=16) as model:
        wanted = model.predict(rows, use_azure=True, output="probabilities")
        before = threads()
        found, most, under_way = asyncio.run(all_of_them(model))
        np.testing.assert_array_equal(np.concatenate(found), wanted)
        assert most <= before + 1  # The one that looks up the host, at the beginning.
        assert under_way == 16
        assert server.peak <= 16
        assert model.stats()["azure.in_flight"] == 0


def test_a_silent_endpoint_ends_with_the_deadline() -> None:
    """The call ends in its time, and the loop is free until then."""
    with FaultyEndpoint(lambda _: server.wait(20)) as server:
        model = HybridOnnxModel(models.linear(), endpoint=server.endpoint())

        async def call() -> None:
            async with Heart() as heart:
                with pytest.raises(EndpointTimeout, match=r"deadline of 0\.3 s"):
                    await model.apredict(np.ones((1, 4)), use_azure=True, timeout=0.3)
                assert heart.beats > 5

        started = time.monotonic()
        asyncio.run(call())
        assert 0.3 <= time.monotonic() - started < 5


def test_the_pause_before_another_attempt_is_the_loops_as_well() -> None:
    """A retry waits as `Retry-After` says, while other coroutines run."""
    answer = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[5.0, 6.0]}]}'
    with FaultyEndpoint(http(503, Retry_After="1"), http(200, answer)) as server:
        model = HybridOnnxModel(models.linear(), endpoint=server.endpoint(max_attempts=2))

        async def call() -> Any:
            async with Heart() as heart:
                answer = await model.ainfer(np.ones((1, 4)), use_azure=True)
                assert heart.beats > 20
                return answer

        found = asyncio.run(call())
        assert found.attempts == 2
        assert found.outputs["y"].tolist() == [[5.0, 6.0]]


def test_cancelling_frees_the_caller_and_its_place() -> None:
    """A cancelled call is over at once, the next has its place, and the breaker knows nothing."""
    answer = b'{"outputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[5.0, 6.0]}]}'
    with FaultyEndpoint(lambda _: server.wait(20), http(200, answer)) as server:
        options = {"max_in_flight": 1, "breaker_failures": 1}
        model = HybridOnnxModel(models.linear(), endpoint=server.endpoint(**options))

        async def call() -> Any:
            task = asyncio.ensure_future(model.apredict(np.ones((1, 4)), use_azure=True))
            waiting = asyncio.ensure_future(model.apredict(np.ones((1, 4)), use_azure=True))
            while not server.requests:
                await asyncio.sleep(0.005)
            started = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert time.monotonic() - started < 1
            return await waiting

        assert asyncio.run(call()).tolist() == [[5.0, 6.0]]
        assert model.stats()["azure.in_flight"] == 0
        assert model.stats()["azure.circuit_open"] == 0


@pytest.mark.parametrize("coalesce_rows", [0, 64])
def test_a_storm_of_cancelled_calls(coalesce_rows: int, server: CountingServer) -> None:
    """Of 1,000 calls cancelled at random the others get their own answers, and nothing stays."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(1000, 3)).astype(np.float32)
    wanted = HybridOnnxModel(REMOTE).predict(rows, output="probabilities")
    server.hold_s = 0.002

    async def storm(model: HybridOnnxModel) -> list[Any]:
        calls = [model.apredict(row[None], use_azure=True, output="probabilities") for row in rows]
        tasks = [asyncio.ensure_future(call) for call in calls]
        for number in random.permutation(1000)[:600]:
            tasks[number].cancel()
            if number % 10 == 0:
                await asyncio.sleep(0.001)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with model_of(server, coalesce_rows=coalesce_rows, breaker_failures=1) as model:
        found = asyncio.run(storm(model))
        answered = [number for number, end in enumerate(found) if isinstance(end, np.ndarray)]
        assert len(answered) >= 400
        for number in answered:
            np.testing.assert_array_equal(found[number], wanted[number : number + 1])
        ends = {type(end) for end in found}
        assert ends == {np.ndarray, asyncio.CancelledError}
        stats = model.stats()
        assert (stats["azure.in_flight"], stats["azure.circuit_open"]) == (0, 0)
        after = model.predict(rows[:1], use_azure=True, output="probabilities")
        np.testing.assert_array_equal(after, wanted[:1])


def test_rows_in_several_requests(server: CountingServer) -> None:
    """What is too large for one request is cut, and awaited, as in a thread."""
    with model_of(server, max_batch_size=7) as model:
        found = asyncio.run(model.ainfer(X, use_azure=True))
        assert_same(found.outputs, HybridOnnxModel(REMOTE).infer(X).outputs)
        assert found.attempts == 6


def test_a_credential_is_asked_off_the_loop(server: CountingServer) -> None:
    """A vault that takes its time holds up its caller, and nobody else."""

    def vault() -> str:
        time.sleep(0.1)
        return "secret-of-the-vault"

    endpoint = server.endpoint()
    model = HybridOnnxModel(models.graded(), endpoint=endpoint, credential=vault)

    async def call() -> None:
        async with Heart() as heart:
            await model.apredict(X, use_azure=True)
            assert heart.beats > 5

    asyncio.run(call())
    assert server.keys == {"Bearer secret-of-the-vault"}


def test_large_data_are_bound_and_run_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small calls stay in the loop's thread once it is known how long they take."""
    here = threading.get_ident()
    seen: list[tuple[str, bool]] = []

    def noting(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def noted(*arguments: Any) -> Any:
            seen.append((name, threading.get_ident() == here))
            return original(*arguments)

        monkeypatch.setattr(owner, name, noted)

    model = HybridOnnxModel(models.linear())
    small, large = np.ones((1, 4), np.float32), np.ones((50_000, 4), np.float32)
    noting(Binding, "_bind_array")
    noting(LocalSession, "run")

    def call(data: Any) -> list[tuple[str, bool]]:
        seen.clear()
        asyncio.run(model.apredict(data))
        return seen.copy()

    for _ in range(20):  # A loaded machine may take long for a small run, and is asked again.
        if call(small) == [("_bind_array", True), ("run", True)]:
            break
    else:
        raise AssertionError(seen)
    assert call(large) == [("_bind_array", False), ("run", False)]


def test_much_json_is_written_and_read_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers as text take long; where tensors are binary, they are sent as they lie."""
    rows = np.ones((5_000, 3), np.float32)
    said = {"name": "y", "datatype": "FP32", "shape": [5_000, 3], "data": rows.ravel().tolist()}
    answer = http(200, json.dumps({"outputs": [said]}).encode())
    here = threading.get_ident()
    seen: list[bool] = []

    def noting(owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            seen.append(threading.get_ident() == here)
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, noted)

    noting(writing, "encode_request")
    noting(answers, "read_response")
    for binary in (False, True):
        with FaultyEndpoint(answer) as server:
            model = HybridOnnxModel(models.identity(), endpoint=server.endpoint(binary=binary))
            found = asyncio.run(model.apredict(rows, use_azure=True))
            np.testing.assert_array_equal(found, rows)
    assert seen == [False, False, True, False]


def test_one_model_serves_many_loops_and_threads(server: CountingServer) -> None:
    """Loops in turn, loops in threads and threads share its connections and limits."""
    wanted = HybridOnnxModel(REMOTE).predict(X, output="probabilities")

    async def some(model: HybridOnnxModel) -> None:
        calls = [model.apredict(X, use_azure=True, output="probabilities") for _ in range(10)]
        for found in await asyncio.gather(*calls):
            np.testing.assert_array_equal(found, wanted)

    with model_of(server, max_in_flight=3, coalesce_rows=100) as model:
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(3):
                    if number % 2:
                        asyncio.run(some(model))
                    else:
                        found = model.predict(X, use_azure=True, output="probabilities")
                        np.testing.assert_array_equal(found, wanted)
            except BaseException as error:
                failed.append(error)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failed
        assert server.peak <= 3
        asyncio.run(some(pickle.loads(pickle.dumps(model))))


@pytest.mark.parametrize("mode", ["azure_first", "hedge"])
def test_the_local_model_stands_in(mode: str) -> None:
    """A fallback answers a coroutine as it answers a thread."""
    model = HybridOnnxModel(models.graded(), endpoint=DEAD)
    found = asyncio.run(model.ainfer(X, mode=mode))
    assert_same(found.outputs, HybridOnnxModel(models.graded()).infer(X).outputs)
    assert found.route == "local"


def test_hedging_does_not_hold_up_the_loop(server: CountingServer) -> None:
    """While the endpoint has its delay, others run; then the local model answers."""
    server.hold_s = 1.0
    with model_of(server) as model:

        async def call() -> Any:
            async with Heart() as heart:
                answer = await model.ainfer(X, mode=Hedge(delay_s=0.1))
                assert heart.beats > 5
                return answer

        assert asyncio.run(call()).reason == "slow endpoint"


def test_the_fake_endpoint_takes_coroutines() -> None:
    """What a test with a fake endpoint plans happens to `apredict` as well."""
    endpoint = TritonEndpoint(uri="https://fake.example.com", model_name="big", max_attempts=1)
    model = HybridOnnxModel(models.graded(), endpoint=endpoint)

    async def calls() -> None:
        with fake_endpoint(model, REMOTE) as fake:
            found = await model.ainfer(X, use_azure=True)
            assert_same(found.outputs, HybridOnnxModel(REMOTE).infer(X).outputs)
            fake.fail(503)
            with pytest.raises(EndpointUnavailable):
                await model.apredict(X, use_azure=True)
            assert (await model.ainfer(X, mode="azure_first")).route == "local"

    asyncio.run(calls())


def test_a_refusal_names_its_request() -> None:
    """Errors keep the endpoint, the status and the request id."""
    with FaultyEndpoint(error(400, "no such input")) as server:
        model = HybridOnnxModel(models.linear(), endpoint=server.endpoint())
        with pytest.raises(EndpointRefused, match="no such input") as raised:
            asyncio.run(model.apredict(np.ones((1, 4)), use_azure=True))
        assert raised.value.status == 400
        assert raised.value.request_id


def test_calls_of_one_loop_go_together(server: CountingServer) -> None:
    """With `coalesce_rows`, coroutines share requests, which no thread sends."""
    server.hold_s = 0.02
    rows = np.random.default_rng(2).normal(size=(256, 3)).astype(np.float32)
    wanted = HybridOnnxModel(REMOTE).predict(rows, output="probabilities")

    async def all_of_them(model: HybridOnnxModel) -> list[Any]:
        calls = [model.apredict(row[None], use_azure=True, output="probabilities") for row in rows]
        return await asyncio.gather(*calls)

    with model_of(server, coalesce_rows=256) as model:
        before = threads()
        found = asyncio.run(all_of_them(model))
        assert threads() <= before
        np.testing.assert_array_equal(np.concatenate(found), wanted)
        assert len(server.rows) <= 25
        assert model.stats()["azure.gathered.calls"] == 256


def test_cancelled_rows_are_withdrawn(server: CountingServer) -> None:
    """A call that waits for others' requests and is cancelled is never sent."""
    server.hold_s = 0.2

    async def cancel_most(model: HybridOnnxModel) -> None:
        tasks = [asyncio.ensure_future(model.apredict(X[:1], use_azure=True)) for _ in range(100)]
        while len(server.rows) < 2:
            await asyncio.sleep(0.005)
        for task in tasks[4:]:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(end, asyncio.CancelledError) for end in ends) == 96

    with model_of(server, coalesce_rows=10) as model:
        asyncio.run(cancel_most(model))
        # Those that were under way when the others were cancelled, and what was left.
        assert sum(server.rows) <= 24
        asyncio.run(_answered(model.apredict(X, use_azure=True)))


async def _answered(call: Coroutine[Any, Any, Any]) -> None:
    assert len(await call)
