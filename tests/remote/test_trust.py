"""A saved model may suggest; only the machine pairs a secret, or data, with a place."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import mlflow
import pytest
import yaml

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    TritonEndpoint,
    load_model,
    log_model,
    save_model,
)
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.remote.trust import permission, trust_file
from hybridmodel.remote.trust.credentials import key_source
from hybridmodel.remote.trust.grants import parse_grants
from hybridmodel.remote.trust.origin import CODE, Origin
from tests.support import models
from tests.support.mlflow_tools import python
from tests.support.paths import ROOT
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
    line_of,
    nothing_paired,
    stored,
    tampered,
    wire,
)

__all__ = ["another_process", "wire"]  # Fixtures.

pytestmark = pytest.mark.usefixtures("another_process")

GRANT = f"DIGITS_API_KEY@{HOST}"
PICKLERS: dict[str, Any] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "cloudpickle": lambda value: pickle.loads(cloudpickle.dumps(value)),
}


class Token:
    """A credential as those of azure-identity, which notes for what it was asked."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    def get_token(self, *scopes: str) -> Any:
        """Return something with a token."""
        self.scopes += scopes
        return SimpleNamespace(token=KEY, expires_on=4_000_000_000)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that an attacker would like to see."""
    for name in ("DIGITS_API_KEY", "SECOND_KEY", "AWS_SECRET_ACCESS_KEY", "HYBRIDMODEL_API_KEY"):
        monkeypatch.setenv(name, f"{name.lower()}-{KEY}")
    for name in ("HYBRIDMODEL_ALLOW", "HYBRIDMODEL_USE_AZURE", "MLFLOW_PYFUNC_INFERENCE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a user's folder of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


ATTACKS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a variable": ({"auth_key_env": "AWS_SECRET_ACCESS_KEY"}, {}, "AWS_SECRET_ACCESS_KEY@"),
    "the usual one": ({"auth_key_env": "HYBRIDMODEL_API_KEY"}, {}, "HYBRIDMODEL_API_KEY@"),
    "another host's own": ({"auth_key_env": HOST_KEY}, {}, f"{HOST_KEY}@"),
    "only a second one": (
        {"auth_key_env": None, "secondary_key_env": "SECOND_KEY"},
        {},
        "SECOND_KEY@",
    ),
    "a token": ({}, {"credential": Token()}, "entra@"),
    "a function's": ({}, {"credential": lambda: KEY}, "credential@"),
    "without encryption": (
        {"uri": f"http://{EVIL}", "allow_http": True},
        {},
        "DIGITS_API_KEY@http",
    ),
    "to this machine": ({"uri": "http://127.0.0.1:9"}, {}, "DIGITS_API_KEY@http://127.0.0.1:9"),
    "below a prefix": ({"uri": f"https://{EVIL}/a/b"}, {}, f"DIGITS_API_KEY@{EVIL}/a/b"),
    "to a name like Azure's": ({"uri": f"https://x{HOST}"}, {}, f"DIGITS_API_KEY@x{HOST}"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_stored_pair_is_not_sent_until_the_line_is_pasted(
    attack: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking sends nothing at all; the error's line, run by a real shell, grants exactly that."""
    fields, at_load, grant = ATTACKS[attack]
    folder = stored(tmp_path, {"uri": f"https://{EVIL}", **fields})
    monkeypatch.setenv(HOST_KEY, KEY)
    with load_model(folder, **at_load) as model:
        with pytest.raises(ConfigurationError, match="nobody has granted") as caught:
            ask(model)
        assert wire.sent == []
        line = line_of(caught)
        assert f'"{grant}' in line
        said = subprocess.run(
            ["bash", "-euc", f'{line}; printf %s "$HYBRIDMODEL_ALLOW"'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert KEY not in str(caught.value)
        monkeypatch.setenv("HYBRIDMODEL_ALLOW", said)
        ask(model)
    assert len(wire.sent) == 1
    assert KEY in str(wire.keys[0])


def test_the_line_keeps_what_is_granted_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasting the second error's line does not take back the first grant."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", "A@b.example")
    with pytest.raises(ConfigurationError) as caught:
        ask(load_model(stored(tmp_path)))
    shell = f'{line_of(caught)}; printf %s "$HYBRIDMODEL_ALLOW"'
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert list(map(str, parse_grants(said, "test"))) == ["A@b.example", GRANT]


@pytest.mark.parametrize(
    "path",
    ["/$(touch pwned)", "/`id`", '/"; id; "', "/a/../b", "/a%2e%2e/b", "/a,b.example", "/a;id"],
)
def test_a_path_that_a_shell_could_read_is_never_in_a_line(path: str, tmp_path: Path) -> None:
    """Such a place cannot be named by a grant, so the error tells the other way."""
    folder = stored(tmp_path, {"uri": f"https://{EVIL}{path}"})
    try:
        model = load_model(folder)
    except ConfigurationError:
        return
    with pytest.raises(ConfigurationError, match="no grant can name") as caught:
        ask(model)
    assert "export" not in str(caught.value)


NEARLY = [
    f"DIGITS_API_KEY@{HOST}:8443",
    f"DIGITS_API_KEY@{HOST}/prefix",
    f"DIGITS_API_KEY@http://{HOST}",
    f"DIGITS_API_KEY@http://{HOST}:443",
    f"DIGITS_API_KEY@sub.{HOST}",
    f"DIGITS_API_KEY@{HOST.partition('.')[2]}",
    f"DIGITS_API_KE@{HOST}",
    f"digits_api_key@{HOST}",
    f"entra@{HOST}",
    HOST,
    "unix:/run/x.sock",
]


@pytest.mark.parametrize("grant", NEARLY)
def test_a_grant_is_exact(
    grant: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another port, prefix, scheme, host or variable is another pair."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", grant)
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(load_model(stored(tmp_path)))
    assert wire.sent == []


@pytest.mark.parametrize("spelt", [GRANT, GRANT.replace(HOST, f"{HOST.upper()}."), f"{GRANT}:443"])
@pytest.mark.parametrize("way", ["environment", "load", "text", "file"])
def test_every_way_to_grant(
    way: str, spelt: str, tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment, the caller and the user's file grant the same, however the host is spelt."""
    if way == "environment":
        monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"other.host, {spelt}")
    elif way == "file":
        trust_file.write(parse_grants(spelt, "test"))
    allow = {"load": [spelt], "text": f"{spelt}, x.example"}.get(way)
    ask(load_model(stored(tmp_path), allow=allow))  # type: ignore[arg-type]
    assert wire.keys == [f"digits_api_key-{KEY}"]


@pytest.mark.parametrize("allow", [5, [5], ["a/.."], {"a": 1}, ["VAR@"]])
def test_allow_is_a_list_of_grants(allow: Any, tmp_path: Path) -> None:
    """What is none is said at load."""
    with pytest.raises(ConfigurationError, match="allow: "):
        load_model(stored(tmp_path), allow=allow)


def test_a_bad_environment_grants_nothing(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry that is no grant is an error, not a reason to guess."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"{GRANT}, sk-S3CRET=")
    with pytest.raises(ConfigurationError, match="entry 2") as caught:
        ask(load_model(stored(tmp_path)))
    assert "S3CRET" not in str(caught.value)
    assert wire.sent == []


def test_a_second_key_needs_its_own_grant(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 401 does not draw out a second variable that nobody granted."""
    folder = stored(tmp_path, {"secondary_key_env": "AWS_SECRET_ACCESS_KEY"})
    wire.unauthorized = True
    ask(load_model(folder, allow=[GRANT]))
    assert wire.keys == [f"digits_api_key-{KEY}"]
    wire.sent.clear()
    ask(load_model(folder, allow=[GRANT, f"AWS_SECRET_ACCESS_KEY@{HOST}"]))
    assert wire.keys == [f"digits_api_key-{KEY}", f"aws_secret_access_key-{KEY}"]


def test_a_token_is_not_even_asked_for(tmp_path: Path, wire: Wire) -> None:
    """Without a grant the credential is left alone; with one it is asked for the ML scope."""
    token = Token()
    folder = stored(tmp_path)
    with pytest.raises(ConfigurationError, match=f"entra@{HOST}"):
        ask(load_model(folder, credential=token))
    with pytest.raises(ConfigurationError, match="say uri yourself"):
        ask(load_model(folder, credential=token))
    assert token.scopes == []
    ask(load_model(folder, credential=token, allow=[f"entra@{HOST}"]))
    assert token.scopes == ["https://ml.azure.com/.default"]
    assert wire.keys == [KEY]


@pytest.mark.parametrize("variable", ["entra", "credential"])
def test_no_variable_passes_for_a_token(variable: str, tmp_path: Path) -> None:
    """A grant for tokens is none for a variable of that name."""
    with pytest.raises(ConfigurationError, match="means something else"):
        load_model(stored(tmp_path, {"auth_key_env": variable}), allow=[f"entra@{HOST}"])


def test_each_attempt_is_checked(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grant that is taken back between two attempts of one call stops the second."""
    monkeypatch.setenv("HYBRIDMODEL_ALLOW", f"{GRANT}, SECOND_KEY@{HOST}")
    wire.unauthorized = True
    wire.between = lambda: monkeypatch.delenv("HYBRIDMODEL_ALLOW", raising=False)
    model = load_model(stored(tmp_path, {"secondary_key_env": "SECOND_KEY"}))
    ask(model)
    assert wire.keys == [f"digits_api_key-{KEY}"]
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(model)


def test_a_request_elsewhere_is_refused() -> None:
    """The place is compared where the request is made."""
    endpoint = TritonEndpoint.from_dict({**STORED, "auth_key_env": None})
    found = permission.permission_of(endpoint)
    assert found is not None
    found.check_request(f"https://{HOST}/v2")
    for url in (f"https://{HOST}.evil.example/v2", f"https://{HOST}:8443/v2", "https://x/v2"):
        with pytest.raises(ConfigurationError, match="went elsewhere"):
            found.check_request(url)


# Provenance -----------------------------------------------------------------------------------


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
    from hybridmodel.doctor.replacement import replacement

    from hybridmodel.doctor.dead_names import TRITON_OPERATOR
    from hybridmodel.remote.trust.origin import is_paired

    attributes = {"model_uri": f"https://{EVIL}", "model_name": "m"}
    assert replacement(TRITON_OPERATOR, attributes).endpoint is not None
    place = TritonEndpoint.from_dict({**STORED, "uri": f"https://{EVIL}"}).place
    assert not is_paired(None, place)
    assert not is_paired("HYBRIDMODEL_API_KEY", place)


# Through pyfunc ---------------------------------------------------------------------------------


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


# The host's own variable ------------------------------------------------------------------------


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


# Data, and routes -------------------------------------------------------------------------------

ROUTES: dict[str, dict[str, Any]] = {
    "use_azure": {"use_azure": True},
    "shadow": {"routing": {"mode": "shadow", "answer": "local"}},
    "azure_first": {"routing": {"mode": "azure_first"}},
    "local_first": {"routing": {"mode": "local_first"}},
    "hedge": {"routing": {"mode": "hedge"}},
    "split": {"routing": {"mode": "split", "share": 0.5}},
}
KEYLESS = {"auth_key_env": None}


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
        with pytest.raises(ConfigurationError, match="without being asked"):
            ask(found, output="y")
    assert wire.sent == []


def test_a_route_in_the_stored_configuration_is_a_stored_one(
    tmp_path: Path, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``use_azure`` in MLmodel sends nothing; in MLflow's variable it does."""
    folder = tampered(stored(tmp_path, KEYLESS), use_azure=True)
    with pytest.raises(mlflow.exceptions.MlflowException, match="without being asked"):
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
    with pytest.raises(ConfigurationError, match="without being asked"):
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


# The user's file --------------------------------------------------------------------------------


def test_the_file_is_the_user_s_alone(config_home: Path, tmp_path: Path, wire: Wire) -> None:
    """It has mode 0600, and counts no longer when others may write it."""
    file = trust_file.write(parse_grants(GRANT, "test"))
    assert file == config_home / "hybridmodel" / "allow"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    model = load_model(stored(tmp_path))
    ask(model)
    file.chmod(0o620)
    again = load_model(stored(tmp_path / "again"))
    with pytest.raises(ConfigurationError, match="chmod 600"):
        ask(again)
    assert len(wire.sent) == 1


def test_the_file_may_change_while_a_program_runs(tmp_path: Path, wire: Wire) -> None:
    """A grant counts at the next call, and so does its end."""
    model = load_model(stored(tmp_path))
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(model)
    trust_file.write(parse_grants(GRANT, "test"))
    ask(model)
    trust_file.write(())
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(model)
    assert len(wire.sent) == 1


def test_a_damaged_file_grants_nothing(config_home: Path, tmp_path: Path, wire: Wire) -> None:
    """A line that is no grant is an error that names the file; a folder in its place is no file."""
    file = trust_file.write(())
    file.write_text(f"{GRANT} # mine\nno grant/..\n")
    with pytest.raises(ConfigurationError, match="allow: entry 3"):
        ask(load_model(stored(tmp_path)))
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigurationError, match="nobody has granted"):
        ask(load_model(stored(tmp_path / "two")))
    assert wire.sent == []


def test_who_has_no_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container without a home there is nothing to read, and writing says what to use."""

    def nobody() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", "another")
    monkeypatch.setattr(Path, "home", nobody)
    assert trust_file.path() is None
    assert trust_file.stamp() is None
    assert trust_file.read() == ()
    with pytest.raises(ConfigurationError, match="HYBRIDMODEL_ALLOW"):
        trust_file.write(())


def test_loading_and_predicting_write_nothing_there(config_home: Path, tmp_path: Path) -> None:
    """Only the command writes grants."""
    load_model(stored(tmp_path)).predict(X)
    assert not config_home.exists()


# No code of the model's -------------------------------------------------------------------------


HOSTILE = "from pathlib import Path\nPath({marker!r}).write_text('ran')\n"


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """Save a model whose MLmodel names a loader, and brings code, that leave a trace."""
    marker = tmp_path / "marker"
    folder = stored(tmp_path, {**STORED, "uri": "http://127.0.0.1:1", **KEYLESS})
    (folder / "code").mkdir()
    code = HOSTILE.format(marker=str(marker))
    for name in ("evil_loader.py", "sitecustomize.py", "hybridmodel.py", "numpy.py"):
        (folder / "code" / name).write_text(code)
    path = folder / "MLmodel"
    found = yaml.safe_load(path.read_text())
    for flavor in found["flavors"].values():
        flavor.update(code="code", loader_module="evil_loader", python_model="evil.pkl")
    path.write_text(yaml.safe_dump(found))
    (folder / "python_env.yaml").write_text("python: 0.0.1\n")
    return folder, marker


def test_loading_runs_no_code_of_the_model_s(hostile: tuple[Path, Path], tmp_path: Path) -> None:
    """`load_model` and a prediction import nothing that the model names or brings."""
    folder, marker = hostile
    before = list(sys.path)
    assert load_model(folder).predict(X).shape == (2, 2)
    assert load_model(f"file://{folder}").predict(X).shape == (2, 2)
    assert sys.path == before
    assert "evil_loader" not in sys.modules
    assert not marker.exists()
    with pytest.raises(Exception, match=r".*"):
        mlflow.pyfunc.load_model(str(folder))
    assert marker.exists(), "the trap does not work"


COMMANDS = ("inspect", "predict", "ping", "compare", "calibrate", "report", "trust")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_code_of_the_model_s(
    command: str, hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    """Every command that takes a model reads it without pyfunc."""
    folder, marker = hostile
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,c,d\n1,2,3,4\n")
    words = {
        "predict": [str(rows)],
        "compare": [str(rows)],
        "calibrate": [str(rows), "--epsilon", "0.5"],
        "report": [str(rows), "-o", str(tmp_path / "page.html")],
        "trust": ["--print-env"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "hybridmodel", command, str(folder), *words.get(command, [])],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in ((0,) if command in ("inspect", "predict", "trust") else (1, 2))
    assert not marker.exists()


# Another process, for real ----------------------------------------------------------------------

PREDICT = """
import sys
import numpy as np
from hybridmodel import ConfigurationError, load_model
try:
    answer = load_model(sys.argv[1]).predict(np.ones((2, 4), np.float32), use_azure=True)
    print("answered", answer.shape)
except ConfigurationError as error:
    print(str(error)[str(error).index("export"):].partition(" (")[0])
"""


def test_a_process_of_its_own_is_asked_and_told(tmp_path: Path) -> None:
    """What one process paired, another has to be granted; the line does it, the server answers."""
    from hybridmodel.serving import serve

    with serve({"m": models.linear(seed=7)}, auth_key=KEY) as server:
        endpoint = server.endpoint("m", auth_key_env="OTHER_KEY")
        save_model(
            HybridOnnxModel(models.linear(), endpoint=endpoint), tmp_path / "m", signature="params"
        )
        where = str(tmp_path / "m")
        grant = f"OTHER_KEY@{server.uri}"
        said = python(PREDICT, tmp_path, where, OTHER_KEY=KEY)
        assert said == f'export HYBRIDMODEL_ALLOW="{grant}"'
        answered = python(PREDICT, tmp_path, where, OTHER_KEY=KEY, HYBRIDMODEL_ALLOW=grant)
        assert answered == "answered (2, 2)"


def test_nothing_is_decided_for_code(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    """An endpoint that is all code's is not looked up: neither environment nor file is read."""

    def never() -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(trust_file, "stamp", never)
    monkeypatch.setattr(permission.Permission, "ground", never)
    ask(HybridOnnxModel(models.linear(), endpoint=TritonEndpoint(**STORED)))
    assert wire.keys == [f"digits_api_key-{KEY}"]
    assert PooledTransport.send is not None
