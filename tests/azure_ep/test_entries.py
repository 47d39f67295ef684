"""The entries of a session and of a run: which endpoint, and when it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest

from hybridmodel import ConfigurationError
from hybridmodel.azure_ep import InferenceSession
from hybridmodel.azure_ep.entries import SessionEntries
from hybridmodel.serving import EmbeddedServer
from tests.support.azure_ep_sessions import (
    MODEL,
    NOBODY,
    X,
    assert_equal,
    run_options,
    session,
    session_options,
)


@pytest.mark.parametrize("prefix", ["azure", "cloud"])
def test_both_prefixes_work(embedded: EmbeddedServer, prefix: str) -> None:
    """All keys may have the first prefix of the provider, or its later one."""
    options = session_options(embedded.uri, prefix, model_name="identity_FP32")
    made = InferenceSession(MODEL, options)
    assert_equal(made.run(None, {"x": X}, run_options(prefix=prefix)), X)


def test_mixed_prefixes_are_refused() -> None:
    """In a session, in a run, or between the two: the error says what is mixed."""
    mixed = session_options()
    mixed.add_session_config_entry("cloud.uri", NOBODY)
    with pytest.raises(ConfigurationError, match="the session has entries of both azure and cloud"):
        InferenceSession(MODEL, mixed)
    switches, keys = run_options(use="0"), run_options()
    switches.add_run_config_entry("use_cloud", "1")
    keys.add_run_config_entry("cloud.auth_key", "k")
    for options in (switches, keys, run_options(prefix="cloud")):
        with pytest.raises(ConfigurationError, match="the run has entries of both azure and cloud"):
            session().run(None, {"x": X}, options)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"endpoint_type": None}, r"azure\.endpoint_type are missing; the session has azure\.uri"),
        ({"uri": None, "model_name": None}, r"azure\.uri, azure\.model_name are missing"),
        ({"endpoint_type": "openai"}, "'openai', but can only be 'triton'.*openai package"),
        ({"endpoint_type": "Triton"}, "'Triton', but can only be 'triton'"),
        ({"uri": "http://example.org"}, r"http:// on example\.org.*azure\.allow_http"),
        ({"uri": "localhost:8000"}, "uri is an https:// address"),
        ({"uri": "https://u:p@example.org"}, "must not hold a user or password"),
        ({"model_name": "a/b"}, "without a slash"),
        ({"model_version": "latest"}, "model_version is a number"),
        ({"verbose": "yes"}, r"session entry azure\.verbose is True, False"),
        ({"allow_http": ""}, r"session entry azure\.allow_http is True"),
        ({"timeout_s": "soon"}, r"session entry azure\.timeout_s is a number such as '30'"),
        ({"timeout_s": "0"}, "timeout_s is a positive number of seconds"),
        ({"timeout_s": "nan"}, "timeout_s is a positive number of seconds"),
        ({"max_attempts": "-1"}, r"azure\.\*: max_attempts is a whole number from 1 to 10, not -1"),
        ({"max_attempts": "2.5"}, r"session entry azure\.max_attempts is a whole number such"),
        ({"max_attempts": "99"}, "max_attempts is a whole number from 1 to 10"),
    ],
)
def test_what_cannot_work_is_refused_at_once(entries: dict[str, Any], said: str) -> None:
    """A session with one wrong entry is not made, and the message names the entry."""
    with pytest.raises(ConfigurationError, match=said):
        session(**entries)


def test_one_entry_alone_is_an_incomplete_endpoint() -> None:
    """Whoever sets any entry means an endpoint."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("cloud.verbose", "1")
    with pytest.raises(
        ConfigurationError, match=r"cloud\.endpoint_type, cloud\.uri, cloud\.model_"
    ):
        InferenceSession(MODEL, options)


def test_entries_become_an_endpoint() -> None:
    """What is said counts, and what is not is the endpoint's default or that of the caller."""
    options = session_options(
        "http://example.org/a",
        model_version="",
        allow_http="true",
        timeout_s="2.5",
        max_attempts="2",
    )
    entries = SessionEntries.read(options)
    assert entries is not None
    endpoint = entries.endpoint(max_attempts=1, auth_key_env=None)
    assert (endpoint.uri, endpoint.model_version) == ("http://example.org/a", None)
    assert (endpoint.timeout_s, endpoint.max_attempts, endpoint.auth_key_env) == (2.5, 2, None)
    plain = SessionEntries.read(session_options())
    assert plain is not None
    assert (plain.endpoint().timeout_s, plain.endpoint().model_version) == (30, "1")
    assert SessionEntries.read(onnxruntime.SessionOptions()) is None


@pytest.mark.parametrize(
    ("made", "run", "said"),
    [
        (lambda: InferenceSession(MODEL), run_options(), r"the session names none.*azure\.uri"),
        (session, run_options(key=None), r"without the run entry azure\.auth_key; leave it empty"),
        (session, run_options(use="yes"), "run entry use_azure is True, False, 0"),
        (session, run_options(use=""), "run entry use_azure is True, False, 0"),
        (session, run_options(key="a b"), r"run entry azure\.auth_key holds control characters"),
        (session, run_options(key="schlüssel"), r"run entry azure\.auth_key holds"),
    ],
)
def test_runs_that_cannot_go_anywhere(
    made: Callable[[], InferenceSession], run: Any, said: str
) -> None:
    """A run whose entries cannot be meant is refused; the key is not in the message."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        made().run(None, {"x": X}, run)
    assert "schlüssel" not in str(caught.value)


@pytest.mark.parametrize(
    "run", [None, run_options(None, None), run_options(None, "0"), run_options(use="false")]
)
def test_runs_are_local_unless_they_say_otherwise(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked without ``use_azure``, whatever the environment says of other models."""
    monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", "1")
    assert_equal(session().run(None, {"x": X}, run), X)
    assert_equal(InferenceSession(MODEL).run(None, {"x": X}, run), X)
