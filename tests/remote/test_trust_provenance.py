"""Which fields are code's and which are stored, through copies, MLflow and variables."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    TritonEndpoint,
    load_model,
    save_model,
)
from hybridmodel.remote.trust import permission
from hybridmodel.remote.trust.credentials import key_source
from hybridmodel.remote.trust.origin import CODE, Origin
from tests.support import models
from tests.support.granting import GRANT, PICKLERS, Token, config_home, secrets
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
    nothing_paired,
    stored,
    tampered,
    wire,
)

__all__ = ["another_process", "config_home", "secrets", "wire"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("another_process")


def mixed(folder: Path) -> dict[str, Any]:
    """Return endpoints of which a saved model gave a part, by how they came about."""
    loaded = load_model(folder).endpoint
    assert loaded is not None
    here = {"uri": "https://mine.example"}
    return {
        "loaded": loaded,
        "replace": replace(loaded, timeout_s=1.0),
        "replaced host": replace(loaded, **here),
        "replaced variable": replace(loaded, auth_key_env="AWS_SECRET_ACCESS_KEY"),
        "overridden host": loaded.with_overrides(**here),
        "configured host": load_model(folder, model_config=here).endpoint,
        "configured variable": load_model(
            folder, model_config={"auth_key_env": "AWS_SECRET_ACCESS_KEY"}
        ).endpoint,
        "from its own dict": TritonEndpoint.from_dict(loaded.to_dict()),
        "of its model": HybridOnnxModel(models.linear(), endpoint=loaded).endpoint,
    }


@pytest.mark.parametrize("keep", [None, *PICKLERS])
def test_half_of_a_pair_is_not_enough(keep: str | None, tmp_path: Path, wire: Wire) -> None:
    """Host and variable have both to come from code, through copies and pickles of all kinds."""
    for how, endpoint in mixed(stored(tmp_path)).items():
        endpoint = endpoint if keep is None else PICKLERS[keep](endpoint)
        with nothing_paired():
            model = HybridOnnxModel(models.linear(), endpoint=endpoint)
            model = model if keep is None else PICKLERS[keep](model)
            with pytest.raises(ConfigurationError, match="nobody has granted"):
                ask(model)
        assert wire.sent == [], how


def test_a_pair_from_code_is_sent(tmp_path: Path, wire: Wire) -> None:
    """Both from code, by whatever way: replaced, overridden, or native model_config."""
    folder = stored(tmp_path)
    both = {"uri": f"https://{HOST}", "auth_key_env": "DIGITS_API_KEY"}
    loaded = load_model(folder).endpoint
    assert loaded is not None
    for endpoint in (
        TritonEndpoint(**STORED),
        loaded.with_overrides(**both),
        replace(loaded, uri="https://mine.example", auth_key_env="SECOND_KEY"),
        replace(loaded, origin=CODE),
        load_model(folder, model_config=both).endpoint,
    ):
        with nothing_paired():
            ask(HybridOnnxModel(models.linear(), endpoint=endpoint))
    assert len(wire.keys) == 5
    assert all(str(key).endswith(KEY) for key in wire.keys)


GUARDED_VALUES: dict[str, Any] = {
    "uri": f"http://{HOST}",
    "allow_http": True,
    "auth_key_env": "DIGITS_API_KEY",
    "secondary_key_env": "SECOND_KEY",
    "entra_id": True,
}


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_every_mixture_of_stored_and_given_fields(scheme: str) -> None:
    """A secret may go out exactly when its own field and all that makes the place are code's."""
    values = {"model_name": "m", **GUARDED_VALUES, "uri": f"{scheme}://{HOST}"}
    place = {"uri"} if scheme == "https" else {"uri", "allow_http"}
    secrets = {
        None: set(),
        "DIGITS_API_KEY": {"auth_key_env"},
        "SECOND_KEY": {"secondary_key_env"},
        "entra": {"entra_id"},
        "credential": {"nobody"},
        "HYBRIDMODEL_API_KEY": {"nobody"},
    }
    for bits in product([False, True], repeat=len(GUARDED_VALUES)):
        given = {name for name, bit in zip(GUARDED_VALUES, bits, strict=True) if bit}
        with nothing_paired():
            endpoint = TritonEndpoint.from_dict(values, given=given)
        with nothing_paired():
            found = permission.Permission(endpoint)
            for secret, needed in secrets.items():
                assert found.allows(secret) == (place | needed <= given), (secret, given)


