"""Spark on this machine: in one process, or as a cluster of executors in processes of their own."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow_tools import REPOSITORY


@contextmanager
def spark_session(
    master: str, folder: Path, environ: Mapping[str, str] | None = None, **settings: str
) -> Iterator[Any]:
    """Start Spark, whose workers find the package by its path, with variables for its workers.

    No other may run in this process.
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        from pyspark.sql import SparkSession

        patch.setenv("SPARK_HOME", str(_own_home(folder)))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        for name, value in (environ or {}).items():
            patch.setenv(name, value)
        named = {
            "spark.ui.enabled": "false",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.executor.memory": "512m",
            "spark.sql.warehouse.dir": str(folder / "warehouse"),
            "spark.local.dir": str(folder),
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder}",
            "spark.log.level": "OFF",
            **settings,
        }
        builder = SparkSession.builder.master(master)
        for name, value in named.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        context = type(session.sparkContext)
        gateway = context._gateway
        try:
            yield session
        finally:
            session.stop()
            context._gateway = context._jvm = None
            gateway.shutdown()
            gateway.proc.stdin.close()  # Java ends when nobody can write to it any more.
            gateway.proc.wait(timeout=30)


def _own_home(folder: Path) -> Path:
    """Make a home of links to Spark's own: executors of a simulated cluster write into it."""
    import pyspark

    home, (installed,) = folder / "home", pyspark.__path__
    home.mkdir()
    for path in Path(installed).iterdir():
        if path.name != "work":
            (home / path.name).symlink_to(path)
    return home
