"""Find the threshold of a cascade on labelled rows, and log it to an MLflow run.

    mlflow run . -e calibrate -P model_uri=models:/digits@champion -P input=rows.csv -P labels=digit

The run gets the numbers, ``calibration.json`` for ``Cascade(calibration=...)``, and a picture.
"""

from __future__ import annotations

import argparse

import mlflow
import pandas as pd

from hybridmodel import load_model
from hybridmodel.cascade import calibrate
from hybridmodel.flavor import log_calibration


def main() -> None:
    """Calibrate, log and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_uri")
    parser.add_argument("input", help="CSV file of rows with their right answers")
    parser.add_argument("--labels", required=True, help="the column with the right answers")
    parser.add_argument("--epsilon", type=float, default=0.02)
    parser.add_argument("--endpoint", default="", help="instead of the saved model's own address")
    given = parser.parse_args()

    config = {"uri": given.endpoint, "model_name": "digits"} if given.endpoint else None
    rows = pd.read_csv(given.input)
    with mlflow.start_run() as run, load_model(given.model_uri, model_config=config) as model:
        labels = rows.pop(given.labels).to_numpy()
        found = calibrate(model, rows, labels, epsilon=given.epsilon)
        log_calibration(found, run.info.run_id)
        print(f"{found}\nLogged calibration.json to run {run.info.run_id}")


if __name__ == "__main__":
    main()
