"""``calibrate --log``: a calibrated cascade becomes a new version of a registered model."""

from __future__ import annotations

import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from hybridmodel.routing import Cascade, Policy

if TYPE_CHECKING:
    from hybridmodel.cascade import Calibration
    from hybridmodel.model import HybridOnnxModel

_NAME = re.compile(r"models:/([^/@:]+)/?")


def read_name(context: click.Context, option: click.Parameter, given: str | None) -> str | None:
    """Read the name of a registered model, written as ``models:/NAME``."""
    match = None if given is None else _NAME.fullmatch(given)
    if given is not None and match is None:
        raise click.BadParameter(
            f"{given!r} is no registered model; write models:/NAME, without a version",
            context,
            option,
        )
    return match[1] if match else None


def calibrated(policy: Policy, found: Calibration) -> Cascade:
    """Return the cascade of a calibration, with the other settings of a model's own cascade."""
    if isinstance(policy, Cascade):
        return replace(policy, threshold=None, score=None, calibration=found)
    return Cascade(calibration=found)


def register(
    model: HybridOnnxModel, found: Calibration, uri: str, name: str, alias: str | None
) -> str:
    """Log a model with its calibrated cascade as a new version, and return the version's number.

    It keeps the signature of the model at `uri`. MLflow's own words go to stderr.

    Raises
    ------
    mlflow.exceptions.MlflowException
        If the tracking server or registry cannot be reached, or refuses.
    """
    from hybridmodel.model import HybridOnnxModel

    logged = HybridOnnxModel(
        model.local,
        endpoint=model.endpoints or None,
        feature_names=model.feature_names,
        output=model.output,
        routing=calibrated(model.routing, found),
    )
    with redirect_stdout(sys.stderr):
        import mlflow

        from hybridmodel.flavor import log_model

        with mlflow.start_run(run_name=f"calibrate {name}"):
            info = log_model(
                logged, name="model", registered_model_name=name, signature=_signature_of(uri)
            )
        version = str(info.registered_model_version)
        if alias is not None:
            mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
    return version


def _signature_of(uri: str) -> Any:
    """Return the signature of a saved model; an ONNX file has none."""
    from mlflow.models import get_model_info

    from hybridmodel.local.onnx_file import is_onnx_file

    return None if is_onnx_file(uri) else get_model_info(uri).signature
