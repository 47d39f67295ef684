"""The files of an online endpoint that serves an exported repository with Azure's own Triton."""

from __future__ import annotations

from pathlib import Path

from hybridmodel.deploy.azure import online
from hybridmodel.deploy.azure.fitting import fitted
from hybridmodel.deploy.azure.records import (
    BLUE,
    COMMANDS_FILE,
    ENDPOINT_FILE,
    GREEN,
    Asset,
    Deployment,
    Endpoint,
    deployment_file,
)
from hybridmodel.deploy.azure.wanted import Wanted
from hybridmodel.deploy.azure.writing import appearing, bytes_of, check_free, content_version
from hybridmodel.deploy.exporting import Exported
from hybridmodel.deploy.planning import QUEUE_SIZE

FILES = (ENDPOINT_FILE, deployment_file(BLUE), deployment_file(GREEN), COMMANDS_FILE)
"""What `write` adds to an export."""


def write(
    exported: Exported,
    wanted: Wanted,
    *,
    green: Exported | None = None,
    root: Path | None = None,
) -> Endpoint:
    """Write an endpoint with two deployments beside an exported repository.

    Parameters
    ----------
    exported : Exported
        What blue serves.
    wanted : Wanted
        The endpoint.
    green : Exported, optional
        What green serves, in a folder below that of `exported`; default is the same as blue.
    root : Path, optional
        The folder that `exported` will be moved to, if that is another one: what it has already
        is a part of what is deployed.

    Returns
    -------
    Endpoint
        What the files hold.

    Raises
    ------
    ConfigurationError
        If one of `FILES` exists.
    """
    check_free(exported.folder, FILES)
    endpoint = online.endpoint(
        wanted,
        deployment_of(BLUE, exported, exported.folder, root, wanted),
        deployment_of(GREEN, green or exported, exported.folder, root, wanted),
    )
    with appearing(exported.folder) as stage:
        online.write(stage, endpoint, "commands.md", model_name=exported.model_name)
    return endpoint


def deployment_of(
    name: str, exported: Exported, folder: Path, root: Path | None, wanted: Wanted
) -> Deployment:
    """Describe a deployment of an exported repository below `folder`, for a file in it.

    `root` is the folder whose files `folder` will join, if that is another one.
    """
    inner = exported.repository.relative_to(folder)
    fit = fitted(
        concurrency=wanted.concurrency,
        queue_size=exported.queue_size or QUEUE_SIZE,
        request_timeout_s=wanted.request_timeout_s,
        model_bytes=bytes_of(exported.repository),
    )
    asset = Asset(
        name=exported.model_name,
        version=content_version(exported.repository, root and root / inner),
        path=f"./{inner.as_posix()}",
        kind="triton_model",
    )
    return online.deployment(name, asset, wanted, fit)
