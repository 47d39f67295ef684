"""What a job must find unchanged, and what it costs to look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from hybridmodel import EmbeddingsEndpoint, HybridOnnxModel, TritonEndpoint
from hybridmodel.batch import fingerprint
from hybridmodel.batch.fingerprint import InputIdentity, changed_inputs, changes, look, settings_of
from hybridmodel.batch.formats import InputFile
from hybridmodel.batch.inputs import find
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.routing import AzureFirst, Cascade, Local
from tests.support import models, texts
from tests.support.batches import COLUMNS, folder_of_files, table, write

ENDPOINT = TritonEndpoint(uri="http://127.0.0.1:9", model_name="m")
ELSEWHERE = TritonEndpoint(uri="http://127.0.0.1:8", model_name="m")


class Counting(LocalFileSystem):
    """A file system that counts what is read of each file that is opened."""

    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[int]] = []

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """Open a file."""
        self.reads.append([])
        return Counted(Path(path).open(mode), self.reads[-1])


class Counted:
    """A file whose reads are counted."""

    def __init__(self, file: Any, reads: list[int]) -> None:
        self._file = file
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        """Count the bytes that are read."""
        data: bytes = self._file.read(size)
        self._reads.append(len(data))
        return data


def looked(path: Path) -> InputIdentity:
    """Look at one file."""
    (file,) = find(path)
    return look(file).identity


@pytest.mark.parametrize(
    ("suffix", "reads"), [(".parquet", 1), (".csv", 2), (".jsonl", 2), (".arrow", 2)]
)
def test_a_look_costs_a_small_read(tmp_path: Path, suffix: str, reads: int) -> None:
    """A folder of any size costs one read of 64 KiB a file of Parquet, and two of any other."""
    counting = Counting()
    paths = []
    for number in range(5):
        path = write(table(20_000, number), tmp_path / f"{number}{suffix}", group_rows=5000)
        assert path.stat().st_size > 2 * fingerprint.SAMPLE_BYTES
        paths.append(path)
    filesystem = fs.PyFileSystem(fs.FSSpecHandler(counting))
    for path in paths:
        found = look(InputFile(path=str(path), kind=suffix[1:], filesystem=filesystem))
        assert found.rows == (20_000 if suffix == ".parquet" else None)
    assert counting.reads == [[fingerprint.SAMPLE_BYTES] * reads] * 5


def test_a_footer_of_any_size_is_read(tmp_path: Path) -> None:
    """Also the footer of a file with many columns, which is larger than a sample."""
    wide = pa.table({f"column {number:05d}": [1.0] for number in range(1000)})
    pq.write_table(wide, tmp_path / "wide.parquet")
    found = look(find(tmp_path / "wide.parquet")[0])
    assert found.rows == 1
    assert found.schema.names == wide.column_names


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_what_makes_a_file_another(tmp_path: Path, suffix: str) -> None:
    """A file is known by its path, size, time, and the bytes at its ends."""
    path = write(table(50), tmp_path / f"a{suffix}")
    first = looked(path)
    assert looked(path) == first
    assert InputIdentity.from_dict(first.to_dict()) == first
    time = path.stat().st_mtime_ns
    other = write(table(50), tmp_path / f"b{suffix}")
    os.utime(other, ns=(time, time))
    told = list(changed_inputs([first], [looked(other)]))
    assert told == [f"an input was '{first.path}', now '{other}'"]
    os.utime(path, ns=(time + 1, time + 1))
    assert list(changed_inputs([first], [looked(path)])) == [f"input '{path}' was written again"]
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(time, time))
    if suffix == ".csv":
        assert list(changed_inputs([first], [looked(path)])) == [
            f"input '{path}' has other content than it had"
        ]
    path.write_bytes(bytes(write(table(60), tmp_path / f"c{suffix}").read_bytes()))
    (told,) = changed_inputs([first], [looked(path)])
    assert "bytes, now" in told


def test_inputs_that_came_and_went(tmp_path: Path) -> None:
    """Of many changes the first are told, old and new."""
    one, two = (looked(write(table(9), tmp_path / f"{name}.csv")) for name in "ab")
    assert list(changed_inputs([one], [one, two])) == [f"input '{two.path}' is new"]
    assert list(changed_inputs([one, two], [one])) == [f"input '{two.path}' is gone"]
    assert len(list(changed_inputs([one] * 9, [two] * 9))) == 4


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data[:40], lambda _: b"", lambda _: b"PAR1"]
)
def test_a_corrupt_footer_is_found_at_once(tmp_path: Path, damage: Any) -> None:
    """A file that cannot be Parquet is named before any work, the seventh of ten as the first."""
    folder = folder_of_files(tmp_path / "in", *[5] * 10)
    (folder / "6.parquet").write_bytes(damage((folder / "6.parquet").read_bytes()))
    files = find(folder)
    for file in files[:6]:
        look(file)
    with pytest.raises(InputMismatch, match=r"6\.parquet: cannot be read as parquet"):
        look(files[6])


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """What has the name of a file and is none is refused."""
    (tmp_path / "a.csv").mkdir()
    file = InputFile(path=str(tmp_path / "a.csv"), kind="csv", filesystem=fs.LocalFileSystem())
    with pytest.raises(ConfigurationError, match=r"a\.csv: there is no such file"):
        look(file)


def model(data: bytes | None = None, endpoint: Any = ENDPOINT, **options: Any) -> HybridOnnxModel:
    """Make a model with an endpoint."""
    options = {"feature_names": COLUMNS, **options}
    return HybridOnnxModel(data or models.linear(), endpoint=endpoint, **options)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"made": model(models.linear(seed=1))}, "model was"),
        ({"made": model(feature_names=COLUMNS[::-1])}, "features was"),
        (
            {"made": model(endpoint=TritonEndpoint(uri="http://127.0.0.1:8", model_name="m"))},
            "endpoint was 'http://127.0.0.1:9/v2/models/m/versions/1', now 'http://127.0.0.1:8/v2",
        ),
        (
            {"made": model(endpoint=ENDPOINT.with_overrides(deployment="blue"))},
            "deployment was 'null', now '\"blue\"'",
        ),
        (
            {"made": model(endpoint=[ENDPOINT, ELSEWHERE.with_overrides(deployment="blue")])},
            "deployment was 'null', now 'null or \"blue\"'",
        ),
        ({"policy": Local()}, "route was 'azure_first', now 'local'"),
        ({"policy": AzureFirst(patience=0.5)}, "settings of the route was"),
        ({"policy": Cascade(0.5, "margin")}, "route was 'azure_first', now 'cascade'"),
        ({"options": {"keep": ["id"], "new": 1}}, "new was not set, now '1'"),
        ({"options": {"keep": []}}, "keep was '[\"id\"]', now '[]'"),
        ({"options": {}}, "keep was '[\"id\"]', now not set"),
    ],
    ids=str,
)
def test_what_changed_is_told(other: dict[str, Any], named: str) -> None:
    """Model, route, endpoint and options are compared, and both values told."""
    first = {"made": model(), "policy": AzureFirst(), "options": {"keep": ["id"]}}
    old, new = (
        settings_of(one["made"], one["policy"], one["options"]) for one in (first, first | other)
    )
    assert changes(old, old) == []
    assert named in "; ".join(changes(old, new))
    assert all(isinstance(text, str) and len(text) <= 2000 for text in new.values())


def test_another_width_of_vectors_is_told() -> None:
    """Half a job of vectors with 8 numbers does not go on with 16."""
    old, new = (settings_of(text_model(dimensions), AzureFirst(), {}) for dimensions in (8, 16))
    assert changes(old, new) == ["dimensions was '[8]', now '[16]'"]


def text_model(dimensions: int) -> HybridOnnxModel:
    """Make a model whose endpoint is asked for vectors of a width that the graph leaves open."""
    endpoint = EmbeddingsEndpoint(uri="http://127.0.0.1:9/v1", model="m", dimensions=dimensions)
    local = texts.text_model(fixed=False)
    return HybridOnnxModel(local, endpoint=endpoint, session_options=texts.SESSION)


def test_a_local_job_does_not_care_about_the_endpoint() -> None:
    """Where the endpoint is not asked, it may be another."""
    one, other = model(), model(endpoint=None)
    assert settings_of(one, Local(), {}) == settings_of(other, Local(), {})


def test_functions_are_known_by_name() -> None:
    """A function that chooses the route has no settings that could be compared, but a name."""
    settings = settings_of(model(), looked, {"long": "x" * 5000})
    assert settings["settings of the route"] == f"{__name__}.looked"
    assert len(settings["long"]) == 64
    scored = settings_of(model(), Cascade(0.5, score=lambda outputs: outputs["y"][:, 0]), {})
    assert "cascade" in scored["settings of the route"]


@pytest.mark.parametrize("stored", [{}, {"path": 1}, {"path": "a", "size_bytes": "1"}])
def test_stored_identities_are_checked(stored: dict[str, Any]) -> None:
    """What a manifest says of an input has the types it should have."""
    with pytest.raises(ConfigurationError, match="not the identity"):
        InputIdentity.from_dict(stored)
