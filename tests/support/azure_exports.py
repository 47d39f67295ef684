"""Exports for Azure: every kind of endpoint, written by the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.cli.program import program
from tests.support import models

COLUMNS = ["a", "b", "c", "d"]
ASKED = "https://big-digits.westeurope.inference.ml.azure.com"
KEY_NAME = "HYBRIDMODEL_KEY_big__digits_westeurope_inference_ml_azure_com"
SECRET = "${{azureml://connections/digits/credentials/KEY}}"
CLUSTER = ("--compute", "kubernetes", "--compute-name", "k8s-cluster")

KINDS: Mapping[str, Sequence[str]] = {
    "triton": ("--azure", "digits-ep"),
    "triton-kubernetes": ("--azure", "digits-ep", *CLUSTER),
    "triton-entra": (
        *("--azure", "digits-ep", "--auth-mode", "aad_token", "--instance-count", "3"),
        *("--instance-type", "STANDARD_NC4AS_T4_V3", "--request-timeout", "180"),
    ),
    "mlflow": ("--azure-mlflow", "digits-ep"),
    "script": ("--azure-script", "digits-ep", "--key-secret", SECRET),
    "script-kubernetes": ("--azure-script", "digits-ep", *CLUSTER, "--auth-mode", "aml_token"),
}
"""Options of ``hybridmodel export``, by what they make."""

_LOADERS = {
    "endpoint.yml": "load_online_endpoint",
    "blue-deployment.yml": "load_online_deployment",
    "green-deployment.yml": "load_online_deployment",
    "batch-endpoint.yml": "load_batch_endpoint",
    "batch-deployment.yml": "load_model_batch_deployment",
    "batch-green-deployment.yml": "load_model_batch_deployment",
    "batch-cluster.yml": "load_compute",
}


def save(folder: Path, seed: int = 0) -> Path:
    """Save a hybrid model that may ask an endpoint of Azure."""
    endpoint = TritonEndpoint(uri=ASKED, model_name="digits")
    model = HybridOnnxModel(models.linear(seed=seed), endpoint=endpoint, feature_names=COLUMNS)
    save_model(model, folder)
    return folder


def export(*words: object, status: int = 0) -> Result:
    """Run ``hybridmodel export``."""
    result = CliRunner().invoke(program, ["export", *map(str, words)])
    assert result.exit_code == status, result.output
    return result


def read(path: Path) -> Any:
    """Read a file of YAML."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def for_loaders(folder: Path) -> list[tuple[str, Path]]:
    """Pair the files of an export with azure-ai-ml's loaders."""
    return [(_LOADERS[path.name], path) for path in sorted(folder.glob("*.yml"))]


def commands(page: Path) -> list[str]:
    """Return the commands that a page shows, each in one line."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    text = "".join(blocks).replace("\\\n", " ")
    return [re.sub(" +", " ", line) for line in text.splitlines() if line.strip()]
