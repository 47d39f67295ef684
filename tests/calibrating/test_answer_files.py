"""What a file of answers may look like: others may have written it, or damaged it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from hybridmodel.calibrating import calibrate, keep_answers
from hybridmodel.exceptions import ConfigurationError
from tests.support.calibration_pairs import Make, classes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where answers are to be kept."""
    return tmp_path / "answers.arrow"


def _truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _written(table: Any) -> bytes:
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _read(whole: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_file(whole).read_all()


def _another_schema(_: bytes) -> bytes:
    import pyarrow as pa

    return _written(pa.table({"a": [1]}))


def _an_output_twice(whole: bytes) -> bytes:
    table = _read(whole)
    return _written(table.append_column("output.label", table["output.label"]))


def _versions_are_numbers(whole: bytes) -> bytes:
    table = _read(whole)
    changed = table.set_column(1, "model_version", [[1] * len(table)])
    return _written(changed.replace_schema_metadata(table.schema.metadata))


def _deep(whole: bytes) -> bytes:
    return _written(_read(whole).replace_schema_metadata({"hybridmodel": "[" * 100_000}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"{}",
        _truncated,
        _another_schema,
        lambda whole: whole[::-1],
        _an_output_twice,
        _versions_are_numbers,
        _deep,
    ],
    ids=["empty", "json", "cut", "table", "noise", "twice", "numbers", "deep"],
)
def test_damaged_files_are_refused(make: Make, path: Path, damage: Any) -> None:
    """What is no file of answers is said before anybody is asked, and never overwritten."""
    data, y = classes()
    model = make("classes")
    keep_answers(path, model, data, {"label": data["big_label"]}, model_version="1")
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.raises(ConfigurationError, match=r"answers\.arrow: not a file of answers"):
        calibrate(model, data, y, score="confidence:sure", epsilon=0.01, answers=path)
    assert "azure.requests" not in model.stats()
    assert path.read_bytes() == damaged


def test_what_is_no_file_is_refused(make: Make, path: Path) -> None:
    """A pipe would be waited for, and a device read for ever."""
    os.mkfifo(path)
    data, y = classes()
    with pytest.raises(ConfigurationError, match="it is no regular file"):
        calibrate(make("classes"), data, y, score="confidence:sure", epsilon=0.01, answers=path)


def test_answers_stay_in_one_piece(make: Make, path: Path) -> None:
    """However often some are added, the file has one batch: many small ones would slow it down."""
    import pyarrow as pa

    model, (data, _) = make("classes"), classes(40)
    for row in range(4):
        part = {name: values[row : row + 1] for name, values in data.items()}
        keep_answers(path, model, part, {"label": part["big_label"]}, model_version="1")
    assert pa.ipc.open_file(path.read_bytes()).num_record_batches == 1
