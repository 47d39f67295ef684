"""The redirect of an endpoint: only the environment gives it, and no secret follows it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint, load_model, save_model
from hybridmodel.deploy.rehearsal.environment import without_identities
from hybridmodel.deploy.rehearsal.running import Rehearsal, rehearse
from hybridmodel.exceptions import AuthenticationFailed, ConfigurationError
from hybridmodel.remote.trust.redirection import redirected, redirection_names
from tests.support import models
from tests.support.rehearsing import HOST, expected, write_export
from tests.support.trusting import another_process, nothing_paired

__all__ = ["another_process"]

pytestmark = pytest.mark.usefixtures("another_process")

TARGET, KEY = redirection_names(HOST)
ROW = np.ones((1, 4), np.float32)
CANARY = "canary-of-the-real-host"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a model that names Azure's host and a variable of its own."""
    return save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save one that always asks its endpoint."""
    return save(tmp_path_factory.mktemp("routed") / "model", routing="azure")


def save(folder: Path, **options: Any) -> Path:
    """Save a model as another process would, so that this one has paired nothing."""
    with nothing_paired():
        endpoint = TritonEndpoint(
            uri=f"https://{HOST}/score", model_name="digits", auth_key_env="DIGITS_KEY"
        )
        model = HybridOnnxModel(models.linear(), endpoint=endpoint, **options)
        save_model(model, folder, extra_pip_requirements=["hybridmodel"])
    return folder


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    """Rehearse a deployment."""
    folder = write_export(tmp_path_factory.mktemp("export"))
    with rehearse(folder, server="embedded") as running:
        yield running


@pytest.fixture
def environment(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set what a program gets that is run by the rehearsal, and a secret of the real host."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HYBRIDMODEL_ALLOW"):
        monkeypatch.delenv(name, raising=False)
    for name, value in rehearsal.environment([HOST]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DIGITS_KEY", CANARY)
    return monkeypatch


def keys_seen(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Record what comes to the gateway as ``Authorization``."""
    seen: list[str | None] = []
    real = rehearsal._keys.problem

    def problem(given: str | None) -> str | None:
        seen.append(given)
        return real(given)

    monkeypatch.setattr(rehearsal._keys, "problem", problem)
    return seen


def test_names_are_those_of_the_hosts_key() -> None:
    """The host is spelt as in the variable of its key; places without such a variable have none."""
    assert redirection_names("a-b.Example") == (
        "HYBRIDMODEL_ENDPOINT_a__b_example",
        "HYBRIDMODEL_REHEARSAL_KEY_a__b_example",
    )
    for host in ("a_b.example", "a.example:8443", "a.example/prefix", "localhost", "[::1]"):
        with pytest.raises(ConfigurationError, match="no variable can redirect it"):
            redirection_names(host)


def test_an_unchanged_model_asks_the_rehearsal(
    saved: Path, environment: pytest.MonkeyPatch, rehearsal: Rehearsal
) -> None:
    """A saved model is answered by the rehearsal, with the rehearsal's key and no other."""
    seen = keys_seen(rehearsal, environment)
    model = load_model(saved)
    np.testing.assert_allclose(model.predict(ROW, use_azure=True), expected(), rtol=1e-6)
    assert model.endpoint is not None
    assert model.endpoint.uri == f"https://{HOST}", "what is saved stays what it is"
    assert model.client.endpoint.uri == rehearsal.uri
    assert set(seen) == {f"Bearer {rehearsal.credential()}"}


def test_a_saved_route_is_redirected_too(
    routed: Path, environment: pytest.MonkeyPatch, rehearsal: Rehearsal
) -> None:
    """A route that is saved, and needs a grant for the real host, needs none for this machine."""
    np.testing.assert_allclose(load_model(routed).predict(ROW), expected(), rtol=1e-6)
    environment.delenv(TARGET)
    with pytest.raises(ConfigurationError, match="is saved with mode 'azure'"):
        load_model(routed)


@pytest.mark.parametrize("who", ["variable", "function", "token", "host key", "allow", "file", "*"])
def test_no_secret_follows(
    saved: Path, environment: pytest.MonkeyPatch, rehearsal: Rehearsal, tmp_path: Path, who: str
) -> None:
    """Without its own key nothing is sent: no variable, credential or grant of the real host."""
    environment.delenv(KEY)
    seen = keys_seen(rehearsal, environment)
    place = rehearsal.uri.removeprefix("https://")
    given: dict[str, Any] = {}
    if who == "function":
        given = {"credential": lambda: CANARY}
    elif who == "token":
        given = {"credential": SimpleNamespace(get_token=lambda _: pytest.fail("was asked"))}
    elif who == "host key":
        environment.setenv(
            f"HYBRIDMODEL_KEY_{TARGET.removeprefix('HYBRIDMODEL_ENDPOINT_')}", CANARY
        )
    elif who == "*":
        environment.setenv("HYBRIDMODEL_ALLOW", "*")
    elif who == "allow":
        given = {"allow": [f"DIGITS_KEY@{place}"]}
    elif who == "file":
        environment.setenv("XDG_CONFIG_HOME", str(tmp_path))
        file = tmp_path / "hybridmodel" / "allow"
        file.parent.mkdir()
        file.write_text(f"DIGITS_KEY@{place}\n")
        file.chmod(0o600)
    with pytest.raises(ConfigurationError, match=KEY) as raised:
        load_model(saved, **given).predict(ROW, use_azure=True)
    assert seen == []
    assert CANARY not in str(raised.value)


