"""`TritonEndpoint`: addresses as people write them, and what is refused at once."""

from __future__ import annotations

import json

import pytest

from hybridmodel import ConfigurationError, TritonEndpoint


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("https://a.b.inference.ml.azure.com", "https://a.b.inference.ml.azure.com"),
        ("https://a.b.inference.ml.azure.com/", "https://a.b.inference.ml.azure.com"),
        ("https://a.b.inference.ml.azure.com/score", "https://a.b.inference.ml.azure.com"),
        ("https://a.b.inference.ml.azure.com/score/", "https://a.b.inference.ml.azure.com"),
        ("https://host/api/v1/endpoint/e/score", "https://host/api/v1/endpoint/e"),
        ("https://host/v2", "https://host"),
        ("https://host/v2/models/m/infer", "https://host"),
        ("https://host/prefix/v2/health/ready", "https://host/prefix"),
        ("https://host/v2x", "https://host/v2x"),
        ("https://host/前", "https://host/%E5%89%8D"),
        ("https://host/score?code=x#part", "https://host"),
        ("  https://host:8443/score  ", "https://host:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.1.2.3:8000", "http://127.1.2.3:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_an_address_is_brought_to_its_base(given: str, uri: str) -> None:
    """Scoring URIs, prefixes and ports of every kind end up as what `/v2` is appended to."""
    assert TritonEndpoint(uri=given, model_name="m").uri == uri


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("http://example.com", "unencrypted"),
        ("http://10.0.0.1", "allow_http=True"),
        ("ftp://host", "not ftp"),
        ("host:8000", "https://"),
        ("", "without a scheme"),
        ("https://", "https://"),
        ("https://host:port", "cannot be read"),
        ("https://user:hunter2@host", "user or password"),
        ("https://user:hunter2", "cannot be read"),
        ("https://bücher.example", "xn--"),
        ("https://ho st", "blanks or control"),
        ("https://host/a\x00b", "blanks or control"),
        (5, "int"),
    ],
)
def test_an_address_that_cannot_work_is_refused(given: str, said: str) -> None:
    """The message says why, and never shows a password."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        TritonEndpoint(uri=given, model_name="m")
    assert "hunter2" not in str(caught.value)


def test_http_to_another_machine_can_be_allowed() -> None:
    """A cluster's inner network is the user's decision, said aloud."""
    endpoint = TritonEndpoint(uri="http://triton:8000", model_name="m", allow_http=True)
    assert endpoint.uri == "http://triton:8000"


@pytest.mark.parametrize(
    ("version", "url"),
    [
        ("1", "https://h/v2/models/m/versions/1"),
        (3, "https://h/v2/models/m/versions/3"),
        (None, "https://h/v2/models/m"),
        ("", "https://h/v2/models/m"),
    ],
)
def test_the_version_stands_in_the_url_unless_the_server_chooses(
    version: str | None, url: str
) -> None:
    """The default is version 1, None leaves it out."""
    assert TritonEndpoint(uri="https://h", model_name="m", model_version=version).model_url == url


def test_a_name_is_quoted_in_the_url() -> None:
    """A name may hold what a URL may not."""
    assert TritonEndpoint(uri="https://h", model_name="a b").model_url.endswith("/a%20b/versions/1")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model_name", "", "without a slash"),
        ("model_name", "a/b", "without a slash"),
        ("model_name", "..", "without a slash"),
        ("model_name", "a\nb", "without a slash"),
        ("model_name", None, "without a slash"),
        ("model_version", "latest", "a number"),
        ("model_version", True, "a number"),
        ("model_version", "1/../2", "a number"),
        ("auth_key_env", "sk-S3CRET/==", "never a key"),
        ("auth_key_env", "S3CRET" * 20, "never a key"),
        ("auth_key_env", 5, "never a key"),
        ("secondary_key_env", "sk-S3CRET/==", "secondary_key_env is the NAME"),
        ("deployment", "bl ue", "such as 'blue'"),
        ("deployment", "blue\r\nX-Evil: 1", "such as 'blue'"),
        ("deployment", 5, "such as 'blue'"),
        ("ca_bundle", 5, "path of a file"),
        ("timeout_s", 0, "positive"),
        ("timeout_s", -1, "positive"),
        ("timeout_s", float("nan"), "positive"),
        ("timeout_s", float("inf"), "positive"),
        ("timeout_s", "5", "positive"),
        ("connect_timeout_s", True, "positive"),
        ("allow_http", "yes", "True or False"),
        ("binary", 1, "True or False"),
        ("entra_id", None, "True or False"),
        ("max_attempts", 0, "from 1 to 10"),
        ("max_attempts", None, "from 1 to 10"),
        ("max_batch_size", 0, "whole number from 1"),
        ("max_batch_size", True, "whole number from 1"),
        ("max_request_bytes", 1.5, "whole number from 1"),
        ("max_in_flight", 65, "from 1 to 64"),
        ("breaker_failures", 0, "from 1 to 1000"),
        ("breaker_reset_s", 0, "positive"),
    ],
)
def test_a_field_that_cannot_work_is_refused(field: str, value: object, said: str) -> None:
    """At construction, with what was expected; what may be a key is not repeated."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        TritonEndpoint(**{"uri": "https://h", "model_name": "m", field: value})
    assert "S3CRET" not in str(caught.value)


def test_an_endpoint_survives_json() -> None:
    """`from_dict` undoes `to_dict`, and passes over fields of a later version."""
    endpoint = TritonEndpoint(uri="https://h/p", model_name="m", model_version=None, timeout_s=3)
    stored = json.loads(json.dumps(endpoint.to_dict()))
    assert TritonEndpoint.from_dict({**stored, "of_a_later_version": 1}) == endpoint


def test_a_description_without_a_name_is_refused() -> None:
    """A damaged description is said to be one."""
    with pytest.raises(ConfigurationError, match="model_name"):
        TritonEndpoint.from_dict({"uri": "https://h"})


def test_a_copy_can_differ() -> None:
    """Staging and production differ in one field."""
    endpoint = TritonEndpoint(uri="https://staging", model_name="m")
    assert endpoint.with_overrides(uri="https://production").uri == "https://production"
    with pytest.raises(ConfigurationError, match="no field 'url'; it has uri"):
        endpoint.with_overrides(url="https://production")
