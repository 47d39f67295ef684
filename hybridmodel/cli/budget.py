"""The options that bound what a command sends to the endpoint, and the budget that they make."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.routing import Budget, Cascade

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,12})?)\s*%")
_MODES = (None, "budget", "cascade")


def _share(context: click.Context, option: click.Parameter, given: str | None) -> float | None:
    """Read a share as ``5%`` or ``0.05``."""
    if given is None:
        return None
    percent = _PERCENT.fullmatch(given)
    try:
        share = float(percent[1] + "e-2") if percent else float(given)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{given!r} is no share; write 5% or 0.05", context, option)
    return share


_OPTIONS = (
    click.option(
        "--max-remote-rows",
        metavar="N",
        type=click.IntRange(min=0),
        help="Send exactly the N rows to the endpoint of which the local model is least sure.",
    ),
    click.option(
        "--max-remote-share",
        metavar="SHARE",
        callback=_share,
        help="The same for a share of all rows, such as 5%.",
    ),
    click.option(
        "--max-cost",
        metavar="COST",
        type=click.FloatRange(min=0),
        help="The same for what requests and rows may cost together, in any unit.",
    ),
    click.option(
        "--cost-per-call",
        metavar="COST",
        type=click.FloatRange(min=0),
        help="What a request costs, for --max-cost.",
    ),
    click.option(
        "--cost-per-row",
        metavar="COST",
        type=click.FloatRange(min=0),
        help="What a row costs, for --max-cost.",
    ),
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets ``budget``, for `mode_of`."""

    @functools.wraps(command)
    def run(
        *args: Any,
        max_remote_rows: int | None,
        max_remote_share: float | None,
        max_cost: float | None,
        cost_per_call: float | None,
        cost_per_row: float | None,
        **others: Any,
    ) -> Any:
        limits = {"rows": max_remote_rows, "share": max_remote_share, "cost": max_cost}
        costs = {"cost_per_call": cost_per_call, "cost_per_row": cost_per_row}
        return command(*args, budget=_checked(limits, costs), **others)

    decorated: Callable[..., Any] = run
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def mode_of(
    budget: dict[str, Any], model: HybridOnnxModel, use_azure: bool | None, mode: str | None
) -> Any:
    """Return the mode of a command: a `Budget`, or what was given where there is none.

    Rows are compared by the score of the model's own cascade or budget, where it has one.

    Raises
    ------
    click.UsageError
        If another route was asked for.
    """
    if not budget:
        return mode
    if mode not in _MODES or use_azure is not None:
        raise click.UsageError(
            "--max-remote-rows, --max-remote-share and --max-cost are for a cascade: leave out "
            "--use-azure, --local and any other --mode"
        )
    configured = model.policies.configured or model.policies.saved
    own = configured if isinstance(configured, Budget | Cascade) else None
    return Budget(**budget, score=own.score if own else None)


def _checked(limits: dict[str, Any], costs: dict[str, Any]) -> dict[str, Any]:
    """Return what `Budget` takes, nothing where no limit was given."""
    given = {name: value for name, value in limits.items() if value is not None}
    priced = {name: value for name, value in costs.items() if value}
    if len(given) > 1:
        raise click.UsageError(
            "give one of --max-remote-rows, --max-remote-share and --max-cost: each is a limit of "
            "its own"
        )
    if ("cost" in given) != bool(priced):
        raise click.UsageError(
            "--max-cost needs --cost-per-call or --cost-per-row above 0, and these need it"
        )
    return given | priced
