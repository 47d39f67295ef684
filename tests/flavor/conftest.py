"""Fixtures of the tests that save models and load them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, save_model
from hybridmodel.serving import EmbeddedServer
from tests.support import models


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, on a machine that says no route."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYBRIDMODEL_USE_AZURE", raising=False)


@pytest.fixture
def hybrid(endpoint_server: EmbeddedServer) -> HybridOnnxModel:
    """Make a model whose endpoint serves another model of the same inputs and outputs."""
    return HybridOnnxModel(models.linear(), endpoint=endpoint_server.endpoint("linear"))


@pytest.fixture
def saved(hybrid: HybridOnnxModel, frame: pd.DataFrame, tmp_path: Path) -> Path:
    """Save it with an example."""
    save_model(hybrid, tmp_path / "saved", input_example=frame.head(2))
    return tmp_path / "saved"
