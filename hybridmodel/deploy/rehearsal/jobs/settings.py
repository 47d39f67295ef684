"""What a rehearsal is told of a batch endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDeployment:
    """One deployment of a batch endpoint, with Azure's defaults.

    Attributes
    ----------
    name : str
        Such as ``blue``.
    model : Path
        Folder of a saved model.
    nodes : int
        ``resources.instance_count``: machines of one job.
    retries : int
        ``retry_settings.max_retries``: how often a job goes on after its machine was taken away.
    variables : mapping of str to str
        Settings of the batch driver.
    """

    name: str
    model: Path
    nodes: int = 1
    retries: int = 3
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch endpoint.

    Attributes
    ----------
    name : str
        Its name.
    deployments : tuple of BatchDeployment
        At least one.
    default : str
        The deployment of a job that names none.
    nodes : int
        ``max_instances`` of the cluster; jobs beyond them wait in a queue.
    """

    name: str
    deployments: tuple[BatchDeployment, ...]
    default: str
    nodes: int = 1

    def deployment(self, name: str) -> BatchDeployment | None:
        """Return the deployment of a name."""
        return next((one for one in self.deployments if one.name == name), None)
