"""Which files are meant by paths, folders, globs and addresses."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from hybridmodel.batch.inputs import find, place_of
from hybridmodel.exceptions import ConfigurationError, MissingDependency

FILES = ("b.parquet", "a.parquet", "deep/c.csv.gz", "deep/er/d.jsonl", "x.txt", "_SUCCESS")
HIDDEN = (".e.parquet", "_tmp/f.parquet", "deep/.g/h.csv")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make files, some of which are hidden or of no known format."""
    for name in (*FILES, *HIDDEN):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FOUND: list[tuple[Any, list[str]]] = [
    ("in", ["a.parquet", "b.parquet", "deep/c.csv.gz", "deep/er/d.jsonl"]),
    ("in/", ["a.parquet", "b.parquet", "deep/c.csv.gz", "deep/er/d.jsonl"]),
    ("in/*.parquet", ["a.parquet", "b.parquet"]),
    ("in/[b]*", ["b.parquet"]),
    ("in/*/*.csv.gz", ["deep/c.csv.gz"]),
    ("in/**/*.jsonl", ["deep/er/d.jsonl"]),
    ("in/**/*.parquet", ["a.parquet", "b.parquet"]),
    (["in/b.parquet", "in/a.parquet"], ["b.parquet", "a.parquet"]),
    (Path("in/b.parquet"), ["b.parquet"]),
    (["in/deep", "in/*.parquet"], ["deep/c.csv.gz", "deep/er/d.jsonl", "a.parquet", "b.parquet"]),
]


@pytest.mark.parametrize(("given", "expected"), FOUND, ids=range(len(FOUND)))
def test_files_are_found_in_order(folder: Path, given: Any, expected: list[str]) -> None:
    """Files come as they are given, those of a folder or glob in the order of their paths."""
    found = find(given)
    assert [os.path.relpath(file.path, "in") for file in found] == expected
    assert [file.zipped for file in found] == [name.endswith(".gz") for name in expected]


def test_addresses(folder: Path) -> None:
    """An address is found as a path is, and is called by its address."""
    (file,) = find(f"file://{folder}/in/b.parquet")
    assert (file.kind, Path(file.path)) == ("parquet", folder / "in" / "b.parquet")
    memory = fsspec.filesystem("memory")
    for name in ("one.csv", "two/three.csv", "two/four.txt"):
        memory.pipe(f"/batch-inputs/{name}", b"a\n1\n")
    found = find("memory://batch-inputs")
    assert [file.name for file in found] == [
        "memory://batch-inputs/one.csv",
        "memory://batch-inputs/two/three.csv",
    ]
    assert [file.name for file in find("memory://batch-inputs/*.csv")] == [found[0].name]
    with found[1].opened() as opened:
        assert opened.read() == b"a\n1\n"


REFUSED: list[tuple[Any, str]] = [
    ([], "no input: give at least one"),
    ("in/x.txt", r"x\.txt: a name that ends with"),
    ("in/*.nothing", "no file has such a name"),
    ("nowhere/*.csv", "no file has such a name"),
    ("in/*.txt", "a name that ends with"),
    ("in/_tmp/..", "a name that ends with|no file of a known format"),
    ("empty", "the folder has no file of a known format"),
    (["in/a.parquet", "in/*.parquet"], r"a\.parquet: is given twice"),
    ("nonsense://x/a.csv", "nonsense"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_input(folder: Path, given: Any, message: str) -> None:
    """No file, an unknown format, a file that is meant twice: all are refused by name."""
    Path("empty").mkdir()
    if given == "in/_tmp/..":
        given = "in/_tmp"
        for path in Path("in/_tmp").iterdir():
            path.rename(path.with_suffix(".txt"))
    with pytest.raises(ConfigurationError, match=message):
        find(given)


def test_a_file_that_has_the_name_of_a_glob(folder: Path) -> None:
    """What exists is meant as it is written."""
    Path("in/[x].csv").write_bytes(b"a\n")
    assert [file.path for file in find("in/[x].csv")] == ["in/[x].csv"]


def test_what_is_missing_for_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose package is not installed is refused with what to install."""
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingDependency, match="s3fs"):
        place_of("s3://bucket/in")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependency, match=r"memory:// needs a package .*: pip inst"):
        place_of("memory://x")


@pytest.mark.parametrize("name", ["none.csv", "none.parquet", "folder.csv"])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    """A file that is not there, or a folder with the name of one, is said as Python says it."""
    (tmp_path / "folder.csv").mkdir()
    (file,) = find(tmp_path / name)
    with pytest.raises((FileNotFoundError, IsADirectoryError)) as caught, file.opened():
        pass
    assert caught.value.filename == str(tmp_path / name)
