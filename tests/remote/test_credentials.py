"""Where keys and tokens come from, when they are asked for again, and how long that may take."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointTimeout,
    HybridOnnxModel,
    MissingDependency,
    TritonEndpoint,
)
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.resilience import Deadline
from hybridmodel.remote.trust.credentials import AskedKey, key_source
from hybridmodel.remote.trust.key_sources import VariableKey
from hybridmodel.remote.trust.variables import is_set, value_of
from tests.support import models
from tests.support.faulty import FEEDS, SPEC, FaultyEndpoint, good, http

GOOD = good()
SOON = Deadline(3600.0)


class Clock:
    """The date, as POSIX seconds."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        """Tell it."""
        return self.now_s


class Vault:
    """Hands out what it was given, in turn, the last for ever; counts how often."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.asked = 0

    def __call__(self) -> Any:
        """Hand it out, or raise it."""
        self.asked += 1
        found = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        if isinstance(found, BaseException):
            raise found
        return found


def token(text: str, lasts_s: float, refresh_s: float | None = None) -> SimpleNamespace:
    """Return what a credential of azure-identity does, at the start of the clock."""
    start = Clock().now_s
    return SimpleNamespace(
        token=text,
        expires_on=start + lasts_s,
        refresh_on=None if refresh_s is None else start + refresh_s,
    )


def bearers(faulty: FaultyEndpoint) -> list[str]:
    """Return the keys that arrived."""
    heads = [request.partition(b"\r\n\r\n")[0].decode() for request in faulty.requests]
    return [head.split("Bearer ")[1].split("\r\n")[0] for head in heads]


def test_a_token_is_asked_for_once_until_it_is_about_to_expire() -> None:
    """A token of an hour is renewed five minutes before its end, and not for every call."""
    clock, vault = Clock(), Vault(token("first", 3600), token("second", 7200))
    source = AskedKey(vault, clock)
    assert [source.key(SOON) for _ in range(3)] == ["first"] * 3
    clock.now_s += 3299
    assert (source.key(SOON), vault.asked) == ("first", 1)
    clock.now_s += 1
    assert (source.key(SOON), vault.asked) == ("second", 2)


@pytest.mark.parametrize(
    ("given", "key", "asked_again_after_s"),
    [
        ("plain", "plain", 300),
        (token("t", 3600, 600), "t", 600),
        (token("short", 100), "short", 50),
        (
            SimpleNamespace(
                access_token="aml",
                expiry_time_utc=1_700_003_600,
                refresh_after_time_utc=1_700_001_000,
            ),
            "aml",
            1000,
        ),
        (SimpleNamespace(primary_key="one", secondary_key="two"), "one", 300),
    ],
    ids=["str", "refresh_on", "short-lived", "Azure ML token", "Azure ML keys"],
)
def test_each_kind_of_credential_is_read_and_renewed(
    given: Any, key: str, asked_again_after_s: float
) -> None:
    """What azure-core and azure-ai-ml return is understood by its attributes."""
    clock, vault = Clock(), Vault(given)
    source = AskedKey(vault, clock)
    assert source.key(SOON) == key
    clock.now_s += asked_again_after_s - 1
    source.key(SOON)
    assert vault.asked == 1
    clock.now_s += 1
    source.key(SOON)
    assert vault.asked == 2


