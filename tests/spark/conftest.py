"""A local Spark with two tasks at a time, and a model with an endpoint that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from tests.support import models
from tests.support.counting_server import CountingServer
from tests.support.mlflow_tools import KEY
from tests.support.spark_sessions import spark_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = list("abcd")


@pytest.fixture(scope="module")  # Ended with its file: a process has but one Spark at a time.
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a local Spark that takes two tasks at a time, and tries each four times."""
    batches = {"spark.sql.execution.arrow.maxRecordsPerBatch": "10"}
    folder, key = tmp_path_factory.mktemp("spark"), {"SPARK_DIGITS_API_KEY": KEY}
    with spark_session("local[2,4]", folder, key, **batches) as session:
        yield session


@pytest.fixture(scope="session")
def server() -> Iterator[CountingServer]:
    """Start a server that has another model than the local one."""
    server = CountingServer(models.linear(seed=7))
    yield server
    server.close()


@pytest.fixture
def counting(server: CountingServer) -> Iterator[CountingServer]:
    """Give the server, with nothing counted yet."""
    server.forget()
    yield server
    server.forget()


@pytest.fixture(scope="session")
def saved(server: CountingServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model with that endpoint."""
    folder = tmp_path_factory.mktemp("models") / "linear"
    endpoint = server.endpoint(max_in_flight=8)
    save_model(HybridOnnxModel(models.linear(), endpoint=endpoint, feature_names=NAMES), folder)
    return folder


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    """Give a hundred rows with an id and a text besides the features, in another order."""
    numbers = np.random.default_rng(0).normal(size=(100, 4))
    frame = pd.DataFrame(numbers, columns=NAMES)[list("cabd")]
    return frame.assign(id=np.arange(100), note=[f"row {i}" for i in range(100)])


@pytest.fixture(scope="module")
def rows(spark: Any, frame: pd.DataFrame) -> Any:
    """Give these rows to Spark in four partitions, whose order is that of the ids."""
    return spark.createDataFrame(frame).repartitionByRange(4, "id").sortWithinPartitions("id")
