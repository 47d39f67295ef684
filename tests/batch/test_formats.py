"""Formats of tables: what is written is read again, from any row, in any batches."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridmodel import HybridOnnxModel
from hybridmodel.batch.formats import (
    Format,
    Reading,
    Writer,
    count_rows,
    format_of,
    line_of,
    parquet,
    read,
    read_from,
)
from hybridmodel.batch.formats.streams import told_apart
from hybridmodel.batch.inputs import find
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support import models

SPEC = HybridOnnxModel(models.linear()).spec
NAMES = ("x.parquet", "x.csv", "x.csv.gz", "x.tsv", "x.jsonl", "x.jsonl.gz", "x.arrow", "x.feather")


def table(rows: int = 40) -> pa.Table:
    """Make a table of several types, with rows that differ."""
    return pa.table(
        {
            "i": pa.array(range(rows), pa.int64()),
            "f": pa.array(np.arange(rows) / 3, pa.float64()),
            "s": [f'"{at}",\tü' for at in range(rows)],
            "b": [at % 3 == 0 for at in range(rows)],
        }
    )


def write(path: Path, data: pa.Table, size: int = 7) -> Path:
    """Write a table in batches of `size` rows, in the format that the name says."""
    with path.open("wb") as sink:
        writer = Writer(sink, format_of(path.name), data.schema)
        for batch in data.to_batches(max_chunksize=size):
            writer.write(batch)
        writer.close()
        assert not sink.closed
    return path


def rows_of(path: Path, rows: int = 16, start_row: int = 0, **reading: Any) -> pa.Table:
    """Read a file from a row on."""
    (file,) = find(path)
    batches = list(
        read(file, spec=SPEC, rows=rows, start_row=start_row, reading=Reading(**reading))
    )
    assert all(batch.num_rows <= rows for batch in batches)
    return pa.Table.from_batches([batch.replace_schema_metadata(None) for batch in batches])


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(1, 50), st.integers(0, 45), st.integers(1, 50))
@pytest.mark.parametrize("name", NAMES)
def test_any_rows_are_read(tmp_path: Path, name: str, size: int, start: int, rows: int) -> None:
    """Whatever was written in one go and is read in one, the rows from any on are the same."""
    path = write(tmp_path / name, table(), size)
    got = rows_of(path, rows, start)
    assert got.to_pylist() == table().slice(start).to_pylist()
    assert got.schema.names == table().schema.names


@pytest.mark.parametrize("name", NAMES)
def test_no_rows(tmp_path: Path, name: str) -> None:
    """A file without rows is one empty batch, with its columns where it has them."""
    path = write(tmp_path / name, table(0))
    got = rows_of(path)
    assert got.num_rows == 0
    assert got.schema.names == ([] if "jsonl" in name else table().schema.names)


@pytest.mark.parametrize("name", ["x.csv.gz", "x.jsonl.gz", "x.parquet", "x.arrow", "x.csv"])
def test_the_same_rows_are_the_same_bytes(tmp_path: Path, name: str) -> None:
    """Neither the time nor the name of the file is in it."""
    one, other = (write(tmp_path / f"{at}{name}", table()).read_bytes() for at in range(2))
    assert one == other


@pytest.mark.parametrize("name", [name for name in NAMES if name != "x.tsv"])
def test_streams_are_told_apart(tmp_path: Path, name: str) -> None:
    """The first bytes of a stream tell its format."""
    stream = io.BytesIO(write(tmp_path / name, table()).read_bytes())
    with told_apart(stream, "stdin") as (kind, file):
        batches = read_from(file, kind, "stdin", spec=SPEC, rows=9, start_row=0, reading=Reading())
        assert pa.Table.from_batches(list(batches)).to_pylist() == table().to_pylist()


def test_a_stream_of_arrow(tmp_path: Path) -> None:
    """Arrow's stream format is read batch by batch, from a file and from a stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table().schema) as writer:
        writer.write_table(table(), max_chunksize=11)
    (tmp_path / "x.arrow").write_bytes(sink.getvalue())
    assert rows_of(tmp_path / "x.arrow", 5, 3).to_pylist() == table().slice(3).to_pylist()
    with told_apart(io.BytesIO(sink.getvalue()), "stdin") as (kind, file):
        batches = list(
            read_from(file, kind, "stdin", spec=SPEC, rows=99, start_row=0, reading=Reading())
        )
    assert [batch.num_rows for batch in batches] == [11, 11, 11, 7]


