"""Fixtures that more than one file of tests uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hybridmodel.serving import TritonServer
from hybridmodel.serving.triton_files import unsupported
from tests.models import served

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["tests.mlflow_tools", "tests.hostile"]


@pytest.fixture(scope="session")
def triton() -> Iterator[TritonServer]:
    """Start one real Triton that serves `tests.models.served`."""
    reason = unsupported()
    if reason:
        pytest.skip(reason)
    with TritonServer(served()) as server:
        yield server
