"""Saved models of earlier releases, kept as they were written: every later version loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel import ConfigurationError, TritonEndpoint
from hybridmodel.flavor.artifact import read, write
from hybridmodel.flavor.record import HybridRecord
from hybridmodel.routing import Cascade
from tests.support.hostile import at

GOLDEN = Path(__file__).parent / "golden"
X = np.array([[1, 0, 0, 0], [0, 2, 0, 0]], np.float32)


@pytest.fixture(autouse=True)
def _said_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYBRIDMODEL_USE_AZURE", raising=False)


def test_schema_1_is_read_as_it_was_meant() -> None:
    """Endpoint, calibrated cascade, labels of a ZipMap and session settings come back."""
    model = read(GOLDEN / "schema_1", look_only=True)
    assert model.endpoint == TritonEndpoint(
        uri="https://digits.westeurope.inference.ml.azure.com",
        model_name="digits-big",
        model_version=None,
        auth_key_env="DIGITS_KEY",
        secondary_key_env="DIGITS_KEY_2",
        deployment="blue",
        timeout_s=12.5,
        max_batch_size=64,
        binary=True,
    )
    policy = model.routing
    assert isinstance(policy, Cascade)
    assert policy.calibration is not None
    assert (str(policy.score), policy.threshold) == (
        "margin:output_probability",
        0.008068352937698364,
    )
    assert (policy.audit_rate, policy.on_unavailable, policy.max_escalation) == (0.01, "keep", None)
    assert (policy.calibration.rows, policy.calibration.model_version) == (400, "3")
    assert policy.calibration.curve.threshold[-1] == np.inf
    assert model.outputs[1].labels == ("no", "perhaps", "yes")
    assert model.feature_names == ["f0", "f1", "f2", "f3"]
    assert model.local.session_options["graph_optimization_level"] == "ORT_ENABLE_BASIC"
    answer = model.predict(X, use_azure=False)
    np.testing.assert_allclose(answer.sum(axis=1), 1, rtol=1e-5)
    assert answer.shape == (2, 3)


def test_schema_1_is_written_as_it_was(tmp_path: Path) -> None:
    """What is read is written byte for byte; a model saved anew has later fields' defaults, too."""
    text = (GOLDEN / "schema_1" / "hybrid.json").read_text()
    record = HybridRecord.from_dict(json.loads(text))
    assert json.dumps(record.to_dict(), indent=2) + "\n" == text
    write(read(GOLDEN / "schema_1", look_only=True), tmp_path)
    again = json.loads((tmp_path / "hybrid.json").read_text())
    expected = json.loads(text)
    expected["endpoint"] |= {"coalesce_rows": 0, "shared_memory": True}
    assert again | {"written_by": "0.1.0"} == expected
    assert list(again) == list(expected)


def test_a_file_from_before_routing_is_read() -> None:
    """The first release knew no routing and fewer fields of an endpoint; defaults count."""
    model = read(GOLDEN / "schema_1_before_routing")
    assert model.endpoint == TritonEndpoint(
        uri="https://models.example", model_name="linear", auth_key_env=None
    )
    assert (model.use_azure, model.routing.mode, model.output) == (False, "local", None)
    assert model.onnx.external_files == ("weights.bin",)
    assert model.predict(X).tolist() == [[0.0, 1.0], [4.0, 6.0]]


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("model", "outputs", 1, "shape"), "x", "expected a list of whole numbers, got 'x'"),
        (("model", "inputs", 0, "shape", 1), 4.0, "expected a whole number, got 4.0"),
        (("routing", "score", "logits"), 1, "expected true or false, got 1"),
        (("routing", "calibration", "rows"), "400", "expected a whole number, got '400'"),
        (("routing", "calibration", "score", "kind"), None, "expected a text, got None"),
        (("routing", "calibration", "curve", "risk", 3), "x", "expected a number, got 'x'"),
        (("routing", "calibration", "accuracy", "big"), "x", "expected a number, got 'x'"),
    ],
)
def test_what_is_wrong_is_found_by_its_path(way: tuple[Any, ...], value: Any, message: str) -> None:
    """However deep a value lies, the error begins with the keys that lead to it."""
    stored = json.loads((GOLDEN / "schema_1" / "hybrid.json").read_text())
    *outer, last = way
    at(stored, *outer)[last] = value
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in way)
    with pytest.raises(ConfigurationError) as caught:
        HybridRecord.from_dict(stored)
    assert str(caught.value) == f"{path.removeprefix('.')}: {message}"
