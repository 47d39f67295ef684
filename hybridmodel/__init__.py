"""One MLflow model that answers from a local ONNX file or from a Triton endpoint."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hybridmodel.answer import Answer
from hybridmodel.data.tensors import ModelSpec, TensorSpec
from hybridmodel.exceptions import (
    AuthenticationFailed,
    CircuitOpen,
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridModelError,
    InputMismatch,
    JobFailed,
    MissingDependency,
    ProtocolError,
    RateLimited,
    SpecMismatch,
    SubmissionUnknown,
)
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.embeddings.endpoint import EmbeddingsEndpoint
from hybridmodel.remote.endpoint import TritonEndpoint

if TYPE_CHECKING:
    from hybridmodel.calibrating import calibrate
    from hybridmodel.cascade import Calibration
    from hybridmodel.flavor import load_model, log_model, save_model

_LATER = {
    "Calibration": "hybridmodel.cascade",
    "calibrate": "hybridmodel.calibrating",
    "load_model": "hybridmodel.flavor",
    "log_model": "hybridmodel.flavor",
    "save_model": "hybridmodel.flavor",
}
"""The modules of names that `import hybridmodel` does not load."""

__all__ = [
    "Answer",
    "AuthenticationFailed",
    "Calibration",
    "CircuitOpen",
    "ConfigurationError",
    "EmbeddingsEndpoint",
    "EndpointError",
    "EndpointRefused",
    "EndpointTimeout",
    "EndpointUnavailable",
    "HybridModelError",
    "HybridOnnxModel",
    "InputMismatch",
    "JobFailed",
    "MissingDependency",
    "ModelSpec",
    "ProtocolError",
    "RateLimited",
    "SpecMismatch",
    "SubmissionUnknown",
    "TensorSpec",
    "TritonEndpoint",
    "calibrate",
    "load_model",
    "log_model",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("hybridmodel")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
