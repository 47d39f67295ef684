"""Shadow mode: the answer is that of one route, and the other is compared with it."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import EndpointUnavailable, HybridOnnxModel, InputMismatch, TritonEndpoint
from hybridmodel.routing import Shadow, shadowing
from hybridmodel.serving import EmbeddedServer, TritonServer
from tests.support import models
from tests.support.faulty import FaultyEndpoint, Script, error, http
from tests.support.shadowing import (
    LIMIT_S,
    Array,
    Held,
    Shadows,
    X,
    raise_error,
    wait_until,
)


@pytest.mark.parametrize("route", ["local", "azure"])
def test_the_answer_is_that_of_the_named_route(shadows: Shadows, route: str) -> None:
    """The answer of either route is exactly what it gives alone, and is counted as one answer."""
    shadow = shadows(models.linear(), "other")
    answer = shadow.ask(X, Shadow(answer=route))
    alone = shadow.local.run({"x": X}, ("y",))["y"]
    remote = shadow.client.infer({"x": X}, ["y"], rows=len(X)).outputs["y"]
    assert not np.array_equal(alone, remote)
    assert answer.route == route
    assert np.array_equal(answer.outputs["y"], alone if route == "local" else remote)
    shadow.runner.wait(LIMIT_S)
    assert shadow.counters.totals() == {f"{route}.calls": 1, f"{route}.rows": 50}


@pytest.mark.parametrize("route", ["local", "azure"])
@pytest.mark.parametrize("remote", ["linear", "other"])
def test_the_comparison_does_not_depend_on_which_route_answers(
    shadows: Shadows, route: str, remote: str
) -> None:
    """Every row is compared, and the latencies of both routes are known."""
    shadow = shadows(models.linear(), remote)
    expected = shadow.local.run({"x": X}, ("y",))["y"]
    other = shadow.client.infer({"x": X}, ["y"], rows=50).outputs["y"]
    for _ in range(3):
        shadow.ask(X, Shadow(answer=route))
    agreed = 3 * int((expected.argmax(axis=1) == other.argmax(axis=1)).sum())
    assert shadow.stats() == {
        "shadow.calls": 3,
        "shadow.rows": 150,
        "shadow.agreed": agreed,
        "shadow.pending": 0,
    }
    summary = shadow.runner.comparison.summary()
    assert (summary.agreement == 1) == (remote == "linear")
    assert {name: item.calls for name, item in summary.latency.items()} == {"local": 3, "azure": 3}
    assert summary.outputs[0].max_abs_diff == pytest.approx(np.abs(expected - other).max())


def test_labels_of_a_frame_are_kept(shadows: Shadows) -> None:
    """Rows that disagree carry the labels of the caller's frame, and both answers."""
    shadow = shadows(models.linear(), "other")
    frame = pd.DataFrame(X, index=[f"customer {row}" for row in range(50)])
    answer = shadow.ask(frame, Shadow()).outputs["y"]
    shadow.runner.wait(LIMIT_S)
    row = shadow.runner.comparison.summary().first[0]
    assert row.label == f"customer {row.position}"
    assert row.local["y"] == pytest.approx(answer[row.position].tolist())


def test_only_the_asked_outputs_are_compared(shadows: Shadows) -> None:
    """The other route is asked for the same outputs."""
    shadow = shadows(models.classifier(), "classifier")
    shadow.ask(X, Shadow(), outputs=("probabilities",))
    shadow.stats()
    summary = shadow.runner.comparison.summary()
    assert [item.name for item in summary.outputs] == ["probabilities"]
    assert summary.agreement == 1


@pytest.mark.parametrize(
    ("name", "model", "data"),
    [
        ("strings", models.strings(), np.array(["a", "äöü", ""], object)),
        ("two_inputs", models.two_inputs(), {"a": X[:, :2], "b": np.ones((50, 1), np.int64)}),
        ("fixed", models.identity("FP32", (2, 3)), np.ones((2, 3), np.float32)),
        ("zipmap", models.classifier(zipmap=True), X),
    ],
)
def test_all_kinds_of_models(shadows: Shadows, name: str, model: bytes, data: Any) -> None:
    """Strings, several inputs, calls without rows and maps are compared like the rest."""
    shadow = shadows(model, name)
    shadow.ask(data, Shadow())
    stats = shadow.stats()
    assert stats["shadow.agreed"] == stats["shadow.rows"] > 0


