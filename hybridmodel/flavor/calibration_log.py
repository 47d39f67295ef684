"""A calibration among the metrics and artifacts of an MLflow run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hybridmodel.exceptions import MissingDependency

if TYPE_CHECKING:
    from hybridmodel.cascade import Calibration

_log = logging.getLogger("hybridmodel")


def log_calibration(calibration: Calibration, run_id: str, model_id: str | None = None) -> None:
    """Log the numbers of a calibration, its record and its picture.

    Parameters
    ----------
    calibration : Calibration
        Its numbers become metrics ``calibration_*``, the rest ``calibration.json`` and
        ``calibration.png`` among the run's artifacts.
    run_id : str
        Of the run.
    model_id : str, optional
        Of the logged model that the numbers are about.

    Raises
    ------
    mlflow.exceptions.MlflowException
        If the tracking server cannot be reached, or refuses.
    """
    import mlflow

    of_model = {} if model_id is None else {"model_id": model_id}
    mlflow.log_metrics(calibration.metrics(), run_id=run_id, **of_model)
    client = mlflow.MlflowClient()
    client.log_text(run_id, calibration.to_json(), "calibration.json")
    try:
        figure = calibration.plot()
    except MissingDependency as error:
        _log.warning("the picture of the calibration is left out: %s", error)
        return
    client.log_figure(run_id, figure, "calibration.png")
