"""Budgets and cascades over files: the rows of one call of `predict`, in full requests, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import EndpointUnavailable, HybridOnnxModel
from hybridmodel.batch import answers, parts, predict_files
from hybridmodel.routing import Budget, Cascade
from hybridmodel.testing import FakeEndpoint, fake_endpoint
from tests.support import models
from tests.support.batches import DyingDisk, Killed, PowerDisk
from tests.support.two_routes import DEAD, REMOTE

ROWS, PART_ROWS, SIZE = 1000, 128, 32
POLICIES: dict[str, Any] = {
    "share": Budget(0.07),
    "rows": Budget(rows=123, score="entropy"),
    "cost": Budget(cost=20.0, cost_per_call=1.0, cost_per_row=0.1),
    "none": Budget(rows=0),
    "all": Budget(1.0),
    "threshold": Cascade(threshold=0.3),
    "limit": Cascade(threshold=0.5, max_escalation=0.1, score="max_probability"),
}

READERS: dict[str, Any] = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
    ".arrow": pd.read_feather,
    "": pd.read_parquet,
}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", PART_ROWS)
    monkeypatch.setattr(answers, "_FEWEST_ROWS", 1)


def made(**endpoint: Any) -> HybridOnnxModel:
    """Make a model whose endpoint takes few rows at a time."""
    return HybridOnnxModel(
        models.graded(),
        endpoint=replace(DEAD, **{"max_batch_size": SIZE, **endpoint}),
        feature_names=list("abc"),
        # With settings of its own a job takes its session as it is, which saves making another.
        session_options={"intra_op_num_threads": 1},
    )


@pytest.fixture
def model() -> HybridOnnxModel:
    """Return such a model."""
    return made()


@pytest.fixture
def fake(model: HybridOnnxModel) -> Iterator[FakeEndpoint]:
    """Answer as the remote model does."""
    with fake_endpoint(model, REMOTE) as fake:
        yield fake


def table(rows: int = ROWS) -> pd.DataFrame:
    """Return rows of which some have no score, and some the same one."""
    values = np.random.default_rng(7).normal(size=(rows, 3)).astype(np.float32).round(1)
    values[5::100] = np.nan
    return pd.DataFrame(values, columns=list("abc")).assign(id=np.arange(rows))


def files(folder: Path, frame: pd.DataFrame) -> Path:
    """Write a table to three files of different length, and return their folder."""
    made = folder / "in"
    made.mkdir()
    for number, part in enumerate((frame[:300], frame[300:310], frame[310:])):
        part.to_parquet(made / f"{number}.parquet", index=False)
    return made


def sizes(fake: FakeEndpoint) -> list[int]:
    """Return the rows of each request."""
    return sorted((len(request.inputs["x"]) for request in fake.requests), reverse=True)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        *((name, "out.parquet") for name in POLICIES),
        *(("limit", output) for output in ("out.csv", "out.jsonl", "out.arrow", "out")),
    ],
)
def test_files_get_the_answers_of_one_call(
    model: HybridOnnxModel, fake: FakeEndpoint, tmp_path: Path, name: str, output: str
) -> None:
    """Row for row, with routes, scores and reasons; and each request is full but the last."""
    frame, policy = table(), POLICIES[name]
    expected = model.predict(frame[list("abc")], mode=policy, provenance=True)
    gone = int((expected["route"] == "azure").sum())
    before = len(fake.requests)
    summary = predict_files(
        model,
        files(tmp_path, frame),
        tmp_path / output,
        mode=policy,
        keep=["id"],
        provenance=True,
    )
    assert (summary.rows, summary.remote, summary.local) == (ROWS, gone, ROWS - gone)
    assert (summary.resent, summary.errors) == (0, 0)
    full, rest = divmod(gone, SIZE)
    found = sorted((len(one.inputs["x"]) for one in fake.requests[before:]), reverse=True)
    assert found == [SIZE] * full + [rest] * (rest > 0)
    told = READERS[Path(output).suffix](tmp_path / output)
    assert told["id"].tolist() == list(range(ROWS))
    assert list(told.columns) == ["id", *expected.columns]
    for column in expected.columns:
        if expected[column].dtype.kind == "f":
            np.testing.assert_allclose(told[column], expected[column], rtol=1e-6, atol=1e-9)
        else:
            assert told[column].tolist() == expected[column].tolist()


@pytest.mark.parametrize("name", ["cost", "limit"])
def test_answers_of_small_requests_are_kept_together(
    model: HybridOnnxModel,
    fake: FakeEndpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A server that takes few rows at a time costs no file for each of its answers."""
    monkeypatch.setattr(answers, "_FEWEST_ROWS", 3 * SIZE - 1)
    frame, disk = table(), DyingDisk()
    expected = model.predict(frame[list("abc")], mode=POLICIES[name], provenance=True)
    gone, before = int((expected["route"] == "azure").sum()), len(fake.requests)
    predict_files(
        model,
        files(tmp_path, frame),
        tmp_path / "out.parquet",
        mode=POLICIES[name],
        keep=["id"],
        disk=disk,
    )
    assert len(fake.requests) - before == -(-gone // SIZE)
    kept = -(-gone // (3 * SIZE))
    assert disk.steps.count("append") == parts_of(ROWS) + 1 + 2 * kept + 1
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["label"].tolist() == expected["label"].tolist()


def test_a_job_that_is_killed_in_between_goes_on(model: HybridOnnxModel, tmp_path: Path) -> None:
    """The output is the same; what is sent again is no more than what was under way."""
    source, policy = files(tmp_path, table()), Budget(rows=300)
    options: dict[str, Any] = {"mode": policy, "provenance": True, "keep": ["id"]}
    with fake_endpoint(model, REMOTE):
        predict_files(model, source, tmp_path / "whole.parquet", **options)
    wanted = pd.read_parquet(tmp_path / "whole.parquet")
    model = made(max_in_flight=2)
    sent: list[Any] = []
    with fake_endpoint(model, lambda x: _killing(sent, x, 3)), pytest.raises(Killed):
        predict_files(model, source, tmp_path / "out.parquet", **options)
    assert not (tmp_path / "out.parquet").exists()
    before = len(sent)
    with fake_endpoint(model, REMOTE) as fake:
        summary = predict_files(model, source, tmp_path / "out.parquet", resume=True, **options)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), wanted)
    assert (summary.rows, summary.remote) == (ROWS, 300)
    again = before * SIZE + sum(sizes(fake)) - 300
    assert summary.resent == again <= 2 * SIZE
    assert summary.resumed == parts_of(ROWS)


