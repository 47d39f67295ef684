"""`mlflow.models.evaluate` of hybrid models: MLflow's own evaluators, and ours beside them."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models.evaluation import evaluator_registry, list_evaluators

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.flavor.pyfunc import PyfuncModel
from hybridmodel.report.evaluator import HybridEvaluator
from hybridmodel.routing import Azure, AzureFirst, Budget, Cascade, Hedge, Policy, Shadow, Split
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.mlflow_target import write_package
from tests.support.mlflow_tools import Process, tracked_at
from tests.support.paths import ROOT
from tests.support.report_pages import checked
from tests.support.two_routes import REMOTE, X, local_outputs, remote_outputs

LOCAL, THERE = local_outputs(), remote_outputs()
# Half of the labels are as the local model says it, half as the endpoint does.
RIGHT = np.where(np.arange(len(X)) % 2, LOCAL["label"], THERE["label"])
DATA = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=RIGHT.astype(int))
OURS = ["default", "hybridmodel"]


@pytest.fixture(scope="module", autouse=True)
def plugin(
    new_tracking_server: Process, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let MLflow find the evaluator by its entry point, and track at a real server."""
    registry = evaluator_registry._model_evaluation_registry
    with pytest.MonkeyPatch.context() as patched, tracked_at(new_tracking_server):
        patched.syspath_prepend(write_package(tmp_path_factory.mktemp("package")))
        patched.setattr(registry, "_registry", dict(registry._registry))
        registry.register_entrypoints()
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the model of the endpoint, and one of numbers."""
    with serve({"big": REMOTE, "numbers": models.linear(4, 1, seed=7)}) as running:
        yield running


def loaded(model: HybridOnnxModel, folder: Path) -> Any:
    """Return a model as pyfunc after a round over files."""
    save_model(model, folder / "saved", input_example=DATA[["a", "b", "c"]].head(2))
    return mlflow.pyfunc.load_model(str(folder / "saved"))


def evaluated(model: Any, data: Any = DATA, **options: Any) -> Any:
    """Evaluate a classifier; the labels are column y."""
    given = {"targets": "y", "model_type": "classifier", **options}
    with mlflow.start_run(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow and scikit-learn, of themselves.
        return mlflow.models.evaluate(model, data, **given)


def test_it_is_found_by_its_entry_point() -> None:
    """MLflow lists it after an installation."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(project["entry-points"]["mlflow.model_evaluator"]) == ["hybridmodel"]
    assert "hybridmodel" in list_evaluators()


def test_a_classifier_with_several_outputs(server: EmbeddedServer, tmp_path: Path) -> None:
    """The output that names the class is found without a word, and the endpoint is not asked."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))
    pyfunc = loaded(model, tmp_path)
    found = evaluated(pyfunc)
    assert found.metrics["accuracy_score"] == pytest.approx((LOCAL["label"] == RIGHT).mean())
    assert not any(name.startswith("hybridmodel/") for name in found.metrics)
    assert "azure.calls" not in pyfunc.get_raw_model().stats()
    assert "label" in pyfunc.predict(DATA[["a", "b", "c"]])  # As ever.


def test_classes_from_probabilities(tmp_path: Path) -> None:
    """Where the only output is a table of probabilities, the most probable class is evaluated."""
    made = HybridOnnxModel(models.graded(), output="probabilities")
    found = evaluated(loaded(made, tmp_path))
    assert found.metrics["accuracy_score"] == pytest.approx((LOCAL["label"] == RIGHT).mean())


def test_names_of_classes(tmp_path: Path) -> None:
    """Labels that are texts are compared with texts."""
    rows = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)
    model = HybridOnnxModel(models.classifier())
    save_model(model, tmp_path / "saved")
    data = pd.DataFrame(rows).add_prefix("x").assign(y=model.infer(rows).outputs["label"])
    found = evaluated(str(tmp_path / "saved"), data)
    assert found.metrics["accuracy_score"] == 1


def test_nothing_tells_the_class(tmp_path: Path) -> None:
    """Outputs of which none is a class are listed, with what to do."""
    made = models.passthrough(a=("FP32", ("N",)), b=("FP32", ("N",)), c=("FP32", ("N",)))
    with pytest.raises(MlflowException, match=r"output='NAME'.*a"):
        evaluated(loaded(HybridOnnxModel(made), tmp_path))


def test_the_other_route(server: EmbeddedServer, tmp_path: Path) -> None:
    """A model_config that chooses the endpoint evaluates the endpoint."""
    save_model(
        HybridOnnxModel(models.graded(), endpoint=server.endpoint("big")), tmp_path / "saved"
    )
    found = evaluated(str(tmp_path / "saved"), model_config={"use_azure": True})
    assert found.metrics["accuracy_score"] == pytest.approx((THERE["label"] == RIGHT).mean())


def test_both_sides(server: EmbeddedServer, tmp_path: Path) -> None:
    """Where it is named, it adds both sides, agreement, the cascade's share and cost, a page."""
    policy = Cascade(threshold=0.4, score="margin:probabilities")
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"), routing=policy)
    found = evaluated(
        loaded(model, tmp_path),
        evaluators=OURS,
        evaluator_config={"hybridmodel": {"cost_per_row": 0.5, "metric_prefix": "val_"}},
    )
    ours = {
        name.removeprefix("val_hybridmodel/"): value
        for name, value in found.metrics.items()
        if name.startswith("val_hybridmodel/")
    }
    agree = LOCAL["label"] == THERE["label"]
    margins = np.sort(LOCAL["probabilities"], axis=1)
    gone = margins[:, -1] - margins[:, -2] < 0.4
    mixed = np.where(gone, THERE["label"], LOCAL["label"])
    wanted = {
        "rows": 40,
        "agreement": agree.mean(),
        "local_accuracy": (LOCAL["label"] == RIGHT).mean(),
        "remote_accuracy": (THERE["label"] == RIGHT).mean(),
        "only_local_right": ((LOCAL["label"] == RIGHT) & ~agree).sum(),
        "only_remote_right": ((THERE["label"] == RIGHT) & ~agree).sum(),
        "cascade_accuracy": (mixed == RIGHT).mean(),
        "remote_share": gone.mean(),
        "cost_all_remote": 20.0,
        "cost": 20.0 * gone.mean(),
    }
    assert {name: ours[name] for name in wanted} == pytest.approx(wanted)
    assert ours["agreement_low"] <= ours["agreement"] <= ours["agreement_high"]
    assert found.metrics["accuracy_score"] == pytest.approx(wanted["cascade_accuracy"])
    artifact = found.artifacts["hybridmodel_report"]
    assert "agree" in checked(artifact.content).text
    stored = mlflow.artifacts.download_artifacts(artifact.uri, dst_path=str(tmp_path))
    assert Path(stored).read_text(encoding="utf-8") == artifact.content
    logged = mlflow.last_active_run().data.metrics
    assert logged["val_hybridmodel/cost"] == pytest.approx(wanted["cost"])