def test_code_pairs_nothing_with_the_other_place(
    environment: pytest.MonkeyPatch, rehearsal: Rehearsal
) -> None:
    """A program that names host and key itself sends that key to the host alone."""
    environment.delenv(KEY)
    seen = keys_seen(rehearsal, environment)
    endpoint = TritonEndpoint(uri=f"https://{HOST}", model_name="digits", auth_key_env="DIGITS_KEY")
    TritonEndpoint(uri=rehearsal.uri, model_name="digits", auth_key_env="DIGITS_KEY")
    with pytest.raises(ConfigurationError, match=KEY):
        HybridOnnxModel(models.linear(), endpoint=endpoint).predict(ROW, use_azure=True)
    assert seen == []


def test_the_environment_may_say_both(
    saved: Path, environment: pytest.MonkeyPatch, rehearsal: Rehearsal
) -> None:
    """A grant of the environment for the other place lets a variable go there."""
    environment.delenv(KEY)
    environment.setenv("HYBRIDMODEL_ALLOW", f"DIGITS_KEY@{rehearsal.uri.removeprefix('https://')}")
    seen = keys_seen(rehearsal, environment)
    with pytest.raises(AuthenticationFailed):
        load_model(saved).predict(ROW, use_azure=True)
    assert set(seen) == {f"Bearer {CANARY}"}


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "https://127.0.0.1.evil.example",
        "https://evil.example#@localhost:1",
        "https://localhost@evil.example",
        "https://user:hunter2@localhost:1",
        "http://localhost:1",
        "https://localhost:1/prefix",
        "https://10.0.0.1",
        "unix:/tmp/x",
        "localhost:8443",
    ],
)
def test_only_this_machine(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """A redirect leads to https on this machine, or is an error that shows no password."""
    monkeypatch.setenv(TARGET, target)
    endpoint = TritonEndpoint(uri=f"https://{HOST}", model_name="digits")
    with pytest.raises(ConfigurationError, match=TARGET) as raised:
        redirected(endpoint)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("uri", "is_redirected"),
    [
        (f"https://{HOST}", True),
        (f"https://{HOST.upper()}/score", True),
        (f"https://{HOST}:8443", False),
        (f"https://{HOST}/api/v1/endpoint/digits/score", False),
        (f"https://other.{HOST}", False),
        ("https://digits-westeurope.inference.ml.azure.com", False),
    ],
    ids=["host", "upper case", "port", "prefix", "below", "dash"],
)
def test_which_endpoints(monkeypatch: pytest.MonkeyPatch, uri: str, is_redirected: bool) -> None:
    """A redirect is of one host, and of no other place."""
    monkeypatch.setenv(TARGET, "https://localhost:8443")
    endpoint = TritonEndpoint(uri=uri, model_name="digits", ca_bundle="/their/own.pem")
    found = redirected(endpoint)
    assert (found is not endpoint) == is_redirected
    if is_redirected:
        assert (found.uri, found.ca_bundle) == ("https://localhost:8443", None)
        assert redirected(copy.copy(found)) == found


def test_the_redirect_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log learns that another place is asked, and why."""
    monkeypatch.setenv(TARGET, "https://localhost:8443")
    redirected(TritonEndpoint(uri=f"https://{HOST}", model_name="digits"))
    assert f"{TARGET} is set: https://localhost:8443 is asked" in caplog.text


def test_real_identities_stay_out() -> None:
    """A program that gets fake tokens has no variable by which azure-identity finds real ones."""
    kept = without_identities({"PATH": "/bin", "AZURE_CLIENT_SECRET": "x", "AZURE_CLIENT_ID": "y"})
    assert kept == {"PATH": "/bin"}


def test_entra_tokens_come_from_the_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-identity finds the rehearsal's identity, and asks again when a token has expired."""
    pytest.importorskip("azure.identity")
    with rehearse(write_export(tmp_path, auth_mode="aad_token"), server="embedded") as running:
        for name, value in running.environment([HOST]).items():
            monkeypatch.setenv(name, value)
        seen = keys_seen(running, monkeypatch)
        endpoint = TritonEndpoint(uri=f"https://{HOST}", model_name="digits", entra_id=True)
        with HybridOnnxModel(models.linear(), endpoint=endpoint) as model:
            np.testing.assert_allclose(model.predict(ROW, use_azure=True), expected(), rtol=1e-6)
    assert seen
    assert all(given and given.startswith("Bearer r.") for given in seen)
