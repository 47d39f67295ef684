"""``hybridmodel predict``: reads a table of rows and writes a table of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.answer import PROVENANCE
from hybridmodel.cli import options, tables
from hybridmodel.cli.bad_cells import explained
from hybridmodel.cli.progress import progress
from hybridmodel.cli.replacing import check_targets
from hybridmodel.cli.source import Source, format_of
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.routing import AZURE
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY

if TYPE_CHECKING:
    import pandas as pd

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
@click.option("--output-name", metavar="NAME", help="Only this output of the model.")
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
    keep_input: bool,
    batch_rows: int,
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
        format_of(target)
    check_targets(source, target)
    with options.open_model(model_uri, config) as model:
        policy = model.policies.for_call(use_azure, mode)
        rows = asked = 0
        with (
            tables.writing(target) as write,
            progress(tables.count_rows(source), streams=target is None) as advance,
        ):
            for frame in tables.read(source, model, batch_rows):
                with explained(source, model, frame, rows):
                    answer, remote = _answer(model, frame, policy, **call)
                write(_beside(frame, answer, keep_input, bool(source.id_columns)))
                rows += len(frame)
                asked += remote
                advance(len(frame))
        if asked < rows or policy is LOCAL_POLICY:
            click.echo(f"{rows - asked} rows answered by the local model", err=True)
        if asked or policy is REMOTE_POLICY:
            url = model.client.endpoint.model_url
            click.echo(f"{asked} rows answered by the endpoint {url}", err=True)


def _answer(
    model: HybridOnnxModel,
    frame: pd.DataFrame,
    policy: Any,
    output_name: str | None,
    timeout: float | None,
    provenance: bool,
) -> tuple[pd.DataFrame, int]:
    """Return the predictions, and how many rows the endpoint has answered."""
    plain = policy is LOCAL_POLICY or policy is REMOTE_POLICY
    told = provenance or not plain
    answer = model.predict(frame, mode=policy, output=output_name, timeout=timeout, provenance=told)
    predictions: pd.DataFrame = answer.to_frame() if answer.ndim == 1 else answer
    if not told:
        return predictions, len(frame) if policy is REMOTE_POLICY else 0
    remote = int((predictions["route"] == AZURE).sum())
    return predictions if provenance else predictions.drop(columns=list(PROVENANCE)), remote


def _beside(
    frame: pd.DataFrame, answer: pd.DataFrame, keep_input: bool, keep_index: bool
) -> pd.DataFrame:
    """Put the kept columns and identifiers of the input before the predictions."""
    import pandas as pd

    if not keep_input and not keep_index:
        return answer
    kept = frame if keep_input else frame[[]]
    kept = kept.reset_index() if any(frame.index.names) else kept.reset_index(drop=True)
    both = sorted(set(map(str, kept.columns)) & set(map(str, answer.columns)))
    if both:
        option = "--keep-input" if keep_input else "--id-column"
        raise ConfigurationError(
            f"{option}: the input and the predictions both have a column "
            f"{', '.join(map(repr, both))}"
        )
    return pd.concat([kept, answer.reset_index(drop=True)], axis=1)
