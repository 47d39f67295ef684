"""Processes that are killed by the system, and the output of those that go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.support.batches import folder_of_files, names, rows_of, run, small_parts

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]

_PROGRAM = """
import sys
from pathlib import Path
from hybridmodel.batch import parts
from tests.support.batches import PART_ROWS, run
parts.PART_ROWS = PART_ROWS

def pause(counts, rows):
    print(counts.rows, flush=True)
    sys.stdin.readline()

run(Path(sys.argv[1]), Path(sys.argv[2]), progress=pause, workers=2, batch_rows=16)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make files of 80 and 70 rows."""
    return folder_of_files(tmp_path_factory.mktemp("source") / "in", 80, 70)


@pytest.mark.parametrize(("output", "rows"), [("out.parquet", 16), ("out.csv", 80), ("out", 144)])
def test_sigkill(source: Path, tmp_path: Path, output: str, rows: int) -> None:
    """A process killed while it works frees what it held, and the same call goes on."""
    command = [sys.executable, "-c", _PROGRAM, str(source), str(tmp_path / output)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while int(process.stdout.readline()) < rows:
            process.stdin.write("\n")
            process.stdin.flush()
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert names(tmp_path) == {f".{output}.hybridmodel"}
    summary = run(source, tmp_path / output, resume=True)
    assert summary.rows == 150
    assert summary.resumed >= rows // 32 - 1
    run(source, tmp_path / f"other {output}")
    pd.testing.assert_frame_equal(rows_of(tmp_path / output), rows_of(tmp_path / f"other {output}"))
