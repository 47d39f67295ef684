"""``hybridmodel report``: answers the same rows by both routes and writes a page about them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.progress import progress
from hybridmodel.cli.replacing import check_targets, replacing
from hybridmodel.cli.source import Source
from hybridmodel.exceptions import ConfigurationError, InputMismatch

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.report import Findings, Gatherer


@click.command()
@options.model_uri
@options.table("INPUT")
@click.option("--labels", metavar="COLUMN", help="The column of INPUT with the right answers.")
@click.option(
    "-o",
    "--output",
    "target",
    type=options.PATH,
    default=Path("report.html"),
    help="Write to this .html file, once all rows are answered.",
)
@click.option(
    "--score",
    metavar="SCORE",
    help="How sure the local model is of a row: max_probability, margin, entropy, confidence:NAME "
    "or uncertainty:NAME; default is that of the model's cascade, else margin.",
)
@options.answer
@options.tolerance
@options.cosine
@click.option(
    "--rows",
    "shown",
    type=click.IntRange(min=0, max=10_000),
    default=50,
    help="Rows shown with their input on which the routes disagree, at most.",
)
@click.option(
    "--calls",
    type=click.IntRange(min=0),
    default=50,
    help="Calls of one row that are timed on each route.",
)
@click.option(
    "--audit",
    "audits",
    type=options.PATH,
    multiple=True,
    help="Show what the cascade's audit has seen, from the file that it keeps; repeatable, for "
    "several processes.",
)
@click.option(
    "--beside",
    metavar="MODEL_URI",
    help="Let another model, such as a challenger, answer the same rows by both routes, and show "
    "the figures of both side by side; --model-config is not for it.",
)
@options.batch_rows
@options.timeout
@options.model_config
def report(
    model_uri: str,
    source: Source,
    labels: str | None,
    target: Path,
    calls: int,
    audits: tuple[Path, ...],
    beside: str | None,
    batch_rows: int,
    timeout: float | None,
    config: dict[str, Any],
    **subject: Any,
) -> None:
    """Answer every row of INPUT by both routes and write a page about it.

    INPUT is a .csv, .tsv, .jsonl or .parquet file, or - for stdin.

    It shows where they agree, what a cascade of both would cost, how long calls take, and rows on
    which they disagree, with their input. It is one file that loads nothing, and appears when all
    is done, or not at all.

    Exit status: 0 written, 2 error.
    """
    from hybridmodel.report import render
    from hybridmodel.report.extras import audited
    from hybridmodel.report.extras import beside as side_by_side

    if target.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"{target}: a name that ends with .html was expected")
    check_targets(source, target)
    if beside is not None and source.is_stream:
        raise click.UsageError("--beside reads the rows twice, so it needs a file")
    extras = [audited(audits)] if audits else []
    how = {"timeout_s": timeout, **subject}
    asked = partial(_findings, source=source, labels=labels, reading=(batch_rows, calls), how=how)
    with replacing(target) as part:
        findings, asked_rows = asked(model_uri, config)
        if beside is not None:
            extras.append(side_by_side(findings, asked(beside, {})[0]))
        part.write_text(render(replace(findings, extras=tuple(extras))), encoding="utf-8")
    rows, agreed = findings.summary.rows, findings.summary.agreed
    click.echo(f"{target}: {asked_rows} rows asked; both agree on {agreed} of {rows}", err=True)


def _findings(
    model_uri: str,
    config: dict[str, Any],
    *,
    source: Source,
    labels: str | None,
    reading: tuple[int, int],
    how: dict[str, Any],
) -> tuple[Findings, int]:
    """Ask both routes of a model; return what was found, and the number of rows.

    `reading` are the rows of a batch, and the calls to be timed.
    """
    from hybridmodel.report import Gatherer
    from hybridmodel.report.origin import origin_of

    # All outputs are compared, also where the model was saved with one selected.
    with options.open_model(model_uri, {"output": None, **config}) as model:
        gatherer = Gatherer(model, **how)
        _gather(gatherer, model, source, labels, *reading)
        told = f"column {labels}" if labels else "none"
        facts = origin_of(model, gatherer, rows=source.path.name, labels=told)
        return gatherer.findings(without_user(model_uri), facts), gatherer.rows


def without_user(uri: str) -> str:
    """Return an address without the user and password that may stand in it."""
    return re.sub(r"//[^/@\s]+@", "//", uri)


def _gather(
    gatherer: Gatherer,
    model: HybridOnnxModel,
    source: Source,
    labels: str | None,
    batch_rows: int,
    calls: int,
) -> None:
    with progress(tables.count_rows(source)) as advance:
        for frame in tables.read(source, model, batch_rows, labels):
            right = tables.take_labels(frame, labels, source)
            with explained(source, model, frame, gatherer.rows, label=labels, labels=True):
                gatherer.add(frame, right)
            advance(len(frame))
    if not gatherer.rows:
        raise InputMismatch(f"{source.name}: has no rows, so there is nothing to report")
    gatherer.time(calls)
