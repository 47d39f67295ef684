"""Logging to MLflow: as a logged model, or as artifacts of a run where a server has none."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import needed_for
from hybridmodel.exceptions import MissingDependency
from hybridmodel.flavor import mlflow_page
from hybridmodel.flavor.pyfunc import answering_locally
from hybridmodel.flavor.saving import save_model
from hybridmodel.model import HybridOnnxModel

if TYPE_CHECKING:
    from mlflow.models.model import ModelInfo

    from hybridmodel.cascade import Calibration

_OF_REGISTRATION = ("await_registration_for", "tags")
_OF_LOGGED_MODELS = ("auth_policy", "model_id", "model_type", "params", "prompts", "step")
_OF_LOGGING = ("run_id", *_OF_REGISTRATION, *_OF_LOGGED_MODELS)

_log = logging.getLogger("hybridmodel")


def log_model(
    model: HybridOnnxModel,
    name: str | None = None,
    *,
    registered_model_name: str | None = None,
    log_report: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ModelInfo:
    """Log a model, to the active run if there is one, and register it if asked.

    Parameters
    ----------
    model : HybridOnnxModel
        What to log.
    name : str, optional
        Name of the logged model.
    registered_model_name : str, optional
        Registers a version under this name.
    log_report : str or path, optional
        A page about both routes, which becomes the artifact ``report.html`` of the run, or without
        a run of the logged model: what `hybridmodel.report.report_of` returned, or the path of a
        file.
    **options
        What `save_model` takes, and what ``mlflow.models.Model.log`` does: ``params``, ``tags``,
        ``model_type``, ``step``, ``model_id``, ``run_id``, ``await_registration_for``.

    Returns
    -------
    mlflow.models.model.ModelInfo
        Load the model by its ``model_uri``.

    Raises
    ------
    ConfigurationError, InputMismatch
        As `save_model`, and if there is no such report.
    mlflow.exceptions.MlflowException
        If the tracking server or registry cannot be reached, or refuses.

    Notes
    -----
    The calibration of a cascade is logged as well, where there is a run: as metrics
    ``calibration_*``, ``calibration.json`` and ``calibration.png``.

    Params and tags ``hybridmodel.*`` say mode, promise, sha256 and endpoint; docs/mlflow.md lists
    them. Logged model, registered model and version get a description where they have none.

    A server without MLflow 3's logged models, such as Azure Machine Learning, gets the model as
    artifacts of a run, a new one if none is active. Its ``tags`` are those of the registered
    version, and what else describes a logged model is left out.
    """
    with needed_for("logging a model"):
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model

    page = None if log_report is None else mlflow_page.page_of(log_report)
    options = mlflow_page.with_facts(model, options)
    try:
        with answering_locally():  # MLflow runs the example on the model that it has just saved.
            info = Model.log(
                artifact_path=None,
                name=name,
                flavor=sys.modules[__package__],
                registered_model_name=registered_model_name,
                model=model,
                **options,
            )
    except MlflowException as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        info = _log_as_artifacts(model, name or "model", registered_model_name, options)
    calibration = getattr(model.routing, "calibration", None)
    if calibration is not None and info.run_id is not None:
        log_calibration(calibration, info.run_id, getattr(info, "model_id", None))
    mlflow_page.fill(model, info, registered_model_name, options)
    if page is not None:
        mlflow_page.log_report(page, info)
    return info


def _log_as_artifacts(
    model: HybridOnnxModel, name: str, registered_model_name: str | None, options: dict[str, Any]
) -> ModelInfo:
    import mlflow
    from mlflow.models import Model

    saved = {key: value for key, value in options.items() if key not in _OF_LOGGING}
    registration = {key: options[key] for key in _OF_REGISTRATION if key in options}
    given, active = options.get("run_id"), mlflow.active_run()
    run = mlflow.start_run() if given is None and active is None else nullcontext(active)
    with run as active, tempfile.TemporaryDirectory() as staging:
        run_id = given or active.info.run_id
        mlflow_model = Model(artifact_path=name, run_id=run_id)
        folder = Path(staging, "model")
        save_model(model, folder, mlflow_model=mlflow_model, **saved)
        mlflow.log_artifacts(str(folder), name, run_id=run_id)
    info = mlflow_model.get_model_info()
    if registered_model_name is not None:
        version = mlflow.register_model(info.model_uri, registered_model_name, **registration)
        info.registered_model_version = version.version
    return info


def log_calibration(calibration: Calibration, run_id: str, model_id: str | None = None) -> None:
    """Log a calibration as metrics, ``calibration.json`` and ``calibration.png``.

    Parameters
    ----------
    calibration : Calibration
        What `hybridmodel.calibrate` returned.
    run_id : str
        The MLflow run that gets it.
    model_id : str, optional
        The logged model that the metrics belong to.

    Raises
    ------
    mlflow.exceptions.MlflowException
        If the tracking server refuses one of them.
    """
    import mlflow

    of_model = {} if model_id is None else {"model_id": model_id}
    mlflow.log_metrics(calibration.metrics(), run_id=run_id, **of_model)
    client = mlflow.MlflowClient()
    client.log_text(run_id, calibration.to_json(), "calibration.json")
    try:
        figure = calibration.plot()
    except MissingDependency as error:
        _log.warning("the plot of the calibration is not logged: %s", error)
        return
    client.log_figure(run_id, figure, "calibration.png")
