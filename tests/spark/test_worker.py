"""What runs in Spark's workers, without Spark: files, attempts, and what is kept."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from hybridmodel import (
    ConfigurationError,
    EndpointRefused,
    HybridOnnxModel,
    RateLimited,
    save_model,
)
from hybridmodel.batch.columns import Columns
from hybridmodel.routing import Azure
from hybridmodel.spark import worker
from hybridmodel.spark.schemas import as_spark_holds, spark_type
from hybridmodel.spark.worker import Job, Task, folder_of, model_of, score_batches
from tests.support import models
from tests.support.two_routes import DEAD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.counting_server import CountingServer

SCHEMA = pa.schema([("id", pa.int64()), ("y_0", pa.float32()), ("route", pa.string())])


@pytest.fixture
def job(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Make a job whose model lies where the first worker would put it."""
    monkeypatch.setenv("SPARK_LOCAL_DIRS", f"{tmp_path},/nowhere")
    monkeypatch.setattr(worker, "_models", worker.PerProcess())
    job = a_job("one")
    shutil.copytree(saved, folder_of(job) / "model")
    return job


def a_job(key: str) -> Job:
    """Make a job that asks the endpoint, one request after the other."""
    return Job(
        key=key,
        archive="model.zip",
        loading={},
        policy=Azure(),
        output=None,
        timeout_s=20.0,
        added=("route",),
        requests=1,
        threads=1,
        patience_s=0.0,
    )


def batches(count: int = 3) -> Any:
    """Yield batches of four rows."""
    for number in range(count):
        columns = {name: np.arange(4.0) for name in "abcd"}
        yield pa.RecordBatch.from_pydict({"id": np.arange(4) + 4 * number, **columns})


def scored(job: Job) -> pa.Table:
    """Score three batches."""
    return pa.Table.from_batches(score_batches(job, Columns(ids=("id",)), SCHEMA, batches()))


def test_a_partition(job: Job, counting: CountingServer) -> None:
    """Rows come back in order, with the columns of the schema and no others."""
    table = scored(job)
    assert table["id"].to_pylist() == list(range(12))
    assert set(table["route"].to_pylist()) == {"azure"}
    assert counting.rows == [4, 4, 4]
    assert [path.name for path in folder_of(job).iterdir() if path.is_file()] == ["permit-0"]


def test_what_would_fail_alike_is_not_asked_again(
    job: Job, counting: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal ends the first attempt, and the next ones without a request."""
    counting.refusals = [400] * 9
    for attempt in range(3):
        monkeypatch.setattr(Task, "current", classmethod(lambda _, at=attempt: Task(5, 2, at)))
        with pytest.raises(EndpointRefused, match="so it was said") as raised:
            scored(job)
        told = "another attempt would fail the same way" if attempt == 0 else "not asked again"
        assert raised.value.__notes__ == [
            f"hybridmodel: rows 0 to 3 of partition 2, attempt {attempt}; {told}"
        ]
    assert counting.rows == [4]


def test_what_may_help_is_asked_again(
    job: Job, counting: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 429 the next attempt scores the partition from its start."""
    counting.refusals = [429]
    with pytest.raises(RateLimited) as raised:
        scored(job)
    assert "another attempt may help" in raised.value.__notes__[0]
    monkeypatch.setattr(Task, "current", classmethod(lambda _: Task(0, 0, 1)))
    assert scored(job)["id"].to_pylist() == list(range(12))


def test_a_note_that_cannot_be_read_is_none(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn note of an earlier attempt does not keep the next one from trying."""
    (folder_of(job) / "failed-0-0.json").write_text('{"kind": ')
    monkeypatch.setattr(Task, "current", classmethod(lambda _: Task(0, 0, 1)))
    assert scored(job).num_rows == 12


def test_a_worker_keeps_few_models(job: Job, saved: Path) -> None:
    """The models of the last jobs stay, each of them one; older ones are closed."""
    first = model_of(job)
    assert model_of(job) is first
    for key in ("two", "three"):
        shutil.copytree(saved, folder_of(a_job(key)) / "model")
        model_of(a_job(key))
    assert model_of(job) is not first


@pytest.mark.parametrize(
    ("arrow", "kept", "spark"),
    [
        (pa.uint8(), pa.int16(), "smallint"),
        (pa.uint32(), pa.int64(), "bigint"),
        (pa.uint64(), pa.decimal128(20), "decimal(20,0)"),
        (pa.float16(), pa.float32(), "float"),
        (pa.float64(), pa.float64(), "double"),
        (pa.bool_(), pa.bool_(), "boolean"),
        (pa.large_string(), pa.string(), "string"),
        (pa.list_(pa.uint16(), 3), pa.list_(pa.int32()), "array<int>"),
    ],
    ids=str,
)
def test_types(arrow: pa.DataType, kept: pa.DataType, spark: str) -> None:
    """Every type of an output has one of Spark's that holds all its values."""
    assert as_spark_holds(arrow) == kept
    assert spark_type(kept).simpleString() == spark


def test_a_type_that_spark_does_not_have() -> None:
    """What Spark cannot hold is refused by name."""
    with pytest.raises(ConfigurationError, match=r"duration\[s\]"):
        spark_type(pa.duration("s"))


def test_while_another_thread_imports_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is being imported has no classes yet, which is no reason to fail."""
    monkeypatch.setitem(sys.modules, "pandas", ModuleType("pandas"))
    assert HybridOnnxModel(models.linear()).predict(np.zeros((3, 4), np.float32)).shape == (3, 2)


def test_a_busy_endpoint_is_waited_for(job: Job, counting: CountingServer) -> None:
    """Where there is patience, a 429 is no failure of the task."""
    counting.refusals = [429]
    assert scored(replace(job, patience_s=30.0)).num_rows == 12
    assert counting.rows == [4, 4, 4, 4]


def test_several_endpoints_have_their_own_credentials(
    tmp_path: Path, counting: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker asks the next endpoint where the first is down, and sends it its own key only."""
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    monkeypatch.setattr(worker, "_models", worker.PerProcess())
    job = replace(a_job("two"), loading={"credential": [lambda: "west", lambda: "north"]})
    model = HybridOnnxModel(models.linear(), endpoint=[DEAD, counting.endpoint(auth_key_env="K")])
    save_model(model, folder_of(job) / "model")
    assert scored(job)["id"].to_pylist() == list(range(12))
    assert counting.keys == {"Bearer north"}
