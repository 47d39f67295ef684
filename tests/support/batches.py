"""Jobs over files for the tests: small inputs, small parts, and disks on which a process dies."""

from __future__ import annotations

import os
import random
import shutil
from functools import lru_cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.batch import Summary, parts, predict_files
from hybridmodel.batch.durable import Disk
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ["a", "b", "c", "d"]
PART_ROWS = 32

_STEPS = {name for name in vars(Disk) if not name.startswith("_")}


class Killed(BaseException):
    """What stands for SIGKILL: nothing in the package may catch it, and nothing works after it."""


class QuickDisk(Disk):
    """A disk that is not waited for, which nobody can tell while the machine runs."""

    def sync(self, file: IO[bytes]) -> None:
        """Flush."""
        file.flush()

    def sync_folder(self, folder: Path) -> None:
        """Do nothing."""


class DyingDisk(QuickDisk):
    """A disk of a process that is killed at one of its steps.

    Parameters
    ----------
    at : int
        The step, counted from 0; steps beyond the last one kill nobody.
    is_torn : bool, default=False
        Whether the step appends, and half of that is written.

    Attributes
    ----------
    steps : list of str
        What was done.
    """

    def __init__(self, at: int = 1 << 30, is_torn: bool = False) -> None:
        self.steps: list[str] = []
        self._at = at
        self._is_torn = is_torn
        self._is_dead = False

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        return partial(self._step, name, found) if name in _STEPS else found

    def _step(self, name: str, do: Callable[..., Any], *args: Any) -> Any:
        if self._is_dead:
            raise Killed
        if len(self.steps) == self._at:
            self._is_dead = True
            if self._is_torn:
                path, data = args
                do(path, data[: len(data) // 2])
            raise Killed
        self.steps.append(name)
        return do(*args)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make parts of `PART_ROWS` rows."""
    monkeypatch.setattr(parts, "PART_ROWS", PART_ROWS)


@lru_cache
def linear() -> HybridOnnxModel:
    """Make a model of the four `COLUMNS`, which answers ``y_0`` and ``y_1``."""
    # With settings of its own a job takes its session as it is, which saves making another.
    settings = {"intra_op_num_threads": 1}
    return HybridOnnxModel(models.linear(), feature_names=COLUMNS, session_options=settings)


def table(rows: int, start: int = 0) -> pd.DataFrame:
    """Make rows for `linear`, with a number for each."""
    values = np.random.default_rng(start).normal(size=(rows, 4)).astype(np.float32)
    frame = pd.DataFrame(values, columns=COLUMNS)
    frame.insert(0, "id", np.arange(start, start + rows))
    return frame


def write(frame: pd.DataFrame, path: Path, group_rows: int = 20) -> Path:
    """Write a table in the format that the name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=group_rows)
    elif path.suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink:
            arrow = pa.Table.from_pandas(frame, preserve_index=False)
            with pa.ipc.new_file(sink, arrow.schema) as writer:
                writer.write_table(arrow, max_chunksize=group_rows)
    elif ".json" in path.name:
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False)
    return path


def folder_of_files(folder: Path, *rows: int, suffix: str = ".parquet") -> Path:
    """Make a folder of files with so many rows each."""
    folder.mkdir()
    start = 0
    for number, count in enumerate(rows):
        write(table(count, start), folder / f"{number}{suffix}")
        start += count
    return folder


def run(source: Path, output: Path, model: Any = None, **options: Any) -> Summary:
    """Run a job that keeps the numbers of the rows, in the caller's thread."""
    return predict_files(
        model or linear(),
        source,
        output,
        **{"keep": ["id"], "workers": 0, "disk": QuickDisk(), **options},
    )


def rows_of(output: Path) -> pd.DataFrame:
    """Read what a job has written, whatever it is."""
    if output.is_dir():
        files = sorted(output.iterdir())
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    if output.suffix == ".parquet":
        return pd.read_parquet(output)
    if output.suffix == ".arrow":
        with pa.memory_map(str(output)) as file:
            return pa.ipc.open_file(file).read_all().to_pandas()
    if ".json" in output.name:
        return pd.read_json(output, lines=True)
    return pd.read_csv(output)


def names(folder: Path) -> set[str]:
    """List a folder, with what is hidden."""
    return {path.name for path in folder.iterdir()}


class PowerDisk(DyingDisk):
    """A disk that loses with the power what was not brought to it: contents, and names as well.

    Parameters
    ----------
    at : int
        The step at which the power fails.
    seed : int, optional
        Draws which of the names are lost; by default all that can be.
    """

    def __init__(self, at: int, seed: int | None = None) -> None:
        super().__init__(at)
        self._random = None if seed is None else random.Random(seed)
        self._brought: dict[int, int] = {}
        self._growing: set[int] = set()
        self._undo: list[tuple[Path, Callable[[], None]]] = []
        self._attic = Path(mkdtemp())

    def create(self, path: Path) -> IO[bytes]:
        """See `Disk`."""
        self._keep(path)
        file = super().create(path)
        self._brought[_number(file)] = 0
        return file

    def grow(self, path: Path, size_bytes: int) -> IO[bytes]:
        """See `Disk`; `create` makes the file."""
        file = super().grow(path, size_bytes)
        self._brought[_number(file)] = size_bytes
        self._growing.add(_number(file))
        return file

    def sync(self, file: IO[bytes]) -> None:
        """See `Disk`."""
        super().sync(file)
        if _number(file) in self._growing:
            self._brought[_number(file)] = os.fstat(file.fileno()).st_size
        else:
            self._brought.pop(_number(file), None)

    def rename(self, old: Path, new: Path) -> None:
        """See `Disk`."""
        self._keep(new)
        self._undo.append((new.parent, lambda: _move(new, old)))
        super().rename(old, new)

    def make_folder(self, folder: Path) -> None:
        """See `Disk`."""
        if not folder.exists():
            self._undo.append((folder.parent, lambda: shutil.rmtree(folder, ignore_errors=True)))
        super().make_folder(folder)

    def remove(self, path: Path) -> None:
        """See `Disk`."""
        self._keep(path)
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        """See `Disk`."""
        super().sync_folder(folder)
        self._undo = [pair for pair in self._undo if pair[0] != folder]

    def fail(self, folder: Path) -> None:
        """Lose what was not brought to the disk, in this folder."""
        for _, undo in reversed(self._undo):
            if self._random is None or self._random.random() < 0.5:
                undo()
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._brought:
                os.truncate(path, self._brought[path.stat().st_ino])
        shutil.rmtree(self._attic)

    def _keep(self, path: Path) -> None:
        """Keep what is about to lose its name."""
        if not path.is_file():
            return
        kept = self._attic / str(len(self._undo))
        kept.unlink(missing_ok=True)
        os.link(path, kept)

        def restore() -> None:
            if path.parent.is_dir():
                path.unlink(missing_ok=True)
                os.link(kept, path)

        self._undo.append((path.parent, restore))


def _number(file: IO[bytes]) -> int:
    """Return what the system calls a file, whatever its name."""
    return os.fstat(file.fileno()).st_ino


def _move(new: Path, old: Path) -> None:
    if new.exists() and old.parent.is_dir() and not old.exists():
        new.rename(old)
