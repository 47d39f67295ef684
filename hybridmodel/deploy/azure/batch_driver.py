"""Answers the files of a batch endpoint of Azure Machine Learning with a hybrid model.

Azure runs `init` once in each process, and `run` for each share of the files. The answers of
``in.csv`` are in ``in.csv.parquet`` in the job's output, with the names of the columns, in the
order of the rows. Files are read in pieces, so that memory stays flat.

What was done stays: a file that was interrupted goes on behind its last whole part, in the next
attempt of Azure as well as in a new job with the same output, which passes over finished files.

=========================  ====================================================================
variable                   meaning
=========================  ====================================================================
HYBRIDMODEL_BATCH_KEEP     columns of the input beside the answers: names with commas, or ``*``
HYBRIDMODEL_BATCH_FORMAT   ``parquet``, ``csv`` or ``jsonl``
HYBRIDMODEL_BATCH_FOLDERS  how many of the folders above a file its name in the output has, where
                           files in several folders have the same name
HYBRIDMODEL_USE_AZURE      whether the endpoint answers, instead of the local model
=========================  ====================================================================
"""

from __future__ import annotations

import os
import sys
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybridmodel import HybridOnnxModel

model: HybridOnnxModel

VARIABLES = (
    "HYBRIDMODEL_BATCH_KEEP",
    "HYBRIDMODEL_BATCH_FORMAT",
    "HYBRIDMODEL_BATCH_FOLDERS",
    "HYBRIDMODEL_USE_AZURE",
)
"""All variables that are settings of it."""


def init() -> None:
    """Load the model, wherever below the given folder it is."""
    global model  # noqa: PLW0603 - Azure's scripts are modules with a state
    # The export puts hybridmodel beside this file where pip does not find it.
    sys.path.append(str(Path(__file__).parent))
    from hybridmodel import load_model

    described = next(Path(os.environ["AZUREML_MODEL_DIR"]).rglob("MLmodel"))
    model = load_model(described.parent)


def run(mini_batch: list[str]) -> list[str]:
    """Answer files; return a line for each."""
    return [_answer(Path(file)) for file in mini_batch]


def _answer(file: Path) -> str:
    from hybridmodel.batch import predict_files

    folders = int(os.environ.get("HYBRIDMODEL_BATCH_FOLDERS", "0"))
    root = file.parents[folders]
    name = file.relative_to(root).as_posix()
    kept = [word.strip() for word in os.environ.get("HYBRIDMODEL_BATCH_KEEP", "").split(",")]
    # A name instead of a path: the input is mounted somewhere else in the next job.
    with chdir(root):
        done = predict_files(
            model,
            name,
            _output(name),
            keep=[column for column in kept if column not in ("", "*")],
            keep_input="*" in kept,
            resume=True,
        )
    said = f"{done.rows} rows, {done.remote} of them by the endpoint"
    return f"{name}: {said}; {done.resumed} of {done.parts} parts were done before"


def _output(name: str) -> str:
    suffix = os.environ.get("HYBRIDMODEL_BATCH_FORMAT", "parquet")
    path = Path(os.environ["AZUREML_BI_OUTPUT_PATH"], f"{name}.{suffix}").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    # As an address, because a mounted store may neither append, rename nor lock.
    return f"local://{path}"
