"""Reads an exported folder: which endpoint it describes, and with which deployments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridmodel.checks import check_count, shown
from hybridmodel.deploy.azure.limits import AUTH_MODES, MANAGED, MOST_INSTANCES, checked_name
from hybridmodel.deploy.azure.limits import MOST_REQUEST_TIMEOUT_S as MOST_TIMEOUT_S
from hybridmodel.deploy.checking.documents import Document, document
from hybridmodel.deploy.checking.files import Unreadable, read_text
from hybridmodel.deploy.checking.findings import Place
from hybridmodel.deploy.checking.yaml_tree import BadYaml, Node, read
from hybridmodel.deploy.layout import REPOSITORY
from hybridmodel.deploy.rehearsal.jobs.folder import read_batch
from hybridmodel.deploy.rehearsal.settings import Deployment, Endpoint
from hybridmodel.exceptions import ConfigurationError

_ONLY = "blue"
_NAME = "rehearsal"
_BATCH_AUTH_MODE = "aad_token"
_MOST_CONCURRENCY = 1000
_CHECK = "`hybridmodel check` says more"


def read_endpoint(
    folder: Path,
    *,
    traffic: Mapping[str, int] | None = None,
    mirror: Mapping[str, int] | None = None,
) -> Endpoint:
    """Read what `hybridmodel export` wrote into a folder.

    With ``--azure`` that is an endpoint and its deployments, with ``--azure-mlflow`` a batch
    endpoint; without, one deployment of that repository with Azure's defaults. Where no `traffic`
    is given, the first deployment gets all.

    Raises
    ------
    ConfigurationError
        If the folder is no export, or says what Azure would not take.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder}: is no folder; name one that `hybridmodel export` wrote"
        )
    documents, others = _documents(folder)
    batch = read_batch(documents, others, folder)
    endpoints, deployments = _online(documents)
    described = endpoints[0] if endpoints else None
    if batch is not None and not any(one.is_triton for one in deployments):
        note = "the online endpoint runs the hybrid model itself, which is not rehearsed"
        return Endpoint(
            name=batch.name,
            auth_mode=_BATCH_AUTH_MODE,
            deployments=(),
            notes=(note,) if deployments else (),
            folder=folder.absolute(),
            batch=batch,
        )
    found = tuple(_deployment(one, folder) for one in deployments)
    if not found:
        found = (Deployment(name=_ONLY, models=_inside(folder / REPOSITORY, folder)),)
    _check_names(found)
    return Endpoint(
        name=_NAME if described is None else _endpoint_name(described),
        auth_mode=_auth_mode(described),
        deployments=found,
        traffic={found[0].name: 100} if traffic is None else traffic,
        mirror=mirror or {},
        notes=tuple(_notes(described, deployments)),
        folder=folder.absolute(),
        batch=batch,
    )


def _documents(folder: Path) -> tuple[list[Document], list[Node]]:
    """Return the endpoints and deployments of a folder by the names of their files, and others."""
    found: list[Document] = []
    others: list[Node] = []
    for path in sorted((*folder.glob("*.yml"), *folder.glob("*.yaml"))):
        try:
            roots, _ = read(read_text(path, folder))
        except Unreadable as error:
            raise ConfigurationError(f"{path}: {error}") from None
        except BadYaml as error:
            line = "" if error.line is None else f", line {error.line}"
            raise ConfigurationError(f"{path}{line}: is not YAML: {error.reason}") from None
        for root in roots:
            described = document(root, path, Place(path.name))
            if described is None:
                others.append(root)
            else:
                found.append(described)
    return found, others


def _online(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Return the online endpoint among documents, and its deployments."""
    found = [one for one in documents if one.platform != "batch"]
    endpoints = [one for one in found if one.what == "endpoint"]
    if len(endpoints) > 1:
        files = " and ".join(str(one.path) for one in endpoints)
        raise ConfigurationError(f"{files}: two endpoints; a rehearsal is of one")
    return endpoints, [one for one in found if one.what == "deployment"]


def _deployment(described: Document, folder: Path) -> Deployment:
    root, path = described.root, described.path
    if not described.is_triton:
        raise ConfigurationError(
            f"{path}: its model is not of type triton_model; a rehearsal serves Triton models"
        )
    named = root.text("model", "path")
    if named is None:
        raise ConfigurationError(f"{path}: has no model.path; {_CHECK}")

    def number(default: int, most: int, *keys: str) -> int:
        node = root.get(*keys)
        given = default if node is None or node.value is None else node.value
        return check_count(f"{path}: {'.'.join(keys)}", given, 1, most)

    settings = "request_settings"
    most_ms = int(1000 * MOST_TIMEOUT_S[MANAGED])
    return Deployment(
        name=checked_name(f"{path}: name", described.name),
        models=_inside(path.parent / named, folder),
        timeout_s=number(5000, most_ms, settings, "request_timeout_ms") / 1000,
        concurrency=number(1, _MOST_CONCURRENCY, settings, "max_concurrent_requests_per_instance"),
        instances=number(1, MOST_INSTANCES, "instance_count"),
    )


def _inside(models: Path, folder: Path) -> Path:
    """Return a repository that lies in the folder: what a file says must not lead elsewhere."""
    resolved = models.resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{models}: is not inside {folder}, so it is not rehearsed")
    if not resolved.is_dir():
        raise ConfigurationError(
            f"{folder}: is no export: there is no {models}; `hybridmodel export` writes it"
        )
    return resolved


def _check_names(deployments: tuple[Deployment, ...]) -> None:
    names = [one.name for one in deployments]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two files describe a deployment {name}; {_CHECK}")


def _endpoint_name(described: Document) -> str:
    return checked_name(f"{described.path}: name", described.name)


def _auth_mode(described: Document | None) -> str:
    node: Node | None = described.root.get("auth_mode") if described else None
    if described is None or node is None:
        return "key"
    # Azure's own loaders take any case, and AADToken for aad_token.
    said: Any = node.value
    spelt = said.lower().replace("_", "") if isinstance(said, str) else ""
    for mode in AUTH_MODES[MANAGED]:
        if spelt == mode.replace("_", ""):
            return mode
    raise ConfigurationError(f"{described.path}: auth_mode is {shown(said)}; {_CHECK}")


def _notes(endpoint: Document | None, deployments: list[Document]) -> list[str]:
    notes = []
    if not deployments:
        notes.append("the folder describes no deployment, so it has Azure's defaults")
    if any(one.platform == "kubernetes" for one in (endpoint, *deployments) if one):
        notes.append("a Kubernetes endpoint is rehearsed as if it were managed")
    traffic = endpoint and endpoint.root.get("traffic")
    if traffic:
        notes.append("traffic in the file is ignored, as Azure does when it makes an endpoint")
    return notes
