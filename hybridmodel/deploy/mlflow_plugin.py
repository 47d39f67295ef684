"""``mlflow deployments -t hybridmodel:…``: the plugin that MLflow loads by its entry point.

It makes exports in a folder, rehearses them, and asks a rehearsal or a real endpoint; docs in
docs/mlflow_deployments.md. All errors are MLflow's, with its codes.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import click
from mlflow.deployments import BaseDeploymentClient, PredictionsResponse

from hybridmodel.checks import shown
from hybridmodel.deploy.mlflow_target import asking, finding, local, making, settings, shares
from hybridmodel.deploy.mlflow_target.failures import failure, for_mlflow
from hybridmodel.deploy.mlflow_target.places import (
    ENDPOINT,
    FORMS,
    Place,
    Target,
    endpoint_folder,
    place_of,
    read_target,
)
from hybridmodel.deploy.mlflow_target.removing import remove_deployment, remove_endpoint
from hybridmodel.exceptions import ConfigurationError

_log = logging.getLogger("hybridmodel")

_HELP = f"""\
hybridmodel: exports for Triton and Azure Machine Learning, in a folder, and their rehearsal.

Target: {FORMS}

  create           writes the export of MODEL_URI into FOLDER/NAME, or FOLDER/ENDPOINT/NAME
  update           writes it anew, with another model or config, in one step
  delete           removes what was written, and nothing else
  run-local        rehearses a deployment until Ctrl-C; it is made if it is not there
  predict          asks the running rehearsal; with a URL as the target, the endpoint there, whose
                   key is in HYBRIDMODEL_KEY_<host>
  update-endpoint  -C traffic="blue=90 green=10", -C mirror="green=10": a running rehearsal follows

A deployment of an endpoint is named by --endpoint ENDPOINT --name NAME, or --name ENDPOINT/NAME.

Config of a deployment, as the options of `hybridmodel export`:
  {", ".join(settings.OF_EXPORT)}
  azure=ENDPOINT creates the endpoint, if it is not there, with {", ".join(settings.OF_ENDPOINT)}
  in an endpoint: {", ".join(settings.OF_INSTANCES)}
  {", ".join((*settings.OF_HYBRID, *settings.OF_KSERVE))}
