"""``hybridmodel compare``: answers the same rows by both routes and lists differing values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.errors import NO
from hybridmodel.cli.progress import progress
from hybridmodel.cli.source import Source
from hybridmodel.compare.comparison import Comparison
from hybridmodel.compare.values import ATOL, RTOL, Difference, OutputDifference
from hybridmodel.exceptions import InputMismatch

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel

_tolerance = partial(click.option, type=click.FloatRange(min=0), show_default=True)

_HEADER = ("output", "rows", "differing", "max abs diff")


@click.command()
@options.model_uri
@options.table("INPUT")
@_tolerance("--rtol", default=RTOL, help="Relative tolerance for floats.")
@_tolerance("--atol", default=ATOL, help="Absolute tolerance for floats.")
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
    # All outputs are compared, also where the model was saved with one selected.
    with options.open_model(model_uri, {"output": None, **config}) as model:
        comparison = Comparison(model.spec, rtol=rtol, atol=atol)
        with progress(tables.count_rows(source)) as advance:
            rows = 0
            for frame in tables.read(source, model, batch_rows):
                with explained(source, model, frame, rows):
                    _add(comparison, model, frame, timeout)
                rows += len(frame)
                advance(len(frame))
    if rows == 0:
        raise InputMismatch(f"{source.name}: has no rows, so there is nothing to compare")
    outputs, differences = comparison.summary().outputs, comparison.differences()
    same = not any(item.differing_rows for item in outputs)
    if as_json:
        found = [_as_json(item, differences[item.name]) for item in outputs]
        options.echo_json({"same": same, "rtol": rtol, "atol": atol, "outputs": found})
    else:
        _echo(outputs, differences)
    if not same:
        context.exit(NO)


def _add(
    comparison: Comparison, model: HybridOnnxModel, frame: pd.DataFrame, timeout_s: float | None
) -> None:
    if len(frame) == 0:
        return
    local = model.infer(frame, use_azure=False).outputs
    remote = model.infer(frame, use_azure=True, timeout=timeout_s).outputs
    comparison.add(local, remote, rows=len(frame))


def _as_json(item: OutputDifference, differences: Iterable[Difference]) -> dict[str, Any]:
    described: dict[str, Any] = asdict(item)
    del described["mean_abs_diff"]
    described["differences"] = [
        {"row": one.row, "position": one.position, "local": one.local, "endpoint": one.remote}
        for one in differences
    ]
    return described


def _echo(
    outputs: tuple[OutputDifference, ...], differences: dict[str, tuple[Difference, ...]]
) -> None:
    _echo_table([_HEADER, *(_summary(item) for item in outputs)])
    for item in outputs:
        if differences[item.name]:
            click.echo(f"\n{item.name}: first of {item.differing_rows} differing rows")
            rows = [_line(difference) for difference in differences[item.name]]
            _echo_table([("row", "position", "local", "endpoint"), *rows])


def _summary(item: OutputDifference) -> tuple[str, ...]:
    distance = "-" if item.max_abs_diff is None else f"{item.max_abs_diff:.3g}"
    return item.name, str(item.rows), str(item.differing_rows), distance


def _line(difference: Difference) -> tuple[str, ...]:
    position = ", ".join(map(str, difference.position)) or "-"
    return str(difference.row), position, str(difference.local), str(difference.remote)


def _echo_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