def test_numbers(server: EmbeddedServer, tmp_path: Path) -> None:
    """A regressor gets the errors of both sides; arrays of rows work as well."""
    rows = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    model = HybridOnnxModel(models.linear(4, 1), endpoint=server.endpoint("numbers"))
    here, there = (
        next(iter(model.infer(rows, use_azure=remote).outputs.values()))[:, 0].astype(float)
        for remote in (False, True)
    )
    save_model(model, tmp_path / "saved")
    found = evaluated(
        str(tmp_path / "saved"),
        rows,
        targets=here,
        model_type="regressor",
        evaluators="hybridmodel",
        evaluator_config={"log_report": False},
    )
    assert found.artifacts == {}
    assert found.metrics["hybridmodel/local_mean_absolute_error"] == pytest.approx(0, abs=1e-6)
    assert found.metrics["hybridmodel/remote_mean_absolute_error"] == pytest.approx(
        np.abs(here - there).mean(), rel=1e-4
    )


@pytest.mark.parametrize(
    ("policy", "share"),
    [
        (None, 0.0),
        (Azure(), 1.0),
        (AzureFirst(), 1.0),
        (Hedge(), 1.0),
        (Shadow(share=0.25), 0.25),
        (Split(share=0.1), 0.1),
        (Cascade(threshold=1.0, score="margin:probabilities", max_escalation=0.3), 0.3),
        (Budget(rows=3, score="margin:probabilities"), None),
    ],
    ids=lambda item: getattr(item, "mode", None) or str(item),
)
def test_the_share_of_the_endpoint(
    server: EmbeddedServer, policy: Policy | None, share: float | None
) -> None:
    """The model's own mode says how much the endpoint is asked, and so what it costs."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"), routing=policy)
    dataset = SimpleNamespace(
        features_data=DATA[["a", "b", "c"]],
        labels_data=RIGHT,
        has_targets=True,
        name="rows",
        digest="1",
    )
    wrapped = SimpleNamespace(_model_impl=PyfuncModel(model))
    with mlflow.start_run() as run:
        found = HybridEvaluator().evaluate(
            dataset=dataset,
            run_id=run.info.run_id,
            evaluator_config={"cost_per_row": 1, "log_report": False},
            model=wrapped,
        )
    assert found.metrics.get("hybridmodel/remote_share") == share
    assert found.metrics.get("hybridmodel/cost") == (None if share is None else 40 * share)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"cost": 1}, "no setting 'cost'; it has answer"),
        ({"cost_per_row": -1}, "cost_per_row is a number from 0 up"),
        ({"answer": "nothing"}, "nothing"),
    ],
)
def test_settings_that_cannot_work(
    server: EmbeddedServer, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    """They are refused with what is on offer."""
    pyfunc = loaded(HybridOnnxModel(models.graded(), endpoint=server.endpoint("big")), tmp_path)
    with pytest.raises(MlflowException, match=said):
        evaluated(pyfunc, evaluators="hybridmodel", evaluator_config=config)


def test_models_that_have_no_two_routes(tmp_path: Path) -> None:
    """A function, and a hybrid model without an endpoint, are refused where it is named."""
    with pytest.raises(MlflowException, match="asks both routes of a hybrid model"):
        evaluated(lambda rows: rows["a"], evaluators="hybridmodel")
    with pytest.raises(MlflowException, match="no endpoint"):
        evaluated(loaded(HybridOnnxModel(models.graded()), tmp_path), evaluators="hybridmodel")


def test_it_takes_part_only_where_it_is_named(server: EmbeddedServer, tmp_path: Path) -> None:
    """By its name or by a setting of its own; MLflow's default of all evaluators asks nobody."""
    pyfunc = loaded(HybridOnnxModel(models.graded(), endpoint=server.endpoint("big")), tmp_path)
    named = {"hybridmodel": {"log_report": False}}
    for options, takes_part in (
        ({}, False),
        ({"evaluator_config": {"log_model_explainability": False}}, False),
        ({"evaluators": "default"}, False),
        ({"evaluators": OURS}, True),
        ({"evaluator_config": named}, True),
    ):
        found = evaluated(pyfunc, **options)
        assert ("hybridmodel/agreement" in found.metrics) is takes_part, options
        assert ("azure.calls" in pyfunc.get_raw_model().stats()) is takes_part, options
