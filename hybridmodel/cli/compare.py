"""``hybridmodel compare``: the same rows through both routes, and where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.errors import NO
from hybridmodel.cli.progress import progress
from hybridmodel.cli.source import Source
from hybridmodel.compare.closeness import ATOL, RTOL
from hybridmodel.compare.differences import Difference, OutputComparison
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

_HEADER = ("output", "rows", "differing", "max abs diff")


@click.command()
@options.model_uri
@options.table("INPUT")
@click.option(
    "--rtol",
    type=click.FloatRange(min=0),
    default=RTOL,
    show_default=True,
    help="Relative tolerance for floats.",
)
@click.option(
    "--atol",
    type=click.FloatRange(min=0),
    default=ATOL,
    show_default=True,
    help="Absolute tolerance for floats.",
)
@options.batch_rows
@options.timeout
@options.model_config
@options.as_json
@click.pass_context
def compare(
    context: click.Context,
    model_uri: str,
    source: Source,
    rtol: float,
    atol: float,
    batch_rows: int,
    timeout: float | None,
    config: dict[str, Any],
    as_json: bool,
) -> None:
    """Answer every row of INPUT by both routes and compare all outputs.

    INPUT is a .csv, .tsv, .jsonl or .parquet file, or - for stdin.

    Floats are equal when |endpoint - local| <= atol + rtol * |local|, and NaN equals NaN; labels,
    integers and booleans have to be the same. Rows are counted from 0.

    Exit status: 0 no row differs, 1 some do, 2 error.
    """
    # The one output that a model may be saved with is not the only one that counts here.
    with options.open_model(model_uri, {"output": None, **config}) as model:
        specs = [model.spec.output(model.output)] if model.output else model.outputs
        compared = [OutputComparison(spec, rtol, atol) for spec in specs]
        with progress(tables.count_rows(source)) as advance:
            rows = 0
            for frame in tables.read(source, model, batch_rows):
                with explained(source, model, frame, rows):
                    _add(compared, model, frame, timeout)
                rows += len(frame)
                advance(len(frame))
    if not any(item.rows for item in compared):
        raise InputMismatch(f"{source.name}: has no rows, so there is nothing to compare")
    _report(compared, as_json)
    if any(item.differing_rows for item in compared):
        context.exit(NO)


def _add(
    compared: list[OutputComparison],
    model: HybridOnnxModel,
    frame: pd.DataFrame,
    timeout_s: float | None,
) -> None:
    if len(frame) == 0:
        return
    here = model.infer(frame, use_azure=False).outputs
    there = model.infer(frame, use_azure=True, timeout=timeout_s).outputs
    for item in compared:
        item.add(here[item.spec.name], there[item.spec.name])


def _report(compared: list[OutputComparison], as_json: bool) -> None:
    if as_json:
        same = not any(item.differing_rows for item in compared)
        outputs = [item.to_dict() for item in compared]
        rtol, atol = compared[0].rtol, compared[0].atol
        options.echo_json({"same": same, "rtol": rtol, "atol": atol, "outputs": outputs})
        return
    _echo_table([_HEADER, *(_summary(item) for item in compared)])
    for item in compared:
        if item.differences:
            click.echo(f"\n{item.spec.name}: first of {item.differing_rows} differing rows")
            rows = [_line(difference) for difference in item.differences]
            _echo_table([("row", "position", "local", "endpoint"), *rows])


def _summary(item: OutputComparison) -> tuple[str, ...]:
    distance = "-" if item.max_abs_diff is None else f"{item.max_abs_diff:.3g}"
    return item.spec.name, str(item.rows), str(item.differing_rows), distance


def _line(difference: Difference) -> tuple[str, ...]:
    position = ", ".join(map(str, difference.position)) or "-"
    return str(difference.row), position, str(difference.local), str(difference.endpoint)


def _echo_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
