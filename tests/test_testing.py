"""`hybridmodel.testing`: a fake endpoint behaves as a real one does, and touches no network."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest

from hybridmodel import (
    AuthenticationFailed,
    CircuitOpen,
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    RateLimited,
    SpecMismatch,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.routing import Cascade, Hedge, Shadow
from hybridmodel.testing import fake_endpoint
from tests.support import models
from tests.support.paths import ROOT

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
ENDPOINT = TritonEndpoint(
    uri="https://fake.example.com", model_name="big", auth_key_env="NO_SUCH_KEY"
)
BIG = models.graded(-1.0)
INFINITE = float("inf")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing connect, and no name be looked up."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def graded(**options: Any) -> HybridOnnxModel:
    """Make the small model, whose endpoint has the big one."""
    return HybridOnnxModel(models.graded(), endpoint=ENDPOINT.with_overrides(**options))


@pytest.fixture
def model() -> HybridOnnxModel:
    """Return the small model."""
    return graded()


def small() -> dict[str, np.ndarray[Any, Any]]:
    """Answer as the small model does."""
    return HybridOnnxModel(models.graded()).infer(X).outputs


def big(rows: Any = X) -> dict[str, np.ndarray[Any, Any]]:
    """Answer as the big model does."""
    return HybridOnnxModel(BIG).infer(rows).outputs


def assert_same(found: Any, wanted: Any) -> None:
    """Hold two answers against each other, to the bit."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable


def test_the_local_model_answers_where_nothing_is_said(model: HybridOnnxModel) -> None:
    """By the remote route, and what was asked can be looked at."""
    with fake_endpoint(model) as fake:
        answer = model.infer(X, use_azure=True)
    assert (answer.route, answer.attempts, answer.model_version) == ("azure", 1, "1")
    assert_same(answer.outputs, model.infer(X).outputs)
    (request,) = fake.requests
    assert_same(request.inputs, {"x": X})
    assert request.outputs == ("label", "probabilities")
    assert request.url == f"{ENDPOINT.model_url}/infer"
    assert request.headers["x-ms-client-request-id"] == answer.request_id
    assert request.at_s == 0


@pytest.mark.parametrize(
    "given",
    [
        lambda path: BIG,
        lambda path: path,
        lambda path: str(path),
        lambda path: onnx.load_from_string(BIG),
        lambda path: HybridOnnxModel(BIG),
        lambda path: lambda inputs: big(inputs["x"]),
        lambda path: big(),
    ],
    ids=["bytes", "path", "text", "proto", "model", "function", "arrays"],
)
@pytest.mark.parametrize("binary", [None, True, False])
def test_every_kind_of_answer(
    given: Callable[[Path], Any], binary: bool | None, tmp_path: Path
) -> None:
    """An ONNX model in any form, a function and arrays answer alike, as binary and as JSON."""
    path = tmp_path / "big.onnx"
    path.write_bytes(BIG)
    model = graded(binary=binary)
    with fake_endpoint(model, answer=given(path)):
        assert_same(model.infer(X, use_azure=True).outputs, big())