def test_a_token_that_cannot_be_renewed_is_used_while_it_is_valid(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An identity service that is down for five minutes stops nobody; then it is an error."""
    clock, vault = Clock(), Vault(token("first", 3600), RuntimeError("IMDS is away"))
    source = AskedKey(vault, clock)
    source.key(SOON)
    clock.now_s += 3400
    assert source.key(SOON) == "first"
    assert "IMDS is away" in caplog.text
    assert "first" not in caplog.text
    clock.now_s += 300
    with pytest.raises(AuthenticationFailed, match="RuntimeError: IMDS is away"):
        source.key(SOON)


def test_one_thread_asks_for_all() -> None:
    """Sixteen calls that start together ask the credential once."""
    vault = Vault("key")
    together = threading.Barrier(16)
    source = AskedKey(vault)

    def ask() -> str | None:
        together.wait(10)
        return source.key(SOON)

    with ThreadPoolExecutor(16) as threads:
        keys = [threads.submit(ask) for _ in range(16)]
        assert [key.result(20) for key in keys] == ["key"] * 16
    assert vault.asked == 1


def test_a_credential_that_hangs_ends_at_the_deadline() -> None:
    """For the call that asks, and for those that wait for its answer."""
    release = threading.Event()

    def hanging() -> str:
        release.wait(30)
        return "late"

    endpoint = TritonEndpoint(uri="http://localhost:1", model_name="m")
    client = EndpointClient(endpoint, SPEC, hanging)

    def call() -> str:
        with pytest.raises(EndpointTimeout) as caught:
            client.infer(FEEDS, ("y",), timeout_s=0.2)
        assert caught.value.endpoint == endpoint.model_url
        return str(caught.value)

    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(call), threads.submit(call)]
        said = [one.result(10) for one in calls]
    release.set()
    assert all("credential" in text for text in said)


def test_the_second_key_takes_over_when_the_first_is_rotated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A 401 for the one is followed by the other, at once, which is used from then on."""
    monkeypatch.setenv("FIRST_KEY", "one")
    monkeypatch.setenv("SECOND_KEY", "two")
    with FaultyEndpoint(http(401), GOOD) as faulty:
        endpoint = faulty.endpoint(auth_key_env="FIRST_KEY", secondary_key_env="SECOND_KEY")
        client = EndpointClient(endpoint, SPEC)
        assert client.infer(FEEDS, ("y",)).attempts == 2
        assert client.infer(FEEDS, ("y",)).attempts == 1
    assert bearers(faulty) == ["one", "two", "two"]


def test_both_keys_of_azure_ml_are_tried() -> None:
    """`get_keys` of azure-ai-ml gives two; the second is used where the first is refused."""
    keys = SimpleNamespace(primary_key="one", secondary_key="two")
    with FaultyEndpoint(http(401), GOOD) as faulty:
        client = EndpointClient(faulty.endpoint(), SPEC, lambda: keys)
        client.infer(FEEDS, ("y",))
        client.infer(FEEDS, ("y",))
    assert bearers(faulty) == ["one", "two", "two"]


def test_a_key_that_is_refused_and_stays_the_same_is_sent_once() -> None:
    """Without another key there is no second attempt."""
    with FaultyEndpoint(http(401)) as faulty, pytest.raises(AuthenticationFailed):
        EndpointClient(faulty.endpoint(), SPEC, lambda: "same").infer(FEEDS, ("y",))
    assert bearers(faulty) == ["same"]


def test_variables_are_read_for_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that is set counts; none at all is an error that names both."""
    source = VariableKey(("FIRST_KEY", "SECOND_KEY"))
    monkeypatch.delenv("FIRST_KEY", raising=False)
    monkeypatch.delenv("SECOND_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="FIRST_KEY or SECOND_KEY, which is not set"):
        source.key(SOON)
    monkeypatch.setenv("SECOND_KEY", "two")
    assert source.key(SOON) == "two"
    monkeypatch.setenv("FIRST_KEY", "one")
    assert source.key(SOON) == "one"
    assert source.other_than("one", SOON) == "two"
    assert source.other_than("two", SOON) == "one"


def test_an_asynchronous_credential_is_refused_at_once() -> None:
    """Those of `azure.identity.aio` return coroutines, which nobody would wait for."""

    class Async:
        async def get_token(self, *scopes: str) -> str:
            return "never"

    endpoint = TritonEndpoint(uri="http://localhost:1", model_name="m")
    with pytest.raises(ConfigurationError, match="asynchronous"):
        key_source(endpoint, Async())


def test_an_endpoint_can_ask_azure_identity_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a model that MLflow loads, without a credential, gets Entra ID tokens."""
    asked: list[str] = []

    def get_token(self: object, *scopes: str, **_: Any) -> SimpleNamespace:
        asked.extend(scopes)
        return SimpleNamespace(token="entra", expires_on=4e9)

    monkeypatch.setattr("azure.identity.DefaultAzureCredential.get_token", get_token)
    with FaultyEndpoint(GOOD) as faulty:
        EndpointClient(faulty.endpoint(entra_id=True), SPEC).infer(FEEDS, ("y",))
    assert (bearers(faulty), asked) == (["entra"], ["https://ml.azure.com/.default"])


def test_without_azure_identity_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    endpoint = TritonEndpoint(uri="https://h", model_name="m", entra_id=True)
    with pytest.raises(MissingDependency, match=r"hybridmodel\[azure\]"):
        EndpointClient(endpoint, SPEC)


def test_a_kept_token_shows_nowhere() -> None:
    """Neither the attributes, nor a repr, nor a pickle of the model hold it."""
    with FaultyEndpoint(GOOD) as faulty:
        endpoint = faulty.endpoint()
        model = HybridOnnxModel(models.linear(), endpoint=endpoint, credential=lambda: "canary")
        with pytest.raises(Exception, match="not what the local model"):
            model.predict(np.ones((1, 4), np.float32), use_azure=True)
    source = model.client._exchanger.keys
    assert bearers(faulty) == ["canary"]
    assert not hasattr(source, "__dict__")
    assert "canary" not in repr(source) + repr(source._token)  # type: ignore[attr-defined]


@pytest.mark.parametrize("mapping", ["of the system", "another"])
def test_a_variable_is_looked_up_as_python_does(
    mapping: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short way says what ``os.environ`` says, and leaves other mappings to themselves."""
    monkeypatch.setenv("LOOKED_UP", "zürich")
    monkeypatch.delenv("NOT_THERE", raising=False)
    if mapping == "another":
        monkeypatch.setattr(os, "environ", dict(os.environ))
    for name, value in (("LOOKED_UP", "zürich"), ("NOT_THERE", None), ("", None)):
        assert (is_set(name), value_of(name)) == (value is not None, value)
    os.environ["LOOKED_UP"] = ""
    assert (is_set("LOOKED_UP"), value_of("LOOKED_UP")) == (True, "")
