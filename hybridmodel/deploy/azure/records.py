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
class Cluster:
    """The machines that the jobs of a batch endpoint share.

    Attributes
    ----------
    tier : str
        ``low_priority``: cheap, and Azure may take machines back; or ``dedicated``.
    nodes, min_nodes : int
        Most machines, and those that are kept between jobs.
    idle_s : int
        Seconds after which a machine without a job is given back.
    """

    name: str
    instance_type: str
    tier: str
    nodes: int
    min_nodes: int
    idle_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDeployment:
    """One deployment of a batch endpoint.

    Attributes
    ----------
    file : str
        The name of its file.
    nodes : int
        Machines of one job.
    patience_s : int
        Time for one file; then it is tried again, and goes on where it was.
    retries : int
        How often it is tried again.
    """

    name: str
    file: str
    asset: Asset
    program: Program
    nodes: int
    patience_s: int
    retries: int
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEndpoint:
    """A batch endpoint, whose first deployment is the default one, and the cluster it runs on."""

    name: str
    deployments: tuple[BatchDeployment, ...]
    cluster: Cluster

    @property
    def jobs_at_a_time(self) -> int:
        """How many jobs have machines at a time; others wait."""
        return self.cluster.nodes // max(one.nodes for one in self.deployments)
