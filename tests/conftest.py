"""Fixtures that more than one file of tests uses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_files import unsupported
from tests.support.models import served

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.support.mlflow_tools", "tests.support.hostile"]


SLOW = ("test_floors.py", "test_examples.py", "test_project.py", "test_spark_cluster.py")
"""Files that begin first, so that no process is left alone with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of slow files first, and leave all else in order."""
    items.sort(key=lambda item: SLOW.index(name) if (name := item.path.name) in SLOW else len(SLOW))


@pytest.fixture(scope="session", autouse=True)
def nothing_is_granted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the user of this machine grants saved models out of the tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        for name in list(os.environ):
            if name == "HYBRIDMODEL_ALLOW" or name.startswith("HYBRIDMODEL_KEY_"):
                patched.delenv(name)
        yield


@pytest.fixture(scope="session")
def triton() -> Iterator[TritonServer]:
    """Start one real Triton that serves `tests.support.models.served`."""
    reason = unsupported()
    if reason:
        pytest.skip(reason)
    with TritonServer(served()) as server:
        yield server