def test_one_output_needs_no_name() -> None:
    """A lone array, list or column of texts is the answer where one output was asked for."""
    model = HybridOnnxModel(models.strings(), endpoint=ENDPOINT)
    with fake_endpoint(model, answer=lambda inputs: [text.upper() for text in inputs["text"]]):
        assert model.predict(np.array(["a", "ü"]), use_azure=True).tolist() == ["A", "Ü"]
    both = graded()
    with fake_endpoint(both, answer=np.zeros(6, np.int64)):
        assert both.predict(X, use_azure=True, output="label").tolist() == [0] * 6
        with pytest.raises(ConfigurationError, match="label, probabilities; answer with a dict"):
            both.predict(X, use_azure=True)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"probabilities": np.zeros((6, 3))}, SpecMismatch, "float64 came, float32 was expected"),
        ({"probabilities": np.zeros((5, 3), np.float32)}, SpecMismatch, "5 rows came, 6 were sent"),
        ({"probabilities": np.zeros((6, 2), np.float32)}, SpecMismatch, "shape"),
        ({"more": np.zeros(6)}, SpecMismatch, "'more': the local model does not have it"),
        ({"label": ["a"] * 6}, SpecMismatch, "'label': object came, int64 was expected"),
        ({"label": np.zeros(6, complex)}, ConfigurationError, "'label' is complex128"),
        ({"label": [None] * 6}, ConfigurationError, "'label' is object"),
        ({"label": [[1], [1, 2]]}, ConfigurationError, "'label' is not an array"),
    ],
    ids=range(8),
)
def test_the_mistakes_of_a_fake_show(
    model: HybridOnnxModel, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    """What no endpoint of this model would answer is not let through."""
    with fake_endpoint(model, answer={**big(), **change}), pytest.raises(error, match=said):
        model.predict(X, use_azure=True)


def test_a_missing_output_shows_and_one_too_many_is_left_out(model: HybridOnnxModel) -> None:
    """As a server does, the fake sends what was asked for, if it has it."""
    label = {"label": np.zeros(6, np.int64)}
    with fake_endpoint(model, label), pytest.raises(SpecMismatch, match="'probabilities': missing"):
        model.predict(X, use_azure=True)
    with fake_endpoint(model, answer=big()):
        assert model.predict(X, use_azure=True, output="label").tolist() == big()["label"].tolist()


def test_an_error_of_the_test_s_own_function_reaches_the_test(model: HybridOnnxModel) -> None:
    """It is neither retried nor taken for the endpoint's."""

    def broken(inputs: Any) -> Any:
        raise ZeroDivisionError("mine")

    with fake_endpoint(model, answer=broken) as fake:
        with pytest.raises(ZeroDivisionError, match="mine"):
            model.predict(X, mode="azure_first")
        assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("status", "message", "error", "attempts"),
    [
        (400, "bad tensor", EndpointRefused, 1),
        (401, None, AuthenticationFailed, 1),
        (403, None, AuthenticationFailed, 1),
        (404, None, EndpointRefused, 1),
        (429, None, RateLimited, 3),
        (500, None, EndpointUnavailable, 3),
        (500, "out of memory", EndpointRefused, 1),
        (503, "queue full", EndpointUnavailable, 3),
        (504, None, EndpointTimeout, 1),
    ],
)
def test_statuses_mean_what_they_do_of_a_real_endpoint(
    model: HybridOnnxModel,
    status: int,
    message: str | None,
    error: type[EndpointUnavailable],
    attempts: int,
) -> None:
    """The same error, after as many attempts, with the words of the server."""
    with fake_endpoint(model) as fake:
        fake.fail(status, message=message)
        with pytest.raises(error, match=message or str(status)) as caught:
            model.predict(X, use_azure=True)
    assert type(caught.value) is error
    assert caught.value.status == status
    assert caught.value.attempts == len(fake.requests) == attempts
    assert caught.value.endpoint == ENDPOINT.model_url


def test_pauses_are_made_in_no_time(model: HybridOnnxModel) -> None:
    """What the server asks to wait is waited by the fake's time, within the call's deadline."""
    started = time.monotonic()
    with fake_endpoint(model) as fake:
        fake.fail(503, times=1, headers={"Retry-After": "20"})
        fake.disconnect(times=1)
        fake.slow(5, times=1)
        assert model.infer(X, use_azure=True, timeout=60).attempts == 3
        fake.fail(429, times=1, headers={"Retry-After": "20"})
        with pytest.raises(RateLimited) as caught:
            model.predict(X, use_azure=True, timeout=10)
    assert caught.value.retry_after_s == 20
    first, second, third, _ = [request.at_s for request in fake.requests]
    assert second - first >= 20
    assert third - second <= 1
    assert time.monotonic() - started < 5


def test_no_connection_and_no_answer() -> None:
    """Both are unavailable, the one at once and three times, the other after all of the time."""
    model = graded(breaker_failures=None)
    with fake_endpoint(model) as fake:
        fake.disconnect()
        with pytest.raises(EndpointUnavailable, match="no connection"):
            model.predict(X, use_azure=True)
        fake.time_out()
        with pytest.raises(EndpointTimeout, match="within the deadline of 60 s"):
            model.predict(X, use_azure=True, timeout=60)
        fake.slow(20)
        with pytest.raises(EndpointTimeout):
            model.predict(X, use_azure=True, timeout=20)
        assert model.infer(X, use_azure=True, timeout=21).attempts == 1
    assert len(fake.requests) == 6


def test_what_is_said_for_some_requests_comes_first(model: HybridOnnxModel) -> None:
    """In its order; then holds what was said last for all, until `recover`."""
    with fake_endpoint(model) as fake:
        fake.fail(404)
        fake.fail(503, times=2)
        fake.fail(401, times=1)
        with pytest.raises(AuthenticationFailed):
            model.predict(X, use_azure=True)
        for _ in range(2):
            with pytest.raises(EndpointRefused):
                model.predict(X, use_azure=True)
        fake.fail(503, times=2)
        fake.recover()
        assert model.infer(X, use_azure=True).attempts == 1


