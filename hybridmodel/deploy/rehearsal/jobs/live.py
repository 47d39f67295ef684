"""One job while it is rehearsed, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybridmodel.deploy.rehearsal.jobs.attempt import Attempt
from hybridmodel.deploy.rehearsal.jobs.settings import BatchDeployment
from hybridmodel.remote.batch_endpoint.bodies import TAG
from hybridmodel.remote.batch_endpoint.state import JobStatus

QUEUED, RUNNING = "Queued", "Running"
COMPLETED, FAILED, CANCELED = "Completed", "Failed", "Canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a submission asks for, checked: `files` are read, `output` is a folder."""

    name: str
    deployment: BatchDeployment
    files: tuple[Path, ...]
    output: Path
    input_uri: str
    output_uri: str
    tag: str | None = None


@dataclass(slots=True, kw_only=True)
class LiveJob:
    """A job: what was asked, and how far it is.

    Attributes
    ----------
    attempts : int
        Processes that were begun for it.
    said : list of str
        The driver's line for each file that is done.
    """

    wish: Wish
    state: str = QUEUED
    error: str | None = None
    attempts: int = 0
    said: list[str] = field(default_factory=list)
    attempt: Attempt | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing changes any more."""
        return JobStatus(name=self.wish.name, state=self.state).is_over

    def variables(self) -> Mapping[str, str]:
        """Return the environment that Azure gives the driver."""
        return {
            **self.wish.deployment.variables,
            "AZUREML_MODEL_DIR": str(self.wish.deployment.model),
            "AZUREML_BI_OUTPUT_PATH": str(self.wish.output),
        }

    def described(self) -> dict[str, Any]:
        """Return what is told of it over HTTP."""
        wish = self.wish
        properties: dict[str, Any] = {
            "status": self.state,
            "deployment": wish.deployment.name,
            "inputData": {"input": {"jobInputType": "UriFolder", "uri": wish.input_uri}},
            "outputData": {"score": {"jobOutputType": "UriFolder", "uri": wish.output_uri}},
            "tags": {} if wish.tag is None else {TAG: wish.tag},
        }
        if self.error is not None:
            properties["error"] = {"message": self.error}
        return {"id": f"/rehearsal/jobs/{wish.name}", "name": wish.name, "properties": properties}

    def seen(self) -> dict[str, Any]:
        """Return what people see of it."""
        return {
            "name": self.wish.name,
            "state": self.state,
            "deployment": self.wish.deployment.name,
            "files": len(self.wish.files),
            "done": len(self.said),
            "attempts": self.attempts,
            "said": self.error or (self.said[-1] if self.said else ""),
        }