Config of run-local, beside these: {", ".join(local.KEYS)}
"""


def target_help() -> str:
    """Return what ``mlflow deployments help -t hybridmodel`` shows."""
    return _HELP


@for_mlflow
def run_local(
    name: str, model_uri: str, flavor: str | None = None, config: dict[str, Any] | None = None
) -> None:
    """Rehearse a deployment until Ctrl-C; see `hybridmodel.deploy.mlflow_target.local.run`.

    MLflow does not say which target was named, so it is read from its command line; from Python,
    ``config["folder"]`` names the folder.
    """
    _check_flavor(flavor)
    given = settings.read_config(config, (*settings.KEYS, *local.KEYS))
    local.run(name, _address(model_uri), given, _named_target(), _create, click.echo)


class HybridDeploymentClient(BaseDeploymentClient):  # type: ignore[misc] # untyped
    """Deployments in a folder; MLflow makes one for each target.

    Every method raises ``MlflowException``; a name that is missing or exists already has the code
    ``RESOURCE_DOES_NOT_EXIST`` or ``RESOURCE_ALREADY_EXISTS``.

    Parameters
    ----------
    target_uri : str
        ``hybridmodel:/folder``, or ``hybridmodel:https://HOST/v2/models/NAME``.
    """

    @for_mlflow
    def __init__(self, target_uri: str) -> None:
        super().__init__(target_uri)
        self._target = read_target(target_uri)

    @for_mlflow
    def create_deployment(
        self,
        name: str,
        model_uri: str,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Export a model into the target's folder, or into one of its endpoints."""
        _check_flavor(flavor)
        given = settings.read_config(config, settings.KEYS)
        place = place_of(self._target, name, endpoint or given.get("azure"))
        _create(self._target, place, _address(model_uri), given)
        return finding.describe_deployment(place, place.name if endpoint else place.title)

    @for_mlflow
    def update_deployment(
        self,
        name: str,
        model_uri: str | None = None,
        flavor: str | None = None,
        config: dict[str, Any] | None = None,
        endpoint: str | None = None,
    ) -> dict[str, Any]:
        """Export again, with another model or config; what is not given stays as it was."""
        _check_flavor(flavor)
        offered = [key for key in settings.KEYS if key not in ("azure", *settings.OF_ENDPOINT)]
        place, record = finding.deployed(self._target, name, endpoint)
        if place.endpoint is None:
            offered += settings.OF_ENDPOINT
        kept = settings.read_config(record.config, settings.KEYS)
        given = {**kept, **settings.read_config(config, offered)}
        uri = record.model_uri if model_uri is None else _address(model_uri)
        making.make_deployment(place, uri, given, replaces=True)
        if finding.running(place.rehearsed) is not None:
            _log.warning("the rehearsal of %s has the old files until it ends", place.rehearsed)
        return finding.describe_deployment(place, name)

    @for_mlflow
    def delete_deployment(
        self, name: str, config: dict[str, Any] | None = None, endpoint: str | None = None
    ) -> None:
        """Remove what was written for a deployment; do nothing if there is none."""
        settings.read_config(config, ())
        place = place_of(self._target, name, endpoint)
        if place.record.is_file():
            remove_deployment(place)

    @for_mlflow
    def list_deployments(self, endpoint: str | None = None) -> list[dict[str, Any]]:
        """List the deployments of an endpoint, or all under names that all methods take."""
        found = finding.deployments(self._target, endpoint)
        return [
            finding.describe_deployment(place, place.name if endpoint else place.title)
            for place in found
        ]

    @for_mlflow
    def get_deployment(self, name: str, endpoint: str | None = None) -> dict[str, Any]:
        """Describe a deployment."""
        place, _ = finding.deployed(self._target, name, endpoint)
        return finding.describe_deployment(place, name)

    @for_mlflow
    def predict(
        self, deployment_name: str | None = None, inputs: Any = None, endpoint: str | None = None
    ) -> PredictionsResponse:
        """Ask the rehearsal of a deployment or endpoint, or the endpoint of the target's URL."""
        return asking.ask(self._target, deployment_name, endpoint, inputs)

    def predict_stream(
        self,
        deployment_name: str | None = None,  # noqa: ARG002
        inputs: Any = None,  # noqa: ARG002
        endpoint: str | None = None,  # noqa: ARG002
    ) -> Any:
        """Refuse: the models answer at once."""
        raise failure("NOT_IMPLEMENTED", "ONNX models answer at once, not as a stream; use predict")

    def explain(
        self,
        deployment_name: str | None = None,  # noqa: ARG002
        df: Any = None,  # noqa: ARG002
        endpoint: str | None = None,  # noqa: ARG002
    ) -> Any:
        """Refuse: an endpoint with Triton has no explanations."""
        raise failure(
            "NOT_IMPLEMENTED",
            "an endpoint with Triton has no explanations; explain the local model, as with shap on "
            "hybridmodel.load_model(MODEL_URI).predict",
        )

    @for_mlflow
    def create_endpoint(self, name: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
        """Make the folder of an endpoint, with its description for Azure."""
        given = settings.read_config(config, settings.OF_ENDPOINT)
        making.make_endpoint(self._target, name, given)
        return finding.describe_endpoint(self._target, name)

    @for_mlflow
    def update_endpoint(self, endpoint: str, config: dict[str, Any] | None = None) -> None:
        """Share the requests of an endpoint anew; its rehearsal does it at once."""
        given = settings.read_config(config, shares.KEYS)
        shares.update(self._target, endpoint, given)

    @for_mlflow
    def delete_endpoint(self, endpoint: str) -> None:
        """Remove an endpoint with its deployments; do nothing if there is none."""
        if (endpoint_folder(self._target, endpoint) / ENDPOINT).is_file():
            remove_endpoint(self._target, endpoint)

    @for_mlflow
    def list_endpoints(self) -> list[dict[str, Any]]:
        """List the endpoints of the target."""
        names = finding.endpoints(self._target)
        return [finding.describe_endpoint(self._target, name) for name in names]

    @for_mlflow
    def get_endpoint(self, endpoint: str) -> dict[str, Any]:
        """Describe an endpoint."""
        return finding.describe_endpoint(self._target, endpoint)


def _create(target: Target, place: Place, model_uri: str, config: dict[str, Any]) -> Any:
    azure = config.pop("azure", None)
    if azure is not None and azure != place.endpoint:
        raise ConfigurationError(f"azure={azure} is another endpoint than {place.endpoint}")
    making.check_free(place.folder, place.document)
    if place.endpoint is None:
        return making.make_deployment(place, model_uri, config)
    if azure is not None and not (place.base / ENDPOINT).exists():
        making.check_free(place.base)
        return making.make_both(target, place, model_uri, config)
    record = finding.shared(target, place.endpoint)
    made = settings.wanted(record.name, record.config)
    for key in settings.OF_ENDPOINT:
        if key in config and config.pop(key) != getattr(made, key):
            raise ConfigurationError(f"{key} is the endpoint's, which has been made with another")
    return making.make_deployment(place, model_uri, config)


def _address(model_uri: Any) -> str:
    if isinstance(model_uri, (str, os.PathLike)) and (address := os.fspath(model_uri)):
        return str(address)
    raise ConfigurationError(f"model_uri is an address or a path, not {shown(model_uri)}")


def _check_flavor(flavor: str | None) -> None:
    if flavor is not None and flavor not in making.FLAVORS:
        raise ConfigurationError(
            f"the flavor is one of {', '.join(making.FLAVORS)}; leave it out, it is found"
        )


def _named_target() -> Target | None:
    """Return the target that MLflow's command line was called with."""
    context = click.get_current_context(silent=True)
    named = None if context is None else context.params.get("target")
    if not isinstance(named, str) or ":" not in named:
        return None
    return read_target(named)
