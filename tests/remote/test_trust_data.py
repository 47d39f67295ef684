"""Data and routes: what a saved model may send without a grant."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mlflow
import pytest

from hybridmodel import (
    ConfigurationError,
    TritonEndpoint,
    load_model,
    log_model,
)
from hybridmodel.remote.trust import permission
from tests.support.granting import GRANT, KEYLESS, PICKLERS, config_home, secrets
from tests.support.trusting import (
    EVIL,
    HOST,
    HOST_KEY,
    KEY,
    STORED,
    Wire,
    X,
    another_process,
    ask,
    stored,
    tampered,
    wire,
)

__all__ = ["another_process", "config_home", "secrets", "wire"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("another_process")


ROUTES: dict[str, dict[str, Any]] = {
    "use_azure": {"use_azure": True},
    "shadow": {"routing": {"mode": "shadow", "answer": "local"}},
    "azure_first": {"routing": {"mode": "azure_first"}},
    "local_first": {"routing": {"mode": "local_first"}},
    "hedge": {"routing": {"mode": "hedge"}},
    "budget": {"routing": {"mode": "budget", "rows": 5, "score": {"kind": "margin"}}},
    "split": {"routing": {"mode": "split", "share": 0.5}},
}


def routed(folder: Path, route: str, **fields: Any) -> Path:
    """Save a model that would send data without being asked."""
    return stored(folder, {**KEYLESS, **fields}, **ROUTES[route])


@pytest.mark.parametrize("how", ["native", "pyfunc"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_stored_route_without_a_grant_is_an_error_at_load(
    route: str, how: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and nothing is silently answered locally; a grant for data is enough."""
    folder = routed(tmp_path, route)
    load: Any = load_model if how == "native" else mlflow.pyfunc.load_model
    with pytest.raises(Exception, match=f'export HYBRIDMODEL_ALLOW="{HOST}"'):
        load(str(folder))
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", HOST)
    load(str(folder))
    assert wire.sent == []