def test_an_open_circuit_closes_when_time_has_passed(model: HybridOnnxModel) -> None:
    """After five failures nothing is asked, ten seconds later one request is."""
    with fake_endpoint(model) as fake:
        fake.disconnect()
        for _ in range(5):
            assert model.infer(X, mode="azure_first").route == "local"
        with pytest.raises(CircuitOpen):
            model.predict(X, use_azure=True)
        assert len(fake.requests) == 5
        fake.recover()
        fake.advance(10)
        assert model.infer(X, mode="azure_first").route == "azure"
        fake.disconnect(times=5)
        for _ in range(5):
            model.infer(X, mode="azure_first")
        assert model.stats()["azure.circuit_open"] == 1
    with fake_endpoint(model) as another:
        assert model.infer(X, use_azure=True).route == "azure"
        assert len(another.requests) == 1
    assert model.client.stats()["circuit_open"] == 0


def fail(fake: Any) -> None:
    """Say that the endpoint is full."""
    fake.fail(503)


@pytest.mark.parametrize(
    "trouble",
    [fail, lambda fake: fake.disconnect(), lambda fake: fake.time_out()],
    ids=["503", "no connection", "no answer"],
)
@pytest.mark.parametrize(
    "mode", ["azure_first", Hedge(delay_s=2), Cascade(threshold=INFINITE)], ids=str
)
def test_the_local_model_stands_in(
    model: HybridOnnxModel, mode: Any, trouble: Callable[[Any], None]
) -> None:
    """In every mode that has it stand in, after one request; then the endpoint answers again."""
    with fake_endpoint(model, answer=BIG) as fake:
        trouble(fake)
        assert_same(model.infer(X, mode=mode).outputs, small())
        assert len(fake.requests) == 1
        fake.recover()
        assert_same(model.infer(X, mode=mode).outputs, big())


def test_a_hedge_does_not_wait_for_a_slow_answer(model: HybridOnnxModel) -> None:
    """It waits for its delay; an answer that takes less is taken."""
    with fake_endpoint(model, answer=BIG) as fake:
        fake.slow(60, times=1)
        started = time.monotonic()
        answer = model.infer(X, mode=Hedge(delay_s=0.05))
        assert (answer.route, set(answer.reasons)) == ("local", {"slow endpoint"})
        assert time.monotonic() - started < 5
        fake.slow(0.01)
        assert model.infer(X, mode=Hedge(delay_s=20)).route == "azure"


def test_a_cascade_sends_the_rows_that_it_is_not_sure_of(model: HybridOnnxModel) -> None:
    """And the fake answers those rows."""
    with fake_endpoint(model, answer=BIG) as fake:
        scores = model.infer(X, mode=Cascade(threshold=0.0)).scores
        answer = model.infer(X, mode=Cascade(threshold=float(np.median(scores))))
    assert answer.route == "mixed"
    sent = answer.routes == "azure"
    np.testing.assert_array_equal(fake.requests[0].inputs["x"], X[sent])
    np.testing.assert_array_equal(answer.outputs["label"][sent], big()["label"][sent])


@pytest.mark.parametrize("by", ["local", "azure"])
def test_a_shadow_is_compared_within_the_block(model: HybridOnnxModel, by: str) -> None:
    """`wait` waits for it, what it found out belongs to this fake, and failures are counted."""
    with fake_endpoint(model, answer=BIG) as fake:
        for _ in range(3):
            model.predict(X, mode=Shadow(answer=by))
        assert fake.wait()
        assert len(fake.requests) == model.stats()["shadow.calls"] == 3
        if by == "local":
            fake.fail(503)
            model.predict(X, mode=Shadow())
    assert len(fake.requests) == 3 + (by == "local")
    assert "shadow.calls" not in model.stats()


def test_what_comes_too_late_does_not_reach_the_real_endpoint(model: HybridOnnxModel) -> None:
    """A comparison that is still waiting when the block ends fails, and asks nobody."""
    may, asked = threading.Event(), threading.Event()

    def answer(inputs: Any) -> Any:
        asked.set()
        may.wait(20)
        return big(inputs["x"])

    with fake_endpoint(model, answer=answer) as fake:
        fake.wait = lambda timeout_s=0.0: False
        for _ in range(2):
            model.predict(X, mode=Shadow())
        comparison = model.comparison
        assert asked.wait(20)
    may.set()
    until = time.monotonic() + 20
    while comparison.counts().get("failed.ConfigurationError") != 1:
        assert time.monotonic() < until, comparison.counts()
        time.sleep(0.01)
    assert len(fake.requests) == 1


