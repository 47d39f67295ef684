"""A real server of the API, llama.cpp's, and a tiny model that was made here."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hybridmodel import (
    AuthenticationFailed,
    EndpointRefused,
    HybridOnnxModel,
    SpecMismatch,
)
from tests.support import llama_server, texts
from tests.support.llama_server import LlamaServer

pytestmark = pytest.mark.skipif(
    llama_server.lacking() is not None, reason=str(llama_server.lacking())
)

SENTENCES = np.array([f"text {at} of them {'abcdefghij'[at]}" for at in range(10)], object)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """Run the server for all tests."""
    with llama_server.running(tmp_path_factory.mktemp("llama")) as server:
        yield server


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_KEY", llama_server.KEY)


def make(llama: LlamaServer, width: int = llama_server.WIDTH, **options: object) -> HybridOnnxModel:
    """Make a model of texts whose endpoint is the server."""
    endpoint = llama.endpoint(**options)
    return HybridOnnxModel(
        texts.text_model(width), endpoint=endpoint, session_options=texts.SESSION
    )


def test_both_forms_are_read_to_the_bit(llama: LlamaServer) -> None:
    """Base64 and numbers are the same vectors, of the local model's width and of length 1."""
    with make(llama) as one, make(llama, encoding_format="float") as other:
        vectors = one.predict(SENTENCES, use_azure=True)
        np.testing.assert_array_equal(vectors, other.predict(SENTENCES, use_azure=True))
    assert vectors.shape == one.predict(SENTENCES).shape
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_texts_in_several_requests_keep_their_order(llama: LlamaServer) -> None:
    """Each text has its own vector, whatever it was sent with, and its tokens are counted."""
    with make(llama, max_batch_size=3) as cut, make(llama) as whole:
        answer = cut.infer(SENTENCES, use_azure=True)
        expected = whole.predict(SENTENCES, use_azure=True)
        stats, at_once = cut.stats(), whole.stats()
    np.testing.assert_allclose(answer.outputs["vector"], expected, atol=1e-5)
    assert (answer.attempts, answer.model_version) == (4, llama_server.NAME)
    assert len({row.tobytes() for row in expected}) == len(SENTENCES)
    assert stats["azure.prompt_tokens"] == at_once["azure.prompt_tokens"] > 10 * len(SENTENCES)


def test_the_width_is_checked(llama: LlamaServer) -> None:
    """`check_endpoint` finds the width of a real server, and a call holds it to the model's."""
    with make(llama) as model:
        assert model.check_endpoint().outputs[0].shape == (-1, llama_server.WIDTH)
        assert model.client.is_ready()
    with make(llama, width=8) as other, pytest.raises(SpecMismatch, match="vectors of 32 numbers"):
        other.predict(SENTENCES, use_azure=True)


def test_a_text_that_is_too_long_is_refused_in_its_words(llama: LlamaServer) -> None:
    """The server says how many tokens it takes, and the message where the longest text is."""
    long = np.array(["short", "a " * 100], object)
    with make(llama) as model, pytest.raises(EndpointRefused, match="64 tokens") as caught:
        model.predict(long, use_azure=True)
    assert "at position 1 of those for the endpoint, has 200 characters" in str(caught.value)


def test_a_wrong_key_is_refused(llama: LlamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of another resource is an error of its own kind, and is not shown."""
    monkeypatch.setenv("LLAMA_KEY", "the-key-of-another")
    with make(llama) as model, pytest.raises(AuthenticationFailed, match="Invalid API Key") as said:
        model.predict(SENTENCES, use_azure=True)
    assert "the-key-of-another" not in str(said.value)