def test_all_keys_are_known_to_who_blots_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server might repeat is told of every source, also of one behind a grant."""
    monkeypatch.setenv(HOST_KEY, "own")
    endpoint = TritonEndpoint.from_dict({**STORED, "secondary_key_env": "NOT_SET"})
    assert key_source(endpoint).known() == (f"digits_api_key-{KEY}", "own")  # type: ignore[attr-defined]
    source = SimpleNamespace(other_than=None, known=lambda: ("k",))
    assert key_source(endpoint, source).known() == ("k",)  # type: ignore[attr-defined]


def test_an_old_model_still_loads(tmp_path: Path) -> None:
    """What earlier releases saved names the usual variable; it loads, and answers locally."""
    folder = stored(tmp_path, {"auth_key_env": "HYBRIDMODEL_API_KEY"}, use_azure=False)
    for model in (load_model(folder), mlflow.pyfunc.load_model(str(folder))):
        assert model.predict(X).shape == (2, 2)


def test_a_credential_and_a_host_from_code_are_a_pair(tmp_path: Path, wire: Wire) -> None:
    """What the caller gives needs no grant where the program named the place, now or before."""
    ask(
        load_model(
            stored(tmp_path), credential=Token(), model_config={"uri": "https://mine.example"}
        )
    )
    ask(HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**STORED), credential=Token()))
    assert wire.keys == [KEY, KEY]
    again = stored(tmp_path / "again")
    for credential in (Token(), lambda: KEY):
        ask(load_model(again, credential=credential))
        with nothing_paired(), pytest.raises(ConfigurationError, match=f"@{HOST}"):
            ask(load_model(again, credential=credential))
    assert wire.keys == [KEY] * 4


def test_saving_again_does_not_make_it_code(tmp_path: Path, wire: Wire) -> None:
    """A stored pair that is loaded, allowed and saved again asks again."""
    model = load_model(stored(tmp_path), allow=[GRANT])
    save_model(model, tmp_path / "again", signature="params")
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(load_model(tmp_path / "again"))
    assert wire.sent == []
    assert HOST in (tmp_path / "again/data/hybrid_onnx/hybrid.json").read_text()


@pytest.mark.parametrize("keep", PICKLERS)
def test_what_the_caller_allowed_goes_along(keep: str, tmp_path: Path, wire: Wire) -> None:
    """A copy or pickle may send what its original may: Spark's workers get such."""
    ask(PICKLERS[keep](load_model(stored(tmp_path), allow=[GRANT])))
    assert wire.keys == [f"digits_api_key-{KEY}"]


def test_a_notebook_is_asked_nothing(tmp_path: Path, wire: Wire) -> None:
    """What a process paired in code, its saved models may send too, by pyfunc as well."""
    endpoint = TritonEndpoint(**STORED, secondary_key_env="SECOND_KEY")
    model = HybridOnnxModel(models.linear(), endpoint=endpoint, use_azure=True)
    save_model(model, tmp_path / "own", signature="params")
    ask(load_model(tmp_path / "own"))
    with pytest.raises(mlflow.exceptions.MlflowException, match="answered 400"):
        mlflow.pyfunc.load_model(str(tmp_path / "own")).predict(X)
    assert wire.keys == [f"digits_api_key-{KEY}"] * 2
    with nothing_paired(), pytest.raises(ConfigurationError, match="nobody has granted"):
        load_model(tmp_path / "own")


def test_an_origin_cannot_be_stored(tmp_path: Path, wire: Wire) -> None:
    """A model that says of itself that it is code's is not believed."""
    for origin in ({}, {"stored": []}, None, "code"):
        folder = stored(tmp_path / repr(hash(repr(origin))), {"origin": origin, "allow": ["*"]})
        with pytest.raises(ConfigurationError, match="nobody has granted"):
            ask(load_model(folder))
    with pytest.raises(ConfigurationError, match="no key 'origin'"):
        load_model(folder, model_config={"origin": CODE})
    with pytest.raises(ConfigurationError, match="leave it out"):
        TritonEndpoint(**STORED, origin={})
    assert wire.sent == []
    endpoint = TritonEndpoint(**STORED)
    assert "origin" not in endpoint.to_dict()
    assert "origin" not in repr(endpoint)
    assert endpoint == replace(endpoint, origin=Origin((("uri", "x"),)))


def test_reading_code_of_others_pairs_nothing() -> None:
    """The doctor tries addresses of graphs on for size; that is no pairing by the program."""
    from hybridmodel.doctor.advice import of_operator
    from hybridmodel.doctor.dead_names import TRITON_OPERATOR
    from hybridmodel.remote.trust.origin import is_paired

    attributes = {"model_uri": f"https://{EVIL}", "model_name": "m"}
    assert of_operator(TRITON_OPERATOR, attributes)[1] is not None
    place = TritonEndpoint.from_dict({**STORED, "uri": f"https://{EVIL}"}).place
    assert not is_paired(None, place)
    assert not is_paired("HYBRIDMODEL_API_KEY", place)


def pyfunc_ask(folder: Path, **options: Any) -> None:
    """Load by pyfunc, and ask the endpoint."""
    model = mlflow.pyfunc.load_model(str(folder), **options)
    model.predict(X, params={"use_azure": True})


