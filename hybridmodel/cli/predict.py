"""``hybridmodel predict``: a table of rows in, a table of predictions out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.cli import options, tables
from hybridmodel.cli.progress import progress
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.routing import resolve_use_azure

if TYPE_CHECKING:
    import pandas as pd

    from hybridmodel.model import HybridOnnxModel


@click.command()
@options.model_uri
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "--use-azure/--local",
    "use_azure",
    default=None,
    help="Ask the endpoint, or the local model; default is what the environment or the model says.",
)
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    help="Write to this .csv or .parquet file, once all rows are answered; default is CSV on "
    "stdout.",
)
@click.option("--output-name", metavar="NAME", help="Only this output of the model.")
@click.option("--keep-input", is_flag=True, help="Put the columns of INPUT before the predictions.")
@options.batch_rows
@options.timeout
@options.model_config
def predict(
    model_uri: str,
    source: Path,
    target: Path | None,
    config: dict[str, Any],
    use_azure: bool | None,
    keep_input: bool,
    batch_rows: int,
    **call: Any,
) -> None:
    """Predict for every row of INPUT, a .csv or .parquet file.

    The predictions come in the order of the rows, one for each. Which route has answered stands
    on stderr at the end. Big files are read, answered and written in batches; with -o the file
    appears when all is done, or not at all.

    Exit status: 0 done, 2 error.
    """
    tables.check_suffix(source)
    if target is not None:
        tables.check_suffix(target)
    with options.open_model(model_uri, config) as model:
        remote = resolve_use_azure(use_azure, model.configured_use_azure, model.use_azure)
        rows = 0
        with tables.writing(target) as write, progress(tables.count_rows(source)) as advance:
            for frame in tables.read(source, model.spec, batch_rows):
                where = f"{source}, rows from {rows}" if rows else str(source)
                answer = _answer(model, frame, where, remote, **call)
                write(_beside(frame, answer) if keep_input else answer)
                rows += len(frame)
                advance(len(frame))
        there = f"the endpoint {model.client.endpoint.model_url}" if remote else "the local model"
        click.echo(f"{rows} rows answered by {there}", err=True)


def _answer(
    model: HybridOnnxModel,
    frame: pd.DataFrame,
    where: str,
    remote: bool,
    output_name: str | None,
    timeout: float | None,
) -> pd.DataFrame:
    try:
        answer = model.predict(frame, use_azure=remote, output=output_name, timeout=timeout)
    except InputMismatch as error:
        raise InputMismatch(f"{where}: {error}") from error
    predictions: pd.DataFrame = answer.to_frame() if answer.ndim == 1 else answer
    return predictions


def _beside(frame: pd.DataFrame, answer: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    kept = frame.reset_index() if any(frame.index.names) else frame.reset_index(drop=True)
    both = sorted(set(map(str, kept.columns)) & set(map(str, answer.columns)))
    if both:
        raise ConfigurationError(
            f"--keep-input: {', '.join(map(repr, both))} would be there twice, as a column of the "
            "input and of the predictions"
        )
    return pd.concat([kept, answer.reset_index(drop=True)], axis=1)
