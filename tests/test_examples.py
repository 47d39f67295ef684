"""What a newcomer runs: the demo, and the checkout as an MLflow project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.serving import serve
from hybridmodel.serving.triton_files import unsupported
from tests.support import models
from tests.support.paths import ROOT

LINE = re.compile(r"(local \(small\)|endpoint \(big\)) +(0\.\d+) +(\d+\.\d+) +(\d+\.\d+)")


def run(*command: str, cwd: Path, **variables: str) -> str:
    """Run a command to its end and return what it printed; its whole output if it fails."""
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{cwd / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **variables,
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("server", ["embedded", "triton"])
def test_the_demo_tells_its_story(server: str, tmp_path: Path) -> None:
    """Both routes answer, the big model is better, and the two disagree on some rows."""
    if server == "triton" and (reason := unsupported()):
        pytest.skip(reason)
    script = str(ROOT / "examples" / "quickstart.py")
    printed = run(sys.executable, script, "--server", server, cwd=tmp_path)
    accuracy = {name: float(value) for name, value, *_ in LINE.findall(printed)}
    assert 0.9 < accuracy["local (small)"] < accuracy["endpoint (big)"] <= 1
    disagree = re.search(r"disagree on (\d+) of 719 rows", printed)
    assert disagree
    assert int(disagree[1]) > 0


def test_the_checkout_is_an_mlflow_project(tmp_path: Path) -> None:
    """`mlflow run` finds the demo as its main entry point, and logs to the run it started."""
    project = (sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local")
    printed = run(*project, cwd=tmp_path)
    assert len(LINE.findall(printed)) == 2


def test_both_models_of_the_demo_give_probabilities() -> None:
    """What the demo calls probabilities is that on both sides: from 0 to 1, and 1 in each row."""
    import onnxruntime
    from sklearn.datasets import load_digits

    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import quickstart
    finally:
        sys.path.remove(str(ROOT / "examples"))
    X, y = load_digits(return_X_y=True, as_frame=True)
    rows = X.to_numpy(np.float32)
    for model in (quickstart.small_model(), quickstart.big_model()):
        session = onnxruntime.InferenceSession(quickstart.train(model, X, y))
        labels, probabilities = session.run(None, {session.get_inputs()[0].name: rows})
        assert 0 <= probabilities.min() <= probabilities.max() <= 1
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert (labels == probabilities.argmax(axis=1)).mean() > 0.99


def test_the_demo_leaves_something_to_look_at(tmp_path: Path) -> None:
    """Run twice, the demo's folder holds two runs and versions, and git ignores it anywhere."""
    script = str(ROOT / "examples" / "quickstart.py")
    environment = {"MLFLOW_TRACKING_URI": ""}
    for _ in range(2):
        printed = run(sys.executable, script, cwd=tmp_path, **environment)
    store = re.search(r"mlflow ui --backend-store-uri sqlite:///(\S+)", printed)
    assert store
    assert (tmp_path / store[1]).is_file()
    found = look(f"sqlite:///{tmp_path / store[1]}", tmp_path)
    assert str(found["champion"]) == "2"
    assert [run["status"] for run in found["demo"]] == ["FINISHED"] * 2
    metrics = found["demo"][0]["metrics"]
    assert 0.9 < metrics["local/accuracy"] < metrics["endpoint/accuracy"] <= 1
    assert found["demo"][0]["artifacts"] == ["routes.txt"]
    assert (tmp_path / "demo_mlflow" / ".gitignore").read_text() == "*\n"
    assert {path.name for path in tmp_path.iterdir()} == {"demo_mlflow"}
    assert "demo_mlflow/" in (ROOT / ".gitignore").read_text().splitlines()


LOOK = """
import json, mlflow
client = mlflow.MlflowClient()
found = {
    experiment.name: [
        {"status": run.info.status, "metrics": run.data.metrics,
         "artifacts": [item.path for item in client.list_artifacts(run.info.run_id)]}
        for run in client.search_runs([experiment.experiment_id])
    ]
    for experiment in client.search_experiments()
}
if client.search_registered_models():
    found["champion"] = client.get_model_version_by_alias("digits", "champion").version
print(json.dumps(found))
"""


def look(store: str, folder: Path) -> dict[str, Any]:
    """Return what a store holds: by experiment its runs, latest first, and the model's version."""
    printed = run(sys.executable, "-W", "ignore", "-c", LOOK, cwd=folder, MLFLOW_TRACKING_URI=store)
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


PROJECT = ("MLproject", "python_env.yaml", "requirements.txt", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout to which nothing else writes."""
    folder = tmp_path / "checkout"
    for part in ("hybridmodel", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", "mlruns", "demo_mlflow")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for name in PROJECT:
        shutil.copy(ROOT / name, folder / name)
    return folder


def files(folder: Path) -> set[str]:
    """Return the paths of all files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_project_predicts_a_file(tmp_path: Path, checkout: Path) -> None:
    """`predict` logs one answer a row, from either route, and leaves the checkout alone."""
    before = files(checkout)
    rows = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "b"])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    written = []
    with serve({"m": models.linear(2, 1)}) as server:
        model = HybridOnnxModel(
            models.linear(2, 1), endpoint=server.endpoint("m"), feature_names=["a", "b"]
        )
        save_model(model, tmp_path / "model")
        for use_azure in ("0", "1"):
            printed = predict(checkout, tmp_path, use_azure=use_azure)
            (words,) = re.findall(r"python\S* (-m mlflow artifacts download .*)", printed)
            got = run(sys.executable, *words.split(), cwd=tmp_path).split()[-1]
            written.append(pd.read_csv(got))
    assert len(written[0]) == 2
    pd.testing.assert_frame_equal(written[0], written[1])
    assert files(checkout) == before


def test_the_project_writes_where_it_is_told(tmp_path: Path, checkout: Path) -> None:
    """An output with a folder is written there as well; a failure ends the run as failed."""
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    save_model(HybridOnnxModel(models.linear(2, 1)), tmp_path / "model")
    predict(checkout, tmp_path, output=str(tmp_path / "here.jsonl"))
    assert (tmp_path / "here.jsonl").read_text().count("\n") == 1
    (tmp_path / "rows.csv").write_text("a,b\n1,oops\n")
    with pytest.raises(AssertionError, match="'oops' is not a number"):
        predict(checkout, tmp_path)
    runs = look(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)["Default"]
    assert [run["status"] for run in runs] == ["FAILED", "FINISHED"]
    assert [run["artifacts"] for run in runs] == [[], ["here.jsonl"]]


def predict(checkout: Path, folder: Path, **parameters: str) -> str:
    """Run the project's `predict` on ``rows.csv`` of a folder and return what it printed."""
    given = {"model_uri": folder / "model", "input": folder / "rows.csv", **parameters}
    words = [word for name, value in given.items() for word in ("-P", f"{name}={value}")]
    project = (sys.executable, "-m", "mlflow", "run", str(checkout), "--env-manager", "local")
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(checkout)}
    return run(*project, "-e", "predict", *words, cwd=folder, **environment)
