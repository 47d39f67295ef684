"""A short way through everything that has a dependency, for environments other than the usual one.

Run by a Python that has the extras ``azure``, ``cascade`` and ``examples``; ends with status 0 when
both routes, MLflow and the command line work with what is installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from hybridmodel import HybridOnnxModel, load_model, log_model, save_model
from hybridmodel.calibrating import calibrate
from hybridmodel.serving import serve

NAMES = ["a", "b", "c"]


def train(rows: pd.DataFrame, labels: np.ndarray, strength: float) -> bytes:
    """Return a classifier as an ONNX file."""
    fitted = LogisticRegression(C=strength).fit(rows.to_numpy(), labels)
    example = rows.head(1).to_numpy(np.float32)
    return to_onnx(fitted, example, options={"zipmap": False}, target_opset=15).SerializeToString()


def check_library(model: HybridOnnxModel, rows: pd.DataFrame) -> None:
    """Ask both routes for a frame and an array, and calibrate a cascade of both."""
    for data in (rows, rows.to_numpy()):
        answers = [model.predict(data, use_azure=route, output="label") for route in (False, True)]
        assert type(answers[0]) is type(answers[1])
        assert np.mean(np.asarray(answers[0]) == np.asarray(answers[1])) > 0.9
    found = calibrate(model, rows, epsilon=0.2)
    found.plot()


def check_mlflow(model: HybridOnnxModel, rows: pd.DataFrame, folder: Path) -> None:
    """Log, register and load the model, and ask both routes through pyfunc."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("smoke")
    log_model(model, name="smoke", registered_model_name="smoke", input_example=rows.head(2))
    loaded = mlflow.pyfunc.load_model("models:/smoke/1")
    for route in (False, True):
        assert len(loaded.predict(rows, params={"use_azure": route})) == len(rows)
    assert load_model("models:/smoke/1").feature_names == NAMES


def check_command_line(model: HybridOnnxModel, rows: pd.DataFrame, folder: Path) -> None:
    """Predict from and to files, on both routes."""
    save_model(model, folder / "model")
    rows.to_parquet(folder / "rows.parquet")
    for route, target in (("--local", "out.csv"), ("--use-azure", "out.parquet")):
        words = ["predict", "model", "rows.parquet", route, "-o", target]
        subprocess.run([sys.executable, "-m", "hybridmodel", *words], cwd=folder, check=True)
    assert len(pd.read_csv(folder / "out.csv")) == len(rows)
    assert len(pd.read_parquet(folder / "out.parquet")) == len(rows)


def main() -> None:
    """Run all checks."""
    warnings.simplefilter("ignore")  # Old libraries warn of each other.
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(200, 3)).astype(np.float32), columns=NAMES)
    labels = (rows.sum(axis=1) > 0).to_numpy().astype(int)
    small, big = (train(rows, labels, strength) for strength in (0.5, 10.0))
    with tempfile.TemporaryDirectory() as name, serve({"smoke": big}) as server:
        endpoint = server.endpoint("smoke")
        model = HybridOnnxModel(small, endpoint=endpoint, feature_names=NAMES)
        model.check_endpoint()
        check_library(model, rows)
        check_mlflow(model, rows, Path(name))
        check_command_line(model, rows, Path(name))
    import azure.identity  # noqa: F401 - that it can be had is all there is to see without Azure

    print("smoke: all is well")  # noqa: T201 - what the test looks for


if __name__ == "__main__":
    main()