@pytest.mark.parametrize("index", ["named", "unnamed", "texts"])
def test_an_index_that_is_a_rule(tmp_path: Path, index: str) -> None:
    """The numbering that pandas stores as a rule is a column where it has a name, from any row."""
    frame = table().to_pandas()
    if index == "texts":
        frame.index = pd.Index([f"k{at}" for at in range(len(frame))], name="key")
    else:
        frame.index = pd.RangeIndex(5, 5 + 3 * len(frame), 3, name="key" * (index == "named"))
        frame.index.name = frame.index.name or None
    frame.to_parquet(tmp_path / "x.parquet")
    (file,) = find(tmp_path / "x.parquet")
    batches = list(read(file, spec=SPEC, rows=7, start_row=9))
    got = pa.Table.from_batches([batch.replace_schema_metadata(None) for batch in batches])
    if index == "unnamed":
        assert got.schema.names == table().schema.names
    else:
        assert got["key"].to_pylist() == frame.index[9:].tolist()
    assert batches[0].to_pandas()["i"].tolist() == list(range(9, 14))


METADATA = [b"", b"[]", b"{", b'{"index_columns": 3}', b'{"index_columns": [{"start": "x"}]}']


@pytest.mark.parametrize("stored", METADATA)
def test_metadata_of_pandas_that_is_none(tmp_path: Path, stored: bytes) -> None:
    """What stands in a file where pandas describes an index is believed only as far as it fits."""
    data = table().replace_schema_metadata({b"pandas": stored})
    pq.write_table(data, tmp_path / "x.parquet")
    assert rows_of(tmp_path / "x.parquet").num_rows == 40


def test_wide_rows_come_in_small_batches(tmp_path: Path) -> None:
    """Batches of wide rows are smaller than asked for, so that memory stays flat."""
    wide = pa.table({f"c{at}": np.zeros(3000) for at in range(1000)})
    pq.write_table(wide, tmp_path / "x.parquet")
    (file,) = find(tmp_path / "x.parquet")
    sizes = [batch.num_rows for batch in read(file, spec=SPEC, rows=1 << 15)]
    assert sum(sizes) == 3000
    assert max(sizes) <= 1100
    assert [batch.num_rows for batch in read(file, spec=SPEC, rows=1 << 40)] == [3000]


def test_floats_have_no_dictionary_and_texts_have_one(tmp_path: Path) -> None:
    """Floats never repeat, so only texts are written with a dictionary; groups are large."""
    path = write(tmp_path / "x.parquet", table(1000), size=9)
    metadata = pq.ParquetFile(path).metadata
    assert metadata.num_row_groups == 1
    group = metadata.row_group(0)
    has = {group.column(at).path_in_schema: group.column(at).has_dictionary_page for at in range(4)}
    assert has == {"i": False, "f": False, "s": True, "b": False}


def test_row_groups_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group is written when enough rows or bytes wait for it."""
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 20)
    path = write(tmp_path / "x.parquet", table(50), size=5)
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == [20, 20, 10]


BROKEN: list[tuple[str, bytes]] = [
    ("x.parquet", b""),
    ("x.parquet", b"PAR1" + b"\0" * 40 + b"PAR1"),
    ("x.arrow", b"ARROW1\0\0" + b"\1" * 30),
    ("x.arrow", b"no arrow"),
    ("x.csv", b""),
    ("x.csv", b"\xff\xfe\0\1"),
    ("x.csv", b"a,b\n1,2\n1,2,3\n"),
    ("x.csv.gz", b"a,b\n1,2\n"),
    ("x.jsonl", b'{"a": 1}\n[2]\n'),
    ("x.jsonl.gz", b"\x1f\x8b\x08"),
]


@pytest.mark.parametrize(("name", "content"), BROKEN, ids=range(len(BROKEN)))
def test_what_cannot_be_read_names_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    """Bytes that are not what the name says are refused, with the name."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputMismatch, match=name):
        rows_of(path)


