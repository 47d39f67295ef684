"""What MLflow says of a model after `log_model`, through a real tracking server over HTTP."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from hybridmodel import ConfigurationError, HybridOnnxModel, TritonEndpoint
from hybridmodel import log_model as log
from hybridmodel.flavor.described import description_of, facts_of
from hybridmodel.report import report_of
from hybridmodel.routing import Cascade
from hybridmodel.serving import serve
from tests.support import models
from tests.support.mlflow_tools import KEY, Process
from tests.support.report_pages import checked
from tests.support.two_routes import REMOTE, X

VARIABLE = "CANARY_VARIABLE_4F1D"
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
ENDPOINT = TritonEndpoint(
    uri="https://digits.westeurope.inference.ml.azure.com/prefix",
    model_name="digits_large",
    auth_key_env=VARIABLE,
)
CASCADE = Cascade(threshold=0.4, score="margin:probabilities")
SHA256 = HybridOnnxModel(models.graded()).onnx.sha256
FACTS = {
    "hybridmodel.mode": "cascade",
    "hybridmodel.local": "answers rows it is sure of: margin:probabilities from 0.4 up",
    "hybridmodel.endpoint": "answers the other rows",
    "hybridmodel.sha256": SHA256,
    "hybridmodel.endpoint_host": "digits.westeurope.inference.ml.azure.com",
    "hybridmodel.endpoint_model": "digits_large",
    "hybridmodel.endpoint_kind": "triton",
}


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> HybridOnnxModel:
    """Make a cascade whose endpoint nobody asks, with a key in the environment."""
    monkeypatch.setenv(VARIABLE, KEY)
    return HybridOnnxModel(models.graded(), endpoint=ENDPOINT, routing=CASCADE)


def ours(items: dict[str, str]) -> dict[str, str]:
    """Return what hybridmodel wrote."""
    return {key: value for key, value in items.items() if key.startswith("hybridmodel.")}


def test_facts_on_every_page(tracking: Process, model: HybridOnnxModel) -> None:
    """Run, logged model and version say mode, endpoint and sha256, and none of them a secret."""
    with mlflow.start_run() as run:
        info = log(model, "digits", registered_model_name="facts")
    client = mlflow.MlflowClient()
    logged = client.get_logged_model(info.model_id)
    version = client.get_model_version("facts", "1")
    found = client.get_run(run.info.run_id).data
    assert ours(found.tags) == ours(logged.tags) == ours(version.tags) == FACTS
    assert logged.params == FACTS
    registered = client.get_registered_model("facts")
    everything = repr((found, logged, version, registered, logged.tags, version.description))
    assert KEY not in everything
    assert VARIABLE not in everything


def test_two_models_of_one_run(tracking: Process, model: HybridOnnxModel) -> None:
    """Each logged model has facts of its own, and the run those of the last."""
    with mlflow.start_run() as run:
        first = log(model, "first")
        second = log(HybridOnnxModel(models.linear()), "second")
    client = mlflow.MlflowClient()
    assert client.get_logged_model(first.model_id).params["hybridmodel.sha256"] == SHA256
    params = client.get_logged_model(second.model_id).params
    assert params["hybridmodel.sha256"] == HybridOnnxModel(models.linear()).onnx.sha256
    assert params["hybridmodel.mode"] == "local"
    assert "hybridmodel.endpoint_host" not in params
    tags = client.get_run(run.info.run_id).data.tags
    assert tags["hybridmodel.sha256"] == params["hybridmodel.sha256"]


def test_what_the_caller_says_counts(tracking: Process, model: HybridOnnxModel) -> None:
    """Params, tags and descriptions of the caller's own stay as they are."""
    client = mlflow.MlflowClient()
    client.create_registered_model("own", description="ours")
    info = log(
        model,
        registered_model_name="own",
        params={"hybridmodel.mode": "mine", "seed": 0},
        tags={"hybridmodel.mode": "mine", "mlflow.note.content": "a note"},
    )
    logged = client.get_logged_model(info.model_id)
    assert logged.params == {**FACTS, "hybridmodel.mode": "mine", "seed": "0"}
    assert logged.tags["hybridmodel.mode"] == "mine"
    assert logged.tags["mlflow.note.content"] == "a note"
    assert client.get_registered_model("own").description == "ours"


def test_descriptions(tracking: Process, model: HybridOnnxModel) -> None:
    """Logged model, registered model and version say what it is, both sides and how to call it."""
    info = log(model, registered_model_name="told")
    client = mlflow.MlflowClient()
    logged = client.get_logged_model(info.model_id).tags["mlflow.note.content"]
    version = client.get_model_version("told", "1").description
    registered = client.get_registered_model("told").description
    assert f'load_model("{info.model_uri}")' in logged
    for text in (registered, version):
        assert 'load_model("models:/told/1")' in text
        assert text.startswith("A hybrid model: a local ONNX file")
        assert "use_azure=True" in text
    for text in (logged, version):
        assert "`digits_large` at `digits.westeurope.inference.ml.azure.com`, triton" in text
        assert SHA256[:12] in text
        assert "answers the other rows" in text
    log(HybridOnnxModel(models.linear()), registered_model_name="told")
    assert client.get_registered_model("told").description == registered
    assert "without an endpoint" in client.get_model_version("told", "2").description


