"""Finds the deployments and endpoints of a target, and describes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybridmodel.deploy.azure.limits import checked_name
from hybridmodel.deploy.mlflow_target import records
from hybridmodel.deploy.mlflow_target.failures import missing
from hybridmodel.deploy.mlflow_target.places import (
    DEPLOYMENT,
    ENDPOINT,
    Place,
    Target,
    endpoint_folder,
    place_of,
)
from hybridmodel.deploy.mlflow_target.records import Deployed, Shared
from hybridmodel.deploy.rehearsal.control import Control, is_rehearsed
from hybridmodel.exceptions import ConfigurationError


def deployments(target: Target, endpoint: str | None = None) -> list[Place]:
    """Return the deployments of an endpoint, or all of a target, in the order of their names."""
    if endpoint is not None:
        return [place_of(target, name, endpoint) for name in _having(_endpoint(target, endpoint))]
    alone = [place_of(target, name) for name in _having(target.local())]
    shared = [place for name in endpoints(target) for place in deployments(target, name)]
    return [*alone, *shared]


def endpoints(target: Target) -> list[str]:
    """Return the names of a target's endpoints."""
    return list(_having(target.local(), ENDPOINT))


def deployed(target: Target, name: str, endpoint: str | None = None) -> tuple[Place, Deployed]:
    """Return an existing deployment and its record; MLflow's error if there is none."""
    place = place_of(target, name, endpoint)
    if place.endpoint is not None:
        _endpoint(target, place.endpoint)
    if not place.record.is_file():
        known = ", ".join(found.title for found in deployments(target)) or "none"
        raise missing(f"{target.folder} has no deployment {place.title}; it has {known}")
    return place, records.read(place.record, Deployed)


def shared(target: Target, endpoint: str) -> Shared:
    """Return the record of an existing endpoint; MLflow's error if there is none."""
    return records.read(_endpoint(target, endpoint) / ENDPOINT, Shared)


def describe_deployment(place: Place, name: str) -> dict[str, Any]:
    """Return what MLflow shows of a deployment, under the name by which it was found."""
    record = records.read(place.record, Deployed)
    return {
        "name": name,
        "endpoint": place.endpoint,
        "flavor": record.flavor,
        "model_uri": record.model_uri,
        "config": record.config,
        "folder": str(place.folder),
        "rehearsal": rehearsal_of(place.rehearsed),
    }


def describe_endpoint(target: Target, name: str) -> dict[str, Any]:
    """Return what MLflow shows of an endpoint."""
    record = shared(target, name)
    folder = endpoint_folder(target, name)
    return {
        "name": name,
        "deployments": [place.name for place in deployments(target, name)],
        "traffic": record.traffic,
        "mirror": record.mirror,
        "config": record.config,
        "folder": str(folder),
        "rehearsal": rehearsal_of(folder),
    }


def running(folder: Path) -> Control | None:
    """Return the controls of a folder's rehearsal, None if none runs (any more)."""
    if not is_rehearsed(folder):
        return None
    try:
        control = Control(folder)
        control.snapshot()
    except ConfigurationError:
        return None
    return control


def rehearsal_of(folder: Path) -> str | None:
    """Return the address of a folder's rehearsal, None if none runs."""
    control = running(folder)
    return None if control is None else str(control.snapshot()["uri"])


def _endpoint(target: Target, name: str) -> Path:
    folder = endpoint_folder(target, name)
    if not (folder / ENDPOINT).is_file():
        known = ", ".join(endpoints(target)) or "none"
        raise missing(
            f"{target.folder} has no endpoint {name}; it has {known}. client.create_endpoint makes "
            "one, and so does a deployment with the config azure=NAME"
        )
    return folder


def _having(folder: Path, record: str = DEPLOYMENT) -> Iterator[str]:
    """Yield the names of inner folders with a record; links and other folders are passed over."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_symlink() and (path / record).is_file() and _is_name(path.name):
            yield path.name


def _is_name(name: str) -> bool:
    try:
        checked_name("", name)
    except ConfigurationError:
        return False
    return True
