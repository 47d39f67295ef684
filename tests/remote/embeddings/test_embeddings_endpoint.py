"""What an embeddings endpoint says of itself."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from hybridmodel import (
    ConfigurationError,
    EmbeddingsEndpoint,
    HybridOnnxModel,
    TritonEndpoint,
)
from hybridmodel.cli.options import read_config
from hybridmodel.remote.trust.permission import host_key_names
from hybridmodel.remote.trust.redirection import redirected
from hybridmodel.routing import Budget, Cascade
from tests.support import models, texts
from tests.support.paths import ROOT

AZURE = "https://name.openai.azure.com"


def make(uri: str = f"{AZURE}/openai/v1", **options: Any) -> EmbeddingsEndpoint:
    """Describe an endpoint."""
    return EmbeddingsEndpoint(**{"uri": uri, "model": "m", **options})


@pytest.mark.parametrize(
    ("uri", "asked", "prefix"),
    [
        (f"{AZURE}/openai/v1/", f"{AZURE}/openai/v1/embeddings", ""),
        (f"{AZURE}/openai/v1/embeddings", f"{AZURE}/openai/v1/embeddings", ""),
        ("https://api.openai.com/v1", "https://api.openai.com/v1/embeddings", ""),
        ("http://localhost:11434/v1", "http://localhost:11434/v1/embeddings", ""),
        ("https://n.r.models.ai.azure.com", "https://n.r.models.ai.azure.com/embeddings", ""),
        (
            "https://n.services.ai.azure.com/models/embeddings?api-version=2024-05-01-preview",
            "https://n.services.ai.azure.com/models/embeddings?api-version=2024-05-01-preview",
            "",
        ),
        (
            f"{AZURE}/openai/deployments/d/embeddings?api-version=2024-10-21",
            f"{AZURE}/openai/deployments/d/embeddings?api-version=2024-10-21",
            "",
        ),
        ("https://a.example/team/v1", "https://a.example/team/v1/embeddings", "/team"),
        ("https://embeddings", "https://embeddings/embeddings", ""),
    ],
)
def test_addresses_are_taken_as_their_pages_show_them(uri: str, asked: str, prefix: str) -> None:
    """Texts go below what was given, and what the API appends is no part of the place."""
    endpoint = make(uri)
    assert (endpoint.embeddings_url, endpoint.place.prefix) == (asked, prefix)
    assert make(endpoint.uri, api_version=endpoint.api_version) == endpoint


def test_the_version_in_an_address_is_the_one_that_is_asked() -> None:
    """Who replaces the address of an endpoint by one with a version means that version."""
    older = EmbeddingsEndpoint(uri="https://h.example/models?api-version=2024-05-01", model="m")
    later = older.with_overrides(uri="https://h.example/models?api-version=2025-04-01")
    assert (older.api_version, later.api_version) == ("2024-05-01", "2025-04-01")
    assert older.with_overrides(uri="https://g.example/models").api_version == "2024-05-01"


def test_a_host_has_its_own_variable_whatever_the_api_appends() -> None:
    """An Azure resource's key can be in the variable of its host."""
    assert "HYBRIDMODEL_KEY_name_openai_azure_com" in host_key_names(make().place)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": ""}, "model is the model's name"),
        ({"model": "a\nb"}, "model is the model's name"),
        ({"model": 7}, "model is the model's name"),
        ({"dimensions": 0}, "dimensions is a whole number from 1"),
        ({"dimensions": True}, "dimensions is a whole number"),
        ({"encoding_format": "int8"}, "encoding_format is base64 or float, not 'int8'"),
        ({"api_version": "v 1"}, "api_version is text such as"),
        ({"api_version": "1&x=y"}, "api_version is text such as"),
        ({"uri": 7}, "uri is a str, not a int"),
        ({"uri": "http://a.example/v1"}, "keys and data would travel unencrypted"),
        ({"uri": "https://user:pw@a.example/v1"}, "must not hold a user or password"),
        ({"auth_key_env": "sk-abc"}, "NAME of an environment variable"),
        ({"max_batch_size": 0}, "max_batch_size is a whole number from 1"),
        ({"timeout_s": -1}, "timeout_s is a positive number"),
        ({"entra_id": "yes"}, "entra_id is True or False"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    """Each value that cannot work is named, and none that might be a key is shown."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        make(**options)
    assert "sk-abc" not in str(caught.value)
    assert "pw@" not in str(caught.value)


def test_what_is_stored_comes_back() -> None:
    """`from_dict` reads what `to_dict` wrote, and leaves out what a later release may add."""
    endpoint = make(dimensions=256, api_version="2024-05-01-preview", entra_id=True, timeout_s=3)
    again = EmbeddingsEndpoint.from_dict({**endpoint.to_dict(), "kind": "x", "later": 1})
    assert again == endpoint
    assert endpoint.with_overrides(dimensions=None).dimensions is None
    with pytest.raises(ConfigurationError, match="no field 'model_name'; it has uri, model,"):
        endpoint.with_overrides(model_name="m")


@pytest.mark.parametrize(
    ("version", "key", "headers"),
    [
        (None, "k", {"Authorization": "Bearer k"}),
        ("2024-05-01-preview", "k", {"Authorization": "Bearer k", "api-key": "k"}),
        ("2024-05-01-preview", "eyJh.eyJi.c-_", {"Authorization": "Bearer eyJh.eyJi.c-_"}),
    ],
)
def test_keys_travel_as_the_path_wants_them(
    version: str | None, key: str, headers: dict[str, str]
) -> None:
    """Older paths read a key in a header of its own, and no path reads a token there."""
    assert make(api_version=version).key_headers(key) == headers


def test_tokens_are_asked_for_with_the_scope_of_the_path() -> None:
    """The v1 API and the older paths belong to different audiences."""
    assert make().token_scope == "https://ai.azure.com/.default"
    older = make(api_version="2024-05-01-preview")
    assert older.token_scope == "https://cognitiveservices.azure.com/.default"


@pytest.mark.parametrize(
    ("model", "dimensions", "said"),
    [
        (models.linear(), None, r"needs one input BYTES\[\?\] .* it has x: FP32"),
        (models.two_inputs(), None, "needs one input BYTES"),
        (models.strings(), None, r"needs an output FP32\[\?, \?\]; it has shout: BYTES"),
        (texts.text_model(), 16, r"needs an output FP32\[\?, 16\]; it has vector: FP32\[\?, 8\]"),
        (texts.text_model(fixed=False), None, "does not say how wide it is, pass dimensions"),
    ],
    ids=["numbers", "two inputs", "texts out", "other width", "unknown width"],
)
def test_a_local_model_that_makes_no_such_vectors_is_refused(
    model: bytes, dimensions: int | None, said: str
) -> None:
    """Both sides are held to one width, so the model has to make vectors of it from texts."""
    settings = texts.SESSION if b"StringSplit" in model else None
    with pytest.raises(ConfigurationError, match=said):
        HybridOnnxModel(model, endpoint=make(dimensions=dimensions), session_options=settings)


def test_a_name_with_an_owner_is_one_word_elsewhere() -> None:
    """Servers of ours and spans get the model's name without its owner's."""
    assert make(model="BAAI/bge-small-en").served_name == "bge-small-en"


def test_a_redirected_host_keeps_what_the_api_appends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal's address has no path, and the texts go to the path of the API all the same."""
    name = "HYBRIDMODEL_ENDPOINT_name_openai_azure_com"
    monkeypatch.setenv(name, "https://localhost:8443")
    there = redirected(make())
    assert there.embeddings_url == "https://localhost:8443/openai/v1/embeddings"
    (first, *_) = there.origin.instead
    assert first == "HYBRIDMODEL_REHEARSAL_KEY_name_openai_azure_com"


@pytest.mark.parametrize("policy", [Cascade(threshold=0.5), Budget(0.1, score="entropy")])
def test_vectors_are_no_probabilities(policy: Any) -> None:
    """No score is made of vectors as if each place were a class, but a named output can be one."""
    model, session = texts.text_model(second="length"), texts.SESSION
    with pytest.raises(ConfigurationError, match="one for each class, not from vector: FP32"):
        HybridOnnxModel(model, endpoint=make(), routing=policy, session_options=session)
    named = Cascade(threshold=0.5, score="confidence:length")
    made = HybridOnnxModel(model, endpoint=make(), routing=named, session_options=session)
    assert str(made.routing.score) == "confidence:length"


def test_the_command_line_reads_the_fields_of_this_kind() -> None:
    """A text becomes what the class takes."""
    said = ["model=m", "dimensions=256", "api_version=2024-10-21", "encoding_format=float"]
    given = {"model": "m", "dimensions": 256, "api_version": "2024-10-21"}
    assert read_config(said) == {**given, "encoding_format": "float"}


def test_the_page_names_every_field_of_its_own() -> None:
    """docs/embeddings.md has a row for each field that Triton's endpoints lack or set otherwise."""
    page = (ROOT / "docs" / "embeddings.md").read_text(encoding="utf-8")
    triton, own = (
        {item.name: item.default for item in fields(kind)}
        for kind in (TritonEndpoint, EmbeddingsEndpoint)
    )
    other = {name for name, default in own.items() if triton.get(name, own) != default}
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", page)) == {"uri", *other}
