"""A Parquet file grows part by part, and no answer is written twice."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hybridmodel.batch import growing
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


def test_there_is_one_file_for_all_parts(tmp_path: Path) -> None:
    """The folder of the job has the file that becomes the output, and no files of parts."""
    source = folder_of_files(tmp_path / "in", 70, 30)
    seen: set[str] = set()
    inside = tmp_path / ".out.parquet.hybridmodel"
    run(source, tmp_path / "out.parquet", progress=lambda *_: seen.update(names(inside)))
    assert seen == {"lock", "manifest", "whole"}
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups == 4
    assert rows_of(tmp_path / "out.parquet")["id"].tolist() == list(range(100))


@pytest.mark.parametrize(("most", "groups"), [(2, 3), (1, 1)])
def test_parts_of_many_small_files_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, groups: int
) -> None:
    """From so many files on, the row groups of the output do not end with each of them."""
    monkeypatch.setattr(growing, "_MOST_FILES", most)
    source = folder_of_files(tmp_path / "in", 40, 30)
    run(source, tmp_path / "out.parquet")
    assert pq.ParquetFile(tmp_path / "out.parquet").metadata.num_row_groups == groups
    assert rows_of(tmp_path / "out.parquet")["id"].tolist() == list(range(70))


def test_a_link_is_not_followed_when_a_job_goes_on(tmp_path: Path) -> None:
    """A link in the place of the half-written output is replaced; its target stays as it is."""
    source = folder_of_files(tmp_path / "in", 70, 30)
    with pytest.raises(Killed):
        run(source, tmp_path / "out.parquet", disk=DyingDisk(14))
    whole = tmp_path / ".out.parquet.hybridmodel" / "whole"
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    whole.unlink()
    whole.symlink_to(theirs)
    assert run(source, tmp_path / "out.parquet", resume=True).resumed == 0
    assert theirs.read_bytes() == b"theirs"
    assert rows_of(tmp_path / "out.parquet")["id"].tolist() == list(range(100))
