"""What a YAML document describes: an endpoint, a deployment, or something else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hybridmodel.deploy.checking.findings import Place
from hybridmodel.deploy.checking.yaml_tree import Node

What = Literal["endpoint", "deployment"]
Platform = Literal["managed", "kubernetes", "batch"]

SCHEMA_HOST = "https://azuremlschemas.azureedge.net/latest/"
SCHEMAS: Mapping[str, tuple[What, Platform]] = {
    "managedOnlineEndpoint": ("endpoint", "managed"),
    "kubernetesOnlineEndpoint": ("endpoint", "kubernetes"),
    "batchEndpoint": ("endpoint", "batch"),
    "managedOnlineDeployment": ("deployment", "managed"),
    "kubernetesOnlineDeployment": ("deployment", "kubernetes"),
    "batchDeployment": ("deployment", "batch"),
    "modelBatchDeployment": ("deployment", "batch"),
    "pipelineComponentBatchDeployment": ("deployment", "batch"),
}
"""What the schemas that Azure publishes describe, by the first part of their file's name."""

_SCHEMA = re.compile(
    r"https://[\w.-]+\.(?:azureedge|windows|azure|microsoft)\.(?:net|com)/"
    r"(?:[\w.-]+/){0,5}(\w+)\.schema\.json",
    re.ASCII,
)
_OTHERS_KEYS = {"deployment_template_type", "apiVersion"}
_ENDPOINT_KEYS = {"auth_mode", "traffic", "mirror_traffic"}
_PIPELINE_KEYS = {"component", "job_definition"}
_BATCH_KEYS = {
    "component", "compute", "error_threshold", "job_definition", "logging_level",
    "max_concurrency_per_instance", "mini_batch_size", "output_action", "output_file_name",
    "retry_settings", "settings",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """An endpoint or a deployment, and where it is described.

    `pipeline` is true for a deployment of a pipeline instead of a model.
    """

    place: Place
    path: Path
    root: Node
    what: What
    platform: Platform
    pipeline: bool = False

    @property
    def name(self) -> str | None:
        """Its name, if that is a text."""
        return self.root.text("name")

    @property
    def endpoint_name(self) -> str | None:
        """The name of a deployment's endpoint."""
        return self.root.text("endpoint_name")

    @property
    def is_triton(self) -> bool:
        """Whether Azure starts a Triton for its model by itself."""
        return _lower(self.root, "model", "type") == "triton_model"

    @property
    def is_mlflow(self) -> bool:
        """Whether Azure makes an environment for its MLflow model by itself."""
        return _lower(self.root, "model", "type") == "mlflow_model"


def document(root: Node, path: Path, place: Place) -> Document | None:
    """Return what a document describes; None for anything but endpoints and deployments."""
    keys = set(root.members)
    if keys & _OTHERS_KEYS:
        return None
    what, named = SCHEMAS.get(schema_name(root) or "", (None, None))
    if "endpoint_name" in keys or what == "deployment":
        is_batch = named is None and bool(keys & _BATCH_KEYS)
        platform = _platform(named, is_batch, _lower(root, "type") == "kubernetes")
        return Document(place, path, root, "deployment", platform, bool(keys & _PIPELINE_KEYS))
    if what == "endpoint" or ("name" in keys and keys & _ENDPOINT_KEYS):
        platform = _platform(named, "defaults" in keys, "compute" in keys)
        return Document(place, path, root, "endpoint", platform)
    return None


def schema_name(root: Node) -> str | None:
    """Return the name of the schema that a document gives, such as ``managedOnlineEndpoint``."""
    match = _SCHEMA.fullmatch(root.text("$schema") or "")
    return match[1] if match else None


def _platform(named: Platform | None, is_batch: bool, is_kubernetes: bool) -> Platform:
    """Return the platform by the name of the schema, or by the keys of the document."""
    if named == "batch" or is_batch:
        return "batch"
    return "kubernetes" if named == "kubernetes" or is_kubernetes else "managed"


def _lower(root: Node, *path: str) -> str:
    return (root.text(*path) or "").lower()
