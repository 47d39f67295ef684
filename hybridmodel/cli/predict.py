"""``hybridmodel predict``: reads a table of rows and writes a table of predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.batch.columns import Columns, split
from hybridmodel.batch.formats import format_of
from hybridmodel.batch.formats.frames import frame_of
from hybridmodel.batch.pipeline import Piece, Scored, scored
from hybridmodel.batch.scoring import Scorer
from hybridmodel.batch.summary import Counts
from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.progress import progress
from hybridmodel.cli.replacing import check_targets
from hybridmodel.cli.source import Source
from hybridmodel.cli.writing import writing
from hybridmodel.exceptions import InputMismatch
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel


@click.command()
@options.model_uri
@options.table("INPUT")
@click.option(
    "--use-azure/--local",
    "use_azure",
    default=None,
    help="Ask the endpoint, or the local model; the environment or the model sets the default.",
)
@click.option(
    "--mode",
    metavar="MODE",
    help="Who answers: local, azure, azure_first, local_first, cascade, budget, shadow, split or "
    "hedge; with the settings that the model holds for it.",
)
@click.option(
    "--provenance", is_flag=True, help="Add the columns route, score and reason to each row."
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="Write to this .csv, .tsv, .jsonl (with .gz behind it, if you like) or .parquet file, "
    "once all rows are answered; default is CSV on stdout.",
)
@click.option("--output-name", "output", metavar="NAME", help="Only this output of the model.")
@click.option(
    "--keep",
    metavar="NAME,...",
    multiple=True,
    callback=lambda _context, _option, given: tuple(
        name.strip() for text in given for name in text.split(",")
    ),
    help="Put these columns of INPUT before the predictions. Repeatable.",
)
@click.option("--keep-input", is_flag=True, help="Put the columns of INPUT before the predictions.")
@options.batch_rows
@options.timeout
@options.model_config
def predict(
    model_uri: str,
    source: Source,
    target: Path | None,
    config: dict[str, Any],
    use_azure: bool | None,
    mode: str | None,
    keep: tuple[str, ...],
    keep_input: bool,
    batch_rows: int,
    timeout: float | None,
    **call: Any,
) -> None:
    """Predict for every row of INPUT: a .csv, .tsv, .jsonl or .parquet file, or - for stdin.

    The predictions come in the order of the rows, one for each, with the columns of --id-column
    before them. At the end, stderr tells which route has answered. Big files are read, answered and
    written in batches; with -o the file appears complete or not at all.

    Exit status: 0 done, 2 error.
    """
    target = None if target == Path("-") else target
    if target is not None:
        format_of(str(target))
    check_targets(source, target)
    with options.open_model(model_uri, config) as model:
        policy = model.policies.for_call(use_azure, mode)
        scorer = _scorer(model, policy, source, keep, keep_input, timeout_s=timeout, **call)
        counts = Counts()
        with (
            writing(target) as write,
            progress(tables.count_rows(source), streams=target is None) as advance,
        ):
            for result in _scored(scorer, source, batch_rows):
                write(result.batch)
                counts += result.counts
                advance(result.counts.rows)
        _tell(counts, policy, model)


def _scorer(
    model: HybridOnnxModel,
    policy: Any,
    source: Source,
    keep: tuple[str, ...],
    keep_input: bool,
    **call: Any,
) -> Scorer:
    columns = Columns(
        ids=source.id_columns,
        keep=keep,
        keep_input=keep_input,
        ignore_extra=source.ignore_extra,
        for_command=True,
    )
    return Scorer(model=model, policy=policy, columns=columns, where=source.name, **call)


def _scored(scorer: Scorer, source: Source, batch_rows: int) -> Iterator[Scored]:
    """Yield the answers for a table as they come, each in its place."""
    model = scorer.model
    as_text = scorer.columns.as_text(model)

    def pieces() -> Iterator[Piece]:
        start = 0
        for batch in tables.read_batches(source, model.spec, batch_rows, as_text):
            yield Piece(0, batch, start)
            start += batch.num_rows

    def explain(piece: Piece, error: InputMismatch) -> Exception:
        features, _ = split(piece.batch, scorer.columns, model, source.name)
        try:
            with explained(source, model, frame_of(features), piece.start):
                raise error
        except InputMismatch as located:
            return located

    return scored(pieces(), scorer, 1, explain)


def _tell(counts: Counts, policy: Any, model: HybridOnnxModel) -> None:
    """Say on stderr who has answered."""
    if counts.remote < counts.rows or policy is LOCAL_POLICY:
        click.echo(f"{counts.local} rows answered by the local model", err=True)
    if counts.remote or policy is REMOTE_POLICY:
        url = model.client.endpoint.model_url
        click.echo(f"{counts.remote} rows answered by the endpoint {url}", err=True)
