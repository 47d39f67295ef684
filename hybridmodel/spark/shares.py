"""Divides the requests in flight of a job among the executors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hybridmodel.checks import check_count
from hybridmodel.exceptions import ConfigurationError

_MOST_REQUESTS, _MOST_EXECUTORS = 1_000_000, 100_000
_MOST_EACH = 64
"""Requests from one process; one of many clients never needs more."""

_SIMULATED_CLUSTER = re.compile(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,.*\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The most executors of a job, and the tasks that run at a time on each."""

    executors: int
    tasks: int


def requests_each(most: int, executors: int) -> int:
    """Return how many requests each executor may have in flight.

    Raises `ConfigurationError` if there are fewer requests than executors.
    """
    check_count("max_in_flight", most, 1, _MOST_REQUESTS)
    if most < executors:
        raise ConfigurationError(
            f"max_in_flight={most} requests at a time cannot be divided among {executors} "
            f"executors, each of which needs one: run on at most {most} executors, or raise "
            f"max_in_flight to {executors} if the endpoint allows it (Azure Machine Learning "
            "answers 429 above twice the concurrency that its deployment was given)"
        )
    return min(most // executors, _MOST_EACH)


def cluster_of(spark: Any, executors: int | None = None) -> Cluster:
    """Ask Spark for the executors of a job, unless the caller gives their number.

    Raises `ConfigurationError` if Spark cannot know how many executors there may be.
    """
    context = spark.sparkContext
    tasks = _tasks_by_executor(context)
    each = max(tasks, default=1)
    if executors is not None:
        check_count("executors", executors, 1, _MOST_EXECUTORS)
        return Cluster(executors=executors, tasks=each)
    return Cluster(executors=max(len(tasks), _most_executors(context), 1), tasks=each)


def _tasks_by_executor(context: Any) -> list[int]:
    """Return how many tasks each executor that Spark knows runs at a time."""
    listed = context._jsc.sc().statusStore().executorList(True)
    tasks = [listed.apply(position).maxTasks() for position in range(listed.size())]
    return [number for number in tasks if number]  # The driver of a cluster takes none.


def _most_executors(context: Any) -> int:
    """Return how many executors there may be by Spark's own settings; some may come later."""
    settings = context.getConf()
    simulated = _SIMULATED_CLUSTER.fullmatch(context.master)
    if simulated:
        return int(simulated[1])
    if settings.get("spark.dynamicAllocation.enabled", "false").lower() == "true":
        most = settings.get("spark.dynamicAllocation.maxExecutors")
        if most is None or int(most) > _MOST_EXECUTORS:
            raise ConfigurationError(
                "the number of executors has no bound, so max_in_flight cannot be divided among "
                "them: set spark.dynamicAllocation.maxExecutors, or pass executors="
            )
        return int(most)
    return int(settings.get("spark.executor.instances", "0"))
