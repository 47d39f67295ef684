"""The file by which KServe serves an exported repository with Triton."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hybridmodel.checks import shown
from hybridmodel.deploy.azure.writing import appearing, check_free, write_yaml
from hybridmodel.deploy.exporting import Exported
from hybridmodel.exceptions import ConfigurationError

FILE = "kserve.yml"

_NAME = re.compile("[a-z](?:[a-z0-9-]{0,48}[a-z0-9])?")
_STORAGE = re.compile(r"[a-z0-9]+://[\w.~%/:+@-]+")
_SECRET = re.compile(r"//[^/]*:[^/]*@")
_RUNTIME = "kserve-tritonserver"
_RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
_TIMEOUT_S = 60
_ABOUT = """Written by `hybridmodel export`. Copy what is in the folder {folder} to storageUri, then
kubectl apply -f {file}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An inference service as the caller wants it.

    Attributes
    ----------
    name : str
        A label of DNS, of up to 50 characters.
    storage_uri : str
        Where KServe finds the content of the repository, such as ``pvc://claim/digits``.

    Raises
    ------
    ConfigurationError
        If Kubernetes refuses the name, or the place is no address or has a password.
    """

    name: str
    storage_uri: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"service {shown(self.name)}: Kubernetes takes up to 50 small letters, digits and "
                "dashes, of which the first is a letter and the last is no dash"
            )
        if not _STORAGE.fullmatch(self.storage_uri) or _SECRET.search(self.storage_uri):
            # The value is not shown: it may have a password.
            raise ConfigurationError(
                "storage_uri is an address such as pvc://claim/folder or s3://bucket/folder, "
                "without a query and a password; KServe takes these from a service account"
            )


def write(exported: Exported, service: Service) -> None:
    """Write `FILE` beside an exported repository; raises `ConfigurationError` if it exists."""
    check_free(exported.folder, (FILE,))
    about = _ABOUT.format(folder=exported.repository.name, file=FILE)
    with appearing(exported.folder) as stage:
        write_yaml(stage / FILE, document(exported, service), about)


def document(exported: Exported, service: Service) -> dict[str, Any]:
    """Describe the service; its queue takes as many requests at a time as the model's."""
    model = {
        "modelFormat": {"name": "onnx"},
        "protocolVersion": "v2",
        "runtime": _RUNTIME,
        "storageUri": service.storage_uri,
        "resources": _RESOURCES,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service.name},
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "timeout": _TIMEOUT_S,
                "containerConcurrency": exported.queue_size,
                "model": model,
            }
        },
    }
