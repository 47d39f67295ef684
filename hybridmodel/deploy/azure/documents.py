"""The YAML of endpoints, deployments and clusters, from their records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hybridmodel.deploy.azure.records import (
    Asset,
    BatchDeployment,
    BatchEndpoint,
    Cluster,
    Deployment,
    Endpoint,
    Probe,
    Program,
)

_SCHEMAS = "https://azuremlschemas.azureedge.net/latest"
_KUBERNETES_SHARE = {"cpu": "1", "memory": "2Gi"}
"""What Kubernetes reserves for an instance; a cluster's own instance type replaces it."""


def endpoint(record: Endpoint) -> dict[str, Any]:
    """Describe an online endpoint; without traffic, which its creation ignores."""
    kind = "managed" if record.is_managed else "kubernetes"
    made: dict[str, Any] = {
        "$schema": f"{_SCHEMAS}/{kind}OnlineEndpoint.schema.json",
        "name": record.name,
        "auth_mode": record.auth_mode,
    }
    if not record.is_managed:
        made["compute"] = f"azureml:{record.compute_name}"
    if record.secret_stores:
        made["properties"] = {"enforce_access_to_default_secret_stores": "enabled"}
    return made


def deployment(record: Deployment, of: Endpoint) -> dict[str, Any]:
    """Describe a deployment of an online endpoint."""
    kind = "managed" if of.is_managed else "kubernetes"
    made: dict[str, Any] = {
        "$schema": f"{_SCHEMAS}/{kind}OnlineDeployment.schema.json",
        "name": record.name,
        "endpoint_name": of.name,
        "type": kind,
        "model": _asset(record.asset),
        **_program(record.program),
    }
    if record.instance_type is not None:
        made["instance_type"] = record.instance_type
    made["instance_count"] = record.instance_count
    if not of.is_managed:
        made["resources"] = {"requests": dict(_KUBERNETES_SHARE)}
    if record.variables:
        made["environment_variables"] = dict(record.variables)
    made["request_settings"] = {
        "request_timeout_ms": int(record.request_timeout_s * 1000),
        "max_concurrent_requests_per_instance": record.concurrency,
    }
    made["liveness_probe"] = _probe(record.probe)
    made["readiness_probe"] = _probe(record.probe)
    return made


def batch_endpoint(record: BatchEndpoint) -> dict[str, Any]:
    """Describe a batch endpoint; its default deployment is set when there is one."""
    return {
        "$schema": f"{_SCHEMAS}/batchEndpoint.schema.json",
        "name": record.name,
        "auth_mode": "aad_token",
    }


def batch_deployment(record: BatchDeployment, of: BatchEndpoint) -> dict[str, Any]:
    """Describe a deployment of a batch endpoint.

    A job ends with the first file that cannot be answered, where Azure's default ignores any
    number of them; its own table has no column names, so the script writes the answers.
    """
    return {
        "$schema": f"{_SCHEMAS}/modelBatchDeployment.schema.json",
        "name": record.name,
        "endpoint_name": of.name,
        "type": "model",
        "model": _asset(record.asset),
        **_program(record.program),
        "compute": f"azureml:{of.cluster.name}",
        "resources": {"instance_count": record.nodes},
        "settings": {
            "max_concurrency_per_instance": 1,
            "mini_batch_size": 1,
            "output_action": "summary_only",
            "error_threshold": 0,
            "retry_settings": {"max_retries": record.retries, "timeout": record.patience_s},
            "logging_level": "info",
            "environment_variables": dict(record.variables),
        },
    }


def cluster(record: Cluster) -> dict[str, Any]:
    """Describe a cluster; without machines that are kept it costs nothing between jobs."""
    return {
        "$schema": f"{_SCHEMAS}/amlCompute.schema.json",
        "name": record.name,
        "type": "amlcompute",
        "size": record.instance_type,
        "tier": record.tier,
        "min_instances": record.min_nodes,
        "max_instances": record.nodes,
        "idle_time_before_scale_down": record.idle_s,
    }


def _asset(asset: Asset) -> dict[str, str]:
    return {
        "name": asset.name,
        "version": asset.version,
        "path": asset.path,
        "type": asset.kind,
    }


def _program(program: Program | None) -> Mapping[str, Any]:
    if program is None:
        return {}
    return {
        "code_configuration": {"code": program.folder, "scoring_script": program.script},
        "environment": {"image": program.image, "conda_file": program.conda_file},
    }


def _probe(probe: Probe) -> dict[str, int]:
    return {
        "initial_delay": probe.initial_delay_s,
        "period": probe.period_s,
        "timeout": probe.timeout_s,
        "success_threshold": probe.success_threshold,
        "failure_threshold": probe.failure_threshold,
    }
