"""Outputs on other file systems: weaker in what keeps others away, as strong in what counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from hybridmodel.batch import predict_files
from hybridmodel.batch.durable import Sink
from hybridmodel.batch.store import FIRST, RemoteStore
from hybridmodel.exceptions import ConfigurationError
from tests.support.batches import COLUMNS, Killed, folder_of_files, linear, run, small_parts, table

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]

ROWS = 90


@pytest.fixture
def memory() -> Iterator[Any]:
    """Give a file system in memory, empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make files of 40, 0 and 50 rows."""
    return folder_of_files(tmp_path_factory.mktemp("source") / "in", 40, 0, 50)


def remotely(source: Any, output: str, **options: Any) -> Any:
    """Run a job with an output that has an address."""
    return predict_files(linear(), source, output, **{"keep": ["id"], "workers": 0, **options})


def files(memory: Any) -> set[str]:
    """List all files."""
    return set(memory.find("/"))


def check(memory: Any, output: str) -> None:
    """Compare an output with what `predict` says."""
    if output.endswith(".csv"):
        with memory.open(f"/{output}") as file:
            found = pd.read_csv(file)
    else:
        paths = sorted(path for path in files(memory) if f"/{output}" in path and "par" in path)
        found = pd.concat([pd.read_parquet(memory.open(path)) for path in paths])
    assert found["id"].tolist() == list(range(ROWS))
    expected = linear().predict(pd.concat([table(40), table(50, 40)])[COLUMNS])
    pd.testing.assert_frame_equal(
        found[["y_0", "y_1"]].reset_index(drop=True),
        expected.reset_index(drop=True),
        check_dtype=False,
        rtol=1e-5,
    )


OUTPUTS = {
    "job/out.parquet": {"/job/out.parquet"},
    "job/out.csv": {"/job/out.csv"},
    "job/out": {*(f"/job/out/part-{at:05d}.parquet" for at in range(4)), "/job/out/_SUCCESS"},
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_with_an_address(memory: Any, source: Path, output: str) -> None:
    """Files and folders are written to other file systems, and nothing else is left there."""
    summary = remotely(source, f"memory://{output}")
    assert (summary.rows, summary.parts) == (ROWS, 4)
    assert files(memory) == OUTPUTS[output]
    check(memory, output)
    with pytest.raises(ConfigurationError, match="exists already"):
        remotely(source, f"memory://{output}")
    remotely(source, f"memory://{output}", overwrite=True)
    assert files(memory) == OUTPUTS[output]


@pytest.mark.parametrize("output", OUTPUTS)
def test_killed_at_any_write(
    memory: Any, source: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job killed before or after any of its writes goes on."""
    write = Sink.write

    def killed_at(number: int) -> bool:
        left = iter(range(number))

        def dying(self: Sink, data: Any) -> int:
            if not self._is_given_up and next(left, None) is None:
                raise Killed
            return write(self, data)

        with monkeypatch.context() as patched:
            patched.setattr(Sink, "write", dying)
            try:
                remotely(source, f"memory://{output}", resume=True)
            except Killed:
                return True
            return False

    number = 0
    while killed_at(number):
        assert not OUTPUTS[output] & files(memory)
        remotely(source, f"memory://{output}", resume=True)
        check(memory, output)
        memory.store.clear()
        number += 2
    assert number > 10


def test_a_folder_that_was_half_published(
    memory: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder appears file by file, and says at the end that it is complete."""
    from hybridmodel.batch.remote_target import RemoteTarget

    copy, copied = RemoteTarget._copy, []

    def dying(self: RemoteTarget, old: str, new: str) -> None:
        if len(copied) == 2:
            raise Killed
        copied.append(new)
        copy(self, old, new)

    with monkeypatch.context() as patched:
        patched.setattr(RemoteTarget, "_copy", dying)
        with pytest.raises(Killed):
            remotely(source, "memory://job/out")
    assert "/job/out/_SUCCESS" not in files(memory)
    assert remotely(source, "memory://job/out", resume=True).resumed == 4
    assert OUTPUTS["job/out"] <= files(memory)
    check(memory, "job/out")


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_job_that_is_done_is_called_again(memory: Any, source: Path, output: str) -> None:
    """A job that was called with resume finds that all is done, and leaves its output alone."""
    for resumed in (0, 4, 4):
        assert remotely(source, f"memory://{output}", resume=True).resumed == resumed
        assert OUTPUTS[output] <= files(memory)
        check(memory, output)


def test_killed_while_it_cleans_up(
    memory: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is complete stays so when only some of the job's own parts were removed."""
    clear = RemoteStore.clear

    def dying(self: RemoteStore, log: str) -> None:
        if log == FIRST:
            clear(self, log)
            return
        self.filesystem.delete_file(self.path("parts/part-00001.parquet"))
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RemoteStore, "clear", dying)
        with pytest.raises(Killed):
            remotely(source, "memory://job/out", resume=True)
    assert remotely(source, "memory://job/out", resume=True).resumed == 4
    assert OUTPUTS["job/out"] <= files(memory)
    check(memory, "job/out")


def test_a_log_of_files_is_cut_from_its_end(memory: Any) -> None:
    """Lines are files there, and those that are taken back are removed."""
    from pyarrow import fs

    store = RemoteStore(fs.PyFileSystem(fs.FSSpecHandler(memory)), "log")
    store.begin_log(b"a\nb\n")
    for line in (b"c\n", b"d\n", b"e\n"):
        store.append(line)
    assert list(store.lines()) == [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n"]
    store.cut(3)
    assert list(store.lines()) == [b"a\n", b"b\n", b"c\n"]
    store.append(b"f\n")
    assert list(store.lines()) == [b"a\n", b"b\n", b"c\n", b"f\n"]


def test_an_input_is_not_overwritten_there_either(memory: Any, source: Path) -> None:
    """An output that is the input, or holds it, is refused on any file system."""
    for path in sorted(source.iterdir()):
        memory.pipe(f"/in/{path.name}", path.read_bytes())
    for output in ("memory://in", "memory://in/0.parquet"):
        with pytest.raises(ConfigurationError, match=r"is the input .* or holds it"):
            remotely("memory://in", output, overwrite=True)
    assert remotely("memory://in", "memory://out").rows == ROWS
    memory.pipe("/in/o.csv.bad_rows.jsonl", table(3).to_json(orient="records", lines=True).encode())
    with pytest.raises(ConfigurationError, match="where its bad rows would be written"):
        remotely("memory://in/o.csv.bad_rows.jsonl", "memory://in/o.csv", overwrite=True)


def test_local_addresses_are_local(source: Path, tmp_path: Path) -> None:
    """``file://`` is a path of this machine, with all that is promised there."""
    run(source, f"file://{tmp_path}/out.csv")  # type: ignore[arg-type]
    assert pd.read_csv(tmp_path / "out.csv")["id"].tolist() == list(range(ROWS))
