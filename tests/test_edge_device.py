"""A small device: both routes work where only numpy, onnxruntime, requests and urllib3 are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.serving import EmbeddedServer, serve
from hybridmodel.serving.environments import environment
from tests.support import models
from tests.support.paths import ROOT

NEEDED = ("numpy", "onnxruntime", "requests", "urllib3")
ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)

PREDICT = """
import json, sys
import numpy as np
from hybridmodel import EndpointUnavailable, MissingDependency, load_model, log_model, save_model
from hybridmodel.routing import Budget, Cascade, Hedge, Shadow
from hybridmodel.testing import fake_endpoint

class Table:
    def __arrow_c_stream__(self, schema=None):
        raise AssertionError("nobody can read it here")

def missing(function, *arguments):
    try:
        function(*arguments)
    except MissingDependency as error:
        return str(error)

rows = np.asarray(json.loads(sys.argv[2]), np.float32)
model = load_model(sys.argv[1])
modes = {
    "local": "local", "azure": "azure", "azure_first": "azure_first", "local_first": "local_first",
    "hedge": Hedge(delay_s=60), "shadow": Shadow(), "cascade": Cascade(threshold=float("inf")),
    "budget": Budget(rows=1000),
}
found = {name: model.infer(rows, mode=mode) for name, mode in modes.items()}
audited = Cascade(threshold=0.0, audit_rate=1.0)
with fake_endpoint(model) as fake:
    model.infer(rows, mode=audited)
    stats = model.stats()
    fake.fail(503)
    stood_in = model.infer(rows, mode="azure_first").route
print(json.dumps({
    "answers": {name: answer.outputs["probabilities"].tolist() for name, answer in found.items()},
    "routes": {name: answer.route for name, answer in found.items()},
    "stood_in": stood_in,
    "stats": stats,
    "missing": {
        "save": missing(save_model, model, "elsewhere"),
        "log": missing(log_model, model, "name"),
        "uri": missing(load_model, "models:/digits/1"),
        "arrow": missing(model.predict, Table()),
    },
    "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of a Python with the package beside what it needs, and nothing else."""
    python = environment("edge", NEEDED) / "bin" / "python"
    folder = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation"]
    subprocess.run([*install, "--no-deps", "--target", str(folder), str(ROOT)], check=True)
    return ["env", f"PYTHONPATH={folder}", str(python)]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve a model that sees everything the other way round."""
    with serve({"big": models.graded(-1.0)}) as running:
        yield running


@pytest.fixture(scope="module")
def told(
    device: list[str], server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Any]:
    """Save a model here, and tell what becomes of it on the device."""
    folder = tmp_path_factory.mktemp("device")
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("big"))
    save_model(model, folder / "model")
    command = [*device, "-c", PREDICT, str(folder / "model"), json.dumps(ROWS.tolist())]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(os.name != "posix", reason="environments are made on POSIX only")
class TestEdgeDevice:
    """What a device without MLflow can do, and what it says of the rest."""

    def test_both_routes_answer_as_they_do_elsewhere(self, told: Mapping[str, Any]) -> None:
        """In every mode, from a folder that was saved where MLflow is."""
        small, big = (
            HybridOnnxModel(models.graded(factor)).infer(ROWS).outputs["probabilities"]
            for factor in (1.0, -1.0)
        )
        remote = {name for name, route in told["routes"].items() if route == "azure"}
        assert remote == {"azure", "azure_first", "hedge", "cascade", "budget"}
        assert set(told["answers"]) - remote == {"local", "local_first", "shadow"}
        for name, answer in told["answers"].items():
            wanted = big if name in remote else small
            np.testing.assert_allclose(np.float32(answer), wanted, rtol=1e-5)

    def test_a_user_s_tests_run_there(self, told: Mapping[str, Any]) -> None:
        """`hybridmodel.testing` needs no more than the routes do."""
        assert told["stood_in"] == "local"

    def test_an_audit_has_its_interval_there(self, told: Mapping[str, Any]) -> None:
        """Which needs numpy only."""
        found = {name: told["stats"][f"cascade.{name}"] for name in ("audited", "live_risk")}
        low, high = (told["stats"][f"cascade.live_risk_{end}"] for end in ("low", "high"))
        assert found["audited"] == len(ROWS)
        assert low == found["live_risk"] == 0 < high < 1

    def test_what_needs_more_says_how_to_get_it(self, told: Mapping[str, Any]) -> None:
        """In one sentence that ends with what to install."""
        needed = {"save": "mlflow", "log": "mlflow", "uri": "mlflow", "arrow": "pyarrow"}
        for what, library in needed.items():
            _, _, said = told["missing"][what].partition(" needs ")
            assert said == f"{library}, which is not installed: pip install hybridmodel"

    def test_nothing_else_is_there(self, told: Mapping[str, Any]) -> None:
        """So that what was shown above does not come from a library that the device lacks."""
        heavy = {"click", "jinja2", "matplotlib", "mlflow", "pandas", "pyarrow", "scipy", "tqdm"}
        assert not heavy & set(told["loaded"])
        assert {"hybridmodel", "numpy", "onnxruntime"} <= set(told["loaded"])
