"""`hybridmodel.spark.udf` on a real local Spark; skipped only where there is no Java."""

from __future__ import annotations

import pickle
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pyspark.errors import PythonException

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    InputMismatch,
    MissingDependency,
    load_model,
    save_model,
)
from hybridmodel.routing import Split
from hybridmodel.spark import udf
from tests.support import models
from tests.support.mlflow_tools import KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.counting_server import CountingServer

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Py4J leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
]

FEATURES = list("abcd")


def collected(scored: Any) -> pd.DataFrame:
    """Collect a DataFrame in the order of its partitions."""
    return pd.DataFrame([row.asDict() for row in scored.collect()])


@pytest.mark.parametrize("remote", [False, True])
def test_it_gives_what_predict_gives(
    spark: Any, rows: Any, frame: pd.DataFrame, saved: Path, counting: CountingServer, remote: bool
) -> None:
    """All columns come back, with those of `predict` behind them, in the order of the rows."""
    allow = ["127.0.0.1"]
    score = udf(spark, saved, use_azure=remote, route=True, allow=allow)
    found = collected(score(rows))
    expected = load_model(saved, allow=allow).predict(
        frame[FEATURES], use_azure=remote, provenance=True
    )
    expected = frame.join(expected.drop(columns=["score", "reason"]))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6)
    assert bool(counting.rows) is remote


def test_the_route_and_its_reasons_are_columns_on_request(
    spark: Any, rows: Any, saved: Path, frame: pd.DataFrame
) -> None:
    """Only what is kept comes back; ``provenance`` adds three columns, and a plain call none."""
    plain = udf(spark, saved, keep=["note"])(rows.limit(3))
    assert plain.columns == ["note", "y_0", "y_1"]
    assert [row.note for row in plain.collect()] == ["row 0", "row 1", "row 2"]
    told = udf(spark, saved, keep="id", provenance=True)(rows.limit(3))
    assert told.columns == ["id", "y_0", "y_1", "route", "score", "reason"]
    assert {(row.route, row.reason) for row in told.collect()} == {("local", "asked")}


def test_a_policy_says_who_answered_each_row(
    spark: Any, rows: Any, saved: Path, counting: CountingServer
) -> None:
    """A policy travels to the workers as it is, and its routes come back."""
    score = udf(spark, saved, keep=["id"], mode=Split(share=0.5, by="row"), route=True)
    found = collected(score(rows))
    assert set(found["route"]) == {"local", "azure"}
    assert sum(counting.rows) == (found["route"] == "azure").sum()


def test_one_model_in_each_worker(
    spark: Any, rows: Any, saved: Path, counting: CountingServer
) -> None:
    """Sessions and connections stay from one task to the next, and from one query to the next."""
    score = udf(spark, saved, use_azure=True, max_in_flight=2)
    scored = score(rows)
    for _ in range(2):
        assert scored.count() == 100
        assert len(scored.collect()) == 100
    assert len(counting.rows) >= 30
    assert counting.connections <= 2


@pytest.mark.parametrize(
    ("keep", "told"),
    [(["nope"], "the DataFrame.*'nope'"), (["y_0"], "'y_0'")],
    ids=["missing", "twice"],
)
def test_columns_that_cannot_be_kept(
    spark: Any, rows: Any, saved: Path, keep: list[str], told: str
) -> None:
    """What is missing, or would be there twice, is refused before anything runs."""
    with pytest.raises(ConfigurationError, match=told):
        udf(spark, saved, keep=keep)(rows.withColumn("y_0", rows.a))


def test_columns_that_do_not_fit(spark: Any, rows: Any, saved: Path) -> None:
    """A missing feature is refused before anything runs, a text for a number by its rows."""
    score = udf(spark, saved)
    with pytest.raises(InputMismatch, match="'d'"):
        score(rows.drop("d"))
    with pytest.raises(PythonException, match=r"InputMismatch: column 'd'[^$]*rows 0 to 9 of"):
        score(rows.withColumn("d", rows.note)).collect()


def test_grants_travel_and_keys_do_not(
    spark: Any, rows: Any, counting: CountingServer, tmp_path: Path
) -> None:
    """``allow`` counts on the workers, which take the key from their own environment."""
    endpoint = counting.endpoint(auth_key_env="SPARK_DIGITS_API_KEY")
    model = HybridOnnxModel(models.linear(), endpoint=endpoint, feature_names=FEATURES)
    save_model(model, tmp_path / "keyed")
    grant = f"SPARK_DIGITS_API_KEY@{endpoint.uri}"
    score = udf(spark, tmp_path / "keyed", use_azure=True, allow=[grant])
    assert score(rows).count() == 100
    assert counting.keys == {f"Bearer {KEY}"}
    assert KEY.encode() not in pickle.dumps(score._job)
    assert KEY not in repr(score)


@pytest.mark.parametrize(
    ("statuses", "kind", "requests", "helps"),
    [
        ([503] * 9, "EndpointUnavailable", 4, "attempt 3; another attempt may help"),
        ([429] * 9, "RateLimited", 4, "attempt 3; another attempt may help"),
        ([400] * 9, "EndpointRefused", 1, "attempt 3; not asked again"),
    ],
    ids=["503", "429", "400"],
)
def test_failures_are_typed(
    spark: Any,
    rows: Any,
    saved: Path,
    counting: CountingServer,
    statuses: list[int],
    kind: str,
    requests: int,
    helps: str,
) -> None:
    """Spark's attempts ask again only where that may help; the error names its kind and rows."""
    counting.refusals = statuses
    score = udf(spark, saved, use_azure=True, max_in_flight=1, patience_s=0.0)
    with pytest.raises(PythonException) as raised:
        score(rows.coalesce(1)).collect()
    told = f"{raised.value}"
    assert f"hybridmodel.exceptions.{kind}" in told
    assert f"hybridmodel: rows 0 to 9 of partition 0, {helps}" in told
    assert len(counting.rows) == requests


def test_parts_are_idempotent(
    spark: Any, rows: Any, saved: Path, counting: CountingServer, tmp_path: Path
) -> None:
    """What was written has each row once, though the endpoint failed in the middle of tasks."""
    counting.refusals = [503, 503]
    score = udf(spark, saved, keep=["id"], use_azure=True, max_in_flight=1)
    score(rows).write.parquet(str(tmp_path / "scored"))
    written = pd.read_parquet(tmp_path / "scored")
    assert sorted(written["id"]) == list(range(100))
    assert sum(counting.rows) > 100


def test_connect_is_refused(saved: Path) -> None:
    """What is no classic session is named, with the reason."""
    with pytest.raises(ConfigurationError, match="not of Spark Connect"):
        udf(object(), saved)


def test_without_pyspark(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pyspark is missing, the error names the extra."""
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingDependency, match=r"hybridmodel\[spark\]"):
        udf(object(), saved)
