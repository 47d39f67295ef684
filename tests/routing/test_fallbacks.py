"""Policies with a fallback: when the other route answers, and when it is an error."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

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
    InputMismatch,
    ProtocolError,
)
from hybridmodel.flavor.artifact import read, write
from hybridmodel.routing import (
    AzureFirst,
    Cascade,
    Hedge,
    LocalFirst,
)
from hybridmodel.routing.policies import POLICIES
from hybridmodel.serving import serve
from tests.support import models
from tests.support.faulty import FaultyEndpoint, Script, error, http
from tests.support.two_routes import DEAD, X, assert_same, local_outputs

FAILURES: dict[str, Script] = {
    "503": http(503),
    "429": http(429),
    "gateway's 500": http(500, b"<html>"),
    "closed": lambda connection: connection.close(),
    "408": http(408),
}

NOT_FALLEN_BACK: dict[str, tuple[Script, type[Exception]]] = {
    "refused": (error(400, "bad tensor"), EndpointRefused),
    "401": (http(401), AuthenticationFailed),
    "no model": (http(404), EndpointRefused),
    "web page": (http(200, b"<html>"), ProtocolError),
}


@pytest.mark.parametrize("mode", ["azure_first", "hedge", Cascade(threshold=float("inf"))], ids=str)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_the_local_model_stands_in_for_an_endpoint_that_cannot_answer(
    mode: Any, failure: Script
) -> None:
    """After one request and no pause, and each row names the error."""
    with FaultyEndpoint(failure) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint(max_attempts=5))
        model.client._retrier.sleep = pytest.fail
        answer = model.infer(X, mode=mode if mode != "hedge" else Hedge(delay_s=20))
        assert len(faulty.requests) == 1
    assert_same(answer.outputs, local_outputs())
    assert answer.route == "local"
    assert set(answer.reasons) <= {"EndpointUnavailable", "RateLimited", "EndpointTimeout"}


@pytest.mark.parametrize("mode", ["azure_first", "hedge", Cascade(threshold=float("inf"))], ids=str)
@pytest.mark.parametrize(("failure", "kind"), NOT_FALLEN_BACK.values(), ids=NOT_FALLEN_BACK)
def test_nothing_else_falls_back(mode: Any, failure: Script, kind: type[Exception]) -> None:
    """Nobody would notice a refusal, a wrong key or a wrong server otherwise."""
    with FaultyEndpoint(failure) as faulty, pytest.raises(kind):
        HybridOnnxModel(models.graded(), endpoint=faulty.endpoint()).predict(
            X, mode=mode if mode != "hedge" else Hedge(delay_s=20)
        )


@pytest.mark.parametrize("mode", sorted(POLICIES.keys() - {"budget", "cascade"}))
def test_the_callers_mistake_is_an_error_in_every_mode(model: HybridOnnxModel, mode: str) -> None:
    """Data that does not fit falls back to nothing."""
    with pytest.raises(InputMismatch):
        model.predict(X[:, :2], mode=mode)


def test_use_azure_never_falls_back() -> None:
    """Also not on a model that was made with a policy that would."""
    model = HybridOnnxModel(models.graded(), endpoint=DEAD, routing="azure_first")
    assert_same(model.infer(X).outputs, local_outputs())
    for asked in ({"use_azure": True}, {"mode": "azure"}):
        with pytest.raises(EndpointUnavailable):
            model.predict(X, timeout=2, **asked)


def test_a_silent_endpoint_leaves_time_for_the_local_model() -> None:
    """`azure_first` gives it its share of the time and ends before the deadline of the call."""
    with FaultyEndpoint(lambda connection: time.sleep(5)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint())
        started = time.monotonic()
        answer = model.infer(X, mode=AzureFirst(patience=0.5), timeout=1.0)
        assert time.monotonic() - started < 1.0
    assert set(answer.reasons) == {"EndpointTimeout"}


def test_an_open_breaker_costs_nothing() -> None:
    """While the endpoint is left alone nothing is sent, and the local model answers."""
    with FaultyEndpoint(http(503)) as faulty:
        endpoint = faulty.endpoint(breaker_failures=1)
        model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing="azure_first")
        reasons = [set(model.infer(X).reasons) for _ in range(3)]
        assert len(faulty.requests) == 1
    assert reasons == [{"EndpointUnavailable"}, {"CircuitOpen"}, {"CircuitOpen"}]
    assert model.stats()["fallback.calls"] == 3
    with pytest.raises(CircuitOpen):
        model.predict(X, use_azure=True)


def test_falling_back_is_told_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is one warning, not one for each call; the next outage is another."""
    good = http(
        200,
        b'{"outputs":[{"name":"label","datatype":"INT64","shape":[1],"data":[1]},'
        b'{"name":"probabilities","datatype":"FP32","shape":[1,3],"data":[0,1,0]}]}',
    )
    with FaultyEndpoint(http(503), http(503), good, http(503)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint(), routing="azure_first")
        for _ in range(4):
            model.predict(X[:1])
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 2
    assert "the local model answers instead of the endpoint" in told[0].message


def test_the_endpoint_stands_in_for_a_local_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Its weights are gone since it was saved: `local_first` asks the endpoint, `local` raises."""
    models.save_external(onnx.load_from_string(models.linear()), tmp_path / "linear.onnx")
    with serve({"linear": models.linear()}) as running:
        endpoint = running.endpoint("linear")
        write(HybridOnnxModel(tmp_path / "linear.onnx", endpoint=endpoint), tmp_path / "saved")
        model = read(tmp_path / "saved")
        (tmp_path / "saved" / "weights.bin").unlink()
        rows = np.ones((2, 4), np.float32)
        answer = model.infer(rows, mode=LocalFirst())
        with pytest.raises(ConfigurationError):
            model.predict(rows, mode="local")
    assert answer.route == "azure"
    assert_same(answer.outputs, HybridOnnxModel(models.linear()).infer(rows).outputs)


def test_a_slow_endpoint_is_overtaken() -> None:
    """After the delay `hedge` runs the local model, and does not wait for the endpoint."""
    release = threading.Event()
    with FaultyEndpoint(lambda connection: release.wait(20)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint())
        answer = model.infer(X, mode=Hedge(delay_s=0.05))
        release.set()
    assert_same(answer.outputs, local_outputs())
    assert set(answer.reasons) == {"slow endpoint"}
    assert model.stats()["hedge.calls"] == 1


def test_timeouts_bound_every_mode() -> None:
    """A silent endpoint ends each call at its deadline, or before it with the local answer."""
    with FaultyEndpoint(lambda connection: time.sleep(5)) as faulty:
        model = HybridOnnxModel(models.graded(), endpoint=faulty.endpoint(breaker_failures=None))
        for mode in ("azure", "azure_first", "local_first", Hedge(0.05), Cascade(threshold=1.0)):
            started = time.monotonic()
            try:
                model.predict(X, mode=mode, timeout=0.5)
            except EndpointTimeout:
                assert mode == "azure"
            assert time.monotonic() - started < 1.0
