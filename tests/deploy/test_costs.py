"""What a load costs at each kind of endpoint, and the page that shows it."""

from __future__ import annotations

import contextlib
import doctest
import io
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import ConfigurationError
from hybridmodel.deploy import costs
from hybridmodel.deploy.costs import (
    Load,
    Machine,
    batch,
    online,
    rows_to_break_even,
    serverless,
)
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")
ROWS = (
    "Stable invocation URL",
    "Support for multiple deployments",
    "Deployment's routing",
    "Mirror traffic for safe rollout",
    "Swagger support",
    "Authentication",
    "Private network support (legacy)",
    "Managed network isolation",
    "Customer-managed keys",
    "Cost basis (endpoint)",
    "Deployment types",
    "MLflow model deployment",
    "Custom model deployment",
    "Model package deployment",
    "Inference server",
    "Compute resource consumed",
    "Compute type",
    "Low-priority compute",
    "Scaling compute to zero",
    "Autoscaling compute",
    "Overcapacity management",
    "Cost basis (deployment)",
    "Local testing of deployments",
)
"""What Azure's page on endpoints compares."""

MACHINE = Machine(price_per_hour=2.0, rows_per_s=10.0)


def test_the_page_compares_what_azure_compares() -> None:
    """Each row of both tables is there, in their order, and says something in every column."""
    found = re.findall(r"(?m)^\| ([A-Z][^|]*?) \|(.*)\|$", PAGE)
    assert tuple(name for name, _ in found) == ROWS
    assert all(len(cells.split("|")) == 4 for _, cells in found)
    assert all(cell.strip() for _, cells in found for cell in cells.split("|"))


def test_the_figures_of_the_page_are_those_of_the_functions() -> None:
    """The program on the page prints the table below it, and the number in the sentence."""
    program = re.search(r"```python\n(.*?)```\n\n(.*?)\n\n", PAGE, re.DOTALL)
    assert program is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program[1], {})
    *table, last = printed.getvalue().splitlines()
    assert program[2].splitlines()[2:] == table
    assert f"from {last} on" in " ".join(PAGE.split())


def test_the_example_in_the_module_is_true() -> None:
    """What the docstring computes comes out."""
    assert doctest.testmod(costs).failed == 0


@pytest.mark.parametrize(
    ("rows", "options", "machines"),
    [
        (0, {}, 1),
        (86_400 * 7, {"most_busy": 0.7}, 3),
        (86_400 * 7, {"most_busy": 1.0}, 3),
        (86_400 * 10, {"most_busy": 1.0}, 3),
        (86_400 * 10.1, {"most_busy": 1.0}, 4),
        (86_400, {"least": 5}, 5),
    ],
)
def test_online_machines_fit_the_busiest_second(
    rows: float, options: dict[str, Any], machines: int
) -> None:
    """As many run all day as the peak needs, at least those that are wanted."""
    cost = online(Load(rows_per_day=rows), MACHINE, **options)
    assert (cost.machines, cost.per_day) == (machines, machines * 48.0)


def test_a_job_costs_its_work_and_what_is_around_it() -> None:
    """Machines share the work, and each is paid for some time besides it."""
    load = Load(rows_per_day=72_000, jobs_per_day=2)
    cost = batch(load, MACHINE, machines=3, besides_s=300, repeated=0.5)
    assert cost.job_s == pytest.approx(36_000 / 10 * 1.5 / 3 + 300)
    assert cost.per_day == pytest.approx(2 * (5_400 + 3 * 300) / 3600 * 2.0)
    assert cost.per_million_rows == pytest.approx(cost.per_day / 0.072)


def test_tokens_are_paid_as_they_are_used() -> None:
    """The endpoint may cost something by the minute besides."""
    load = Load(rows_per_day=1_000, tokens_per_row=500)
    assert serverless(load, per_million_tokens=4.0).per_day == pytest.approx(2.0)
    assert serverless(load.sent(0), per_million_tokens=4.0).per_million_rows == 0.0
    idle = serverless(load.sent(0), per_million_tokens=4.0, per_minute=0.01)
    assert (idle.per_day, idle.per_million_rows) == (pytest.approx(14.4), math.inf)


