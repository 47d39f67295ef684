"""``hybridmodel submit``: one job of a batch endpoint, waited for, with its results."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.checks import printable
from hybridmodel.cli import options
from hybridmodel.cli.errors import NO, one_line
from hybridmodel.exceptions import ConfigurationError, JobFailed, SubmissionUnknown

if TYPE_CHECKING:
    from hybridmodel.remote.batch_endpoint import BatchClient, Job, JobStatus


@click.command()
@click.argument("endpoint", metavar="ENDPOINT")
@click.argument("input_uri", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    "output_uri",
    metavar="FOLDER",
    help="Address of the results' folder; default is the endpoint's choice. Files that an earlier "
    "job has finished there are not answered again.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the job; default is a new one. With the name of an earlier job, that one is "
    "waited for.",
)
@click.option(
    "--deployment", metavar="NAME", help="What runs the job; default is the endpoint's default."
)
@click.option(
    "--input-type",
    type=click.Choice(["file", "folder"]),
    help="What INPUT is; default is a file if it has a suffix.",
)
@click.option(
    "--form",
    type=click.Choice(["inputs", "dataset"]),
    default="inputs",
    help="Form of the request; dataset is what the first releases of Azure's service took.",
)
@click.option("--wait/--no-wait", default=True, help="Wait until the job is over.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Time to wait for the job; it goes on afterwards. Default is for ever.",
)
@click.option(
    "--download",
    metavar="DIR",
    type=options.PATH,
    help="Copy the results into this folder when the job is completed.",
)
@click.option(
    "--token-env",
    metavar="VARIABLE",
    help="Name of a variable with a token; default asks Entra ID, by azure-identity.",
)
@click.option("--ca-bundle", metavar="FILE", help="Certificate authorities to trust.")
@options.as_json
def submit(
    endpoint: str,
    input_uri: str,
    output_uri: str | None,
    name: str | None,
    deployment: str | None,
    wait: bool,
    timeout: float | None,
    download: Path | None,
    token_env: str | None,
    ca_bundle: str | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Submit INPUT to the batch endpoint ENDPOINT as one job, and wait for it.

    ENDPOINT is its https:// address, or a folder that is rehearsed. INPUT is a file or folder: an
    azureml://, https:// or abfs:// address, or a path where the endpoint is on this machine.

    No second job is made, whatever happens on the way: a submission whose answer was lost is looked
    for by its name. After Ctrl-C the job goes on, and --name waits for it again.

    Exit status: 0 completed, or submitted with --no-wait; 1 the job failed; 2 error; 130 ended by
    Ctrl-C.
    """
    if download is not None and not wait:
        raise click.UsageError("--download needs --wait")
    with _client(endpoint, deployment, token_env, ca_bundle) as client:
        try:
            job = client.submit(input_uri, output_uri, name=name, announce=_announce, **given)
        except SubmissionUnknown as unknown:
            unknown.add_note(f"go on with: {_again(str(unknown.job))}")
            raise
        if job.was_there:
            click.echo(f"the job {job.name} is there already, and is waited for", err=True)
        status = _waited(job, timeout) if wait else job.status()
        copied = job.results().download(download) if download and status.is_completed else []
    _show(job, status, len(copied), as_json)
    return NO if status.is_over and not status.is_completed else 0


def _client(
    endpoint: str, deployment: str | None, token_env: str | None, ca_bundle: str | None
) -> BatchClient:
    from hybridmodel.remote.batch_endpoint import BatchClient, BatchEndpoint

    if "://" not in endpoint:
        from hybridmodel.deploy.rehearsal.control import Control

        if not Path(endpoint).is_dir():
            raise ConfigurationError(
                f"{endpoint}: is neither an https:// address nor a folder that is rehearsed"
            )
        control = Control(endpoint)
        described = BatchEndpoint(
            uri=control.snapshot()["uri"], deployment=deployment, ca_bundle=str(control.authority)
        )
        return BatchClient(described, control.credential)
    return BatchClient(
        BatchEndpoint(
            uri=endpoint,
            deployment=deployment,
            entra_id=token_env is None,
            auth_key_env=token_env,
            ca_bundle=ca_bundle,
        )
    )


def _announce(name: str) -> None:
    """Say the name of a job before it is submitted, and how to go on with it."""
    click.echo(f"submitting the job {name}; if this is interrupted, go on with:", err=True)
    click.echo(f"  {_again(name)}", err=True)


def _again(name: str) -> str:
    """Return the command that was given, for the job of a name."""
    context = click.get_current_context()
    words = ["hybridmodel", "submit"]
    for parameter in context.command.params:
        key = str(parameter.name)
        source = context.get_parameter_source(key)
        if source is not click.core.ParameterSource.COMMANDLINE or key == "name":
            continue
        value = context.params[key]
        if isinstance(parameter, click.Option):
            words.append((parameter.secondary_opts if value is False else parameter.opts)[-1])
        if not isinstance(value, bool):
            words.append(str(value))
    return one_line(shlex.join([*words, "--name", name]))


def _waited(job: Job, timeout: float | None) -> JobStatus:
    """Wait, and tell each new state; a job that failed is told, and is no error here."""
    told: list[str] = []

    def tell(status: JobStatus, elapsed_s: float) -> None:
        if [status.state] != told[-1:]:
            told.append(status.state)
            click.echo(f"{elapsed_s:5.0f} s  {printable(str(status), 1000)}", err=True)

    try:
        return job.wait(tell, timeout)
    except JobFailed as failed:
        click.echo(failed.hint, err=True)
        return job.status()


def _show(job: Job, status: JobStatus, copied: int, as_json: bool) -> None:
    output = job.output_uri or status.output_uri
    if as_json:
        said = {
            "job": job.name,
            "state": status.state,
            "error": status.error,
            "output": output,
            "was_there": job.was_there,
            "copied": copied,
        }
        options.echo_json(said)
        return
    pairs = [("job", job.name), ("state", status.state)]
    if output is not None and status.is_completed:
        pairs.append(("results", printable(output, 2000)))
    if copied:
        pairs.append(("copied", f"{copied} files"))
    options.echo_pairs(pairs)
