"""``mlflow deployments``: run-local and predict, in rehearsals and at the endpoint of a URL."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.deployments import PredictionsResponse, run_local
from mlflow.exceptions import MlflowException

from hybridmodel import load_model
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.deploy.mlflow_target.asking import _with_rows, plain
from hybridmodel.deploy.rehearsal.control import Control, files_of
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.remote.client import EndpointClient
from tests.support.azure_exports import COLUMNS, save
from tests.support.command_line import frame
from tests.support.mlflow_target import (
    ENDPOINT,
    cli,
    client,
    make_endpoint,
    plugin,
    refused,
    run,
    write_package,
)
from tests.support.paths import ROOT
from tests.support.rehearsing import HOST

__all__ = ["plugin"]  # A fixture for all tests here.

STATE, INVALID, NOT_THERE = "INVALID_STATE", "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"
URL = f"https://{HOST}/v2/models/digits"
UPDATE = ("--endpoint", ENDPOINT, "-C")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save the models of blue and green."""
    folder = tmp_path_factory.mktemp("models")
    return {name: save(folder / name, seed) for seed, name in enumerate(("blue", "green"))}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, saved: dict[str, Path]) -> Path:
    """Make an endpoint with two deployments."""
    return make_endpoint(tmp_path_factory.mktemp("target"), saved["blue"], saved["green"])


@pytest.fixture(scope="module")
def running(target: Path) -> Iterator[Rehearsal]:
    """Rehearse the endpoint, all traffic to blue."""
    with rehearse(target / ENDPOINT, server="embedded") as one:
        yield one


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Write rows as JSON."""
    path = tmp_path / "rows.json"
    frame().to_json(path, orient="records")
    return path


def expected(saved: Path, data: Any) -> Any:
    """Predict with the local model."""
    return load_model(saved).predict(data)


def close(found: Any, wanted: Any) -> None:
    """Compare predictions, which went through JSON's numbers."""
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "by"),
    [
        (("--endpoint", ENDPOINT), "blue"),
        (("--name", f"{ENDPOINT}/blue"), "blue"),
        (("--name", f"{ENDPOINT}/green"), "green"),
    ],
)
def test_predict(
    words: tuple[str, str],
    by: str,
    target: Path,
    saved: dict[str, Path],
    running: Rehearsal,
    rows: Path,
) -> None:
    """An endpoint is asked by its traffic, a deployment by its name; numbers are the model's."""
    said = PredictionsResponse.from_json(cli("predict", target, *words, "-I", rows))
    found = said.get_predictions()
    assert list(found) == ["y_0", "y_1"]
    close(found, expected(saved[by], frame()))
    assert said["model_version"] == "1"


def test_predict_into_a_file(target: Path, running: Rehearsal, rows: Path, tmp_path: Path) -> None:
    """MLflow writes the answer to a file."""
    cli("predict", target, "--endpoint", ENDPOINT, "-I", rows, "-O", tmp_path / "out.json")
    assert len(json.loads((tmp_path / "out.json").read_text())["predictions"]) == len(frame())


