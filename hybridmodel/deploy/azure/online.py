"""What all online endpoints have in common: their files, and the machines they run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hybridmodel.deploy.azure import documents
from hybridmodel.deploy.azure.limits import MANAGED, PENDING_PER_RUNNING
from hybridmodel.deploy.azure.records import COMMANDS_FILE, ENDPOINT_FILE, Endpoint
from hybridmodel.deploy.azure.wanted import Wanted
from hybridmodel.deploy.azure.writing import write_rendered, write_yaml

SMALL_INSTANCE = "Standard_DS3_v2"

_ABOUT_ENDPOINT = """Written by `hybridmodel export`; COMMANDS.md says what to do with it.
Traffic is not here: Azure ignores it at creation, so it is set by updates."""
_ABOUT_DEPLOYMENT = """Written by `hybridmodel export`; COMMANDS.md says what to do with it.
The gateway takes {pending} requests for each instance at a time, and answers 429 beyond."""


def instance_type(wanted: Wanted) -> str | None:
    """Return the size of the machines; Kubernetes has one of its own by default."""
    is_managed = wanted.compute == MANAGED
    return wanted.instance_type or (SMALL_INSTANCE if is_managed else None)


def write(folder: Path, endpoint: Endpoint, commands: str, **values: Any) -> None:
    """Write the files of an endpoint and of its deployments, and the commands from a template."""
    write_yaml(folder / ENDPOINT_FILE, documents.endpoint(endpoint), _ABOUT_ENDPOINT)
    for deployment in endpoint.deployments:
        about = _ABOUT_DEPLOYMENT.format(pending=PENDING_PER_RUNNING * deployment.concurrency)
        write_yaml(folder / deployment.file, documents.deployment(deployment, endpoint), about)
    write_rendered(
        folder / COMMANDS_FILE, commands, endpoint=endpoint, endpoint_file=ENDPOINT_FILE, **values
    )
