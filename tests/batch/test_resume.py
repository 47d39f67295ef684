"""A job that ended anywhere goes on, and nobody can tell from the output."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.support.batches import (
    DyingDisk,
    Killed,
    folder_of_files,
    names,
    rows_of,
    run,
    small_parts,
)

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]

OUTPUTS = ["out.parquet", "out.arrow", "out.csv", "out.jsonl.gz", "out"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make files of 80, 0 and 40 rows: parts of 32, 32, 16, 32 and 8."""
    return folder_of_files(tmp_path_factory.mktemp("source") / "in", 80, 0, 40)


def undisturbed(source: Path, folder: Path, output: str) -> tuple[pd.DataFrame, list[str]]:
    """Return what a job writes, and its steps."""
    folder.mkdir()
    disk = DyingDisk()
    run(source, folder / output, disk=disk)
    assert names(folder) == {output}
    return rows_of(folder / output), disk.steps


def is_complete(folder: Path, output: str) -> bool:
    """Tell whether a job had done all but ending itself."""
    inside = folder / f".{output}.hybridmodel"
    return (folder / output).exists() and not (inside / "manifest").exists()


@pytest.mark.parametrize("output", OUTPUTS)
def test_killed_at_any_step_of_the_disk(source: Path, tmp_path: Path, output: str) -> None:
    """A job killed at any step of its writing goes on, and its output is that of another."""
    expected, steps = undisturbed(source, tmp_path / "whole", output)
    torn = [(at, True) for at, step in enumerate(steps) if step == "append"]
    assert len(torn) == 6
    for at, is_torn in [*((at, False) for at in range(len(steps))), *torn]:
        folder = tmp_path / f"{at} {is_torn}"
        folder.mkdir()
        with pytest.raises(Killed):
            run(source, folder / output, disk=DyingDisk(at, is_torn))
        if not is_complete(folder, output):
            summary = run(source, folder / output, resume=True)
            assert summary.rows == summary.local == 120
            assert summary.parts == 5
            assert names(folder) == {output, f".{output}.hybridmodel"}
            assert names(folder / f".{output}.hybridmodel") == {"lock", "manifest"}
        pd.testing.assert_frame_equal(rows_of(folder / output), expected)
