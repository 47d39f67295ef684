"""A cascade whose rows are known: how sure the small model is, and whether the big one differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from hybridmodel import Calibration, HybridOnnxModel, TritonEndpoint
from hybridmodel.testing import fake_endpoint
from hybridmodel.testing.fake import FakeEndpoint
from tests.support.calibration_pairs import PAIRS, answering, calibrate_at_noon, classes

SCORE = "confidence:sure"
ENDPOINT = TritonEndpoint(
    uri="https://classes.example.com", model_name="classes", breaker_failures=None
)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now_s


@contextmanager
def small_and_big(pair: str = "classes") -> Iterator[tuple[HybridOnnxModel, FakeEndpoint]]:
    """Make a model whose data hold both answers, with an endpoint that is not there."""
    model = HybridOnnxModel(answering("small", **PAIRS[pair]), endpoint=ENDPOINT)
    with fake_endpoint(model, answering("big", **PAIRS[pair])) as fake:
        yield model, fake


def calibrated(model: HybridOnnxModel, labels: bool = False, **more: Any) -> Calibration:
    """Calibrate for one row in fifty; the threshold leaves about nineteen rows in twenty here."""
    data, truth = classes(2_000, harmful=100)
    given = {"epsilon": 0.02, "score": SCORE, **more}
    return calibrate_at_noon(model, data, truth if labels else None, **given)


def rows(sure: Any, differ: Any) -> dict[str, Any]:
    """Make rows: the small model answers 0; the big one 1 where they differ."""
    sure, differ = np.asarray(sure, np.float32), np.asarray(differ)
    return {
        "small_label": np.zeros(len(sure), np.int64),
        "big_label": differ.astype(np.int64),
        "small_sure": sure,
        "big_sure": 0 * sure,
    }


@pytest.fixture
def pair() -> Iterator[tuple[HybridOnnxModel, FakeEndpoint]]:
    """Return a model and its fake endpoint, which compute what the data say."""
    with small_and_big() as made:
        yield made


@pytest.fixture
def model(pair: tuple[HybridOnnxModel, FakeEndpoint]) -> HybridOnnxModel:
    """Return the model alone."""
    return pair[0]
