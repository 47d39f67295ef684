"""``spark_udf`` on a real local Spark; skipped only where there is no Java.

Slow: a Spark session takes seconds to start, and so does each Python worker.
"""

from __future__ import annotations

import inspect
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.spark_model_cache import SparkModelCache

from hybridmodel import HybridOnnxModel, InputMismatch, load_model, save_model
from hybridmodel.serving import serve
from tests.support import models
from tests.support.mlflow_tools import COLUMNS, KEY, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hybridmodel.serving import EmbeddedServer

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Py4J leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
]

X = pd.DataFrame(np.arange(24, dtype=float).reshape(6, 4) / 8, columns=COLUMNS)
PAIR = "y_0 double, y_1 double"


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a local Spark with two workers, which find the package by its path."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        from pyspark.sql import SparkSession

        folder = tmp_path_factory.mktemp("spark")
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
            .config("spark.local.dir", str(folder))
            .config("spark.driver.extraJavaOptions", f"-Dderby.system.home={folder}")
            .config("spark.sql.execution.arrow.maxRecordsPerBatch", "2")
            .config("spark.log.level", "ERROR")
            .getOrCreate()
        )
        context = type(session.sparkContext)
        gateway = context._gateway
        yield session
        session.stop()
        context._gateway = context._jvm = None
        gateway.shutdown()
        gateway.proc.stdin.close()  # Java ends when nobody can write to it any more.
        gateway.proc.wait(timeout=30)


@pytest.fixture(scope="module")
def rows(spark: Any) -> Any:
    """Give the six rows as a Spark DataFrame, with a column to order by."""
    return spark.createDataFrame(
        [(i, *map(float, row)) for i, row in enumerate(X.to_numpy())], (["i", *COLUMNS])
    )


@pytest.fixture(scope="module")
def saved(endpoint_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model with an endpoint, and with the columns in its signature."""
    folder = tmp_path_factory.mktemp("models") / "columns"
    model = HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))
    save_model(model, folder, input_example=X.head(2))
    return folder


def scored(rows: Any, column: Any) -> np.ndarray[Any, Any]:
    """Collect one column of answers in the order of the rows."""
    found = rows.withColumn("answer", column).orderBy("i").select("answer").collect()
    return np.array([list(row[0]) if isinstance(row[0], tuple) else row[0] for row in found])


def expected(seed: int = 0) -> np.ndarray[Any, Any]:
    """Compute what a linear model answers to the six rows."""
    answer: np.ndarray[Any, Any] = HybridOnnxModel(models.linear(seed=seed)).predict(X.to_numpy())
    return answer


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_struct_result(spark: Any, rows: Any, saved: Path, remote: bool, by_name: bool) -> None:
    """A struct takes an answer of several columns, with and without naming the input columns."""
    udf = mlflow.pyfunc.spark_udf(
        spark,
        str(saved),
        result_type=PAIR,
        env_manager="local",
        params={"use_azure": remote, "timeout": 20.0},
    )
    answer = scored(rows, udf(*COLUMNS) if by_name else udf())
    np.testing.assert_allclose(answer, expected(7 if remote else 0), rtol=1e-4, atol=1e-5)


def test_scalar_result(spark: Any, rows: Any, tmp_path: Path) -> None:
    """A model with one selected output of one column gives a plain column."""
    model = HybridOnnxModel(models.classifier(labels=("no", "yes")), output="label")
    save_model(model, tmp_path / "label", input_example=X.head(2))
    udf = mlflow.pyfunc.spark_udf(
        spark, str(tmp_path / "label"), result_type="string", env_manager="local"
    )
    assert scored(rows, udf(*COLUMNS)).tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("remote", [False, True])
def test_whole_numbers(
    spark: Any, rows: Any, endpoint_server: EmbeddedServer, tmp_path: Path, remote: bool
) -> None:
    """A result of type long takes the classes, beside which the model gives probabilities."""
    graded = models.graded()
    with serve({"graded": graded}) as server:
        model = HybridOnnxModel(graded, endpoint=server.endpoint("graded"))
        save_model(model, tmp_path / "graded", input_example=X[["a", "b", "c"]])
        udf = mlflow.pyfunc.spark_udf(
            spark,
            str(tmp_path / "graded"),
            result_type="long",
            env_manager="local",
            params={"use_azure": remote},
        )
        answer = scored(rows, udf("a", "b", "c"))
    assert answer.tolist() == model.infer(X[["a", "b", "c"]]).outputs["label"].tolist()


def test_a_model_without_columns_takes_a_struct(
    spark: Any, rows: Any, endpoint_server: EmbeddedServer, tmp_path: Path
) -> None:
    """With the fastest signature the columns are handed over together."""
    from pyspark.sql.functions import struct

    save_model(HybridOnnxModel(models.linear()), tmp_path / "model", signature="params")
    udf = mlflow.pyfunc.spark_udf(
        spark, str(tmp_path / "model"), result_type=PAIR, env_manager="local"
    )
    answer = scored(rows, udf(struct(*COLUMNS)))
    np.testing.assert_allclose(answer, expected(), rtol=1e-4, atol=1e-5)


def test_keys_reach_the_workers_through_their_environment(
    spark: Any, rows: Any, tmp_path: Path
) -> None:
    """``extra_env`` sets, on each worker, the variable that the endpoint names, and the grant."""
    with serve({"linear": models.linear(seed=7)}, auth_key=KEY) as server:
        endpoint = server.endpoint("linear", auth_key_env="SPARK_DIGITS_API_KEY")
        save_model(
            HybridOnnxModel(models.linear(), endpoint=endpoint),
            tmp_path / "model",
            input_example=X.head(2),
        )
        udf = mlflow.pyfunc.spark_udf(
            spark,
            str(tmp_path / "model"),
            result_type=PAIR,
            env_manager="local",
            params={"use_azure": True},
            extra_env={
                "SPARK_DIGITS_API_KEY": KEY,
                "HYBRIDMODEL_ALLOW": f"SPARK_DIGITS_API_KEY@{server.uri}",
            },
        )
        answer = scored(rows, udf(*COLUMNS))
    np.testing.assert_allclose(answer, expected(7), rtol=1e-4, atol=1e-5)


def test_model_config_on_workers(spark: Any, rows: Any, saved: Path) -> None:
    """On a local Spark ``model_config`` counts; clusters lose it, so that params are the safe way.

    MLflow hands the model to the workers of a real cluster without it (facts 6.2).
    """
    udf = mlflow.pyfunc.spark_udf(
        spark,
        str(saved),
        result_type=PAIR,
        env_manager="local",
        model_config={"use_azure": True},
    )
    np.testing.assert_allclose(scored(rows, udf(*COLUMNS)), expected(7), rtol=1e-4, atol=1e-5)


def test_what_a_cluster_does_with_model_config() -> None:
    """The cache that a cluster's workers load from takes no model_config, as this test notes."""
    assert list(inspect.signature(SparkModelCache.get_or_load).parameters) == ["archive_path"]


def test_a_spark_frame_is_refused(rows: Any, saved: Path, tmp_path: Path) -> None:
    """Handed over whole, a Spark DataFrame is an error that names ``spark_udf``."""
    save_model(HybridOnnxModel(models.linear()), tmp_path / "model", signature="params")
    with pytest.raises(MlflowException, match="spark_udf"):
        mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(rows)
    with pytest.raises(InputMismatch, match="spark_udf"):
        load_model(saved).predict(rows)
