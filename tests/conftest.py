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
