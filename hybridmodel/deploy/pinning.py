"""Where the deployments of an endpoint are asked one by one: in a rehearsal, or at Azure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybridmodel.deploy.azure.records import ENDPOINT_FILE
from hybridmodel.deploy.rehearsal.control import Control, is_rehearsed
from hybridmodel.deploy.rehearsal.folder import read_endpoint
from hybridmodel.deploy.rehearsal.servers import read_repository
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.flavor.loading import read_model
from hybridmodel.local.session import LocalSession
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.endpoint import FIELDS, TritonEndpoint
from hybridmodel.remote.endpoint_base import Endpoint

_ONCE: dict[str, Any] = {"max_attempts": 1, "breaker_failures": None}
"""Every call is sent once, and counts: a retry would hide an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """An endpoint whose deployments can be asked one by one.

    Attributes
    ----------
    endpoint : str
        Its name at Azure.
    model : HybridOnnxModel
        Asks the endpoint.
    credential : object or None
        What it is asked with, as `HybridOnnxModel` takes it.
    control : Control or None
        Changes the traffic; None for a real endpoint.
    """

    endpoint: str
    model: HybridOnnxModel
    credential: Any = field(default=None, repr=False)
    control: Control | None = None

    def deployment(self, name: str) -> HybridOnnxModel:
        """Return a model that asks one deployment, whatever its share of the traffic is."""
        model = self.model
        assert model.endpoint is not None  # noqa: S101 - `pinned` has made sure
        return HybridOnnxModel(
            model.local,
            endpoint=model.endpoint.with_overrides(deployment=name, **_ONCE),
            credential=self.credential,
            feature_names=model.feature_names,
        )


def pinned(
    folder: Path,
    model_uri: str | os.PathLike[str] | None = None,
    config: Mapping[str, Any] | None = None,
    credential: Any = None,
    *,
    deployment: str,
) -> Pinned:
    """Find who is to be asked for an exported folder.

    With a ``uri`` in `config` that is the endpoint there; else the folder's rehearsal; where none
    runs, the endpoint of the saved model. Without a saved model, the exported one of `deployment`
    says what the rows are.

    Raises
    ------
    ConfigurationError
        If the folder is no export, or nothing says where the endpoint is.
    """
    config = dict(config or {})
    if not config.get("uri") and is_rehearsed(folder):
        return _rehearsed(folder, model_uri, config, deployment)
    if model_uri is not None:
        model = read_model(
            model_uri, config={"output": None, **config}, credential=credential, look_only=True
        )
    elif config.get("uri"):
        name, local = _exported(folder, deployment, config.get("model_name"))
        endpoint = _endpoint({"model_version": None, **config, "model_name": name})
        model = HybridOnnxModel(local, endpoint=endpoint, credential=credential)
    else:
        raise ConfigurationError(
            f"{folder} is not rehearsed at the moment, and nothing says where its endpoint is: "
            f"start `hybridmodel rehearse {folder}`, or name a saved model that has an endpoint, "
            "or its uri"
        )
    if model.endpoint is None:
        raise ConfigurationError(f"{model_uri} has no endpoint; set its uri")
    if len(model.endpoints) > 1:
        uris = ", ".join(endpoint.uri for endpoint in model.endpoints)
        raise ConfigurationError(f"{model_uri} has several endpoints; set uri to one of {uris}")
    return Pinned(endpoint=_name(folder, model.endpoint), model=model, credential=credential)


def _rehearsed(
    folder: Path, model_uri: str | os.PathLike[str] | None, config: dict[str, Any], deployment: str
) -> Pinned:
    control = Control(folder)
    seen = control.snapshot()
    name, exported = _exported(folder, deployment, config.get("model_name"))
    asked = {
        "model_version": None,
        **config,
        "uri": seen["uri"],
        "model_name": name,
        "auth_key_env": None,
        "ca_bundle": str(control.authority),
    }
    endpoint = _endpoint(asked)
    local, features = exported, None
    if model_uri is not None:
        saved = read_model(model_uri, config={"output": None}, look_only=True)
        local, features = saved.local, saved.feature_names
    model = HybridOnnxModel(
        local, endpoint=endpoint, credential=control.credential, feature_names=features
    )
    return Pinned(
        endpoint=seen["endpoint"], model=model, credential=control.credential, control=control
    )


def _endpoint(settings: Mapping[str, Any]) -> TritonEndpoint:
    known = {name: value for name, value in settings.items() if name in FIELDS}
    # Their values are not shown: one may be a key.
    if unknown := sorted({*settings} - {*FIELDS, "output"}):
        raise ConfigurationError(
            f"an endpoint has no setting {', '.join(unknown)}; it has {', '.join(FIELDS)}"
        )
    return TritonEndpoint(**known)


def _exported(folder: Path, deployment: str, wanted: str | None) -> tuple[str, LocalSession]:
    """Return the model of a deployment in the exported folder: its name, and its latest version."""
    found = {one.name: one for one in read_endpoint(folder).deployments}
    if deployment not in found:
        raise ConfigurationError(
            f"{folder} has no deployment {deployment}; it has {', '.join(found)}"
        )
    models = read_repository(found[deployment].models)
    name = wanted or next(iter(models))
    if name not in models or (wanted is None and len(models) > 1):
        raise ConfigurationError(
            f"{found[deployment].models} has the models {', '.join(models)}; name one of them as "
            "model_name"
        )
    return name, LocalSession(models[name][max(models[name], key=int)])


def _name(folder: Path, endpoint: Endpoint) -> str:
    """Return an endpoint's name at Azure: that of the folder, else that in its address."""
    if (folder / ENDPOINT_FILE).is_file():
        return read_endpoint(folder).name
    return endpoint.place.host.partition(".")[0]
