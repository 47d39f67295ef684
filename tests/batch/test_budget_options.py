"""The options that bound what a command sends: read, combined, and made a budget."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from hybridmodel import HybridOnnxModel
from hybridmodel.cli import budget
from hybridmodel.routing import Budget, Cascade
from tests.support import models
from tests.support.two_routes import DEAD

ENTROPY = {"score": "entropy:probabilities"}

MADE: dict[str, tuple[list[str], Any]] = {
    "none": ([], None),
    "mode": (["--mode", "shadow"], "shadow"),
    "rows": (["--max-remote-rows", "5000"], Budget(rows=5000, **ENTROPY)),
    "no rows": (["--max-remote-rows", "0"], Budget(rows=0, **ENTROPY)),
    "percent": (["--max-remote-share", "29%"], Budget(0.29, **ENTROPY)),
    "small percent": (["--max-remote-share", "0.5 %"], Budget(0.005, **ENTROPY)),
    "share": (["--max-remote-share", "0.05", "--mode", "cascade"], Budget(0.05, **ENTROPY)),
    "cost": (
        ["--max-cost", "20", "--cost-per-call", "0.01", "--cost-per-row", "0.002"],
        Budget(cost=20.0, cost_per_call=0.01, cost_per_row=0.002, **ENTROPY),
    ),
}
REFUSED = {
    "two limits": (["--max-remote-rows", "5", "--max-cost", "1"], "each is a limit of its own"),
    "cost of nothing": (["--max-cost", "1"], "--max-cost needs --cost-per-call or"),
    "cost without a limit": (["--cost-per-row", "1"], "and these need it"),
    "cost of rows": (["--max-remote-rows", "5", "--cost-per-row", "1"], "and these need it"),
    "share of more": (["--max-remote-share", "5"], "'5' is no share; write 5% or 0.05"),
    "share of many": (["--max-remote-share", "101%"], "'101%' is no share"),
    "share of nan": (["--max-remote-share", "nan"], "'nan' is no share"),
    "share of words": (["--max-remote-share", "five"], "'five' is no share"),
    "rows below": (["--max-remote-rows", "-1"], "-1 is not in the range"),
    "another mode": (["--max-remote-rows", "5", "--mode", "azure"], "are for a cascade"),
    "a route": (["--max-remote-rows", "5", "--use-azure"], "are for a cascade"),
}


def run(arguments: list[str]) -> tuple[Any, str]:
    """Return the mode that a command would get, and what it said."""
    model = HybridOnnxModel(
        models.graded(), endpoint=DEAD, routing=Cascade(threshold=0.3, score="entropy")
    )
    found: list[Any] = []

    @click.command()
    @click.option("--mode")
    @click.option("--use-azure/--local", default=None)
    @budget.options
    def command(mode: str | None, use_azure: bool | None, budget: dict[str, Any]) -> None:
        found.append(mode_of(budget, model, use_azure, mode))

    mode_of = budget.mode_of
    result = CliRunner().invoke(command, arguments)
    return (found[0] if found else result.exit_code), result.output


@pytest.mark.parametrize(("arguments", "mode"), MADE.values(), ids=MADE)
def test_limits_make_a_budget_with_the_score_of_the_model(arguments: list[str], mode: Any) -> None:
    """Numbers count as they are written, and without a limit nothing changes."""
    assert run(arguments) == (mode, "")


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_budget_is_refused(arguments: list[str], said: str) -> None:
    """Before a model is asked anything."""
    status, output = run(arguments)
    assert status == 2
    assert said in " ".join(output.split())
