"""`hybridmodel.testing` for models that were saved, and loaded by MLflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint, save_model
from hybridmodel.testing import fake_endpoint
from tests.support import models

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
ENDPOINT = TritonEndpoint(
    uri="https://fake.example.com", model_name="big", auth_key_env="NO_SUCH_KEY"
)
BIG = models.graded(-1.0)


def test_a_model_of_mlflow_s_is_unwrapped(tmp_path: Path) -> None:
    """What `mlflow.pyfunc.load_model` returned can be given, and fails with MLflow's codes."""
    save_model(HybridOnnxModel(models.graded(), endpoint=ENDPOINT), tmp_path / "saved")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    with fake_endpoint(loaded, answer=BIG) as fake:
        found = loaded.predict(X, params={"use_azure": True})
        np.testing.assert_array_equal(
            found["label"], HybridOnnxModel(BIG).predict(X, output="label")
        )
        fake.fail(503)
        with pytest.raises(mlflow.MlflowException) as caught:
            loaded.predict(X, params={"use_azure": True})
        assert caught.value.get_http_status_code() == 503


def test_a_fake_grants_a_saved_model_nothing(tmp_path: Path) -> None:
    """Where data would go unencrypted it is asked for all the same, and not a moment longer."""
    plain = HybridOnnxModel(
        models.graded(),
        endpoint=ENDPOINT.with_overrides(
            uri="http://plain.example.com", allow_http=True, auth_key_env=None
        ),
    )
    save_model(plain, tmp_path / "saved")
    program = f"""
import numpy as np
from hybridmodel import ConfigurationError, load_model
from hybridmodel.testing import fake_endpoint
model, X = load_model({str(tmp_path / "saved")!r}), np.ones((2, 3), np.float32)
with fake_endpoint(model) as fake:
    model.predict(X, use_azure=True)
assert len(fake.requests) == 1
try:
    model.predict(X, use_azure=True)
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "nobody has granted that" in done.stdout, done.stderr