def test_no_key_is_needed_and_none_is_recorded(
    model: HybridOnnxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where the variable is missing, nor where it is set, nor is a credential asked."""
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY"):
        model.predict(X, use_azure=True)
    monkeypatch.setenv("NO_SUCH_KEY", "a-secret-key")
    asking = HybridOnnxModel(models.graded(), endpoint=ENDPOINT, credential=pytest.fail)
    for each in (model, asking):
        with fake_endpoint(each) as fake:
            each.predict(X, use_azure=True)
        assert "authorization" not in {name.lower() for name in fake.requests[0].headers}
        assert "a-secret-key" not in repr(fake.requests)


def test_the_model_is_afterwards_what_it_was(model: HybridOnnxModel) -> None:
    """Its client, its counts, and that also when the test fails."""
    client = model.client
    model.predict(X)
    before = model.stats()
    with suppress(ZeroDivisionError), fake_endpoint(model):
        assert "local.calls" not in model.stats()
        model.predict(X, use_azure=True)
        assert (model.stats()["azure.calls"], model.client is client) == (1, False)
        raise ZeroDivisionError
    assert model.client is client
    assert model.stats() == before
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY"):
        model.predict(X, use_azure=True)


def test_models_made_in_the_block_ask_the_fake(tmp_path: Path) -> None:
    """Made or loaded, by MLflow as well; when it has ended, they ask nobody."""
    save_model(graded(), tmp_path / "saved")
    with fake_endpoint(answer=BIG) as fake:
        made = graded()
        loaded = load_model(tmp_path / "saved")
        wrapped = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
        for each in (made, loaded):
            assert_same(each.infer(X, use_azure=True).outputs, big())
        wrapped.predict(X, params={"use_azure": True})
        assert len(fake.requests) == 3
    with pytest.raises(ConfigurationError, match="block of this model's fake endpoint has ended"):
        made.predict(X, use_azure=True)
    with pytest.raises(ConfigurationError, match="NO_SUCH_KEY"):
        graded().predict(X, use_azure=True)


def test_large_calls_are_cut_as_they_are_for_a_real_endpoint() -> None:
    """Ten rows of which four may be sent at a time are three requests."""
    model = graded(max_batch_size=4)
    rows = np.vstack([X, X[:4]])
    with fake_endpoint(model, answer=BIG) as fake:
        assert_same(model.infer(rows, use_azure=True).outputs, big(rows))
    assert sorted(len(request.inputs["x"]) for request in fake.requests) == [2, 4, 4]


def test_metadata_and_readiness_are_those_of_the_answer(model: HybridOnnxModel) -> None:
    """They fail as requests for an answer do, but do not count among them."""
    with fake_endpoint(model, answer=models.two_outputs()) as fake:
        with pytest.raises(SpecMismatch, match="total"):
            model.check_endpoint()
        with pytest.raises(EndpointRefused, match="the model failed"):
            model.predict(X, use_azure=True)
    with fake_endpoint(model) as fake:
        assert model.check_endpoint().output_names == ("label", "probabilities")
        fake.fail(503, times=1)
        assert not model.client.is_ready()
        assert not model.client.is_ready()
        with pytest.raises(EndpointUnavailable):
            model.check_endpoint()
        assert model.infer(X, use_azure=True).attempts == 2
        assert model.client.is_ready()


def test_threads_may_share_a_fake(model: HybridOnnxModel) -> None:
    """So many failures are so many, whoever gets them."""
    with fake_endpoint(model) as fake:
        fake.fail(503, times=3)
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda _: model.infer(X, mode="azure_first"), range(16)))
        assert model.stats()["fallback.calls"] == 3
        assert len(fake.requests) == 16


@pytest.mark.parametrize(
    "wrong",
    [
        lambda fake: fake.fail(200),
        lambda fake: fake.fail("503"),
        lambda fake: fake.fail(503, times=0),
        lambda fake: fake.disconnect(times=True),
        lambda fake: fake.slow(-1),
        lambda fake: fake.advance(0),
        lambda fake: fake.__enter__(),
    ],
    ids=range(7),
)
def test_what_cannot_be_meant_is_an_error(
    model: HybridOnnxModel, wrong: Callable[[Any], Any]
) -> None:
    """At once, and not in a later request."""
    with fake_endpoint(model) as fake, pytest.raises(ConfigurationError):
        wrong(fake)


def test_only_a_model_with_an_endpoint_has_a_fake_one() -> None:
    """Another object and a model without an endpoint are named."""
    with pytest.raises(ConfigurationError, match="not a str"):
        fake_endpoint("model.onnx")
    with pytest.raises(ConfigurationError, match="no endpoint"):
        fake_endpoint(HybridOnnxModel(models.graded()))


def test_the_page_s_test_file_runs_as_written(tmp_path: Path) -> None:
    """docs/testing.md is a test file that passes."""
    page = (ROOT / "docs" / "testing.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_fallback.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
