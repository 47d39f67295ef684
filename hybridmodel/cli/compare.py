"""``hybridmodel compare``: answers the same rows by both routes and lists differing values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.errors import NO
from hybridmodel.cli.progress import progress
from hybridmodel.cli.source import Source
from hybridmodel.compare.comparison import Comparison
from hybridmodel.compare.values import ATOL, RTOL, Difference, OutputDifference
from hybridmodel.compare.vectors import COSINE
from hybridmodel.exceptions import InputMismatch

_tolerance = partial(click.option, type=click.FloatRange(min=0))


@click.command()
@options.model_uri
@options.table("INPUT")
@_tolerance("--rtol", default=RTOL, help="Relative tolerance for floats.")
@_tolerance("--atol", default=ATOL, help="Absolute tolerance for floats.")
@options.cosine
@options.batch_rows
@options.timeout
@options.model_config
@options.as_json
def compare(
    model_uri: str,
    source: Source,
    rtol: float,
    atol: float,
    cosine: float | None,
    batch_rows: int,
    timeout: float | None,
    config: dict[str, Any],
    as_json: bool,
) -> int:
    """Answer every row of INPUT by both routes and compare all outputs.

    INPUT is a .csv, .tsv, .jsonl or .parquet file, or - for stdin.

    Floats are equal when |endpoint - local| <= atol + rtol * |local|, and NaN equals NaN; labels,
    integers and booleans have to be the same. Vectors of an embeddings endpoint are compared by
    their direction. Rows are counted from 0.

    Exit status: 0 no row differs, 1 some do, 2 error.
    """
    # All outputs are compared, also where the model was saved with one selected.
    with options.open_model(model_uri, {"output": None, **config}) as model:
        vectors = model.client.vectors
        within = COSINE if cosine is None else cosine
        comparison = Comparison(model.spec, rtol=rtol, atol=atol, vectors=vectors, cosine=within)
        # An endpoint of vectors answers one output at a time.
        output = vectors[0] if vectors else None
        with progress(tables.count_rows(source)) as advance:
            rows = 0
            for frame in tables.read(source, model, batch_rows):
                if len(frame):
                    with explained(source, model, frame, rows):
                        local = model.infer(frame, use_azure=False, output=output)
                        remote = model.infer(frame, use_azure=True, output=output, timeout=timeout)
                        comparison.add(local.outputs, remote.outputs, rows=len(frame))
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
    return 0 if same else NO


def _as_json(item: OutputDifference, differences: Iterable[Difference]) -> dict[str, Any]:
    shown = [
        {"row": one.row, "position": one.position, "local": one.local, "endpoint": one.remote}
        for one in differences
    ]
    described = {**asdict(item), "differences": shown}
    del described["mean_abs_diff"]
    if item.max_cosine_distance is None:
        del described["max_cosine_distance"], described["mean_cosine_distance"]
    return described


def _echo(
    outputs: tuple[OutputDifference, ...], differences: dict[str, tuple[Difference, ...]]
) -> None:
    with_cosine = any(item.max_cosine_distance is not None for item in outputs)
    head = ("output", "rows", "differing", "max abs diff", "max cosine distance")
    rows: list[tuple[Any, ...]] = [head if with_cosine else head[:-1]]
    for item in outputs:
        distances = (item.max_abs_diff, item.max_cosine_distance)
        written = ["-" if distance is None else f"{distance:.3g}" for distance in distances]
        shown = (item.name, item.rows, item.differing_rows, *written)
        rows.append(shown if with_cosine else shown[:-1])
    _echo_table(rows)
    for item in outputs:
        if differences[item.name]:
            click.echo(f"\n{item.name}: first of {item.differing_rows} differing rows")
            rows = [("row", "position", "local", "endpoint")]
            for one in differences[item.name]:
                position = ", ".join(map(str, one.position)) or "-"
                rows.append((one.row, position, one.local, one.remote))
            _echo_table(rows)


def _echo_table(rows: list[tuple[Any, ...]]) -> None:
    columns = [list(map(str, column)) for column in zip(*rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
