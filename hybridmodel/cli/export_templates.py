"""The options of ``hybridmodel export`` for files of Azure and KServe, beside the repository."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hybridmodel.deploy import Exported
    from hybridmodel.deploy.azure import Wanted, WantedBatch
    from hybridmodel.deploy.kserve import Service

_KINDS = ("azure", "azure_mlflow", "azure_script")
_GREEN = "green"

_OPTIONS = (
    click.option("--azure", metavar="NAME", help="Add files for an endpoint of Azure with Triton."),
    click.option(
        "--azure-mlflow",
        metavar="NAME",
        help="Instead of the repository, write files for an endpoint of Azure that runs the hybrid "
        "model itself, and for the batch endpoint NAME-batch.",
    ),
    click.option(
        "--azure-script",
        metavar="NAME",
        help="The same with a scoring script, so that errors keep their status and params arrive.",
    ),
    click.option(
        "--green",
        metavar="MODEL_URI",
        help="With --azure: what the second deployment serves; default is the same.",
    ),
    click.option(
        "--compute",
        type=click.Choice(["managed", "kubernetes"]),
        default="managed",
        help="Who runs the instances: Azure, or a cluster that is attached to the workspace.",
    ),
    click.option("--compute-name", metavar="NAME", help="That cluster."),
    click.option(
        "--auth-mode",
        type=click.Choice(["key", "aml_token", "aad_token"]),
        default="key",
        help="How callers of the endpoint prove who they are.",
    ),
    click.option(
        "--instance-type",
        metavar="SIZE",
        help="Size of the machines; default is Standard_DS3_v2, or the cluster's own.",
    ),
    click.option("--instance-count", type=int, default=1, help="Machines of each deployment."),
    click.option(
        "--request-timeout",
        "request_timeout_s",
        metavar="SECONDS",
        type=float,
        default=60.0,
        help="Time of a request, after which the gateway answers 408.",
    ),
    click.option(
        "--concurrency",
        type=int,
        help="Requests that a machine runs at a time; default fits the queue of the model.",
    ),
    click.option(
        "--key-secret",
        metavar="REFERENCE",
        help="Where Azure finds the key of the endpoint that a hybrid model asks, such as "
        "'${{azureml://connections/NAME/credentials/KEY}}'; never the key.",
    ),
    click.option(
        "--batch-tier",
        type=click.Choice(["low_priority", "dedicated"]),
        default="low_priority",
        help="Machines of the batch endpoint: cheap ones that Azure may take back, or others.",
    ),
    click.option("--batch-nodes", type=int, default=4, help="Most machines of its cluster."),
    click.option(
        "--batch-nodes-per-job",
        type=int,
        help="Machines of one of its jobs; default is all. Jobs beyond the cluster wait.",
    ),
    click.option(
        "--batch-min-nodes",
        type=int,
        default=0,
        help="Machines that it keeps between jobs; 0 scales to zero.",
    ),
    click.option(
        "--batch-idle",
        "batch_idle_s",
        metavar="SECONDS",
        type=int,
        default=120,
        help="Time after which a machine of it without a job is given back.",
    ),
    click.option("--kserve", metavar="NAME", help="Add a file for an inference service of KServe."),
    click.option("--storage-uri", metavar="URI", help="Where KServe finds the repository."),
)
_WANTED = (
    "compute",
    "compute_name",
    "auth_mode",
    "instance_type",
    "instance_count",
    "request_timeout_s",
    "concurrency",
    "key_secret",
)
_BATCH = ("tier", "nodes", "nodes_per_job", "min_nodes", "idle_s")
_OF_BATCH = tuple(f"batch_{name}" for name in _BATCH)
NAMES = (*_KINDS, "green", *_WANTED, *_OF_BATCH, "kserve", "storage_uri")
"""The parameters of a command that these options set."""

_OF_HYBRID = ("model_uri", "folder", "model_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """What is written for whom; `kind` is one of the options ``--azure…``."""

    kind: str | None = None
    wanted: Wanted | None = None
    batch: WantedBatch | None = None
    green: str | None = None
    service: Service | None = None

    @property
    def are_hybrid(self) -> bool:
        """Whether the hybrid model itself is deployed, without a repository for Triton."""
        return self.kind in ("azure_mlflow", "azure_script")

    def write_hybrid(self, model_uri: str, folder: Path, name: str | None) -> None:
        """Write the hybrid model and its endpoints, and say so."""
        from hybridmodel.deploy.azure import write_hybrid
        from hybridmodel.deploy.azure.records import BATCH_COMMANDS_FILE, COMMANDS_FILE

        assert self.wanted is not None  # noqa: S101 - `_read` has made sure
        scripted = self.kind == "azure_script"
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        with redirect_stdout(sys.stderr):  # MLflow may print while it fetches a model.
            made = write_hybrid(
                model_uri,
                folder,
                self.wanted,
                scripted=scripted,
                model_name=name,
                wanted_batch=self.batch,
            )
        click.echo(f"endpoint {made.endpoint.name}: see {folder / COMMANDS_FILE}")
        if made.batch is not None:
            click.echo(f"batch endpoint {made.batch.name}: see {folder / BATCH_COMMANDS_FILE}")
        for note in made.notes:
            click.echo(f"note: {note}", err=True)

    def write(
        self,
        exported: Exported,
        export: Callable[[str, Path], Exported],
        root: Path | None = None,
    ) -> None:
        """Write files beside a repository, which will be moved to the folder `root`.

        `export` writes another repository, of green's model.
        """
        if self.wanted is not None:
            from hybridmodel.deploy.azure import write_triton

            green = export(self.green, exported.folder / _GREEN) if self.green else None
            write_triton(exported, self.wanted, green=green, root=root)
        if self.service is not None:
            from hybridmodel.deploy import kserve

            kserve.write(exported, self.service)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, as one `templates`; names are refused before it begins."""

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        own = {name: given.pop(name) for name in NAMES}
        templates = _read(own)
        _check_used(templates)
        return command(templates=templates, **given)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _read(own: dict[str, Any]) -> Templates:
    chosen = [kind for kind in _KINDS if own[kind] is not None]
    if len(chosen) > 1:
        raise click.UsageError("--azure, --azure-mlflow and --azure-script are one endpoint each")
    kind = chosen[0] if chosen else None
    if own["green"] and kind != "azure":
        raise click.UsageError("--green needs --azure")
    if own["kserve"] and kind in ("azure_mlflow", "azure_script"):
        raise click.UsageError(
            "--kserve serves the repository, which --azure or no --azure… writes"
        )
    if (own["kserve"] is None) != (own["storage_uri"] is None):
        raise click.UsageError("--kserve and --storage-uri go together")
    return Templates(
        kind=kind,
        wanted=_wanted(own, kind),
        batch=_batch(own, kind),
        green=own["green"],
        service=_service(own),
    )