def test_the_data_belongs_to_the_caller_afterwards(shadows: Shadows, held: Held) -> None:
    """What the caller does to its data and to the answer is not seen by the comparison."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint())
        data = X.copy()
        expected = shadow.local.run({"x": X}, ("y",))["y"].argmax(axis=1)
        answer = shadow.ask(data, Shadow()).outputs["y"]
        data[:] = answer[:] = np.nan
        held.may.set()
        stats = shadow.stats()
        assert stats["shadow.agreed"] == int((expected == 0).sum())
        body = faulty.requests[-1]
    assert X.tobytes() in body


def test_the_answer_does_not_wait(shadows: Shadows, held: Held) -> None:
    """While the other route is silent, callers get answers, some calls wait, and more are shed."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint())
        for _ in range(10):
            shadow.ask(X, Shadow(max_pending=4))
        assert held.asked.wait(LIMIT_S)
        assert shadow.runner.stats() == {"shadow.shed": 6, "shadow.pending": 4}
        assert not shadow.runner.wait(0.01)
        held.may.set()
        stats = shadow.stats()
    assert (stats["shadow.calls"], stats["shadow.shed"], stats["shadow.pending"]) == (4, 6, 0)
    assert shadow.counters.totals()["local.calls"] == 10


@pytest.mark.parametrize(
    ("model", "name", "data"),
    [
        (models.linear(), "linear", X),
        (models.strings(), "strings", np.array(["x" * 200, "y" * 300], object)),
    ],
)
def test_waiting_data_is_bounded(
    shadows: Shadows, monkeypatch: pytest.MonkeyPatch, model: bytes, name: str, data: Array
) -> None:
    """A call with more data than may wait is shed, texts included."""
    shadow = shadows(model, name)
    monkeypatch.setattr(shadowing, "MAX_PENDING_BYTES", 1_000)
    shadow.ask(data, Shadow())
    assert shadow.stats() == {"shadow.shed": 1, "shadow.pending": 0}
    shadow.ask(data[:1], Shadow())
    assert shadow.stats()["shadow.calls"] == 1


