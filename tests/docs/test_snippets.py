"""The Python of the documentation runs as its pages show it, from top to bottom."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import hybridmodel
from hybridmodel import Calibration, HybridOnnxModel, calibrate, log_model
from hybridmodel.cascade import CostMatrix
from hybridmodel.deploy import export
from hybridmodel.routing import Cascade, Shadow
from hybridmodel.serving import EmbeddedServer, serve
from hybridmodel.testing import fake_endpoint
from tests.support import texts
from tests.support.mlflow_tools import Process, tracked_at
from tests.support.paths import ROOT

ELSEWHERE = {
    "batch_endpoints.md": "tests/remote/test_batch_jobs.py waits for such jobs",
    "coming_from.md": "shows names, and no code",
    "edge.md": "tests/test_edge_device.py runs it where mlflow is not installed",
    "migration.md": "tests/azure_ep/test_interface.py runs both halves of it",
    "mlflow_deployments.md": "tests/deploy/test_mlflow_deployments.py asks such an endpoint",
    "other_servers.md": "tests/remote/test_other_servers.py starts both programs",
    "rehearsal.md": "tests/deploy/test_rehearsal.py rehearses such a folder",
    "rollout.md": "tests/test_examples.py runs the whole rollout",
    "spark.md": "tests/spark runs it on a cluster",
    "testing.md": "tests/test_testing.py runs it with pytest",
}
"""The pages whose code is run by other tests, and by which."""

LEFT_OUT = {
    "TensorrtExecutionProvider": "wants a GPU",
    "mlflow.models.evaluate(": "tests/report/test_mlflow_evaluation.py runs it",
    "spark_udf": "tests/flavor/test_spark.py runs it",
    "https://name.region": "tests/test_endpoint_fields.py makes it",
    "DefaultAzureCredential()": "wants an account of Azure",
    "well": "speaks of patients; tests/calibrating/test_promises.py has such costs",
    "train_gate": "wants 5,000 rows; tests/calibrating/test_gate.py has them",
    "staging...": "names a server that nobody has",
    "uri=...": "tests/test_service_example.py runs such a model",
}
"""What a block of the other pages may hold that cannot run here."""


FOLDER = "/var/lib/digits/"
"""A folder that a page names, which the test's own takes the place of."""


@dataclass(frozen=True)
class Digits:
    """The pair of the gallery, a small model and a server of the big one, and the logged model."""

    small: bytes
    server: EmbeddedServer
    rows: Any
    labels: Any
    uri: str = ""

    def model(self, **options: Any) -> HybridOnnxModel:
        """Make the model that the pages speak of."""
        endpoint = self.server.endpoint("digits")
        return HybridOnnxModel(
            self.small, endpoint=endpoint, feature_names=list(self.rows), output="label", **options
        )


@pytest.fixture(scope="module")
def digits(new_tracking_server: Process) -> Iterator[Digits]:
    """Train both models, serve the big one, and log and register the small one."""
    made = runpy.run_path(str(ROOT / "examples" / "gallery" / "digits_pair.py"))
    _, rows, _, labels = made["rows"]()
    small, big = made["pair"]()
    with tracked_at(new_tracking_server), serve({"digits": big}) as server:
        digits = Digits(small, server, rows, labels)
        with digits.model(routing=Cascade(threshold=0.4)) as model:
            info = log_model(
                model, name="digits", registered_model_name="digits", input_example=rows.head(2)
            )
        mlflow.MlflowClient().set_registered_model_alias("digits", "champion", "1")
        yield replace(digits, uri=info.model_uri)


@pytest.fixture
def names(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Give what the pages take for granted, in a folder with rows."""
    monkeypatch.chdir(tmp_path)
    rows, labels = digits.rows, digits.labels
    Path("digits_small.onnx").write_bytes(digits.small)
    Path("in").mkdir()
    rows.assign(id=range(len(rows))).to_parquet("in/rows.parquet")
    export(digits.uri, "digits-endpoint")
    with digits.model() as model:
        yield {
            **{name: getattr(hybridmodel, name) for name in hybridmodel.__all__},
            "Cascade": Cascade,
            "costs": CostMatrix(1 - np.eye(10), classes=list(range(10)), output="label"),
            "region": labels % 2,
            "Path": Path,
            "mlflow": mlflow,
            "np": np,
            "model": model,
            "endpoint": model.endpoint,
            "path": "digits_small.onnx",
            "uri": digits.uri,
            "loaded": mlflow.pyfunc.load_model(digits.uri),
            "signature": mlflow.models.get_model_info(digits.uri).signature,
            "reader": pq.ParquetFile("in/rows.parquet").iter_batches(),
            "store": lambda *_: None,
            "serve": lambda model: model.predict(rows.head(), mode=Shadow()),
            "my_loss": lambda y, small, big: np.zeros(len(y)),
            "X": rows,
            "y": labels,
            "X_sample": rows[:500],
            "y_sample": labels[:500],
        }


def blocks(page: Path) -> list[str]:
    """Return the Python of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in ELSEWHERE]
RUN = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(blocks(page), start=1)
    if not any(words in code for words in LEFT_OUT)
]


@pytest.mark.parametrize("code", RUN)
def test_a_snippet_runs_as_its_page_shows_it(
    code: str, names: dict[str, Any], tmp_path: Path
) -> None:
    """With a model, rows and labels at hand, a block of Python raises nothing."""
    if "policy" in code and "policy =" not in code:
        names["policy"] = Cascade(calibration=found(names), audit_rate=0.2)
    if "found" in code and "found =" not in code:
        names["found"] = found(names)
    with answered(code, names):
        exec(code.replace(FOLDER, f"{tmp_path}/"), names)  # What it says is ours.


def answered(code: str, names: dict[str, Any]) -> AbstractContextManager[Any]:
    """Answer for the endpoints that a block names, where it makes models for them."""
    if "texts.onnx" in code:
        Path("texts.onnx").write_bytes(texts.text_model(384))
        names["frame"] = pd.DataFrame({"text": ["a cat", "two dogs"]})
        return fake_endpoint()
    return fake_endpoint() if "endpoint=[west, north])" in code else nullcontext()


def found(names: dict[str, Any]) -> Calibration:
    """Calibrate the model of the pages."""
    return calibrate(names["model"], names["X"], names["y"], epsilon=0.02, progress=False)


def test_a_page_that_is_run_elsewhere_is_there() -> None:
    """What is left out names pages that exist, and code that a page still has."""
    there = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert set(ELSEWHERE) <= there
    code = "".join("".join(blocks(page)) for page in PAGES)
    assert [words for words in LEFT_OUT if words not in code] == []
    reasons = "".join([*ELSEWHERE.values(), *LEFT_OUT.values()])
    assert [
        path for path in re.findall(r"tests/[\w/.]+\w", reasons) if not (ROOT / path).exists()
    ] == []
