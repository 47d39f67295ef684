"""``hybridmodel compare``: where the two routes differ."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.serving import EmbeddedServer, TritonServer
from tests.support import models
from tests.support.command_line import (
    Cli,
    frame,
)


def test_compare_the_same_model(cli: Cli) -> None:
    """Routes that agree are status 0."""
    shown = cli("compare", "@classifier", "rows.csv", "--batch-rows", 4).stdout
    assert [line.split()[:3] for line in shown.splitlines()[1:]] == [
        ["label", "6", "0"],
        ["probabilities", "6", "0"],
    ]


def test_compare_another_model(cli: Cli, server: EmbeddedServer) -> None:
    """Rows that differ are status 1, counted, and the first of them shown with both values."""
    frame(25).to_csv("in.csv", index=False)
    args = ("compare", "@other", "in.csv", "--batch-rows", 7)
    (output,) = json.loads(cli(*args, "--json", status=1).stdout)["outputs"]
    here = HybridOnnxModel(models.linear()).predict(frame(25).to_numpy())
    there = HybridOnnxModel(models.linear(seed=5)).predict(frame(25).to_numpy())
    assert output["rows"] == output["differing_rows"] == 25
    assert output["max_abs_diff"] == pytest.approx(np.abs(here - there).max(), rel=1e-5)
    assert [item["row"] for item in output["differences"]] == list(range(10))
    assert output["differences"][8]["local"] == pytest.approx(here[8, 0], rel=1e-5)
    assert output["differences"][8]["endpoint"] == pytest.approx(there[8, 0], rel=1e-5)
    assert "y: first of 25 differing rows" in cli(*args, status=1).stdout
    cli(*args, "--atol", "1000")


def test_compare_asks_for_every_output(cli: Cli) -> None:
    """A model that was saved with one output selected is compared in all of them."""
    frame().iloc[:, :3].to_csv("in.csv", index=False)
    outputs = json.loads(cli("compare", "@two_outputs", "in.csv", "--json").stdout)["outputs"]
    assert [item["name"] for item in outputs] == ["total", "double"]
    chosen = cli("compare", "@two_outputs", "in.csv", "--model-config", "output=double").stdout
    assert "total" not in chosen


def test_compare_with_a_real_triton(cli: Cli, triton: TritonServer) -> None:
    """Local and Triton agree on a model, and differ from one with other weights."""
    where = f"uri={triton.uri}"
    common = ("--model-config", where, "--model-config", "auth_key_env=")
    cli("compare", "@linear", "rows.csv", *common)
    cli("ping", "@linear", *common)
    other = ("--model-config", "model_name=versions", "--model-config", "model_version=3")
    cli("compare", "@linear", "rows.csv", *common, *other, status=1)
