"""The MLflow flavor: save, log and load a `HybridOnnxModel` like any other model.

A saved model has three flavors in one directory: ``hybrid_onnx`` (this module's `load_model`),
``python_function`` (``mlflow.pyfunc.load_model``) and ``onnx`` (``mlflow.onnx.load_model``).
"""

from hybridmodel.flavor.artifact import DATA_FOLDER, FLAVOR_NAME
from hybridmodel.flavor.loading import load_model, load_pyfunc, read_model
from hybridmodel.flavor.requirements import get_default_pip_requirements
from hybridmodel.flavor.saving import save_model
from hybridmodel.flavor.signatures import with_params
from hybridmodel.flavor.tracking import log_calibration, log_model

__all__ = [
    "DATA_FOLDER",
    "FLAVOR_NAME",
    "get_default_pip_requirements",
    "load_model",
    "log_calibration",
    "log_model",
    "read_model",
    "save_model",
    "with_params",
]

_load_pyfunc = load_pyfunc  # As MLflow calls it in a loader module, which saved models name.
