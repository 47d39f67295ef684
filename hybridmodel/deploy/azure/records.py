"""An endpoint and its deployments as records, from which all files and commands are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hybridmodel.deploy.azure.limits import MANAGED

ENDPOINT_FILE = "endpoint.yml"
COMMANDS_FILE, BATCH_COMMANDS_FILE = "COMMANDS.md", "BATCH_COMMANDS.md"
BLUE, GREEN = "blue", "green"


def deployment_file(name: str) -> str:
    """Return the file of a deployment, in the folder of its endpoint."""
    return f"{name}-deployment.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """When Azure asks an instance whether it works, and when it gives up."""

    initial_delay_s: int
    period_s: int
    failure_threshold: int
    timeout_s: int = 2
    success_threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A model as Azure registers it.

    Attributes
    ----------
    name, version : str
        Azure never replaces what is registered under both.
    path : str
        Where its files are, relative to the file that names it.
    kind : str
        ``triton_model``, ``mlflow_model`` or ``custom_model``.
    """

    name: str
    version: str
    path: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A script that answers requests, its folder, and the environment it runs in."""

    folder: str
    script: str
    image: str
    conda_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One deployment of an endpoint.

    Attributes
    ----------
    concurrency : int
        Requests that an instance runs at a time.
    probe : Probe
        How Azure asks whether an instance is alive, and whether it is ready.
    program : Program, optional
        None where Azure brings the program, as for Triton and plain MLflow models.
    """

    name: str
    asset: Asset
    instance_type: str | None
    instance_count: int
    request_timeout_s: float
    concurrency: int
    probe: Probe
    program: Program | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The name of its file."""
        return deployment_file(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint, and the deployments among which it shares out requests.

    Attributes
    ----------
    compute : str
        One of `hybridmodel.deploy.azure.limits.COMPUTES`.
    compute_name : str, optional
        The attached cluster of Kubernetes.
    secret_stores : bool
        Whether Azure checks that whoever makes the endpoint may read the workspace's secrets.
    """

    name: str
    auth_mode: str
    deployments: tuple[Deployment, ...]
    compute: str = MANAGED
    compute_name: str | None = None
    secret_stores: bool = False

    @property
    def is_managed(self) -> bool:
        """Whether Azure runs the instances itself."""
        return self.compute == MANAGED


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEndpoint:
    """A batch endpoint with its one deployment, and the cluster it runs on.

    Attributes
    ----------
    nodes : int
        Most machines of the cluster; it has none between jobs.
    patience_s : int
        Time for one file; then it is tried again, and goes on where it was.
    """

    name: str
    deployment: str
    asset: Asset
    program: Program
    cluster: str
    instance_type: str
    nodes: int
    patience_s: int = 3600
    variables: Mapping[str, str] = field(default_factory=dict)
