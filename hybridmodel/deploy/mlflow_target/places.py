"""Where deployments and endpoints are: below the target's folder, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel.deploy.azure.limits import checked_name
from hybridmodel.deploy.azure.records import deployment_file
from hybridmodel.deploy.mlflow_target.failures import failure
from hybridmodel.exceptions import ConfigurationError

SCHEME = "hybridmodel"
DEPLOYMENT, ENDPOINT = "deployment.json", "endpoint.json"
"""The records of a deployment and of an endpoint, in their folders."""

FORMS = f"{SCHEME}:/folder, or {SCHEME}:https://HOST/v2/models/NAME"


@dataclass(frozen=True, slots=True)
class Target:
    """A folder of deployments, or the address of a model at an endpoint."""

    folder: Path | None = None
    url: str | None = None

    def local(self) -> Path:
        """Return the folder, or raise for a target that is an address."""
        if self.folder is None:
            raise failure(
                "NOT_IMPLEMENTED",
                "an endpoint that exists is only asked here (predict); `az ml online-deployment` "
                f"manages it. Deployments are made in a folder: {SCHEME}:/folder",
            )
        return self.folder


@dataclass(frozen=True, slots=True)
class Place:
    """Where a deployment is, which may not exist.

    Attributes
    ----------
    base : Path
        The target's folder, or that of its endpoint.
    name : str
        Of the deployment.
    endpoint : str or None
        Its endpoint.
    """

    base: Path
    name: str
    endpoint: str | None = None

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.base / self.name

    @property
    def record(self) -> Path:
        """What says that the deployment exists."""
        return self.folder / DEPLOYMENT

    @property
    def document(self) -> Path | None:
        """Its description for Azure, beside the endpoint's."""
        return None if self.endpoint is None else self.base / deployment_file(self.name)

    @property
    def rehearsed(self) -> Path:
        """The folder that is rehearsed, alone or with the rest of its endpoint."""
        return self.folder if self.endpoint is None else self.base

    @property
    def title(self) -> str:
        """Its name, by which it is found without naming an endpoint."""
        return self.name if self.endpoint is None else f"{self.endpoint}/{self.name}"


def read_target(uri: str) -> Target:
    """Read a target's address; `ConfigurationError` if it is none."""
    scheme, _, rest = uri.partition(":")
    if scheme != SCHEME or not rest:
        raise ConfigurationError(f"the target names a folder or an endpoint: {FORMS}")
    if rest.lower().startswith(("http://", "https://")):
        return Target(url=rest)
    if rest.startswith("//"):
        if not rest.startswith("///"):
            raise ConfigurationError(f"the target has a host, and folders are here: {FORMS}")
        rest = rest[2:]
    if "\0" in rest:
        raise ConfigurationError("the target's folder has a null character")
    return Target(folder=Path(rest))


def endpoint_folder(target: Target, name: Any) -> Path:
    """Return the folder of an endpoint, which may not exist."""
    return _below(target.local(), checked_name("endpoint", name))


def place_of(target: Target, name: Any, endpoint: Any = None) -> Place:
    """Return where a deployment is; ``ENDPOINT/NAME`` is one of an endpoint.

    Raises `ConfigurationError` for a name that Azure would refuse.
    """
    if endpoint is None and isinstance(name, str) and name.count("/") == 1:
        endpoint, name = name.split("/")
    name = checked_name("deployment", name)
    if endpoint is None:
        base = target.local()
        _below(base, name)
        return Place(base, name)
    base = endpoint_folder(target, endpoint)
    _below(base, name)
    return Place(base, name, endpoint)


def _below(folder: Path, name: str) -> Path:
    """Return a path in a folder, and refuse a link, which leads elsewhere."""
    found = folder / name
    if found.is_symlink():
        raise ConfigurationError(f"{found}: is a link; nothing is read or written behind it")
    return found