def _check_used(templates: Templates) -> None:
    """Refuse options that would do nothing, beside those that were given."""
    context = click.get_current_context()
    said = {name for name in context.params if _is_said(context, name)}
    if templates.kind is None and (unused := sorted(said & set(_WANTED))):
        raise click.UsageError(
            f"{_option(unused[0])} needs --azure, --azure-mlflow or --azure-script"
        )
    if templates.batch is None and (unused := sorted(said & set(_OF_BATCH))):
        raise click.UsageError(f"{_option(unused[0])} needs --azure-mlflow")
    if templates.are_hybrid and (unused := sorted(said - {*NAMES, *_OF_HYBRID})):
        raise click.UsageError(
            f"{_option(unused[0])} is about a repository for Triton, which --azure-mlflow and "
            "--azure-script do not write"
        )
    if templates.kind == "azure" and "key_secret" in said:
        raise click.UsageError("--key-secret is for a model that asks an endpoint, not for Triton")


def _is_said(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _option(name: str) -> str:
    command = click.get_current_context().command
    found = next(param for param in command.params if param.name == name)
    return found.opts[0]


def _wanted(own: dict[str, Any], kind: str | None) -> Wanted | None:
    if kind is None:
        return None
    from hybridmodel.deploy.azure import Wanted

    return Wanted(endpoint=own[kind], **{name: own[name] for name in _WANTED})


def _batch(own: dict[str, Any], kind: str | None) -> WantedBatch | None:
    if kind != "azure_mlflow":
        return None
    from hybridmodel.deploy.azure import WantedBatch

    return WantedBatch(**{name: own[f"batch_{name}"] for name in _BATCH})


def _service(own: dict[str, Any]) -> Service | None:
    if own["kserve"] is None:
        return None
    from hybridmodel.deploy.kserve import Service

    return Service(name=own["kserve"], storage_uri=own["storage_uri"])
