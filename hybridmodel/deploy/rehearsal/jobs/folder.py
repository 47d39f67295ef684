"""Reads the batch endpoint of an exported folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hybridmodel.checks import check_count
from hybridmodel.deploy.azure.batch_driver import VARIABLES
from hybridmodel.deploy.azure.limits import checked_name
from hybridmodel.deploy.checking.documents import Document, schema_name
from hybridmodel.deploy.checking.yaml_tree import Node
from hybridmodel.deploy.rehearsal.jobs.settings import Batch, BatchDeployment
from hybridmodel.exceptions import ConfigurationError

_MOST_NODES, _MOST_RETRIES = 1000, 100
_CLUSTER = "amlCompute"


def read_batch(documents: Iterable[Document], others: Iterable[Node], folder: Path) -> Batch | None:
    """Return the batch endpoint among the documents of a folder; None if there is none.

    `others` are documents of other kinds, among them the cluster.

    Raises
    ------
    ConfigurationError
        If there are two, one has no deployment, or they say what Azure would not take.
    """
    found = [one for one in documents if one.platform == "batch"]
    endpoints = [one for one in found if one.what == "endpoint"]
    if not endpoints:
        return None
    if len(endpoints) > 1:
        files = " and ".join(str(one.path) for one in endpoints)
        raise ConfigurationError(f"{files}: two batch endpoints; a rehearsal is of one")
    deployments = tuple(_deployment(one, folder) for one in found if one.what == "deployment")
    described = endpoints[0]
    if not deployments:
        raise ConfigurationError(f"{described.path}: no file describes a deployment of it")
    batch = Batch(
        name=checked_name(f"{described.path}: name", described.name),
        deployments=deployments,
        default=described.root.text("defaults", "deployment_name") or _first(deployments).name,
        nodes=_nodes(others),
    )
    if batch.deployment(batch.default) is None:
        names = ", ".join(one.name for one in deployments)
        raise ConfigurationError(
            f"{described.path}: defaults.deployment_name is none of the deployments: {names}"
        )
    return batch


def _first(deployments: tuple[BatchDeployment, ...]) -> BatchDeployment:
    """Return the deployment that is created first: ``blue`` in an export."""
    return min(deployments, key=lambda one: one.name)


def _deployment(described: Document, folder: Path) -> BatchDeployment:
    root, path = described.root, described.path
    named = root.text("model", "path")
    if named is None:
        raise ConfigurationError(f"{path}: has no model.path; `hybridmodel check` says more")
    model = (path.parent / named).resolve()
    if not model.is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{path}: model.path is not inside {folder}")
    if not any(model.rglob("MLmodel")):
        raise ConfigurationError(f"{path}: there is no saved model in {model}")

    def number(default: int, least: int, most: int, *keys: str) -> int:
        node = root.get(*keys)
        given = default if node is None or node.value is None else node.value
        return check_count(f"{path}: {'.'.join(keys)}", given, least, most)

    return BatchDeployment(
        name=checked_name(f"{path}: name", described.name),
        model=model,
        nodes=number(1, 1, _MOST_NODES, "resources", "instance_count"),
        retries=number(3, 0, _MOST_RETRIES, "settings", "retry_settings", "max_retries"),
        variables=_variables(root.get("settings", "environment_variables")),
    )


def _variables(node: Node | None) -> dict[str, str]:
    """Return the driver's own settings; other variables could change what is run."""
    members = {} if node is None else node.members
    given = {name: members[name].value for name in VARIABLES if name in members}
    return {name: str(value) for name, value in given.items() if value is not None}


def _nodes(others: Iterable[Node]) -> int:
    clusters = [root for root in others if schema_name(root) == _CLUSTER]
    found = [root.number("max_instances") for root in clusters]
    return max((count for count in found if count), default=1)
