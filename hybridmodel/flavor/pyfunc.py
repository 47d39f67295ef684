"""The model that ``mlflow.pyfunc.load_model`` wraps.

Every error becomes an `MlflowException`: MLflow's scoring server gives those the HTTP status of
their code, and answers other errors with 400 and a stack trace.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel import exceptions
from hybridmodel.exceptions import AuthenticationFailed, ConfigurationError
from hybridmodel.flavor.evaluating import asks_for_classes, class_reader
from hybridmodel.model import HybridOnnxModel
from hybridmodel.routing import parse_use_azure

if TYPE_CHECKING:
    from types import FrameType

    from mlflow.exceptions import MlflowException

ERROR_CODES: Mapping[type[Exception], str] = {
    exceptions.ConfigurationError: "INVALID_PARAMETER_VALUE",  # 400
    exceptions.InputMismatch: "INVALID_PARAMETER_VALUE",  # 400
    exceptions.SpecMismatch: "INTERNAL_ERROR",  # 500
    exceptions.MissingDependency: "INTERNAL_ERROR",  # 500
    exceptions.EndpointError: "INTERNAL_ERROR",  # 500
    exceptions.EndpointRefused: "BAD_REQUEST",  # 400
    exceptions.AuthenticationFailed: "UNAUTHENTICATED",  # 401, unless the endpoint said 403
    exceptions.EndpointUnavailable: "TEMPORARILY_UNAVAILABLE",  # 503
    exceptions.RateLimited: "REQUEST_LIMIT_EXCEEDED",  # 429
    exceptions.EndpointTimeout: "DEADLINE_EXCEEDED",  # 504
    exceptions.CircuitOpen: "TEMPORARILY_UNAVAILABLE",  # 503
    exceptions.JobFailed: "INTERNAL_ERROR",  # 500
    exceptions.SubmissionUnknown: "INTERNAL_ERROR",  # 500
    exceptions.ProtocolError: "INTERNAL_ERROR",  # 500
}
"""MLflow's error code for each kind of error, with the HTTP status that it stands for."""

INFERENCE_CONFIG_ENV = "MLFLOW_PYFUNC_INFERENCE_CONFIG"
"""MLflow's variable with a ``model_config`` in JSON."""

_answering_locally: ContextVar[bool] = ContextVar("hybridmodel_answering_locally", default=False)


class PyfuncModel:
    """The model that ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, model: HybridOnnxModel) -> None:
        self._model = model

    def get_raw_model(self) -> HybridOnnxModel:
        """Return the model itself."""
        return self._model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Answer as `HybridOnnxModel.predict` does; every error is an `MlflowException`.

        `params` may have ``use_azure``, ``mode``, ``timeout``, ``output`` and ``provenance``.
        MLflow's evaluation of classifiers, which passes no params, gets the class of each row.
        """
        given = dict(params or {})
        data = self._as_handed_in(data)
        if _answering_locally.get():
            given |= {"use_azure": False, "mode": None}
        try:
            is_plain = all(value is None for value in given.values())
            if is_plain and asks_for_classes(sys._getframe(1)):
                return self._classes(data)
            return self._model.predict(
                data,
                use_azure=given.get("use_azure"),
                mode=_checked_mode(given.get("mode")),
                output=given.get("output"),
                timeout=given.get("timeout"),
                provenance=bool(parse_use_azure(given.get("provenance"), "provenance")),
            )
        except Exception as error:
            raise as_mlflow_exception(error) from error

    def _classes(self, data: Any) -> Any:
        reader = class_reader(self._model)
        if reader is None:
            return self._model.predict(data)
        return reader.read(self._model.infer(data, output=reader.output.name).outputs)

    def _as_handed_in(self, data: Any) -> Any:
        """Return the caller's own container, where MLflow converted it to check the signature.

        For a signature of tensors, MLflow turns a frame into arrays without its index, as float32
        in which large numbers are infinite; for one of columns, it turns arrays into frames. The
        caller's data is still a variable of MLflow's `PyFuncModel.predict`, two calls up from ours.
        """
        given = _given_to_mlflow(sys._getframe(2))
        if given is None or given is data:
            return data
        import pandas as pd

        if isinstance(data, pd.DataFrame):
            return given if self._is_arrays(given) else data
        if isinstance(given, pd.DataFrame) and isinstance(data, dict):
            return given[list(data)]
        return given if isinstance(given, (pd.DataFrame, pd.Series)) else data

    def _is_arrays(self, given: Any) -> bool:
        if isinstance(given, Mapping):
            named = given.keys() == set(self._model.spec.input_names)
            return named and all(isinstance(value, np.ndarray) for value in given.values())
        return isinstance(given, np.ndarray)


def _given_to_mlflow(frame: FrameType | None) -> Any:
    """Return the argument of `PyFuncModel.predict`, None where it did not call us."""
    outer, inner = _mlflow_predict()
    if frame is None or frame.f_code is not inner or frame.f_back is None:
        return None
    return frame.f_back.f_locals.get("data") if frame.f_back.f_code is outer else None


@lru_cache(maxsize=1)
def _mlflow_predict() -> tuple[Any, Any]:
    from mlflow.pyfunc import PyFuncModel

    inner = getattr(PyFuncModel, "_predict", None)
    return getattr(PyFuncModel.predict, "__code__", None), getattr(inner, "__code__", None)


# MLflow asks for the signature on every call, and inspect takes long to compute it each time.
setattr(PyfuncModel.predict, "__signature__", inspect.signature(PyfuncModel.predict))  # noqa: B010


def _checked_mode(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ConfigurationError(f"the param mode is a name, not a {type(value).__name__}")


@contextmanager
def answering_locally() -> Iterator[None]:
    """Keep every `PyfuncModel` on the local route in this thread, whatever its route is."""
    token = _answering_locally.set(True)
    try:
        yield
    finally:
        _answering_locally.reset(token)


def is_answering_locally() -> bool:
    """Return whether `answering_locally` keeps this thread on the local route."""
    return _answering_locally.get()


def set_by_environment(config: Mapping[str, Any] | None) -> frozenset[str]:
    """Return the keys of a pyfunc's ``model_config`` that this machine's environment sets.

    MLflow merges what is stored in the model, what ``load_model`` gets, and what the variable has.
    Only a value that the variable itself has is known not to be the model's.
    """
    try:
        found = json.loads(os.environ.get(INFERENCE_CONFIG_ENV) or "{}")
    except (ValueError, RecursionError):
        return frozenset()
    if config is None or not isinstance(found, dict):
        return frozenset()
    return frozenset(key for key, value in found.items() if key in config and config[key] == value)


def as_mlflow_exception(error: Exception) -> MlflowException:
    """Return the `MlflowException` for an error."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    known = (ERROR_CODES[kind] for kind in type(error).__mro__ if kind in ERROR_CODES)
    code = next(known, "INTERNAL_ERROR")
    if isinstance(error, AuthenticationFailed) and error.status == 403:
        code = "PERMISSION_DENIED"
    return MlflowException(f"{type(error).__name__}: {error}", error_code=ErrorCode.Value(code))
