"""Score files of any size within an MLflow run; the same command goes on where it was killed.

    mlflow run . -e batch -P model_uri=models:/digits@champion -P input=rows/ -P output=/data/scored

The answers are where they are wanted, and not in the run: it gets the counts.
"""

from __future__ import annotations

import argparse
import json

import mlflow

from hybridmodel.batch import predict_files


def main() -> None:
    """Score, and log what was done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_uri")
    parser.add_argument("input", help="file, folder, glob or address")
    parser.add_argument("output", help="file, or a folder of Parquet files")
    parser.add_argument("--mode", default="", help="as predict takes it")
    parser.add_argument("--keep", default="", help="columns before the predictions, with commas")
    given = parser.parse_args()

    with mlflow.start_run() as run:
        summary = predict_files(
            given.model_uri,
            given.input,
            given.output,
            mode=given.mode or None,
            keep=tuple(filter(None, given.keep.split(","))),
            resume=True,
        )
        done = summary.to_dict()
        mlflow.log_metrics({name: done[name] for name in ("rows", "local", "remote", "elapsed_s")})
        mlflow.log_dict(done, "summary.json")
        print(f"{json.dumps(done)}\nLogged summary.json to run {run.info.run_id}")


if __name__ == "__main__":
    main()