def test_containers(
    target: Path, saved: dict[str, Path], running: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python frames in any order of columns, arrays, dicts and zero rows can be passed."""
    asked = client(target)
    wanted = expected(saved["green"], frame())
    turned = asked.predict("green", frame()[COLUMNS[::-1]], endpoint=ENDPOINT)
    close(turned.get_predictions(), wanted)
    values = frame().to_numpy()
    close(asked.predict("green", values, endpoint=ENDPOINT).get_predictions("ndarray"), wanted)
    named = asked.predict("green", {"x": values}, endpoint=ENDPOINT)
    close(named.get_predictions("ndarray"), wanted)
    monkeypatch.delattr(EndpointClient, "infer")  # Zero rows are not sent.
    assert asked.predict("green", frame(0), endpoint=ENDPOINT)["predictions"] == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "there are no inputs"),
        (pd.DataFrame({"a": [1.0], "b": [1.0]}), "missing"),
        (np.ones((1, 3)), "expected shape"),
    ],
)
def test_bad_rows(data: Any, said: str, target: Path, running: Rehearsal) -> None:
    """Rows that do not fit the model are refused before anything is sent."""
    with pytest.raises(MlflowException, match=said) as error:
        client(target).predict("blue", data, endpoint=ENDPOINT)
    assert error.value.error_code == INVALID


def test_traffic_reaches_the_rehearsal(target: Path, running: Rehearsal) -> None:
    """A rehearsal follows an update at once; what is refused changes neither it nor the record."""
    cli("update-endpoint", target, *UPDATE, "mirror=green=10")
    assert dict(running.snapshot().mirror) == {"green": 10}
    cli("update-endpoint", target, *UPDATE, "traffic=blue=50 green=50", "-C", "mirror=")
    assert dict(running.snapshot().traffic) == {"blue": 50, "green": 50}
    assert refused("update-endpoint", target, *UPDATE, "traffic=blue=50")[0] == INVALID
    assert dict(running.snapshot().traffic) == {"blue": 50, "green": 50}
    assert "traffic: {'blue': 50, 'green': 50}" in cli("get-endpoint", target, *UPDATE[:2])
    cli("update-endpoint", target, *UPDATE, "traffic=blue=100")


def test_a_rehearsed_folder_is_shown_and_kept(target: Path, running: Rehearsal) -> None:
    """While a folder is rehearsed, its address is shown, and nothing of it is deleted."""
    assert f"rehearsal: {running.uri}\n" in cli("get", target, "--name", f"{ENDPOINT}/blue")
    assert f"'rehearsal': '{running.uri}'" in cli("list-endpoints", target)
    for verb, words in (
        ("delete", ("--name", f"{ENDPOINT}/green")),
        ("delete-endpoint", ("--endpoint", ENDPOINT)),
    ):
        code, said = refused(verb, target, *words)
        assert (code, "is rehearsed at the moment" in said) == (STATE, True)


def test_a_rehearsal_has_what_was_there_when_it_began(
    target: Path, saved: dict[str, Path], running: Rehearsal, caplog: pytest.LogCaptureFixture
) -> None:
    """A later deployment or update is not rehearsed, and this is said."""
    cli("create", target, "--name", "late", "-m", saved["green"], "--endpoint", ENDPOINT)
    with pytest.raises(MlflowException, match="began before late was there") as error:
        client(target).predict("late", frame(), endpoint=ENDPOINT)
    assert error.value.error_code == STATE
    with caplog.at_level("WARNING", "hybridmodel"):
        cli("update", target, "--name", f"{ENDPOINT}/late", "-C", "queue_size=8")
    assert "has the old files until it ends" in caplog.text


def test_models_of_several_names(
    target: Path, running: Rehearsal, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where deployments serve models of other names, one of them has to be named."""
    seen = Control(target / ENDPOINT).snapshot()
    seen["deployments"][1]["models"] = ["other"]
    monkeypatch.setattr(Control, "snapshot", lambda _: seen)
    code, said = refused("predict", target, "--endpoint", ENDPOINT, "-I", rows)
    assert (code, "the models digits, other; ask one" in said) == (INVALID, True)


@pytest.mark.parametrize(
    ("words", "by"),
    [(("--endpoint", HOST.partition(".")[0]), "blue"), (("--name", "green"), "green")],
)
def test_a_url(
    words: tuple[str, str],
    by: str,
    saved: dict[str, Path],
    running: Rehearsal,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A URL as target asks that endpoint, and pins a deployment that is named."""
    for name, value in running.environment([HOST]).items():
        monkeypatch.setenv(name, value)
    said = PredictionsResponse.from_json(cli("predict", URL, *words, "-I", rows))
    close(said.get_predictions(), expected(saved[by], frame()))


@pytest.mark.parametrize(
    ("url", "words", "code", "said"),
    [
        (URL, ("--endpoint", "other"), NOT_THERE, "the target is the endpoint digits"),
        (f"https://{HOST}/score", ("--name", "blue"), INVALID, "names no model; write"),
        (URL, ("--name", "blue"), INVALID, "HYBRIDMODEL_KEY_digits_westeurope"),
        (f"http://{HOST}/v2/models/digits", ("--name", "blue"), INVALID, "https"),
    ],
)
def test_urls_that_cannot_be_asked(
    url: str, words: tuple[str, str], code: str, said: str, rows: Path
) -> None:
    """Without a model, a key or encryption nothing is sent, and the message says what to do."""
    found, message = refused("predict", url, *words, "-I", rows)
    assert (found, said in message) == (code, True), message


def test_a_wrong_key(running: Rehearsal, rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not accepted is MLflow's error for that, without the key."""
    monkeypatch.setenv("HYBRIDMODEL_API_KEY", "canary-77aa01")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.authority))
    url = f"{running.uri}/v2/models/digits/versions/1"
    code, message = refused("predict", url, "--name", "blue", "-I", rows)
    assert code == "UNAUTHENTICATED"
    assert "canary" not in message


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
        (pd.DataFrame({"label": ["a"], "p": [0.5]}), [{"label": "a", "p": 0.5}]),
        (np.array([["a"], ["b"]], object), [["a"], ["b"]]),
        ({"y": np.array([1, 2])}, {"y": [1, 2]}),
        (pd.Series([np.zeros((1, 2))]), [[[0.0, 0.0]]]),
    ],
)
def test_json(answer: Any, wanted: Any) -> None:
    """Answers become what JSON has."""
    assert plain(answer) == wanted
    assert json.loads(PredictionsResponse(predictions=plain(answer)).to_json()) == {
        "predictions": wanted
    }


