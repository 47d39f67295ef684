"""Saved models with several endpoints: what is written, what a load changes, what may be sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from hybridmodel import (
    ConfigurationError,
    EndpointUnavailable,
    HybridOnnxModel,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.flavor import record
from hybridmodel.flavor.artifact import read, write
from hybridmodel.flavor.record import HybridRecord
from hybridmodel.remote.trust.grants import checked_allow
from tests.support import models
from tests.support.granting import PICKLERS, config_home
from tests.support.hostile import at
from tests.support.trusting import Wire, X, another_process, ask, nothing_paired, wire

__all__ = ["another_process", "config_home", "wire"]  # Fixtures.

GOLDEN = Path(__file__).parent / "golden" / "schema_2"
WEST = TritonEndpoint(
    uri="https://digits-west.westeurope.inference.ml.azure.com",
    model_name="digits-big",
    auth_key_env="WEST_KEY",
    deployment="blue",
    timeout_s=12.5,
    breaker_reset_s=5.0,
)
NORTH = TritonEndpoint(
    uri="https://digits-north.northeurope.inference.ml.azure.com",
    model_name="digits-big",
    auth_key_env="NORTH_KEY",
    secondary_key_env="NORTH_KEY_2",
    timeout_s=12.5,
    max_in_flight=8,
)
GRANTS = [f"WEST_KEY@{WEST.place}", f"NORTH_KEY@{NORTH.place}"]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, config_home: Path) -> None:
    """Set the keys, grant nothing, and say no route."""
    monkeypatch.setenv("WEST_KEY", "key-of-west")
    monkeypatch.setenv("NORTH_KEY", "key-of-north")
    for name in ("HYBRIDMODEL_ALLOW", "HYBRIDMODEL_USE_AZURE", "MLFLOW_PYFUNC_INFERENCE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def golden() -> dict[str, Any]:
    """Return the stored file."""
    found: dict[str, Any] = json.loads((GOLDEN / "hybrid.json").read_text())
    return found


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Save a model with both endpoints."""
    save_model(HybridOnnxModel(models.linear(), endpoint=[WEST, NORTH]), tmp_path / "saved")
    return tmp_path / "saved"


def test_schema_2_is_read_as_it_was_meant() -> None:
    """Both endpoints come back in their order, each with all that it had."""
    model = read(GOLDEN, look_only=True)
    assert model.endpoints == (WEST, NORTH)
    assert model.endpoint == WEST
    assert model.routing.mode == "azure_first"


def test_schema_2_is_written_as_it_was(tmp_path: Path) -> None:
    """What is read from the file is written to the same file, byte for byte."""
    text = (GOLDEN / "hybrid.json").read_text()
    assert json.dumps(HybridRecord.from_dict(json.loads(text)).to_dict(), indent=2) + "\n" == text
    write(read(GOLDEN, look_only=True), tmp_path)
    again = json.loads((tmp_path / "hybrid.json").read_text())
    assert again | {"written_by": "0.1.0"} == json.loads(text)
    assert list(again) == list(json.loads(text))


@pytest.mark.parametrize(
    ("given", "schema", "stored"),
    [
        (None, 1, None),
        (WEST, 1, WEST.to_dict()),
        ([WEST], 1, WEST.to_dict()),
        ([WEST, NORTH], 2, golden()["endpoint"]),
    ],
    ids=["none", "one", "a list of one", "a list"],
)
def test_the_schema_is_the_oldest_that_can_say_it(given: Any, schema: int, stored: Any) -> None:
    """Older releases read what they can understand."""
    found = HybridRecord.of(HybridOnnxModel(models.linear(), endpoint=given), None).to_dict()
    assert (found["schema_version"], json.loads(json.dumps(found["endpoint"]))) == (schema, stored)


def test_a_reader_of_schema_1_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a list is read by what would take it for one endpoint."""
    monkeypatch.setattr(record, "SCHEMA_VERSION", 1)
    with pytest.raises(ConfigurationError, match=r"schema_version 2.*install hybridmodel>=0\.1\.0"):
        read(GOLDEN)


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("endpoint",), [], "endpoint: a list of endpoints has 1 to 16 of them, this one has 0"),
        (("endpoint",), golden()["endpoint"][0], "endpoint: expected a list of endpoints, got"),
        (("endpoint", 1), "north", r"endpoint\[1\]: expected an object, got 'north'"),
        (("endpoint", 1, "kind"), None, r"endpoint\[1\]\.kind: expected a text, got None"),
        (("endpoint", 1, "kind"), "x", r"endpoint\[1\]: an endpoint of the kind 'x' is not known"),
        (
            ("endpoint", 1, "uri"),
            "http://north",
            r"endpoint\[1\]: uri is http://.*keys and data would travel unencrypted",
        ),
        (("endpoint", 1), golden()["endpoint"][0], r"endpoint\[1\] is the same as endpoint\[0\]"),
        (("endpoint",), [golden()["endpoint"][0]] * 17, "this one has 17"),
        (("endpoint", 1, "model_name"), None, r"endpoint\[1\]: model_name is the model's name"),
        (("schema_version",), 1, "endpoint: expected an object, got a list"),
        (("schema_version",), 3, "schema_version 3"),
    ],
)
def test_what_is_wrong_in_a_list_is_found(
    way: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    """A list that nobody would have written is refused, with the path to the mistake."""
    stored = golden()
    *outer, last = way
    at(stored, *outer)[last] = value
    (tmp_path / "hybrid.json").write_text(json.dumps(stored))
    (tmp_path / "model.onnx").write_bytes((GOLDEN / "model.onnx").read_bytes())
    with pytest.raises(ConfigurationError, match=message):
        read(tmp_path, look_only=True)


def test_a_very_long_list_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen megabytes of endpoints cost no more than counting them."""
    read_one: list[Any] = []
    monkeypatch.setattr(record, "kind_of", read_one.append)
    stored = golden() | {"endpoint": [{"kind": "triton"}] * 50_000}
    with pytest.raises(ConfigurationError, match="this one has 50000"):
        HybridRecord.from_dict(stored)
    assert read_one == []