def test_a_model_that_was_made_before(tracking: Process, model: HybridOnnxModel) -> None:
    """A logged model that exists already gets the facts, and keeps its own params."""
    made = mlflow.initialize_logged_model(name="made", params={"hybridmodel.mode": "mine"})
    info = log(model, model_id=made.model_id)
    logged = mlflow.MlflowClient().get_logged_model(info.model_id)
    assert info.model_id == made.model_id
    assert logged.params == {**FACTS, "hybridmodel.mode": "mine"}
    assert ours(logged.tags) == FACTS


def test_a_server_without_logged_models(old_tracking: Process, model: HybridOnnxModel) -> None:
    """There the run has the params, those of its first model, and the version is described."""
    with mlflow.start_run() as run:
        log(model, "first", registered_model_name="old", tags={"team": "vision"})
        log(HybridOnnxModel(models.linear()), "second")
    client = mlflow.MlflowClient()
    found = client.get_run(run.info.run_id).data
    assert found.params == FACTS
    assert found.tags["hybridmodel.mode"] == "local"
    version = client.get_model_version("old", "1")
    assert version.tags == {**FACTS, "team": "vision"}
    assert "digits_large" in version.description
    assert client.get_registered_model("old").description


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("log_batch", "tags of the run"),
        ("set_logged_model_tags", "description of the logged model"),
        ("update_registered_model", "description of the registered model"),
    ],
)
def test_what_a_server_refuses_is_a_warning(
    tracking: Process,
    model: HybridOnnxModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
    said: str,
) -> None:
    """The model is logged and registered by then, and whoever may log may not describe."""
    original = getattr(mlflow.MlflowClient, method)

    def refuse(*args: Any, **options: Any) -> Any:
        if "metrics" in options or "mlflow.modelVersions" in repr(args):  # MLflow's own.
            return original(*args, **options)
        raise MlflowException("PERMISSION_DENIED: not yours")

    monkeypatch.setattr(mlflow.MlflowClient, method, refuse)
    with mlflow.start_run(), caplog.at_level(logging.WARNING, "hybridmodel"):
        info = log(model, registered_model_name=f"refused_{method}")
    assert int(info.registered_model_version) == 1
    assert f"the model is logged, but not the {said}: PERMISSION_DENIED: not yours" in caplog.text


def test_a_report_beside_the_model(tracking: Process, tmp_path: Path) -> None:
    """A page becomes an artifact of the run, and without one of the logged model."""
    with serve({"big": REMOTE}) as server:
        model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))
        page = report_of(model, FRAME, model.infer(X).outputs["label"], title="both", calls=2)
    assert "both" in checked(page).text
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        log(model, log_report=page)
    stored = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert Path(stored).read_text(encoding="utf-8") == page
    info = log(model, log_report=Path(stored))
    folder = mlflow.artifacts.download_artifacts(info.model_uri)
    assert Path(folder, "report.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize("report", ["nowhere.html", Path("nowhere.html"), b"<html>", 3])
def test_what_is_no_report(tracking: Process, model: HybridOnnxModel, report: Any) -> None:
    """It is refused before anything is logged."""
    with mlflow.start_run() as run, pytest.raises(ConfigurationError, match="log_report is a page"):
        log(model, log_report=report)
    assert not mlflow.get_run(run.info.run_id).outputs.model_outputs


def test_several_endpoints() -> None:
    """Each fact of an endpoint has one value for each, in their order."""
    others = (ENDPOINT, ENDPOINT.with_overrides(uri="https://second.example"))
    facts = facts_of(HybridOnnxModel(models.graded(), endpoint=others))
    host = FACTS["hybridmodel.endpoint_host"]
    assert facts["hybridmodel.endpoint_host"] == f"{host}, second.example"
    assert facts["hybridmodel.endpoint_kind"] == "triton, triton"


def test_names_stay_names_in_a_description() -> None:
    """What a graph or server calls itself is neither Markdown nor HTML in a description."""
    evil = "x`</td>|<img src=y>\n# z"
    endpoint = TritonEndpoint(uri="https://a.example", model_name="`<b>|x`")
    made = models.passthrough(**{evil: ("FP32", ("N", 2))})
    text = description_of(HybridOnnxModel(made, endpoint=endpoint), 'models:/"x`/1')
    spans = text.replace("```", "").split("`")
    outside, inside = "".join(spans[::2]), spans[1::2]
    assert "<" not in outside.partition("import hybridmodel")[0]
    assert any("<img" in span for span in inside)
    assert not any("\n" in span for span in inside)
    assert r'load_model("models:/\"x /1")' in text


def test_long_facts_are_cut() -> None:
    """No server refuses a value for its length."""
    names = [f"https://{'a' * 60}.{number}.example" for number in range(8)]
    endpoints = [ENDPOINT.with_overrides(uri=name) for name in names]
    facts = facts_of(HybridOnnxModel(models.graded(), endpoint=endpoints))
    assert max(map(len, facts.values())) == 250
    assert facts["hybridmodel.endpoint_host"].endswith("…")