@pytest.mark.parametrize(
    ("fields", "at_load", "environment"),
    [
        ({}, {"allow": [HOST]}, {}),
        ({}, {"allow": [f"ANY@{HOST}"]}, {}),
        ({}, {"model_config": {"use_azure": True}}, {}),
        ({}, {"model_config": {"use_azure": False}}, {}),
        ({}, {"model_config": {"mode": "azure"}}, {}),
        ({}, {"model_config": {"uri": "https://mine.example"}}, {}),
        ({}, {}, {"HYBRIDMODEL_USE_AZURE": "1"}),
        ({}, {}, {"HYBRIDMODEL_USE_AZURE": "0"}),
        ({}, {}, {"HYBRIDMODEL_ALLOW": f"x.example, {HOST}"}),
        ({}, {}, {HOST_KEY: KEY}),
        ({"uri": "http://localhost:1"}, {}, {}),
        ({"uri": "https://127.0.0.1"}, {}, {}),
    ],
)
def test_data_goes_where_the_machine_says_so(
    fields: dict[str, Any],
    at_load: dict[str, Any],
    environment: dict[str, str],
    tmp_path: Path,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A grant, native model_config, the environment's route, or this very machine."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ask(load_model(routed(tmp_path, "use_azure", **fields), **at_load), output="y")
    said = at_load.get("model_config", {}).get("use_azure") is False
    local = said or environment.get("HYBRIDMODEL_USE_AZURE") == "0"
    assert wire.keys == ([] if local else [None])


@pytest.mark.parametrize(
    "call", [{"use_azure": True}, {"mode": "azure"}, {"mode": "azure_first"}], ids=str
)
def test_a_call_may_send_data_to_a_stored_host(
    call: dict[str, Any], tmp_path: Path, wire: Wire
) -> None:
    """Who asks for the endpoint gets the endpoint, without a key."""
    ask(load_model(stored(tmp_path, KEYLESS)), **call)
    assert wire.keys == [None]


@pytest.mark.parametrize("keep", PICKLERS)
def test_a_refused_route_stays_refused(
    keep: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the environment let through at load is not let through once that is gone."""
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "0")
    model = load_model(routed(tmp_path, "use_azure"))
    ask(model, output="y")
    monkeypatch.delenv("HYBRIDMODEL_USE_AZURE")
    for found in (model, PICKLERS[keep](model)):
        with pytest.raises(ConfigurationError, match="although no call asks for it"):
            ask(found, output="y")
    assert wire.sent == []


def test_a_route_in_the_stored_configuration_is_a_stored_one(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``use_azure`` in MLmodel sends nothing; in MLflow's variable it does."""
    folder = tampered(stored(tmp_path, KEYLESS), use_azure=True)
    with pytest.raises(mlflow.exceptions.MlflowException, match="although no call asks for it"):
        mlflow.pyfunc.load_model(str(folder))
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", '{"use_azure": true}')
    with pytest.raises(mlflow.exceptions.MlflowException, match="answered 400"):
        mlflow.pyfunc.load_model(str(folder)).predict(X)
    assert wire.keys == [None]


def test_a_refused_route_can_still_be_logged_again(
    tracking: Any, tmp_path: Path, wire: Wire
) -> None:
    """Carrying a model from one registry to another sends nothing, so nothing is asked."""
    model = load_model(routed(tmp_path, "shadow"), model_config={"use_azure": False})
    info = log_model(model, name="again", input_example=X)
    with pytest.raises(ConfigurationError, match="although no call asks for it"):
        load_model(info.model_uri)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("grant", "fields", "sent"),
    [
        (None, KEYLESS, False),
        (HOST, KEYLESS, False),
        (f"{HOST}:8000", KEYLESS, False),
        (f"http://{HOST}:8000", KEYLESS, True),
        (f"http://{HOST}:8000", {}, False),
        (GRANT, {}, False),
        (f"DIGITS_API_KEY@http://{HOST}:8000", {}, True),
    ],
)
def test_what_is_not_encrypted_needs_its_own_grant(
    grant: str | None, fields: dict[str, Any], sent: bool, tmp_path: Path, wire: Wire
) -> None:
    """A grant for https is none for http, neither for keys nor for data that a call asks for."""
    address = {"uri": f"http://{HOST}:8000", "allow_http": True}
    model = load_model(stored(tmp_path, {**address, **fields}), allow=grant and [grant])  # type: ignore[arg-type]
    if sent:
        ask(model)
    else:
        with pytest.raises(ConfigurationError, match=f"http://{HOST}:8000"):
            ask(model)
    assert len(wire.sent) == sent


def test_a_stored_permission_for_http_is_not_code_s(tmp_path: Path, wire: Wire) -> None:
    """An address from code without encryption needs ``allow_http`` from code as well."""
    folder = stored(tmp_path, {"allow_http": True, **KEYLESS})
    plain = {"uri": "http://mine.example"}
    with pytest.raises(ConfigurationError, match=r"http://mine\.example:80"):
        ask(load_model(folder, model_config=plain))
    ask(load_model(folder, model_config={**plain, "allow_http": True}))
    assert wire.keys == [None]


def test_stored_authorities_are_not_believed(tmp_path: Path) -> None:
    """A stored ``ca_bundle`` is left out with a warning; that of code and configuration counts."""
    folder = stored(tmp_path, {"ca_bundle": "/x/evil.pem"})
    with pytest.warns(UserWarning, match="ca_bundle of the saved model is not used"):
        model = load_model(folder)
    assert model.endpoint is not None
    assert model.endpoint.ca_bundle is None
    configured = load_model(folder, model_config={"ca_bundle": "/x/evil.pem"}).endpoint
    assert configured is not None
    assert configured.ca_bundle == "/x/evil.pem"
    TritonEndpoint(**STORED, ca_bundle="/x/evil.pem")
    again = load_model(folder).endpoint
    assert again is not None
    assert again.ca_bundle == "/x/evil.pem"


def test_everything_can_be_granted_with_one_warning(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``HYBRIDMODEL_ALLOW=*`` is for who knows what is in the registry, and is told once."""
    monkeypatch.setattr(permission, "_told", False)
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", "*")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for name in ("one", "two"):
            ask(load_model(stored(tmp_path / name, {"uri": f"https://{EVIL}"})))
    assert wire.keys == [f"digits_api_key-{KEY}"] * 2
    assert [str(item.message)[:14] for item in told] == ["'*' is granted"]
