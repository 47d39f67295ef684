"""The small-big story on scikit-learn's digits: a small model here, a big one at an endpoint.

Trains both, logs the small one to MLflow together with the endpoint of the big one, registers it,
loads it back as ``models:/digits@champion`` and asks either route for the same DataFrame.

    python examples/quickstart.py            the endpoint is the embedded server
    python examples/quickstart.py --triton   the endpoint is a real Triton (Linux x86-64)

The run, the model and its versions stay in the folder demo_mlflow, for `mlflow ui`.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

import hybridmodel
from hybridmodel import HybridOnnxModel, log_model
from hybridmodel.serving import TritonServer, serve

SERVERS = {"embedded": serve, "triton": TritonServer}
ROUTES = {"local (small)": False, "endpoint (big)": True}
STORE = Path("demo_mlflow")

# The converter reads what scikit-learn is about to rename; MLflow tells of each step it takes.
warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
logging.getLogger("mlflow").setLevel(logging.WARNING)


def train(model: ClassifierMixin, X: pd.DataFrame, y: pd.Series) -> bytes:
    """Fit a pipeline and return it as an ONNX file."""
    pipeline = make_pipeline(MinMaxScaler(), model).fit(X.to_numpy(), y)
    example = X.head(1).to_numpy(np.float32)
    return to_onnx(pipeline, example, options={"zipmap": False}).SerializeToString()


def median_ms(call: Callable, rows: pd.DataFrame, repeat: int = 30) -> float:
    """Return the median time of a call in milliseconds."""
    call(rows)
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        call(rows)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def small_model() -> ClassifierMixin:
    """Return the classifier that stays on this machine."""
    return LogisticRegression()


def big_model() -> ClassifierMixin:
    """Return the classifier of the endpoint: support vectors, whose scores become probabilities."""
    return CalibratedClassifierCV(SVC(C=10), ensemble=False)


def compare_routes(loaded: mlflow.pyfunc.PyFuncModel, X: pd.DataFrame, y: pd.Series) -> str:
    """Ask both routes for the same rows, log and return who was how good, and how fast."""
    labels, table = {}, []
    for route, use_azure in ROUTES.items():

        def call(rows: pd.DataFrame, use_azure: bool = use_azure) -> pd.Series:
            return loaded.predict(rows, params={"use_azure": use_azure})

        labels[route] = call(X)
        row = {
            "accuracy": (labels[route] == y).mean(),
            "1 row [ms]": median_ms(call, X.head(1)),
            "500 rows [ms]": median_ms(call, X.head(500)),
        }
        side = route.partition(" ")[0]
        mlflow.log_metrics({f"{side}/{name.split(' [')[0]}": row[name] for name in row})
        table.append({"route": route, **row})
    small, big = labels.values()
    formats = {"accuracy": "{:.3f}".format, "1 row [ms]": "{:.2f}".format}
    shown = pd.DataFrame(table).to_string(
        index=False, formatters={**formats, "500 rows [ms]": "{:.2f}".format}
    )
    return f"{shown}\n\nThe two disagree on {(small != big).sum()} of {len(X)} rows."


def use_own_store(folder: Path) -> None:
    """Keep runs and registry of the demo in one folder, which git ignores wherever it is."""
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    if mlflow.get_experiment_by_name("demo") is None:
        artifacts = (folder / "artifacts").absolute()
        mlflow.create_experiment("demo", artifact_location=artifacts.as_uri())
    mlflow.set_experiment("demo")


def how_to_look() -> str:
    """Return the command that shows the run, the model and its versions in a browser."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    words = [str(python), "-m", "mlflow", "ui", "--backend-store-uri", mlflow.get_tracking_uri()]
    return f"{shlex.join(words)}   # then open http://127.0.0.1:5000"


def main() -> None:
    """Tell the story."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=SERVERS, default="embedded")
    parser.add_argument("--triton", dest="server", action="store_const", const="triton")
    server_kind = SERVERS[parser.parse_args().server]

    X, y = load_digits(return_X_y=True, as_frame=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    print("Training a small classifier (logistic regression) and a big one (support vectors) ...")
    small = train(small_model(), X, y)
    big = train(big_model(), X, y)

    with server_kind({"digits": big}) as server:
        if "MLFLOW_RUN_ID" not in os.environ:  # `mlflow run` has set up a store and a run.
            use_own_store(STORE)

        model = HybridOnnxModel(small, endpoint=server.endpoint("digits"), output="label")
        model.check_endpoint()
        with mlflow.start_run():
            info = log_model(
                model,
                name="digits",
                registered_model_name="digits",
                input_example=X.head(3),
                # A checkout is no release that pip could install: the model takes the code along.
                code_paths=[str(Path(hybridmodel.__file__).parent)],
            )
            version = info.registered_model_version
            client = mlflow.MlflowClient()
            client.set_registered_model_alias("digits", "champion", version)

            loaded = mlflow.pyfunc.load_model("models:/digits@champion")
            print(f"Loaded models:/digits@champion; the big model is at {server.uri}\n")
            table = compare_routes(loaded, X_test, y_test)
            mlflow.log_text(table, "routes.txt")
    print(table)
    print(f"\nTo look at the run and version {version} of the model digits:\n  {how_to_look()}")


if __name__ == "__main__":
    main()
