"""Exported repositories in a real Triton, which runs the exported graphs in its python backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint
from hybridmodel.deploy import export
from hybridmodel.exceptions import EndpointUnavailable
from hybridmodel.serving import TritonServer, triton_access
from hybridmodel.serving.repository import through_python
from hybridmodel.serving.triton_files import unsupported
from tests.support import estimators, models, trees
from tests.support.alike import assert_alike

QUEUE = 2
DELAY_US = 50_000


class Exports(TritonServer):
    """A Triton that serves an exported repository, under its own configuration."""

    repository: Path

    def _write_models(self, repository: Path) -> None:
        for model in self.repository.iterdir():
            through_python(model, repository)

    def _arguments(self, folder: Path) -> list[str]:
        return [*super()._arguments(folder), "--log-verbose=1"]


SOURCES: dict[str, Any] = {
    "linear": models.linear(),
    "strings": models.strings(),
    "zipmap": models.classifier(zipmap=True),
    "two_inputs": models.two_inputs(),
    "lightgbm": trees.made("lightgbm_zipmap"),
    "forest": estimators.made("forest"),
}
ROWS: dict[str, Any] = {
    "linear": trees.X[:5],
    "strings": {"text": np.array(["a", "ü", ""], object)},
    "zipmap": trees.X[:5],
    "two_inputs": {"a": np.ones((3, 2), np.float32), "b": np.arange(3).reshape(3, 1)},
    "lightgbm": trees.X[:5],
    "forest": estimators.X[:5],
    "external": np.ones((2, 3), np.float32),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    """Serve one export of several models, one of them in two versions."""
    reason = unsupported()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("exports")
    models.save_external(models.scaled(np.arange(3.0)), folder / "m.onnx")
    SOURCES["external"] = folder / "m.onnx"
    out = folder / "out"
    for name, source in SOURCES.items():
        wishes = {"cores": 1, "queue_delay_us": DELAY_US} if name == "linear" else {}
        export(HybridOnnxModel(source), out, model_name=name, overwrite=True, **wishes)
    second = models.linear(seed=2)
    export(
        HybridOnnxModel(second),
        out,
        model_name="linear",
        model_version=2,
    )
    slow = HybridOnnxModel(models.loop())
    export(slow, out, model_name="loop", overwrite=True, queue_size=QUEUE)
    versions = {"1": SOURCES["linear"], "2": second}
    made = Exports({**SOURCES, "loop": models.loop(), "linear": versions})
    made.repository = out / "models"
    with made:
        yield made


def together(calls: Iterable[Callable[[], None]]) -> None:
    """Make all calls at the same time."""
    threads = [Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def counts(endpoint: TritonEndpoint) -> tuple[int, int]:
    """Ask Triton for the number of rows that were answered, and of the runs that did it."""
    status, body = triton_access.ask("GET", f"{endpoint.model_url}/stats")
    assert status == 200
    (found,) = json.loads(body)["model_stats"]
    return found["inference_count"], found["execution_count"]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_both_routes_answer_alike(server: Exports, name: str) -> None:
    """The endpoint has the tensors of the local model, and gives the same to the same rows."""
    with HybridOnnxModel(SOURCES[name], endpoint=server.endpoint(name)) as model:
        model.check_endpoint()
        assert_alike(model.predict(ROWS[name]), model.predict(ROWS[name], use_azure=True))


def test_each_version_answers_for_itself(server: Exports) -> None:
    """Version 2 was added beside 1, and both are served."""
    answers = []
    for version, seed in (("1", 0), ("2", 2)):
        endpoint = server.endpoint("linear", model_version=version)
        with HybridOnnxModel(models.linear(seed=seed), endpoint=endpoint) as model:
            answers.append(model.predict(trees.X, use_azure=True))
            np.testing.assert_allclose(answers[-1], model.predict(trees.X), rtol=1e-5, atol=1e-6)
    assert not np.allclose(*answers)


def test_each_model_was_warmed_up(server: Exports) -> None:
    """Triton ran a request of zeros, or of empty texts, before it was ready."""
    for name in ROWS:
        assert f"model '{name}' instance {name}_0_0 is running warmup sample 'zeros'" in server.log


def test_a_full_queue_refuses_at_once(server: Exports) -> None:
    """Two requests run, the queue takes its number, and the others are told so: 503, not 408."""
    endpoint = server.endpoint("loop", max_attempts=1, timeout_s=60.0)
    feeds = {"x": np.ones(3, np.float32), "turns": np.array([200_000])}
    outcomes: list[str] = []

    def ask(model: HybridOnnxModel) -> None:
        try:
            model.predict(feeds, use_azure=True)
            outcomes.append("answered")
        except EndpointUnavailable as error:
            outcomes.append(f"{error.status} {error}")

    with HybridOnnxModel(models.loop(), endpoint=endpoint) as model:
        together(partial(ask, model) for _ in range(8))
    refused = [outcome for outcome in outcomes if outcome != "answered"]
    assert 1 <= len(outcomes) - len(refused) <= 2 + QUEUE
    assert refused
    assert all(text.startswith("503") and "maximum queue size" in text for text in refused)


def test_rows_of_several_requests_are_joined(server: Exports) -> None:
    """Requests wait for each other, and one run of the model answers them, each with its row."""
    endpoint = server.endpoint("linear", model_version="1")
    before = counts(endpoint)
    with HybridOnnxModel(models.linear(), endpoint=endpoint) as model:
        found: dict[int, Any] = {}

        def ask(row: int) -> None:
            found[row] = model.predict(trees.X[row : row + 1], use_azure=True)

        together(partial(ask, row) for row in range(8))
        joined = np.concatenate([found[row] for row in range(8)])
        np.testing.assert_allclose(joined, model.predict(trees.X[:8]), rtol=1e-5, atol=1e-6)
    rows, runs = (after - earlier for after, earlier in zip(counts(endpoint), before, strict=True))
    assert rows == 8
    assert runs < rows