@pytest.mark.parametrize("kind", ["embeddings", "x", 5])
def test_a_lone_endpoint_of_schema_1_is_triton_to_all(kind: Any, tmp_path: Path) -> None:
    """No release reads one file in two ways: to those before schema 2, a kind said nothing."""
    lone = {**WEST.to_dict(), "kind": kind, "model": "another"}
    stored = golden() | {"schema_version": 1, "endpoint": lone}
    (tmp_path / "hybrid.json").write_text(json.dumps(stored))
    (tmp_path / "model.onnx").write_bytes((GOLDEN / "model.onnx").read_bytes())
    assert read(tmp_path, look_only=True).endpoints == (WEST,)


def test_mlflow_loads_the_list(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that MLflow stores and merges say nothing; a key that somebody gives is for all."""
    meant = yaml_flavor(saved)
    assert meant["schema_version"] == 2
    assert loaded(saved).endpoints == (WEST, NORTH)
    patient = loaded(saved, timeout_s=60.0)
    assert [item.timeout_s for item in patient.endpoints] == [60.0, 60.0]
    assert [item.auth_key_env for item in patient.endpoints] == ["WEST_KEY", "NORTH_KEY"]
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"auth_key_env": null}')
    assert [item.auth_key_env for item in loaded(saved).endpoints] == [None, None]


def loaded(saved: Path, **config: Any) -> HybridOnnxModel:
    """Load a model by MLflow's own function."""
    model: HybridOnnxModel = mlflow.pyfunc.load_model(
        str(saved), model_config=config or None
    ).get_raw_model()
    return model


def yaml_flavor(saved: Path) -> dict[str, Any]:
    """Return what the MLmodel file says of the flavor."""
    found: dict[str, Any] = mlflow.models.Model.load(str(saved)).flavors["hybrid_onnx"]
    return found


@pytest.mark.parametrize("through", ["mlflow", "natively"])
def test_a_uri_replaces_the_list(saved: Path, through: str) -> None:
    """One endpoint is left, the first in all but its address; the others are not asked."""
    config = {"uri": "https://south.example/score"}
    model = (
        loaded(saved, **config) if through == "mlflow" else load_model(saved, model_config=config)
    )
    (endpoint,) = model.endpoints
    assert endpoint == WEST.with_overrides(uri="https://south.example")


@pytest.mark.usefixtures("another_process")
@pytest.mark.parametrize("keep", [None, *PICKLERS])
def test_each_stored_endpoint_needs_its_own_grant(
    saved: Path, keep: str | None, wire: Wire
) -> None:
    """A grant for one sends nothing of the other's, through copies and pickles of all kinds."""
    model = load_model(saved, allow=GRANTS[:1])
    model = model if keep is None else PICKLERS[keep](model)
    ask(model)
    assert set(wire.keys) == {"key-of-west"}
    wire.between = unavailable
    with pytest.raises(ConfigurationError, match=rf"NORTH_KEY@{NORTH.place}") as caught:
        ask(model)
    assert "WEST_KEY" not in str(caught.value)
    assert set(wire.keys) == {"key-of-west"}


def unavailable() -> None:
    """Stand for an endpoint that cannot answer now."""
    raise EndpointUnavailable("answered 503")


@pytest.mark.usefixtures("another_process")
def test_what_is_granted_for_each_is_sent_to_each(saved: Path, wire: Wire) -> None:
    """With both grants the second endpoint gets its own key where the first is unavailable."""
    model = load_model(saved, allow=GRANTS)
    wire.between = unavailable
    with pytest.raises(EndpointUnavailable):
        model.predict(X, use_azure=True, timeout=0.5)
    by_host = {url.split("/")[2]: key for url, key in wire.sent}
    assert by_host == {WEST.place.host: "key-of-west", NORTH.place.host: "key-of-north"}


@pytest.mark.parametrize("granted", [(), (0,), (1,)], ids=["none", "the first", "the second"])
def test_a_stored_route_needs_grants_for_all(granted: tuple[int, ...]) -> None:
    """Rows that no call asks to send may go to any endpoint of the list, so each is granted."""
    allow = [str([WEST, NORTH][which].place) for which in granted]
    with nothing_paired():
        with pytest.raises(ConfigurationError, match="is saved with mode 'azure_first'") as caught:
            load(allow)
        text = str(caught.value)
        assert [f"sent to {item.uri}," in text for item in (WEST, NORTH)] == [
            which not in granted for which in range(2)
        ]
        load([str(item.place) for item in (WEST, NORTH)])


def load(allow: list[str]) -> HybridOnnxModel:
    """Read the stored model as `load_model` does."""
    return read(GOLDEN, allow=checked_allow(allow))
