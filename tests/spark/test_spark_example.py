"""The example for Spark, as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from tests.support.mlflow_tools import environ
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.counting_server import CountingServer


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
def test_the_example(
    frame: pd.DataFrame, saved: Path, counting: CountingServer, tmp_path: Path
) -> None:
    """It scores a folder at the endpoint, writes another, and tells who has answered."""
    (tmp_path / "rows").mkdir()
    frame.to_parquet(tmp_path / "rows" / "rows.parquet")
    script = str(ROOT / "examples" / "spark_batch.py")
    words = ["--keep", "id", "--mode", "azure", "--max-in-flight", "2"]
    python = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, script, str(saved), "rows", "scored", *words],
        cwd=tmp_path,
        env=environ(
            PYTHONPATH=python,
            PYSPARK_PYTHON=sys.executable,
            SPARK_LOCAL_IP="127.0.0.1",
        ),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "|azure|  100|" in done.stdout
    scored = pd.read_parquet(tmp_path / "scored")
    assert sorted(scored["id"]) == list(range(100))
    assert list(scored) == ["id", "y_0", "y_1", "route"]
    assert counting.peak <= 2
