"""How a bound on requests is divided among executors, and held by the workers of one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import ConfigurationError, EndpointTimeout
from hybridmodel.remote.resilience import Deadline
from hybridmodel.spark.permits import FilePermits
from hybridmodel.spark.shares import Cluster, cluster_of, requests_each

if TYPE_CHECKING:
    from pathlib import Path


def a_spark(*tasks: int, master: str = "yarn", **settings: str) -> Any:
    """Make what `cluster_of` asks: executors that take so many tasks, and settings."""
    named = {f"spark.{name.replace('_', '.')}": value for name, value in settings.items()}
    listed = SimpleNamespace(
        size=lambda: len(tasks), apply=lambda at: SimpleNamespace(maxTasks=lambda: tasks[at])
    )
    store = SimpleNamespace(executorList=lambda _: listed)
    java = SimpleNamespace(sc=lambda: SimpleNamespace(statusStore=lambda: store))
    conf = SimpleNamespace(get=lambda name, default=None: named.get(name, default))
    context = SimpleNamespace(_jsc=java, master=master, getConf=lambda: conf)
    return SimpleNamespace(sparkContext=context)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_shares_never_add_up_to_more(most: int, executors: int) -> None:
    """Every executor has at least one request, and all of them together at most the bound."""
    if most < executors:
        with pytest.raises(ConfigurationError, match=f"{most} .* {executors} "):
            requests_each(most, executors)
    else:
        assert requests_each(most, executors) >= 1
        assert requests_each(most, executors) * executors <= most


@pytest.mark.parametrize(
    ("spark", "cluster"),
    [
        (a_spark(2, master="local[2]"), Cluster(executors=1, tasks=2)),
        (a_spark(0, 4, 4, 4), Cluster(executors=3, tasks=4)),
        (a_spark(0, 4, executor_instances="9"), Cluster(executors=9, tasks=4)),
        (a_spark(0, master="local-cluster[3,2,512]"), Cluster(executors=3, tasks=1)),
        (
            a_spark(0, 4, dynamicAllocation_enabled="true", dynamicAllocation_maxExecutors="50"),
            Cluster(executors=50, tasks=4),
        ),
    ],
    ids=["local", "registered", "instances", "simulated", "dynamic"],
)
def test_how_many_executors_there_may_be(spark: Any, cluster: Cluster) -> None:
    """Those that Spark's settings allow count, also when they have not come yet."""
    assert cluster_of(spark) == cluster
    assert cluster_of(spark, 7) == Cluster(executors=7, tasks=cluster.tasks)


def test_executors_without_a_bound() -> None:
    """A cluster that may grow for ever has no share to give, unless the caller names one."""
    spark = a_spark(0, 4, dynamicAllocation_enabled="true")
    with pytest.raises(ConfigurationError, match=r"dynamicAllocation.maxExecutors, or pass exec"):
        cluster_of(spark)
    assert cluster_of(spark, 3).executors == 3


def test_permits_are_shared_through_the_folder(tmp_path: Path) -> None:
    """Whoever names the folder has its permits among the same few, as workers do."""
    lock, now, peak = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal now, peak
        with FilePermits(tmp_path, 3).one(Deadline(30)):
            with lock:
                now += 1
                peak = max(peak, now)
            threading.Event().wait(0.002)
            with lock:
                now -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert peak == 3


def test_a_permit_that_does_not_come(tmp_path: Path) -> None:
    """Who waits in vain hears for what, when the call's time is over, and sleeps no longer."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    late = FilePermits(tmp_path, 1, sleep=sleep, jitter=lambda: 0.5)
    deadline = Deadline(5.0, lambda: now[0])
    with (
        FilePermits(tmp_path, 1).one(Deadline(30)),
        pytest.raises(EndpointTimeout, match="one of the 1 requests at a time of this executor"),
        late.one(deadline),
    ):
        pass
    assert now[0] == pytest.approx(5.0)
    with late.one(deadline):
        pass