def test_room_is_given_back(shadows: Shadows, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was compared no longer counts: any number of calls fit, one after the other."""
    shadow = shadows(models.linear(), "linear")
    monkeypatch.setattr(shadowing, "MAX_PENDING_BYTES", 2 * (X.nbytes + 50 * 2 * 4))
    for calls in range(1, 6):
        shadow.ask(X, Shadow(max_pending=1))
        assert shadow.stats() == shadow.stats() | {"shadow.calls": calls}
    assert "shadow.shed" not in shadow.stats()


@pytest.mark.parametrize(("share", "compared"), [(0.0, 0), (0.3, 3), (1.0, 10)])
def test_a_share_of_the_calls_is_compared(shadows: Shadows, share: float, compared: int) -> None:
    """The random number decides, and what is left out is not counted as shed."""
    draws = iter(np.arange(10) / 10)
    shadow = shadows(models.linear(), "linear", random=lambda: next(draws))
    for _ in range(10):
        shadow.ask(X, Shadow(share=share))
    stats = shadow.stats()
    assert stats.get("shadow.calls", 0) == compared
    assert "shadow.shed" not in stats


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (error(503, "busy"), "EndpointUnavailable"),
        (error(400, "no"), "EndpointRefused"),
        (error(401, "who"), "AuthenticationFailed"),
        (http(200, b"{}"), "ProtocolError"),
    ],
)
def test_an_error_of_the_other_route_is_counted_and_logged_once(
    shadows: Shadows, caplog: pytest.LogCaptureFixture, script: Script, kind: str
) -> None:
    """The caller gets the answer; the first error of a kind is a warning, then a detail."""
    with FaultyEndpoint(script) as faulty, caplog.at_level(logging.DEBUG, "hybridmodel"):
        shadow = shadows(models.linear(), faulty.endpoint(max_attempts=3))
        for _ in range(3):
            assert shadow.ask(X, Shadow()).outputs["y"].shape == (50, 2)
            shadow.runner.wait(LIMIT_S)
        asked = sum(b"/infer" in request for request in faulty.requests)
    assert shadow.stats() == {"shadow.failed": 3, f"shadow.failed.{kind}": 3, "shadow.pending": 0}
    assert asked == 3, "the background does not try again"
    said = [record.levelname for record in caplog.records if "shadow mode" in record.message]
    assert said == ["WARNING", "DEBUG", "DEBUG"]


def test_a_local_model_that_breaks_is_counted(shadows: Shadows) -> None:
    """When the endpoint answers, an error of the local model is only counted."""
    output = {"name": "y", "datatype": "FP32", "shape": [1], "data": [7.0]}
    with FaultyEndpoint(http(200, json.dumps({"outputs": [output]}).encode())) as faulty:
        shadow = shadows(models.lookup(), faulty.endpoint())
        assert shadow.ask(np.array([99]), Shadow(answer="azure")).outputs["y"].tolist() == [7.0]
        stats = shadow.stats()
    assert stats["shadow.failed"] == 1
    assert "shadow.rows" not in stats


@pytest.mark.parametrize(
    ("route", "data", "kind"),
    [("azure", np.array([1]), EndpointUnavailable), ("local", np.array([99]), InputMismatch)],
)
def test_an_error_of_the_answering_route_is_the_callers(
    shadows: Shadows, route: str, data: Array, kind: type[Exception]
) -> None:
    """Shadow mode has no fallback: the named route answers or it is an error, and nothing waits."""
    with FaultyEndpoint(error(503, "busy")) as faulty:
        shadow = shadows(models.lookup(), faulty.endpoint())
        with pytest.raises(kind):
            shadow.ask(data, Shadow(answer=route))
        assert shadow.stats() == {}


def test_a_comparison_that_cannot_begin_is_no_error(
    shadows: Shadows, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory for the copies the caller still gets the answer, and there is room later."""
    shadow = shadows(models.linear(), "linear")
    with monkeypatch.context() as patched:
        patched.setattr(shadowing, "_copied", lambda *_: raise_error(MemoryError("full")))
        assert shadow.ask(X, Shadow(max_pending=1)).route == "local"
    assert "full" in caplog.text
    shadow.ask(X, Shadow(max_pending=1))
    assert shadow.stats()["shadow.calls"] == 1


def test_the_background_has_the_endpoints_time(shadows: Shadows, held: Held) -> None:
    """The other route gets the endpoint's timeout, not what was left of the caller's."""
    with FaultyEndpoint(held.script) as faulty:
        shadow = shadows(models.linear(), faulty.endpoint(timeout_s=0.2))
        shadow.ask(X, Shadow(), timeout_s=1000.0)
        stats = shadow.stats()
    assert stats["shadow.failed.EndpointTimeout"] == 1


@pytest.mark.parametrize("kind", ["server", "triton"])
def test_through_the_model(kind: str, request: pytest.FixtureRequest) -> None:
    """`HybridOnnxModel` answers in shadow mode when told so by call or when made."""
    running: EmbeddedServer | TritonServer = request.getfixturevalue(kind)
    endpoint = TritonEndpoint(uri=running.uri, model_name="linear", auth_key_env=None)
    with HybridOnnxModel(models.linear(), endpoint=endpoint, routing=Shadow()) as model:
        answer = model.infer(X)
        assert answer.route == "local"
        assert model.infer(X, mode=Shadow(answer="azure")).route == "azure"
        wait_until(lambda: model.stats().get("shadow.rows") == 100)
        stats = model.stats()
        assert model.comparison.summary().agreement == 1
    assert (stats["shadow.agreed"], stats["local.rows"], stats["azure.rows"]) == (100, 50, 50)
