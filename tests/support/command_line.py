"""Rows, files and processes for the tests of commands."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import Result

from hybridmodel import load_model

KEY = "canary-0b8e57c1d2"
KEY_ENV = "HYBRIDMODEL_API_KEY"
NOWHERE = "http://127.0.0.1:9"
COLUMNS = ["a", "b", "c", "d"]
RUN = [sys.executable, "-m", "hybridmodel"]

Cli = Callable[..., Result]


def frame(rows: int = 6) -> pd.DataFrame:
    """Make rows for the models of four features."""
    values = np.random.default_rng(7).normal(size=(rows, 4)).astype(np.float32)
    return pd.DataFrame(values, columns=COLUMNS)


def expected(saved: Path, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Predict with the library."""
    answer = load_model(saved / name).predict(rows)
    return answer.to_frame() if answer.ndim == 1 else answer


def files(folder: Path) -> set[str]:
    """List a folder."""
    return {path.name for path in folder.iterdir()}


def read_csv(text: str) -> pd.DataFrame:
    """Read what a command printed."""
    return pd.read_csv(io.StringIO(text))


def shell(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environ = {**os.environ, KEY_ENV: KEY, **env}
    return subprocess.run(
        [*RUN, *map(str, args)], capture_output=True, text=True, env=environ, check=False
    )


def messages(stderr: str) -> str:
    """Leave out the warning that a model takes columns by their position."""
    lines = stderr.splitlines(keepends=True)
    return "".join(line for line in lines if "does not know the names of its features" not in line)
