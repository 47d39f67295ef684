"""Predict a file within an MLflow run, and keep the predictions among the run's artifacts.

    mlflow run . -e predict -P model_uri=models:/digits@champion -P input=rows.csv

Nothing is written beside the code: an output without a folder in its name is in the run alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow


def main() -> None:
    """Run ``hybridmodel predict`` and log what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_uri")
    parser.add_argument("input")
    parser.add_argument("--output", default="predictions.csv")
    parser.add_argument("--use-azure", default="")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, mlflow.start_run() as run:
        has_folder = Path(given.output).parent != Path()
        target = Path(given.output) if has_folder else Path(folder, given.output)
        command = ["predict", given.model_uri, given.input, "--output", str(target)]
        command += ["--model-config", f"use_azure={given.use_azure}"]
        done = subprocess.run([sys.executable, "-m", "hybridmodel", *command], check=False)
        if done.returncode:
            sys.exit(done.returncode)  # Within the run, so that MLflow marks it as failed.
        mlflow.log_artifact(str(target))
        print(f"Logged {target.name} to run {run.info.run_id}; to get it:")
        print(
            f"  {Path(sys.executable).name} -m mlflow artifacts download "
            f"--run-id {run.info.run_id} --artifact-path {target.name}"
        )


if __name__ == "__main__":
    main()