@pytest.mark.parametrize("at", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_bytes_that_were_changed(tmp_path: Path, name: str, at: float) -> None:
    """A file that was damaged in the middle is refused with its name, or read as what it was."""
    path = write(tmp_path / name, table(2000))
    damaged = bytearray(path.read_bytes())
    for offset in range(40):
        damaged[int(at * len(damaged)) + offset] ^= 0xFF
    path.write_bytes(damaged)
    try:
        rows_of(path)
    except InputMismatch as error:
        assert name in str(error)  # noqa: PT017 - it need not be noticed: there is no checksum


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_types_that_change(tmp_path: Path, name: str) -> None:
    """Types that fit into the first are written as those; others are refused, with the way out."""
    with (tmp_path / name).open("wb") as sink:
        writer = Writer(sink, format_of(name), pa.schema({"a": pa.int64()}))
        writer.write(pa.record_batch({"a": pa.array([1], pa.int32())}))
        writer.write(pa.record_batch({"a": pa.array([2.0])}))
        with pytest.raises(
            ConfigurationError, match=r"column .a.: double came behind .*write \.csv"
        ):
            writer.write(pa.record_batch({"a": pa.array([2.5])}))
        with pytest.raises(ConfigurationError, match="columns b came after a"):
            writer.write(pa.record_batch({"b": [1]}))
        writer.close()
    assert rows_of(tmp_path / name)["a"].to_pylist() == [1, 2]


def test_texts_take_any_types() -> None:
    """Formats without types take what comes, and numbers that are missing are empty or null."""
    batches = [
        pa.record_batch({"a": pa.array([1, None]), "b": [[1, 2], [3]]}),
        pa.record_batch({"a": pa.array([1.5, float("nan")]), "b": [[1], []]}),
        pa.record_batch({"a": pa.array(["x", None]), "b": [[1], None]}),
    ]
    texts = {}
    for form in (Format("csv"), Format("csv", separator="\t"), Format("jsonl")):
        sink = io.BytesIO()
        writer = Writer(sink, form, batches[0].schema)
        for batch in batches:
            writer.write(batch)
        writer.close()
        texts[form] = sink.getvalue().decode().splitlines()
    comma, tab, lines = texts.values()
    assert comma == ["a,b", '1,"[1, 2]"', ",[3]", "1.5,[1]", ",[]", "x,[1]", ","]
    assert tab[:2] == ["a\tb", "1\t[1, 2]"]
    assert lines[:2] == ['{"a": 1, "b": [1, 2]}', '{"a": null, "b": [3]}']
    assert lines[3] == '{"a": null, "b": []}'


def test_what_json_has_no_word_for() -> None:
    """Dates are text, infinity is text, halves keep their own precision."""
    sink = io.BytesIO()
    batch = pa.record_batch(
        {
            "d": [dt.date(2026, 11, 21)],
            "inf": [float("inf")],
            "h": pa.array(np.array([0.1], np.float16)),
            "n": [{"x": float("nan")}],
        }
    )
    writer = Writer(sink, "jsonl", batch.schema)
    writer.write(batch)
    writer.close()
    assert sink.getvalue() == b'{"d": "2026-11-21", "inf": "inf", "h": 0.1, "n": {"x": null}}\n'


def test_a_header_is_written_once_or_not_at_all() -> None:
    """Parts of a CSV file after the first go without the names of columns."""
    sink = io.BytesIO()
    for header in (True, False):
        writer = Writer(sink, "csv", table().schema, header=header)
        writer.write(table(1).to_batches()[0])
        writer.close()
    assert sink.getvalue().count(b"i,f,s,b") == 1


MIXED: list[tuple[list[Any], list[Any]]] = [
    ([1, "x"], ["1", "x"]),
    ([True, 2], ["True", "2"]),
    ([2**70, 1], [str(2**70), "1"]),
    ([None, None], [None, None]),
    ([None, "\ud800"], [None, "?"]),
    ([[1], "x"], ["[1]", "x"]),
]


@pytest.mark.parametrize(("cells", "expected"), MIXED, ids=range(len(MIXED)))
def test_cells_of_json_that_do_not_go_together(
    tmp_path: Path, cells: list[Any], expected: list[Any]
) -> None:
    """Cells of several kinds are texts, which no model takes for numbers."""
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"a": cell}) + "\n" for cell in cells))
    assert rows_of(path)["a"].to_pylist() == expected


def test_lines_and_counts(tmp_path: Path) -> None:
    """The line of a row is told in texts, the number of rows in Parquet."""
    lines = {}
    for name in ("x.csv", "x.jsonl", "x.parquet", "x.arrow"):
        (file,) = find(write(tmp_path / name, table()))
        lines[name] = (line_of(file, 3), count_rows(file))
    assert lines == {
        "x.csv": (5, None),
        "x.jsonl": (4, None),
        "x.parquet": (None, 40),
        "x.arrow": (None, None),
    }


def test_text_that_is_kept_as_it_is(tmp_path: Path) -> None:
    """Columns of CSV that are no features are read as they are written."""
    path = tmp_path / "x.csv"
    path.write_text("id;n\n007;1,5\nNA;\n")
    got = rows_of(path, as_text=("id",), separator=";", decimal=",")
    assert got["id"].to_pylist() == ["007", "NA"]
    assert got["n"].to_pylist()[0] == 1.5