@pytest.mark.parametrize("way", ["MLmodel", "argument"])
def test_configuration_through_pyfunc_proves_nothing(way: str, tmp_path: Path, wire: Wire) -> None:
    """MLflow mixes what is stored into what is given, so a pair from there stays a stored one."""
    both = {"uri": f"https://{EVIL}", "auth_key_env": "AWS_SECRET_ACCESS_KEY"}
    folder = tampered(stored(tmp_path), **(both if way == "MLmodel" else {}))
    with pytest.raises(mlflow.exceptions.MlflowException, match=f"AWS_SECRET_ACCESS_KEY@{EVIL}"):
        pyfunc_ask(folder, model_config=both if way == "argument" else None)
    assert wire.sent == []


@pytest.mark.parametrize(
    ("said", "grant"),
    [
        ({"uri": "https://mine.example", "auth_key_env": "SECOND_KEY"}, None),
        ({"uri": "https://mine.example"}, "DIGITS_API_KEY@mine.example"),
        ({"auth_key_env": "SECOND_KEY"}, f"SECOND_KEY@{HOST}"),
    ],
)
def test_the_variable_of_mlflow_is_the_machine_s(
    said: dict[str, Any],
    grant: str | None,
    tmp_path: Path,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both from ``MLFLOW_PYFUNC_INFERENCE_CONFIG``, read directly, are a pair; one is not."""
    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", json.dumps(said))
    with pytest.raises(mlflow.exceptions.MlflowException, match=grant or "answered 400"):
        pyfunc_ask(stored(tmp_path))
    assert wire.keys == ([] if grant else [f"second_key-{KEY}"])


@pytest.mark.parametrize("text", ["[]", "5", '"uri"', "null"])
def test_the_variable_of_mlflow_may_be_anything(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no mapping says nothing."""
    from hybridmodel.flavor.pyfunc import set_by_environment

    monkeypatch.setenv("MLFLOW_PYFUNC_INFERENCE_CONFIG", text)
    assert set_by_environment({"uri": "x"}) == frozenset()


@pytest.mark.parametrize("name", [HOST_KEY, HOST_KEY.upper()])
@pytest.mark.parametrize("variable", ["DIGITS_API_KEY", "HYBRIDMODEL_API_KEY"])
def test_the_host_s_own_variable_needs_no_set_up(
    variable: str, name: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Having set it is the grant for that secret and that host's data, whatever is stored."""
    monkeypatch.setenv(name, KEY)
    ask(load_model(stored(tmp_path, {"auth_key_env": variable}, use_azure=True)))
    assert wire.keys == [KEY]


@pytest.mark.parametrize(
    "uri",
    [f"https://{HOST}:8443", f"https://{HOST}/prefix", f"https://x.{HOST}", f"https://{HOST}x"],
)
def test_the_host_s_own_variable_is_for_that_host_only(
    uri: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other ports, prefixes and hosts go by grants."""
    monkeypatch.setenv(HOST_KEY, KEY)
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(load_model(stored(tmp_path, {"uri": uri})))
    assert wire.sent == []


def test_the_host_s_own_keys_rotate(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a 401 the second key is tried, and used first from then on."""
    monkeypatch.setenv(HOST_KEY, "first")
    monkeypatch.setenv(f"{HOST_KEY}_2", "second")
    wire.unauthorized = True
    model = load_model(stored(tmp_path))
    ask(model)
    assert wire.keys == ["first", "second"]
    wire.unauthorized = False
    ask(model)
    assert wire.keys[2] == "second"


@pytest.mark.parametrize(
    ("given", "own", "sent"),
    [
        ({}, True, "own"),
        ({}, False, f"hybridmodel_api_key-{KEY}"),
        ({"auth_key_env": "HYBRIDMODEL_API_KEY"}, True, "own"),
        ({"auth_key_env": "DIGITS_API_KEY"}, True, f"digits_api_key-{KEY}"),
        ({"auth_key_env": None}, True, None),
    ],
)
def test_which_variable_code_reads(
    given: dict[str, Any],
    own: bool,
    sent: str | None,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Left out: the host's own, then the usual one. Named: that one. None: no key."""
    if own:
        monkeypatch.setenv(HOST_KEY, "own")
    where = {"uri": f"https://{HOST}", "model_name": "m", "binary": True}
    ask(HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**where, **given)))
    assert wire.keys == [sent]


def test_no_other_key_follows_the_host_s_own(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that refuses its own key does not get the usual one, which may be another's."""
    monkeypatch.setenv(HOST_KEY, "own")
    wire.unauthorized = True
    where = {"uri": f"https://{HOST}", "model_name": "m", "binary": True}
    ask(HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**where)))
    assert wire.keys == ["own"]


def test_what_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the host's own variable, and the usual one."""
    monkeypatch.delenv("HYBRIDMODEL_API_KEY")
    endpoint = TritonEndpoint(uri=f"https://{HOST}", model_name="m")
    with pytest.raises(ConfigurationError, match=f"{HOST_KEY} or HYBRIDMODEL_API_KEY, which is"):
        ask(HybridOnnxModel(models.linear(), endpoint=endpoint))
