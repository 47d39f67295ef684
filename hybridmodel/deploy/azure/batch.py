"""The files of a batch endpoint: endpoint, deployments, cluster, and the commands."""

from __future__ import annotations

from pathlib import Path

from hybridmodel.deploy.azure import documents, online
from hybridmodel.deploy.azure.limits import checked_name
from hybridmodel.deploy.azure.records import (
    BATCH_COMMANDS_FILE,
    BLUE,
    GREEN,
    Asset,
    BatchDeployment,
    BatchEndpoint,
    Cluster,
    Program,
)
from hybridmodel.deploy.azure.wanted_batch import WantedBatch
from hybridmodel.deploy.azure.writing import write_rendered, write_yaml
from hybridmodel.exceptions import ConfigurationError

CODE, DRIVER = "batch_code", "batch_driver.py"
NEEDED = ("azureml-core", "fsspec")
"""What the driver's environment needs besides the model's requirements."""

ENDPOINT_FILE, CLUSTER_FILE = "batch-endpoint.yml", "batch-cluster.yml"
DEPLOYMENT_FILES = {BLUE: "batch-deployment.yml", GREEN: "batch-green-deployment.yml"}
FILES = (ENDPOINT_FILE, *DEPLOYMENT_FILES.values(), CLUSTER_FILE, BATCH_COMMANDS_FILE, CODE)

_SUFFIX = "-batch"
_CLUSTER = "hybrid-nodes"
_ABOUT = "Written by `hybridmodel export`; BATCH_COMMANDS.md says what to do with it."
_VARIABLES = {
    "HYBRIDMODEL_BATCH_KEEP": "*",
    "HYBRIDMODEL_BATCH_FORMAT": "parquet",
    "HYBRIDMODEL_BATCH_FOLDERS": "0",
    "HYBRIDMODEL_USE_AZURE": "false",
}


def batch_name(endpoint: str) -> str:
    """Return the name of the batch endpoint: both have a host of the same domain.

    Raises `ConfigurationError` if it is longer than Azure takes.
    """
    try:
        return checked_name("batch endpoint", endpoint + _SUFFIX)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}; it is the endpoint's name with {_SUFFIX}, so use a shorter one"
        ) from error


def write(
    stage: Path,
    name: str,
    asset: Asset,
    program: Program,
    wanted: WantedBatch,
    instance_type: str | None,
) -> BatchEndpoint:
    """Write the files of a batch endpoint, whose deployments have the same model at first."""
    cluster = Cluster(
        name=_CLUSTER,
        instance_type=instance_type or online.SMALL_INSTANCE,
        tier=wanted.tier,
        nodes=wanted.nodes,
        min_nodes=wanted.min_nodes,
        idle_s=wanted.idle_s,
    )
    deployments = tuple(
        BatchDeployment(
            name=each,
            file=file,
            asset=asset,
            program=program,
            nodes=wanted.job_nodes,
            patience_s=wanted.patience_s,
            retries=wanted.retries,
            variables=_VARIABLES,
        )
        for each, file in DEPLOYMENT_FILES.items()
    )
    record = BatchEndpoint(name=name, deployments=deployments, cluster=cluster)
    write_yaml(stage / ENDPOINT_FILE, documents.batch_endpoint(record), _ABOUT)
    for one in deployments:
        write_yaml(stage / one.file, documents.batch_deployment(one, record), _ABOUT)
    write_yaml(stage / CLUSTER_FILE, documents.cluster(cluster), _ABOUT)
    write_rendered(
        stage / BATCH_COMMANDS_FILE,
        "batch_commands.md",
        batch=record,
        endpoint_file=ENDPOINT_FILE,
        cluster_file=CLUSTER_FILE,
    )
    return record
