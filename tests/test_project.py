"""Every entry point of the MLproject file does what it says, from a plain checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.serving import serve
from tests.support import models
from tests.support.mlflow_tools import KEY
from tests.support.paths import ROOT

TESTED_ELSEWHERE = {"main", "predict"}
"""In `tests/test_examples.py`."""


def run_project(entry: str, folder: Path, **parameters: Any) -> str:
    """Run an entry point with a store in a folder of its own, and return what it printed."""
    words = [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local"]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HYBRIDMODEL_API_KEY": KEY,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [*command, "-e", entry, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_train_and_calibrate(tmp_path: Path) -> None:
    """`train` logs a model, the endpoint's file and rows, to `calibrate` with."""
    printed = run_project("train", tmp_path)
    ((uri, run),) = re.findall(r"Logged (models:/\S+), .* to run (\w+)", printed)
    (big,) = tmp_path.rglob("digits_big.onnx")
    with serve({"digits": big}, auth_key=KEY) as server:
        told = run_project(
            "calibrate",
            tmp_path,
            model_uri=uri,
            input=f"runs:/{run}/rows.csv",
            labels="digit",
            endpoint=server.uri,
            epsilon=0.05,
        )
    (found,) = tmp_path.rglob("calibration.json")
    assert json.loads(found.read_text())["epsilon"] == 0.05
    assert "Logged calibration.json" in told


def test_batch_scores_a_folder(tmp_path: Path) -> None:
    """`batch` scores many files into one, and logs the counts; the same command goes on."""
    names = list("abcd")
    save_model(HybridOnnxModel(models.linear(), feature_names=names), tmp_path / "model")
    (tmp_path / "rows").mkdir()
    for number in range(2):
        columns = {"id": [number, number + 10], **{name: [0.5, 1.5] for name in names}}
        pd.DataFrame(columns).to_parquet(tmp_path / "rows" / f"{number}.parquet")
    given = {"model_uri": tmp_path / "model", "input": tmp_path / "rows", "keep": "id"}
    output = tmp_path / "scored.parquet"
    printed = run_project("batch", tmp_path, output=output, **given)
    assert '"rows": 4, "local": 4, "remote": 0' in printed
    scored = pd.read_parquet(output)
    assert scored["id"].tolist() == [0, 10, 1, 11]
    assert list(scored) == ["id", "y_0", "y_1"]
    assert len(list(tmp_path.rglob("summary.json"))) == 1


def test_benchmark_logs_what_it_finds(tmp_path: Path) -> None:
    """`benchmark` runs the one that is named, and keeps table and picture in the run."""
    run_project("benchmark", tmp_path, name="spark_limits")
    (found,) = tmp_path.rglob("spark_limits.json")
    assert json.loads(found.read_text())["aims"]
    assert len(list(tmp_path.rglob("spark_limits.png"))) == 1


@pytest.mark.parametrize("entry", yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"])
def test_every_entry_point_has_a_test(entry: str) -> None:
    """No entry point is left out here."""
    here = Path(__file__).read_text()
    assert entry in TESTED_ELSEWHERE or f'run_project("{entry}"' in here or f'"{entry}",' in here
