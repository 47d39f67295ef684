"""What all online endpoints have in common: their records, files and machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridmodel.deploy.azure import documents
from hybridmodel.deploy.azure.fitting import Fit
from hybridmodel.deploy.azure.limits import MANAGED, PENDING_PER_RUNNING
from hybridmodel.deploy.azure.records import (
    COMMANDS_FILE,
    ENDPOINT_FILE,
    Asset,
    Deployment,
    Endpoint,
    Program,
)
from hybridmodel.deploy.azure.wanted import Wanted
from hybridmodel.deploy.azure.writing import write_rendered, write_yaml

SMALL_INSTANCE = "Standard_DS3_v2"

_ABOUT_ENDPOINT = """Written by `hybridmodel export`; COMMANDS.md says what to do with it.
Traffic is not here: Azure ignores it at creation, so it is set by updates."""
_ABOUT_DEPLOYMENT = """Written by `hybridmodel export`; COMMANDS.md says what to do with it.
The gateway takes {pending} requests for each instance at a time, and answers 429 beyond."""


def deployment(
    name: str,
    asset: Asset,
    wanted: Wanted,
    fit: Fit,
    *,
    program: Program | None = None,
    variables: Mapping[str, str] | None = None,
) -> Deployment:
    """Return a deployment as it is wanted; Kubernetes has a machine of its own by default."""
    usual = SMALL_INSTANCE if wanted.compute == MANAGED else None
    return Deployment(
        name=name,
        asset=asset,
        instance_type=wanted.instance_type or usual,
        instance_count=wanted.instance_count,
        request_timeout_s=wanted.request_timeout_s,
        concurrency=fit.concurrency,
        probe=fit.probe,
        program=program,
        variables=variables or {},
    )


def endpoint(wanted: Wanted, *deployments: Deployment) -> Endpoint:
    """Return an endpoint as it is wanted, with its deployments."""
    return Endpoint(
        name=wanted.endpoint,
        auth_mode=wanted.auth_mode,
        compute=wanted.compute,
        compute_name=wanted.compute_name,
        deployments=deployments,
        secret_stores=wanted.key_secret is not None,
    )


def write(folder: Path, endpoint: Endpoint, commands: str, **values: Any) -> None:
    """Write the files of an endpoint and of its deployments, and the commands from a template."""
    write_yaml(folder / ENDPOINT_FILE, documents.endpoint(endpoint), _ABOUT_ENDPOINT)
    for deployment in endpoint.deployments:
        about = _ABOUT_DEPLOYMENT.format(pending=PENDING_PER_RUNNING * deployment.concurrency)
        write_yaml(folder / deployment.file, documents.deployment(deployment, endpoint), about)
    write_rendered(
        folder / COMMANDS_FILE, commands, endpoint=endpoint, endpoint_file=ENDPOINT_FILE, **values
    )
