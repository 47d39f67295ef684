"""Inputs that are not what they should be, and endpoints that are gone."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from hybridmodel import EndpointUnavailable, HybridOnnxModel
from hybridmodel.batch.summary import Counts
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.testing import fake_endpoint
from tests.support import models
from tests.support.batches import (
    COLUMNS,
    folder_of_files,
    names,
    rows_of,
    run,
    small_parts,
    table,
    write,
)
from tests.support.two_routes import DEAD

pytestmark = pytest.mark.usefixtures("small_parts")

__all__ = ["small_parts"]

Damage = Callable[[Path], object]


def rewritten(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    """Return what writes a file anew."""
    return lambda path: write(change(table(10)), path)


def line(number: int, text: str) -> Damage:
    """Return what replaces a line of a file."""

    def damage(path: Path) -> None:
        lines = path.read_text().splitlines()
        lines[number] = text
        path.write_text("\n".join(lines) + "\n")

    return damage


def cut_short(path: Path) -> None:
    """Take the end of a file away."""
    path.write_bytes(path.read_bytes()[:-20])


BAD: dict[str, tuple[str, Damage, str]] = {
    "a missing column": (".parquet", rewritten(lambda frame: frame.drop(columns="b")), "'b'"),
    "an extra column": (".parquet", rewritten(lambda frame: frame.assign(e=1)), "unexpected 'e'"),
    "a text column": (".parquet", rewritten(lambda frame: frame.assign(b="?")), "column 'b'"),
    "a kept column of another type": (
        ".parquet",
        rewritten(lambda frame: frame.assign(id="seven")),
        r"column 'id' is (large_)?string, in .*0\.parquet it is int64; write \.csv",
    ),
    "a kept column that is missing": (
        ".parquet",
        rewritten(lambda frame: frame.drop(columns="id")),
        "has no column 'id'",
    ),
    "a footer that is cut": (".parquet", cut_short, "cannot be read as parquet"),
    "no bytes of parquet": (".parquet", lambda path: path.write_bytes(b""), "as parquet"),
    "a text instead of parquet": (
        ".parquet",
        lambda path: path.write_text("a,b\n" * 99),
        "as parquet",
    ),
    "no bytes of csv": (".csv", lambda path: path.write_bytes(b""), "cannot be read as csv"),
    "a long row": (".csv", line(3, "1,2,3,4,5,6"), "cannot be read as csv"),
    "a short row": (
        ".csv",
        line(3, "1,2,3"),
        r"line 4 \(row 2, from 0\): has 3 fields, where the header has 5",
    ),
    "a short last row": (".csv", cut_short, r"line 11 \(row 9, from 0\): has \d fields"),
    "no number": (".csv", line(3, "1,2,x,4,5"), r"line 4 \(row 2, from 0\), column 'b': 'x'"),
    "another header": (".csv", line(0, "id,a,b,c,e"), "'d'"),
    "no JSON": (".jsonl", line(3, "{"), "line 4"),
    "a JSON list": (".jsonl", line(3, "[1]"), "line 4"),
    "other keys": (".jsonl", line(3, '{"a": 1}'), "line 4"),
    "an arrow file that is cut": (".arrow", cut_short, "arrow"),
    "no bytes of arrow": (".arrow", lambda path: path.write_bytes(b""), "arrow"),
}


@pytest.mark.parametrize("what", BAD)
def test_the_seventh_of_ten_files(tmp_path: Path, what: str) -> None:
    """A file that is no good is named; Parquet before any work, others when they are reached."""
    suffix, damage, message = BAD[what]
    source = folder_of_files(tmp_path / "in", *[10] * 10, suffix=suffix)
    damage(source / f"6{suffix}")
    with pytest.raises((InputMismatch, ConfigurationError), match=message) as caught:
        run(source, tmp_path / "out.parquet")
    assert f"6{suffix}" in str(caught.value)
    before = {"in"} if suffix == ".parquet" else {"in", ".out.parquet.hybridmodel"}
    assert names(tmp_path) == before
    write(table(10, 60), source / f"6{suffix}")
    begun = len(before) > 1
    with pytest.raises(ConfigurationError, match="begin anew") if begun else nullcontext():
        run(source, tmp_path / "out.parquet", resume=True)


def test_missing_values_make_no_short_row(tmp_path: Path) -> None:
    """A row may end with missing values, in any batch, as long as it has its separators."""
    lines = table(90).to_csv(index=False).splitlines()
    for number in (1, 2, 40, 89):
        lines[number] = lines[number].rpartition(",")[0] + ","
    lines[50:50] = ["", ""]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    summary = run(tmp_path / "in.csv", tmp_path / "out.csv")
    assert summary.rows == 90
    assert rows_of(tmp_path / "out.csv")["y_0"].isna().sum() == 4
    (tmp_path / "in.csv").write_text("\n".join([*lines[:-3], "1,2", *lines[-3:]]))
    with pytest.raises(InputMismatch, match=r"line 91 \(row 87, from 0\): has 2 fields"):
        run(tmp_path / "in.csv", tmp_path / "out.csv", overwrite=True)


def test_a_zip_that_is_cut(tmp_path: Path) -> None:
    """A file that was not written to its end is told, however much of it can be read."""
    data = gzip.compress(table(5000).to_csv(index=False).encode())
    (tmp_path / "in.csv.gz").write_bytes(data[:-100])
    with pytest.raises(InputMismatch, match=r"in\.csv\.gz"):
        run(tmp_path / "in.csv.gz", tmp_path / "out.csv")


def test_an_endpoint_that_is_gone_for_good(tmp_path: Path) -> None:
    """What the endpoint has answered is kept when it fails, and only the rest is asked later."""
    endpoint = replace(DEAD, max_attempts=1, max_batch_size=10)
    model = HybridOnnxModel(models.linear(), endpoint=endpoint, feature_names=COLUMNS)
    source = folder_of_files(tmp_path / "in", 70, 30)
    options = {"model": model, "use_azure": True, "workers": 1, "batch_rows": 10}
    with fake_endpoint(model, models.linear(seed=9)) as fake:

        def cut_off(done: Counts, _: object) -> None:
            if done.rows >= 50:
                fake.disconnect()

        with pytest.raises(EndpointUnavailable) as caught:
            run(source, tmp_path / "out.parquet", progress=cut_off, **options)
        assert "--resume" in caught.value.__notes__[0]
        fake.recover()
        before = sum(len(request.inputs["x"]) for request in fake.requests)
        summary = run(source, tmp_path / "out.parquet", resume=True, **options)
        after = sum(len(request.inputs["x"]) for request in fake.requests)
    assert (summary.rows, summary.remote, summary.resumed) == (100, 100, 1)
    assert after - before == 100 - 32
    expected = HybridOnnxModel(models.linear(seed=9), feature_names=COLUMNS)
    pd.testing.assert_frame_equal(
        rows_of(tmp_path / "out.parquet")[["y_0", "y_1"]],
        expected.predict(pd.concat([table(70), table(30, 70)], ignore_index=True)[COLUMNS]),
        rtol=1e-6,
    )
