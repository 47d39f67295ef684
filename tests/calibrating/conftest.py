"""The served half of every pair of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.serving import EmbeddedServer, serve
from tests.support.calibration_pairs import (
    PAIRS,
    Make,
    answering,
)
from tests.support.models import classifier, mean


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the big half of every pair."""
    bigs = {name: answering("big", **answers) for name, answers in PAIRS.items()}
    with serve({**bigs, "zipmap": classifier(zipmap=True), "mean": mean()}) as running:
        yield running


@pytest.fixture
def make(server: EmbeddedServer) -> Make:
    """Return what makes the small half of a pair, with the endpoint of the big one."""

    def make(name: str, **more: Any) -> HybridOnnxModel:
        small = answering("small", **PAIRS[name])
        return HybridOnnxModel(small, endpoint=server.endpoint(name), **more)

    return make
