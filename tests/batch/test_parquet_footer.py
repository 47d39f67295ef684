"""One footer makes several Parquet files, one behind the other, one file."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel.batch.formats.parquet_footer import (
    TAIL_BYTES,
    footer_bytes,
    joined_footer,
    moved,
)
from hybridmodel.exceptions import ConfigurationError


def table(rows: int, start: int = 0) -> pa.Table:
    """Make rows with numbers, gaps, texts that repeat, and lists."""
    numbers = range(start, start + rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "x": pa.array([None if n % 3 == 0 else n / 7 for n in numbers], pa.float32()),
            "text": pa.array([f"{n % 4}" for n in numbers], pa.string()),
            "list": pa.array([[n, n + 1] for n in numbers], pa.list_(pa.int32())),
        }
    )


def file_of(rows: pa.Table, **options: Any) -> bytes:
    """Write a table."""
    sink = io.BytesIO()
    pq.write_table(rows, sink, **options)
    return sink.getvalue()


def end_of(data: bytes) -> bytes:
    """Cut off what `joined_footer` wants of a file."""
    return data[-footer_bytes(data[-TAIL_BYTES:]) :]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.integers(1, 50),
    st.sampled_from(["zstd", "snappy", "none"]),
    st.booleans(),
)
def test_files_in_a_row_are_one_file(
    sizes: list[int], group_rows: int, compression: str, dictionaries: bool
) -> None:
    """Whatever the parts are, pyarrow and polars read all of their rows, in order."""
    whole, files = b"", []
    for number, rows in enumerate(sizes):
        part = file_of(
            table(rows, sum(sizes[:number])),
            row_group_size=group_rows,
            compression=compression,
            use_dictionary=dictionaries,
        )
        files.append((end_of(part), len(whole)))
        whole += part
    whole += joined_footer(files)
    expected = table(sum(sizes))
    assert pq.read_table(io.BytesIO(whole)).equals(expected)
    assert pl.read_parquet(io.BytesIO(whole)).equals(pl.from_arrow(expected))
    groups = pq.ParquetFile(io.BytesIO(whole)).metadata.num_row_groups
    assert groups == sum(max(1, -(-rows // group_rows)) for rows in sizes)


def test_nothing_but_places_is_moved() -> None:
    """Moved by nothing, a footer is what it was; moved, each place in it is larger by as much."""
    data = file_of(table(1000), row_group_size=20)
    footer = end_of(data)[:-TAIL_BYTES]
    assert moved(footer, 0) == footer
    far = moved(footer, 1 << 40)
    assert moved(far, -(1 << 40)) == footer
    length = len(far).to_bytes(4, "little")
    found = pq.read_metadata(io.BytesIO(b"PAR1" + far + length + b"PAR1"))
    before = pq.read_metadata(io.BytesIO(data))
    for group in range(before.num_row_groups):
        for number in range(before.num_columns):
            old, new = (one.row_group(group).column(number) for one in (before, found))
            assert new.data_page_offset == old.data_page_offset + (1 << 40)
            assert new.statistics == old.statistics


@given(st.data())
def test_a_footer_that_is_cut_off_is_refused(data: st.DataObject) -> None:
    """Wherever a footer ends too early, that is told, and nothing else is raised."""
    footer = end_of(file_of(table(10)))[:-TAIL_BYTES]
    length = data.draw(st.integers(0, len(footer) - 1))
    with pytest.raises(ConfigurationError, match="does not end as a Parquet file does"):
        moved(footer[:length], 5)


@pytest.mark.parametrize("tail", [b"", b"PAR1", b"\0\0\0\0PARE", b"\x1c" * 8])
def test_what_is_not_the_end_of_a_file(tail: bytes) -> None:
    """A file that does not end as Parquet says has no footer."""
    with pytest.raises(ConfigurationError, match="does not end as a Parquet file does"):
        footer_bytes(tail)


def test_deep_footers_are_refused() -> None:
    """Structs in structs without an end are refused before the stack is."""
    with pytest.raises(ConfigurationError, match="does not end as"):
        moved(b"\x1c" * 100_000, 1)
