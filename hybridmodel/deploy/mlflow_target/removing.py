"""Removes deployments and endpoints: what was written, and nothing else."""

from __future__ import annotations

from pathlib import Path

from hybridmodel.deploy.azure.records import ENDPOINT_FILE
from hybridmodel.deploy.mlflow_target import records
from hybridmodel.deploy.mlflow_target.failures import in_the_way
from hybridmodel.deploy.mlflow_target.finding import deployments, running
from hybridmodel.deploy.mlflow_target.places import (
    DEPLOYMENT,
    ENDPOINT,
    Place,
    Target,
    endpoint_folder,
)
from hybridmodel.deploy.mlflow_target.records import Deployed, Shared


def remove_deployment(place: Place) -> None:
    """Remove a deployment, unless it has traffic or is rehearsed, or its folder has other files."""
    check_not_rehearsed(place.rehearsed)
    if place.endpoint is not None:
        _check_without_traffic(place)
    owned = _owned(place)
    if place.document is not None:
        # First: what Azure and rehearsals read must not name what is not there.
        place.document.unlink(missing_ok=True)
    _remove(place, owned)


def remove_endpoint(target: Target, name: str) -> None:
    """Remove an endpoint with its deployments, unless one of their folders has other files."""
    folder = endpoint_folder(target, name)
    check_not_rehearsed(folder)
    places = deployments(target, name)
    documents = {place.document for place in places}
    known = {folder / ENDPOINT, folder / ENDPOINT_FILE, *documents}
    known |= {place.folder for place in places}
    _refuse_others(folder, [path.name for path in folder.iterdir() if path not in known])
    owned = [(place, _owned(place)) for place in places]
    for path in (folder / ENDPOINT_FILE, *filter(None, documents)):
        path.unlink(missing_ok=True)
    for place, files in owned:
        _remove(place, files)
    (folder / ENDPOINT).unlink()
    folder.rmdir()


def check_not_rehearsed(folder: Path) -> None:
    """Raise while a folder is rehearsed."""
    if running(folder) is not None:
        raise in_the_way(f"{folder} is rehearsed at the moment; end that first")


def _check_without_traffic(place: Place) -> None:
    record = records.read(place.base / ENDPOINT, Shared)
    for what, shares in (("traffic", record.traffic), ("mirror", record.mirror)):
        if shares.get(place.name):
            raise in_the_way(
                f"{place.title} has {shares[place.name]} percent of the {what}; give it to others "
                f"first: update-endpoint -C {what}=…"
            )


def _owned(place: Place) -> list[str]:
    """Return the files of a deployment, and raise if its folder has anything else."""
    files = [*records.read(place.record, Deployed).files, DEPLOYMENT]
    folders = {parent for name in files for parent in Path(name).parents}
    found = [path.relative_to(place.folder) for path in place.folder.rglob("*")]
    others = [
        path.as_posix()
        for path in found
        if (place.folder / path).is_symlink()
        or (path not in folders if (place.folder / path).is_dir() else path.as_posix() not in files)
    ]
    _refuse_others(place.folder, others)
    return [path.as_posix() for path in found if not (place.folder / path).is_dir()]


def _refuse_others(folder: Path, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise in_the_way(
            f"{folder} has what was not written here: {', '.join(sorted(names)[:3])}{more}; move "
            "it away first, nothing was deleted"
        )


def _remove(place: Place, files: list[str]) -> None:
    """Remove files and the folders that are empty then; the record at the end."""
    for name in sorted(files, key=DEPLOYMENT.__eq__):
        (place.folder / name).unlink(missing_ok=True)
    inner = [path for path in place.folder.rglob("*") if path.is_dir()]
    for path in sorted(inner, key=lambda path: len(path.parts), reverse=True):
        path.rmdir()
    place.folder.rmdir()
