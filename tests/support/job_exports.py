"""Small exported folders of a batch endpoint, and files for its jobs."""

from __future__ import annotations

from pathlib import Path

import yaml

from hybridmodel import save_model
from hybridmodel.deploy.rehearsal.jobs.settings import Batch, BatchDeployment
from tests.support.batches import linear

NAMES = ("blue", "green")


def write_batch_export(
    folder: Path, *, nodes: int = 1, per_job: int = 1, retries: int = 3, default: str | None = None
) -> Path:
    """Write a batch endpoint whose deployments have one model; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(linear(), folder / "model", pip_requirements=[])
    described: dict[str, object] = {"name": "digits-batch", "auth_mode": "aad_token"}
    described["defaults"] = {} if default is None else {"deployment_name": default}
    schema = "https://azuremlschemas.azureedge.net/latest"
    described["$schema"] = f"{schema}/batchEndpoint.schema.json"
    write(folder / "batch-endpoint.yml", described)
    cluster = {"$schema": f"{schema}/amlCompute.schema.json", "name": "nodes", "type": "amlcompute"}
    write(folder / "batch-cluster.yml", {**cluster, "max_instances": nodes})
    for name in NAMES:
        deployment = {
            "$schema": f"{schema}/modelBatchDeployment.schema.json",
            "name": name,
            "endpoint_name": "digits-batch",
            "model": {"path": "./model"},
            "resources": {"instance_count": per_job},
            "settings": {
                "retry_settings": {"max_retries": retries},
                "environment_variables": {
                    "HYBRIDMODEL_BATCH_KEEP": "id",
                    "HYBRIDMODEL_BATCH_FORMAT": "csv" if name == "green" else "parquet",
                    "LD_PRELOAD": "/nowhere.so",
                },
            },
        }
        write(folder / f"batch-{name}-deployment.yml", deployment)
    return folder


def write(path: Path, document: dict[str, object]) -> None:
    """Write a document as YAML."""
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def small_batch(nodes: int = 1, per_job: int = 1, retries: int = 1) -> Batch:
    """Describe a batch endpoint whose jobs are not run."""
    deployments = tuple(
        BatchDeployment(name=name, model=Path("/m"), nodes=per_job, retries=retries)
        for name in NAMES
    )
    return Batch(name="digits-batch", deployments=deployments, default="blue", nodes=nodes)