@pytest.mark.parametrize(
    ("shapes", "batched"),
    [
        (((-1, 4), (-1, 2)), (True, True)),
        (((-1, 4), (3,)), (True, False)),
        (((1, 4), (-1, 2)), (False, False)),
        (((), (-1,)), (False, False)),
    ],
)
def test_rows(shapes: tuple[tuple[int, ...], ...], batched: tuple[bool, ...]) -> None:
    """The open first dimension of all inputs counts rows, and so does that of an output then."""
    spec = ModelSpec((TensorSpec("x", "FP32", shapes[0]),), (TensorSpec("y", "FP32", shapes[1]),))
    found = _with_rows(spec)
    assert (found.inputs[0].batched, found.outputs[0].batched) == batched


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let rehearsals end at once, and tell what they were."""
    seen: list[Any] = []
    monkeypatch.setattr(Rehearsal, "wait", lambda one: seen.append((one.folder, one.snapshot())))
    return seen


def test_run_local_without_a_folder(saved: dict[str, Path], waits: list[Any]) -> None:
    """From Python, where MLflow does not say the target, all is gone at the end."""
    run_local("hybridmodel", "blue", str(saved["blue"]), config={"server": "embedded"})
    ((folder, seen),) = waits
    assert [one.name for one in seen.deployments] == ["blue"]
    assert not folder.exists()


def test_run_local_in_a_folder(tmp_path: Path, saved: dict[str, Path], waits: list[Any]) -> None:
    """In a folder the deployment is made once, and rehearsed with the traffic of its endpoint."""
    given = {"server": "embedded", "folder": str(tmp_path), "azure": ENDPOINT}
    run_local("hybridmodel", "blue", str(saved["blue"]), config=given)
    cli("create", tmp_path, "--name", "green", "-m", saved["green"], "--endpoint", ENDPOINT)
    cli("update-endpoint", tmp_path, *UPDATE, "traffic=blue=70 green=30")
    run_local("hybridmodel", "blue", str(saved["blue"]), config={**given, "port": "0"})
    (first, _), (second, seen) = waits
    assert first == second == tmp_path / ENDPOINT
    assert dict(seen.traffic) == {"blue": 70, "green": 30}


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({"server": "none"}, INVALID, "server is one of auto, triton, embedded"),
        ({"model_name": "other"}, STATE, "exists with another model_name; update it first"),
        ({"wrong": 1}, INVALID, "no key 'wrong' here"),
        ({"without": "gravity", "server": "embedded"}, INVALID, "gravity"),
        ({"endpoint": "other"}, NOT_THERE, "no endpoint other"),
        ({"port": "x"}, INVALID, "port is a whole number"),
    ],
)
def test_run_local_refuses(
    config: dict[str, Any], code: str, said: str, target: Path, saved: dict[str, Path]
) -> None:
    """What cannot be rehearsed as asked is refused, and what exists is not changed."""
    given = {"folder": str(target), "endpoint": ENDPOINT, **config}
    with pytest.raises(MlflowException) as error:
        run_local("hybridmodel", "blue", str(saved["blue"]), config=given)
    assert (error.value.error_code, said in error.value.message) == (code, True), error.value


def test_run_local_of_another_model(target: Path, saved: dict[str, Path]) -> None:
    """An existing deployment is not rehearsed as if it were made of another model."""
    words = ("--name", f"{ENDPOINT}/blue", "-m", saved["green"])
    code, said = refused("run-local", target, *words)
    assert (code, "exists with another model_uri" in said) == (STATE, True)


def test_a_process_of_its_own(tmp_path: Path, saved: dict[str, Path], rows: Path) -> None:
    """``mlflow deployments run-local`` rehearses for other processes until SIGTERM, a good end."""
    (package := tmp_path / "package").mkdir()
    paths = os.pathsep.join((str(write_package(package)), str(ROOT)))
    folder = tmp_path / "target"
    words = ["deployments", "run-local", "-t", f"hybridmodel:{folder}", "--name", "alone"]
    more = ["-m", str(saved["green"]), "-C", "server=embedded"]
    with subprocess.Popen(
        [sys.executable, "-m", "mlflow", *words, *more],
        env={**os.environ, "PYTHONPATH": paths, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("rehearsing alone at https://localhost:")
            said = cli("predict", folder, "--name", "alone", "-I", rows)
            found = PredictionsResponse.from_json(said).get_predictions()
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    close(found, expected(saved["green"], frame()))
    assert not files_of(folder / "alone").exists()
    cli("delete", folder, "--name", "alone")


def test_the_page(
    tmp_path: Path, saved: dict[str, Path], monkeypatch: pytest.MonkeyPatch, rows: Path
) -> None:
    """The commands that the page shows work in this order, while its endpoint is rehearsed."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "mlflow_deployments.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    models = {"models:/digits/1": str(saved["blue"]), "models:/digits/2": str(saved["green"])}
    asked = iter([[models.get(word, word) for word in words[2:]] for words in lines])

    def rest(rehearsal: Rehearsal) -> None:
        for words in asked:
            assert run(*words).exit_code == 0, words
        assert rehearsal.snapshot().traffic == {"blue": 90, "green": 10}

    monkeypatch.setattr(Rehearsal, "wait", rest)
    for words in asked:
        more = ["-C", "server=embedded"] if words[0] == "run-local" else []
        ended = run(*words, *more)
        assert ended.exit_code == 0, ended.exception
    assert json.loads((tmp_path / "answers.json").read_text())["predictions"]
    assert [words[2] for words in lines].count("predict") == 2
