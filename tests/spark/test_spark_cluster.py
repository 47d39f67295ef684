"""Two executors that share nothing, in processes of their own, before one endpoint."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.mlflow_tools import REPOSITORY, python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")

ROWS = 800
PROGRAM = """
import json, os, sys
from pathlib import Path
from hybridmodel import ConfigurationError, HybridOnnxModel, save_model
from hybridmodel.spark import udf
from tests.support import models
from tests.support.counting_server import CountingServer
from tests.support.spark_sessions import spark_session

def processes(batches):
    import pyarrow as pa
    executor = int(Path(f"/proc/{os.getppid()}/stat").read_text().split()[3])
    for batch in batches:
        yield pa.RecordBatch.from_pylist([{"executor": executor, "worker": os.getpid()}])

def run(spark, most):
    try:
        score = udf(spark, "saved", keep=["id"], use_azure=True, max_in_flight=most)
    except ConfigurationError as error:
        return {"refused": f"{error}"}
    rows = spark.range(0, ROWS, 1, 8).selectExpr("id", *(f"id / {ROWS} AS {x}" for x in "abcd"))
    server.forget()
    server.hold_s = 0.03
    scored = score(rows).cache()
    ids = sorted(row.id for row in scored.collect())
    found = scored.mapInArrow(processes, "executor long, worker long").distinct().collect()
    return {
        "peak": server.peak,
        "requests": len(server.rows),
        "executors": len({row.executor for row in found}),
        "each": score.requests_each,
        "whole": ids == list(range(ROWS)),
    }

ROWS = int(sys.argv[1])
server = CountingServer(models.linear(seed=7))
model = HybridOnnxModel(models.linear(), endpoint=server.endpoint(), feature_names=list("abcd"))
save_model(model, "saved")
settings = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10",
    "spark.cores.max": "4",  # With the next, both executors are there when the first task begins.
    "spark.scheduler.minRegisteredResourcesRatio": "1.0",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
}
with spark_session("local-cluster[2,2,512]", Path.cwd(), **settings) as spark:
    found = {most: run(spark, most) for most in map(int, sys.argv[2:])}
print(json.dumps(found))
"""


def test_two_executors_keep_to_one_bound(tmp_path: Path) -> None:
    """The server never sees more requests at a time than the job may have.

    Fewer than there are executors is refused, with both numbers.
    """
    printed = python(PROGRAM, tmp_path, f"{ROWS}", "1", "3", PYTHONPATH=str(REPOSITORY))
    refused, found = json.loads(printed.splitlines()[-1]).values()
    assert (
        "max_in_flight=1 requests at a time cannot be divided among 2 executors"
        in (refused["refused"])
    )
    assert found["executors"] == 2
    assert found["each"] == 1
    assert found["whole"]
    assert found["requests"] == ROWS / 10
    assert found["peak"] == 2
