"""What a newcomer runs: the demo, and the checkout as an MLflow project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.serving import serve
from hybridmodel.serving.triton_files import unsupported
from tests import models

ROOT = Path(__file__).parent.parent
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


def test_the_project_predicts_a_file(tmp_path: Path) -> None:
    """The `predict` entry point writes one prediction for each row, from either route."""
    rows = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "b"])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with serve({"m": models.linear(2, 1)}) as server:
        model = HybridOnnxModel(models.linear(2, 1), endpoint=server.endpoint("m"))
        save_model(model, tmp_path / "model")
        written = []
        for use_azure in ("0", "1"):
            target = tmp_path / f"predictions{use_azure}.csv"
            run(
                *(sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local"),
                *("-e", "predict", "-P", f"model_uri={tmp_path / 'model'}"),
                *("-P", f"input={tmp_path / 'rows.csv'}", "-P", f"output={target}"),
                *("-P", f"use_azure={use_azure}"),
                cwd=tmp_path,
            )
            written.append(pd.read_csv(target))
    assert len(written[0]) == 2
    pd.testing.assert_frame_equal(written[0], written[1])
