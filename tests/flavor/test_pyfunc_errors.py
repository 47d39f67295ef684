"""Every error leaves pyfunc as MLflow's own, with the status that tells a caller what to do."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from pandas.testing import assert_frame_equal

from hybridmodel import HybridOnnxModel, TritonEndpoint, exceptions, load_model, save_model
from hybridmodel.flavor.pyfunc import ERROR_CODES, PyfuncModel, as_mlflow_exception
from tests.support import models

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.usefixtures("empty_folder")

NOWHERE = TritonEndpoint(
    uri="http://127.0.0.1:1", model_name="linear", auth_key_env=None, breaker_failures=None
)


def every_error() -> list[type[Exception]]:
    """List the whole tree of exceptions."""
    found: list[type[Exception]] = [exceptions.HybridModelError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return [kind for kind in found if kind.__module__ == exceptions.__name__]


def test_every_error_has_a_code() -> None:
    """Whoever adds an error says what a scoring server shall answer."""
    assert set(every_error()) - {exceptions.HybridModelError} == set(ERROR_CODES)


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (exceptions.ConfigurationError("x"), "INVALID_PARAMETER_VALUE", 400),
        (exceptions.InputMismatch("x"), "INVALID_PARAMETER_VALUE", 400),
        (exceptions.SpecMismatch("x"), "INTERNAL_ERROR", 500),
        (exceptions.MissingDependency("x"), "INTERNAL_ERROR", 500),
        (exceptions.EndpointRefused("x", status=422), "BAD_REQUEST", 400),
        (exceptions.AuthenticationFailed("x", status=401), "UNAUTHENTICATED", 401),
        (exceptions.AuthenticationFailed("x", status=403), "PERMISSION_DENIED", 403),
        (exceptions.EndpointUnavailable("x"), "TEMPORARILY_UNAVAILABLE", 503),
        (exceptions.RateLimited("x", status=429), "REQUEST_LIMIT_EXCEEDED", 429),
        (exceptions.EndpointTimeout("x"), "DEADLINE_EXCEEDED", 504),
        (exceptions.CircuitOpen("x"), "TEMPORARILY_UNAVAILABLE", 503),
        (exceptions.ProtocolError("x"), "INTERNAL_ERROR", 500),
        (RuntimeError("x"), "INTERNAL_ERROR", 500),
    ],
)
def test_codes(error: Exception, code: str, status: int) -> None:
    """Each error becomes the code whose HTTP status tells a caller what to do."""
    translated = as_mlflow_exception(error)
    assert (translated.error_code, translated.get_http_status_code()) == (code, status)
    assert str(translated) == f"{type(error).__name__}: x"


def test_other_failures_are_translated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that nobody foresaw is an MlflowException too, with the cause behind it."""
    model = HybridOnnxModel(models.linear())
    failure = RuntimeError("out of luck")
    monkeypatch.setattr(model.local, "run", lambda *_: (_ for _ in ()).throw(failure))
    with pytest.raises(MlflowException, match="RuntimeError: out of luck") as caught:
        PyfuncModel(model).predict(np.ones((1, 4)))
    assert caught.value.error_code == "INTERNAL_ERROR"
    assert caught.value.__cause__ is failure


def test_what_pyfunc_wraps_can_be_pickled(saved: Path, frame: pd.DataFrame) -> None:
    """A loaded model can be sent to another process, also after it has answered."""
    model = PyfuncModel(load_model(saved))
    expected = model.predict(frame)
    again = pickle.loads(pickle.dumps(model))
    assert_frame_equal(again.predict(frame), expected)


def test_a_frame_without_the_declared_params(saved: Path, frame: pd.DataFrame) -> None:
    """A signature without params that MLflow was given by hand cannot lose the params."""
    save_model(
        HybridOnnxModel(models.linear(), endpoint=NOWHERE),
        "own",
        signature=ModelSignature(infer_signature(frame).inputs),
    )
    with pytest.raises(MlflowException, match="EndpointUnavailable"):
        mlflow.pyfunc.load_model("own").predict(frame, params={"use_azure": True})
