"""Shares the traffic of an endpoint anew: in its record, and in the rehearsal that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hybridmodel.deploy.mlflow_target import records
from hybridmodel.deploy.mlflow_target.finding import deployments, running, shared
from hybridmodel.deploy.mlflow_target.places import ENDPOINT, Target, endpoint_folder
from hybridmodel.deploy.mlflow_target.records import Shared
from hybridmodel.deploy.rehearsal.control import Control
from hybridmodel.deploy.rehearsal.traffic import Traffic, parse_shares
from hybridmodel.exceptions import ConfigurationError

KEYS = ("traffic", "mirror")


def update(target: Target, endpoint: str, config: Mapping[str, Any]) -> None:
    """Share the requests of an endpoint anew; what Azure would refuse changes nothing."""
    if not config:
        raise ConfigurationError(
            'nothing to change; say traffic="blue=90 green=10", or mirror="green=10"'
        )
    record, folder = shared(target, endpoint), endpoint_folder(target, endpoint)
    names = [place.name for place in deployments(target, endpoint)]
    wanted = Traffic(
        names,
        read(config["traffic"], "traffic") if "traffic" in config else record.traffic,
        read(config["mirror"], "mirror") if "mirror" in config else record.mirror,
    )
    control = running(folder)
    if control is not None:
        _tell(control, wanted, config)
    traffic = wanted.shares if "traffic" in config else record.traffic
    new = Shared(name=endpoint, config=record.config, traffic=traffic, mirror=wanted.mirror)
    records.write(folder / ENDPOINT, new)


def read(given: Any, what: str) -> dict[str, int]:
    """Return shares that are written as ``blue=90 green=10``, or a mapping of them."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str):
        raise ConfigurationError(f"{what} is written as blue=90 green=10")
    return parse_shares([given], what)


def _tell(control: Control, wanted: Traffic, config: Mapping[str, Any]) -> None:
    """Tell a rehearsal; a deployment that becomes live must not be mirrored to any more."""
    if "mirror" in config:
        control.set_mirror({})
    if "traffic" in config:
        control.set_traffic(wanted.shares)
    if "mirror" in config and wanted.mirror:
        control.set_mirror(wanted.mirror)
