"""``hybridmodel calibrate``: finds the threshold of a cascade on a file of rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.batch.columns import names_of
from hybridmodel.cascade.promises_words import KINDS, LOSS
from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.errors import NO
from hybridmodel.cli.registering import read_name, register
from hybridmodel.cli.replacing import check_targets, replacing
from hybridmodel.cli.source import Source

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.cascade import Calibration
    from hybridmodel.model import HybridOnnxModel


@click.command()
@options.model_uri
@options.table("DATA")
@click.option(
    "--labels",
    metavar="COLUMN",
    help="Column of DATA with the right answers; without it, every difference between the two "
    "models counts as a loss.",
)
@click.option(
    "--epsilon",
    type=float,
    required=True,
    help="Largest share of all rows that may be kept local although that is a loss.",
)
@click.option(
    "--delta", type=float, default=0.1, help="Chance, over samples, that the promise is broken."
)
@click.option(
    "--promise",
    type=click.Choice(KINDS),
    default=LOSS,
    show_default=True,
    help="What EPSILON bounds: rows kept at a loss, accuracy given up, a mean of losses, or the "
    "share of rows that are escalated.",
)
@click.option(
    "--by",
    metavar="COLUMN",
    help="Keep the promise in each group of rows that this column of DATA names, feature or not.",
)
@click.option(
    "--cost-remote",
    type=click.FloatRange(min=0),
    help="Cost of a remote row, where a loss costs 1: the cheapest threshold that keeps the "
    "promise is chosen.",
)
@click.option(
    "--score",
    default="margin",
    help="How sure the local model is: margin, max_probability, entropy, or with an output's name "
    "as in margin:probabilities, uncertainty:std.",
)
@options.answer
@options.tolerance
@click.option(
    "--answers",
    type=options.PATH,
    help="Keep the endpoint's answers in this file, and look for them there first: another try "
    "pays for new rows only.",
)
@click.option(
    "--subsample",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Ask for so many rows at random, beside those that can move the threshold.",
)
@click.option(
    "--ask/--no-ask",
    default=True,
    help="Whether the endpoint may be asked; else a row without an answer in --answers is a loss.",
)
@click.option("-o", "--output", "target", type=options.PATH, help="Write it to this .json file.")
@click.option(
    "--log",
    "name",
    metavar="models:/NAME",
    callback=read_name,
    help="Log the model with its calibrated cascade as a new version of this registered model.",
)
@click.option("--alias", help="Give the new version this alias, such as challenger; needs --log.")
@click.option("--plot", type=options.PATH, help="Draw it to this file, such as curve.png.")
@options.as_json
@options.timeout
@options.model_config
def calibrate(
    model_uri: str,
    source: Source,
    labels: str | None,
    by: str | None,
    target: Path | None,
    name: str | None,
    alias: str | None,
    plot: Path | None,
    as_json: bool,
    config: dict[str, Any],
    **wanted: Any,
) -> int:
    """Find the threshold of a cascade on the rows of DATA.

    DATA is a .csv, .tsv, .jsonl or .parquet file, or - for stdin. The endpoint is asked for the
    rows that can move the threshold, and for some drawn at random. The threshold comes with a
    promise: with probability 1 - DELTA over samples, at most a share EPSILON of all rows like
    these are kept local at a loss. What escalates everything is not logged.

    Exit status: 0 done, 1 done but everything has to be escalated, 2 error.
    """
    import pandas as pd

    from hybridmodel.calibrating import calibrate as find

    if alias is not None and name is None:
        raise click.UsageError("--alias needs --log: it is for the version that is logged")
    check_targets(source, *(path for path in (target, plot) if path is not None))
    with options.open_model(model_uri, config) as model, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They are printed with the rest.
        data = pd.concat(list(tables.read(source, model, 100_000, labels, by)))
        groups = None if by is None else _groups(data, by, model, source)
        right = tables.take_labels(data, labels, source)
        with explained(source, model, data, 0, label=labels, labels=True):
            found = find(model, data, right, by=groups, **wanted)
    _write(found, target, plot)
    if as_json:
        options.echo_json(found.to_dict())
    else:
        click.echo("\n".join([str(found), *_more_rows(found)]))
    if found.escalates_everything:
        return NO
    # Last, since a registry that is away must not lose what was asked for and paid.
    if name is not None:
        version = register(model, found, model_uri, name, alias)
        named = "" if alias is None else f", alias {alias}"
        click.echo(f"logged as models:/{name}/{version}{named}", err=True)
    return 0


def _groups(data: pd.DataFrame, by: str, model: HybridOnnxModel, source: Source) -> Any:
    """Return the group of each row, from a column that goes to the model only as a feature."""
    is_feature = by in (names_of(model) or ())
    return data[by] if is_feature else tables.take(data, by, f"--by: {source.name}")


def _write(found: Calibration, target: Path | None, plot: Path | None) -> None:
    if target is not None:
        with replacing(target) as part:
            part.write_text(found.to_json(), encoding="utf-8")
    if plot is not None:
        with replacing(plot) as part:
            # The format follows the target's ending; the temporary file has another.
            found.plot().savefig(part, format=plot.suffix.lstrip(".") or "png", dpi=130)


def _more_rows(found: Calibration) -> Iterator[str]:
    """Say what a larger sample would buy, where losses are counted."""
    from hybridmodel.cascade.bounds import most_failures, rows_allowing

    if found.promise != "loss" or found.groups:
        return
    most = most_failures(found.rows, found.epsilon, found.delta)
    more = rows_allowing(most + 1, found.epsilon, found.delta) - found.rows
    rows = "1 more row allows" if more == 1 else f"{more:,} more rows allow"
    if most < 0:
        yield f"{rows} a promise that does not escalate everything"
    else:
        yield f"{rows} one more loss: {most + 1:,} instead of {most:,}"
