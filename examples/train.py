"""Train the two digits models and log them: the small one to be loaded, the big one to be served.

    mlflow run . -e train --env-manager local -P endpoint=https://digits.westeurope.inference.ml.azure.com

The run gets the model ``digits`` with the address of its endpoint, the file of the big model for
that endpoint, and rows to try both with.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import mlflow
from quickstart import big_model, small_model, train
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import hybridmodel
from hybridmodel import HybridOnnxModel, TritonEndpoint, log_model


def main() -> None:
    """Train, log and, where it is asked for, register."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", default="", help="address of the big model")
    parser.add_argument("--register", default="", help="name in the registry")
    given = parser.parse_args()

    X, y = load_digits(return_X_y=True, as_frame=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    endpoint = TritonEndpoint(uri=given.endpoint, model_name="digits") if given.endpoint else None
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        model = HybridOnnxModel(
            train(small_model(), X, y), endpoint=endpoint, feature_names=list(X), output="label"
        )
        info = log_model(
            model,
            name="digits",
            registered_model_name=given.register or None,
            input_example=X.head(3),
            code_paths=[str(Path(hybridmodel.__file__).parent)],
        )
        Path(folder, "digits_big.onnx").write_bytes(train(big_model(), X, y))
        X_test.assign(digit=y_test).to_csv(Path(folder, "rows.csv"), index=False)
        mlflow.log_artifacts(folder)
        mlflow.log_metric("accuracy", float((model.predict(X_test) == y_test).mean()))
        print(f"Logged {info.model_uri}, digits_big.onnx and rows.csv to run {run.info.run_id}")


if __name__ == "__main__":
    main()
