"""The errors of the plugin: MLflow's own, with a code that says what a caller can do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from hybridmodel.exceptions import HybridModelError
from hybridmodel.flavor.pyfunc import as_mlflow_exception

P = ParamSpec("P")
T = TypeVar("T")


def failure(code: str, message: str) -> MlflowException:
    """Return an error with one of MLflow's codes, such as ``RESOURCE_DOES_NOT_EXIST``."""
    return MlflowException(message, error_code=ErrorCode.Value(code))


def missing(message: str) -> MlflowException:
    """Return the error for a name that does not exist."""
    return failure("RESOURCE_DOES_NOT_EXIST", message)


def existing(message: str) -> MlflowException:
    """Return the error for a name that exists already."""
    return failure("RESOURCE_ALREADY_EXISTS", message)


def in_the_way(message: str) -> MlflowException:
    """Return the error for a change that the present state does not allow."""
    return failure("INVALID_STATE", message)


def for_mlflow(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function raise MLflow's errors instead of ours and those of the file system."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except HybridModelError as error:
            raise as_mlflow_exception(error) from error
        except OSError as error:
            raise failure("INTERNAL_ERROR", f"{error.filename}: {error.strerror}") from error

    return run