def parts_of(rows: int) -> int:
    """Return the number of parts of the three files."""
    return sum(-(-size // PART_ROWS) for size in (300, 10, rows - 310))


def test_a_job_that_is_killed_at_any_step_of_the_disk_goes_on(tmp_path: Path) -> None:
    """In the second pass and after it; each row that was chosen is counted once."""
    model, frame, policy = made(max_in_flight=1, max_batch_size=16), table(100), Budget(0.25)
    frame.to_parquet(tmp_path / "in.parquet", index=False)

    def run(folder: Path, disk: DyingDisk, **options: Any) -> Any:
        folder.mkdir(exist_ok=True)
        return predict_files(
            model,
            tmp_path / "in.parquet",
            folder / "out.parquet",
            mode=policy,
            keep=["id"],
            workers=0,
            disk=disk,
            **options,
        )

    with fake_endpoint(model, REMOTE) as fake:
        whole = DyingDisk()
        run(tmp_path / "whole", whole)
        wanted = pd.read_parquet(tmp_path / "whole" / "out.parquet")
        assert sizes(fake) == [16, 9]
        begun = whole.steps.index("append") + 1  # The only part of the first pass is done.
        places = range(begun, len(whole.steps))
        disks = [*map(DyingDisk, places), *map(PowerDisk, places)]
        disks += [DyingDisk(at, True) for at in places if whole.steps[at] == "append"]
        for number, disk in enumerate(disks):
            folder, before = tmp_path / str(number), len(fake.requests)
            with pytest.raises(Killed):
                run(folder, disk)
            if isinstance(disk, PowerDisk):
                disk.fail(folder)
            if not (folder / "out.parquet").exists():
                summary = run(folder, DyingDisk(), resume=True)
                sent = [len(request.inputs["x"]) for request in fake.requests[before:]]
                assert (summary.rows, summary.remote) == (100, 25)
                assert sum(sent) - 25 <= summary.resent <= 16
            pd.testing.assert_frame_equal(pd.read_parquet(folder / "out.parquet"), wanted)


def _killing(sent: list[Any], x: Any, last: int) -> Any:
    sent.append(x)
    if len(sent) >= last:
        raise Killed
    return HybridOnnxModel(REMOTE).infer(x).outputs


def test_a_job_stops_where_the_endpoint_is_gone_and_goes_on_when_it_is_back(
    model: HybridOnnxModel, fake: FakeEndpoint, tmp_path: Path
) -> None:
    """A local answer is never kept instead: the result would depend on the weather."""
    source = files(tmp_path, table())
    options: dict[str, Any] = {"mode": Budget(0.1), "timeout": 0.5, "keep": ["id"]}
    fake.fail(503)
    with pytest.raises(EndpointUnavailable):
        predict_files(model, source, tmp_path / "out.parquet", **options)
    fake.recover()
    fake.advance(60)
    summary = predict_files(model, source, tmp_path / "out.parquet", resume=True, **options)
    assert (summary.remote, summary.local) == (100, 900)
    expected = model.predict(table()[list("abc")], mode=Budget(0.1))
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["label"].tolist() == expected["label"].tolist()


@pytest.mark.parametrize("status", [503, 413])
def test_rows_that_a_retry_sends_again_are_counted(
    model: HybridOnnxModel, fake: FakeEndpoint, tmp_path: Path, status: int
) -> None:
    """Of a failure all rows of the request; one that was too large is cut, and not repeated."""
    fake.fail(status, times=1)
    options: dict[str, Any] = {"mode": Budget(0.1), "keep": ["id"]}
    summary = predict_files(model, files(tmp_path, table()), tmp_path / "out.parquet", **options)
    assert (summary.remote, summary.resent) == (100, SIZE if status == 503 else 0)
    expected = model.predict(table()[list("abc")], mode=Budget(0.1))
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found["label"].tolist() == expected["label"].tolist()


def test_bad_rows_are_neither_counted_nor_sent(
    model: HybridOnnxModel, fake: FakeEndpoint, tmp_path: Path
) -> None:
    """A budget is one of the rows that are answered, and each answer finds its place."""
    frame = table().drop(columns="id").fillna(0).astype(object)
    bad = [0, 7, 127, 128, 500, 999]
    frame.iloc[bad, 1] = "none of your business"
    frame.to_csv(tmp_path / "in.csv", index=False)
    summary = predict_files(
        model,
        tmp_path / "in.csv",
        tmp_path / "out.parquet",
        mode=Budget(0.5),
        provenance=True,
        on_bad_rows="write",
        max_errors=10,
    )
    good = frame.drop(index=bad).astype(np.float32)
    expected = model.predict(good, mode=Budget(0.5), provenance=True)
    assert (summary.rows, summary.errors, summary.remote) == (ROWS, 6, 497)
    found = pd.read_parquet(tmp_path / "out.parquet")
    for column in ("label", "route", "reason"):
        assert found[column].tolist() == expected[column].tolist()


def test_an_output_may_be_chosen_that_is_not_that_of_the_score(
    model: HybridOnnxModel, fake: FakeEndpoint, tmp_path: Path
) -> None:
    """Only it is asked for and written, without provenance and with it."""
    source, frame = files(tmp_path, table()), table()[list("abc")]
    for told in (False, True):
        output = tmp_path / f"{told}.parquet"
        options: dict[str, Any] = {"mode": Budget(0.1), "provenance": told, "keep": ["id"]}
        predict_files(model, source, output, output_name="label", **options)
        expected = model.predict(frame, mode=Budget(0.1), output="label", provenance=True)
        found = pd.read_parquet(output)
        names = ["label", "route", "score", "reason"] if told else ["label"]
        assert list(found.columns) == ["id", *names]
        for name in {"label", *names} - {"score"}:
            assert found[name].tolist() == expected[name].tolist()
    assert {request.outputs for request in fake.requests} == {("label",)}
