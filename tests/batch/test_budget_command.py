"""`hybridmodel predict` with a budget: from the command line to the rows of the output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from hybridmodel import HybridOnnxModel, load_model, save_model
from hybridmodel.cli.program import program
from hybridmodel.routing import Budget, Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models
from tests.support.two_routes import REMOTE

COLUMNS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the remote model."""
    with serve({"remote": REMOTE}) as running:
        yield running


@pytest.fixture
def saved(server: EmbeddedServer, tmp_path: Path) -> Path:
    """Save a model with a cascade whose score is not the usual one, and rows beside it."""
    model = HybridOnnxModel(
        models.graded(),
        endpoint=server.endpoint("remote", max_batch_size=16),
        feature_names=COLUMNS,
        routing=Cascade(threshold=0.4, score="entropy"),
    )
    save_model(model, tmp_path / "model")
    values = np.random.default_rng(1).normal(size=(100, 3)).astype(np.float32)
    frame = pd.DataFrame(values, columns=COLUMNS).assign(id=range(100))
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "policy"),
    [
        (["--max-remote-share", "7%"], Budget(0.07, score="entropy")),
        (["--max-remote-rows", "40"], Budget(rows=40, score="entropy")),
        (
            ["--max-cost", "5", "--cost-per-call", "1", "--cost-per-row", "0.05"],
            Budget(cost=5.0, cost_per_call=1.0, cost_per_row=0.05, score="entropy"),
        ),
        ([], "cascade"),
    ],
    ids=["share", "rows", "cost", "threshold"],
)
def test_the_command_sends_exactly_what_it_may(saved: Path, limit: list[str], policy: Any) -> None:
    """The rows are those of one call, by the score that the model holds, and the sums are told."""
    words = ["predict", saved / "model", saved / "rows.parquet", "-o", saved / "out.parquet"]
    options = ["--keep", "id", "--provenance", "--json", *limit]
    result = CliRunner().invoke(program, [*map(str, words), *options])
    assert result.exit_code == 0, result.output
    frame = pd.read_parquet(saved / "rows.parquet")
    expected = load_model(saved / "model").predict(frame[COLUMNS], mode=policy, provenance=True)
    found = pd.read_parquet(saved / "out.parquet")
    assert found["id"].tolist() == frame["id"].tolist()
    for column in ("label", "route", "reason"):
        assert found[column].tolist() == expected[column].tolist()
    gone = int((expected["route"] == "azure").sum())
    told = json.loads(result.stdout)
    assert (told["rows"], told["remote"], told["local"]) == (100, gone, 100 - gone)
    assert f"{gone} rows answered by the endpoint" in result.stderr


def test_a_stream_has_no_budget(saved: Path) -> None:
    """Its rows cannot be read again."""
    words = ["predict", str(saved / "model"), "-", "--max-remote-rows", "5"]
    result = CliRunner().invoke(program, words, input="a,b,c\n1,2,3\n")
    assert result.exit_code == 2
    assert "a budget needs files to read" in result.output