@given(
    price=st.floats(0.01, 10),
    speed=st.floats(1, 1000),
    tokens=st.floats(1, 1000),
    per_million=st.floats(0.01, 10),
    least=st.integers(1, 4),
)
def test_below_the_break_even_tokens_are_cheaper_and_at_it_machines_are(
    price: float, speed: float, tokens: float, per_million: float, least: int
) -> None:
    """The two costs meet at the number of rows that is returned, if there is one."""
    machine = Machine(price_per_hour=price, rows_per_s=speed)
    load = Load(rows_per_day=0, tokens_per_row=tokens)
    rows = rows_to_break_even(load, machine, per_million_tokens=per_million, least=least)
    if rows is None:
        full = least * speed * 0.7 * 86_400 / load.peak
        there = Load(rows_per_day=full * 0.999, tokens_per_row=tokens)
        paid = serverless(there, per_million_tokens=per_million).per_day
        assert paid <= online(there, machine, least=least).per_day
        return
    for share, is_cheaper in ((0.99, False), (0.9999999, None), (1.0, True)):
        there = Load(rows_per_day=rows * share, tokens_per_row=tokens)
        paid = serverless(there, per_million_tokens=per_million).per_day
        machines = online(there, machine, least=least).per_day
        if is_cheaper is not None:
            assert (machines <= paid * (1 + 1e-9)) == is_cheaper


def _break_even(**options: Any) -> float | None:
    """Return the break-even of a load with tokens, with some options wrong."""
    given = {"per_million_tokens": 1.0, **options}
    return rows_to_break_even(Load(rows_per_day=1, tokens_per_row=1), MACHINE, **given)


def test_without_tokens_there_is_nothing_to_break_even_with() -> None:
    """What costs nothing is never dearer."""
    assert rows_to_break_even(Load(rows_per_day=1), MACHINE, per_million_tokens=1.0) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Load(rows_per_day=-1), "rows_per_day is a number from 0 up"),
        (lambda: Load(rows_per_day=1, peak=0.5), "peak is a number from 1 up"),
        (lambda: Load(rows_per_day=1, jobs_per_day=0), "jobs_per_day is a number above 0"),
        (lambda: Load(rows_per_day=1, tokens_per_row=math.inf), "tokens_per_row is a number"),
        (lambda: Load(rows_per_day=1).sent(2), "share is a number from 0 to 1"),
        (lambda: Machine(price_per_hour=1, rows_per_s=0), "rows_per_s is a number above 0"),
        (lambda: Machine(price_per_hour=-1, rows_per_s=1), "price_per_hour is a number from 0 up"),
        (lambda: online(Load(rows_per_day=1), MACHINE, least=0), "least is a whole number from 1"),
        (lambda: online(Load(rows_per_day=1), MACHINE, most_busy=0), "most_busy is a number above"),
        (lambda: batch(Load(rows_per_day=1), MACHINE, machines=0), "machines is a whole number"),
        (lambda: batch(Load(rows_per_day=1), MACHINE, besides_s=-1), "besides_s is a number from"),
        (lambda: serverless(Load(rows_per_day=1), per_million_tokens=-1), "per_million_tokens is"),
        (lambda: online(Load(rows_per_day=1e308, peak=1e9), MACHINE), "the load is too large"),
        (lambda: _break_even(per_million_tokens=-1), "per_million_tokens is a number from 0 up"),
        (lambda: _break_even(per_million_tokens="1"), "per_million_tokens is a number from 0 up"),
        (lambda: _break_even(per_million_tokens=math.nan), "per_million_tokens is a number from"),
        (lambda: _break_even(least=-2), "least is a whole number from 1"),
        (lambda: _break_even(most_busy=7), "most_busy is a number above"),
    ],
)
def test_numbers_that_cannot_be_are_refused(make: Any, said: str) -> None:
    """Each number is named with what it may be."""
    with pytest.raises(ConfigurationError, match=said):
        make()
