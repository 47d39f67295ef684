"""``hybridmodel calibrate``: finds the threshold of a cascade on a file of rows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.errors import NO
from hybridmodel.cli.replacing import check_targets, replacing
from hybridmodel.cli.source import Source


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
    "--score",
    default="margin",
    help="How sure the local model is: margin, max_probability, entropy, or with an output's name "
    "as in margin:probabilities, uncertainty:std.",
)
@options.answer
@options.tolerance
@click.option("-o", "--output", "target", type=options.PATH, help="Write it to this .json file.")
@click.option("--plot", type=options.PATH, help="Draw it to this file, such as curve.png.")
@options.as_json
@options.timeout
@options.model_config
def calibrate(
    model_uri: str,
    source: Source,
    labels: str | None,
    target: Path | None,
    plot: Path | None,
    as_json: bool,
    config: dict[str, Any],
    **promise: Any,
) -> int:
    """Find the threshold of a cascade on the rows of DATA.

    DATA is a .csv, .tsv, .jsonl or .parquet file, or - for stdin. Both models answer every row.
    The threshold comes with a promise: with probability 1 - DELTA over samples, at most a share
    EPSILON of all rows like these are kept local at a loss.

    Exit status: 0 done, 1 done but everything has to be escalated, 2 error.
    """
    import pandas as pd

    from hybridmodel.calibrating import calibrate as find

    check_targets(source, *(path for path in (target, plot) if path is not None))
    with options.open_model(model_uri, config) as model, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # They are printed with the rest.
        data = pd.concat(list(tables.read(source, model, 100_000, labels)))
        right = tables.take_labels(data, labels, source)
        with explained(source, model, data, 0, label=labels, labels=True):
            found = find(model, data, right, **promise)
    if target is not None:
        with replacing(target) as part:
            part.write_text(found.to_json(), encoding="utf-8")
    if plot is not None:
        with replacing(plot) as part:
            # The format follows the target's ending; the temporary file has another.
            found.plot().savefig(part, format=plot.suffix.lstrip(".") or "png", dpi=130)
    if as_json:
        options.echo_json(found.to_dict())
    else:
        click.echo(str(found))
    return NO if found.escalates_everything else 0
