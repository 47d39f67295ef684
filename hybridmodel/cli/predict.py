"""``hybridmodel predict``: reads tables of rows and writes predictions."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.batch import Summary
from hybridmodel.batch.columns import Columns
from hybridmodel.batch.formats import count_rows, total_rows
from hybridmodel.batch.scoring import Scorer
from hybridmodel.batch.summary import Counts
from hybridmodel.batch.tuning import tuned
from hybridmodel.cli import budget as budgets
from hybridmodel.cli import cascade as cascades
from hybridmodel.cli import job_options, options
from hybridmodel.cli.inputs import Inputs
from hybridmodel.cli.job_options import JobOptions
from hybridmodel.cli.progress import job_progress, progress
from hybridmodel.cli.replacing import check_targets
from hybridmodel.cli.streaming import advice, answered
from hybridmodel.cli.writing import check_free, writing
from hybridmodel.exceptions import InputMismatch
from hybridmodel.routing.resolver import LOCAL_POLICY, REMOTE_POLICY

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel

_STREAM_ROWS = 10_000
"""Read at a time where answers are waited for."""


@click.command()
@options.model_uri
@options.tables("INPUT")
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
    metavar="PATH",
    help="Write to this .csv, .tsv, .jsonl (with .gz behind it, if you like), .parquet or .arrow "
    "file, or into a folder of .parquet files, once all rows are answered; default is CSV on "
    "stdout.",
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
@cascades.options
@budgets.options
@job_options.options
@options.timeout
@options.model_config
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON; needs --output.")
def predict(
    model_uri: str,
    inputs: Inputs,
    target: str | None,
    config: dict[str, Any],
    use_azure: bool | None,
    mode: str | None,
    budget: dict[str, Any],
    cascade: tuple[Path | None, float | None, str | None],
    keep: tuple[str, ...],
    keep_input: bool,
    timeout: float | None,
    job: JobOptions,
    as_json: bool,
    **call: Any,
) -> None:
    """Predict for every row of INPUT: files, folders and globs, or - for stdin.

    Files are .csv, .tsv, .jsonl, .parquet or .arrow; addresses such as s3://bucket/in work too. The
    predictions come in the order of the rows, one for each, with the columns of --id-column and
    --keep before them. At the end, stderr tells which route has answered. Memory stays flat
    whatever the size. With -o the output appears complete or not at all, and a job that was ended
    goes on with --resume.

    Exit status: 0 done, 2 error, 130 ended by Ctrl-C.
    """
    target = None if target == "-" else target
    is_streamed = target is None or inputs.is_stream
    if is_streamed:
        job.check_stream()
        _check_streamed(budget, as_json and target is None)
    check_targets(inputs, None if target is None else Path(target))
    with options.open_model(model_uri, config) as model:
        chosen = budgets.mode_of(budget, model, use_azure, mode)
        chosen = cascades.mode_of(cascade, model, use_azure, chosen)
        scorer = Scorer(
            model=model,
            policy=model.policies.for_call(use_azure, chosen),
            columns=Columns(
                ids=inputs.id_columns,
                keep=keep,
                keep_input=keep_input,
                ignore_extra=inputs.ignore_extra,
                for_command=True,
            ),
            timeout_s=timeout,
            where=inputs.name(0),
            **call,
        )
        if target is None or is_streamed:
            summary = _stream(scorer, inputs, target, job)
        else:
            summary = _do(scorer, inputs, target, job)
        _tell(summary, scorer.policy, model)
    if as_json:
        options.echo_json(summary.to_dict())


def _check_streamed(budget: dict[str, Any], as_json: bool) -> None:
    if budget:
        raise click.UsageError("a budget needs files to read, and --output")
    if as_json:
        raise click.UsageError("--json needs --output, since the predictions go to stdout")


def _stream(scorer: Scorer, inputs: Inputs, target: str | None, job: JobOptions) -> Summary:
    """Answer rows as they come."""
    counts, started = Counts(), time.monotonic()
    found = tuned(scorer.model, scorer.policy, workers=job.workers, batch_rows=job.batch_rows)
    scorer = replace(scorer, model=found.model)
    check_free(target, overwrite=job.overwrite)
    with (
        writing(None if target is None else Path(target)) as write,
        progress(total_rows([*map(count_rows, inputs.files)]), streams=target is None) as advance,
    ):
        for result in answered(scorer, inputs, job.batch_rows or _STREAM_ROWS, found.workers):
            write(result.batch)
            counts += result.counts
            advance(result.counts.rows)
    return Summary(
        rows=counts.rows,
        local=counts.local,
        remote=counts.remote,
        elapsed_s=time.monotonic() - started,
        output=target or "stdout",
    )


def _do(scorer: Scorer, inputs: Inputs, target: str, job: JobOptions) -> Summary:
    """Do a job that goes on when it was ended."""
    from hybridmodel.batch.job import predict_files

    as_text = scorer.columns.as_text(scorer.model)
    try:
        with job_progress() as progressed:
            return predict_files(
                scorer.model,
                inputs.paths,
                target,
                mode=scorer.policy,
                columns=scorer.columns,
                provenance=scorer.provenance,
                output_name=scorer.output,
                timeout=scorer.timeout_s,
                reading=inputs.reading(as_text),
                batch_rows=job.batch_rows,
                workers=job.workers,
                resume=job.resume,
                overwrite=job.overwrite,
                on_bad_rows=job.on_bad_rows,
                max_errors=job.max_errors,
                progress=progressed,
            )
    except InputMismatch as error:
        hint = advice(error, scorer, inputs)
        if not hint:
            raise
        raise InputMismatch(f"{error}{hint}") from error


def _tell(summary: Summary, policy: Any, model: HybridOnnxModel) -> None:
    """Say on stderr who has answered, and what else happened."""
    if summary.resumed:
        click.echo(f"{summary.resumed} of {summary.parts} parts were done before", err=True)
    if summary.local or policy is LOCAL_POLICY:
        click.echo(f"{summary.local} rows answered by the local model", err=True)
    if summary.remote or policy is REMOTE_POLICY:
        urls = " or ".join(one.endpoint.model_url for one in model.client.clients)
        again = f", {summary.resent} of them sent again" if summary.resent else ""
        click.echo(f"{summary.remote} rows answered by the endpoint {urls}{again}", err=True)
    if summary.errors:
        click.echo(f"{summary.errors} rows not answered: {summary.bad_rows}", err=True)
