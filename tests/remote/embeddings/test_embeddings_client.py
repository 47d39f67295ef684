"""A local text model and an embeddings endpoint, switched as any other two routes."""

from __future__ import annotations

import logging
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EmbeddingsEndpoint,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    HybridOnnxModel,
    InputMismatch,
    ProtocolError,
    RateLimited,
    SpecMismatch,
)
from hybridmodel.remote.attempts import RetryPolicy
from hybridmodel.remote.embeddings import wire
from hybridmodel.remote.embeddings.client import EmbeddingsClient
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.routing import Split
from tests.support import texts
from tests.support.embedding_server import EmbeddingServer, refusal

SENTENCES = np.array(["the cat", "a dog barks", "the cat sleeps", "rain"], object)

Make = Callable[..., HybridOnnxModel]


@pytest.fixture
def make(server: EmbeddingServer) -> Iterator[Make]:
    """Make models whose endpoint is the server."""
    made: list[HybridOnnxModel] = []

    def make(*, model: bytes | None = None, **options: Any) -> HybridOnnxModel:
        local = texts.text_model() if model is None else model
        endpoint = server.endpoint(**options)
        made.append(HybridOnnxModel(local, endpoint=endpoint, session_options=texts.SESSION))
        return made[-1]

    yield make
    for model in made:
        model.close()


@pytest.mark.parametrize("form", ["base64", "float"])
def test_both_routes_give_the_same_vectors(server: EmbeddingServer, make: Make, form: str) -> None:
    """With the local model behind the endpoint, the switch changes the route and nothing else."""
    model = make(encoding_format=form)
    local = model.infer(SENTENCES)
    remote = model.infer(SENTENCES, use_azure=True)
    np.testing.assert_array_equal(remote.outputs["vector"], local.outputs["vector"])
    assert remote.outputs["vector"].dtype == np.float32
    assert (remote.route, remote.model_version, remote.attempts) == ("azure", "m", 1)
    (request,) = server.requests
    assert request.body == {"model": "m", "input": SENTENCES.tolist(), "encoding_format": form}
    assert request.path == "/v1/embeddings"
    assert request.headers["x-ms-client-request-id"] == remote.request_id


def test_frames_and_columns_go_in_and_come_out(make: Make) -> None:
    """A column of texts gives a column for each place of the vectors, on both routes."""
    model = make()
    column = pd.Series(SENTENCES, index=[9, 8, 7, 6], name="text")
    remote = model.predict(column, use_azure=True)
    pd.testing.assert_frame_equal(remote, model.predict(column))
    assert list(remote.columns[:2]) == ["vector_0", "vector_1"]


@pytest.mark.skipif(not hasattr(socketserver, "UnixStreamServer"), reason="no Unix sockets")
def test_a_socket_is_asked_for_the_path_of_the_api(tmp_path: Path) -> None:
    """Behind the socket's path comes that of the API, which such servers have as others do."""
    paths: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            paths.append(self.rfile.readline().decode().split()[1])
            self.wfile.write(b"HTTP/1.1 503 no\r\nContent-Length: 0\r\n\r\n")

    path = str(tmp_path / "vllm.sock")
    with socketserver.UnixStreamServer(path, Handler) as running:
        for end in ("/v1", "/openai/v1", ""):
            thread = threading.Thread(target=running.handle_request)
            thread.start()
            endpoint = EmbeddingsEndpoint(
                uri=f"unix://{path}{end}", model="m", auth_key_env=None, max_attempts=1
            )
            assert endpoint.place.host == path
            with (
                HybridOnnxModel(
                    texts.text_model(), endpoint=endpoint, session_options=texts.SESSION
                ) as model,
                pytest.raises(EndpointUnavailable),
            ):
                model.predict(SENTENCES, use_azure=True)
            thread.join()
    assert paths == ["/v1/embeddings", "/openai/v1/embeddings", "/embeddings"]


def test_policies_choose_rows_as_for_any_endpoint(server: EmbeddingServer, make: Make) -> None:
    """Rows are split, a call falls back, and no texts send nothing."""
    model = make()
    mixed = model.infer(SENTENCES, mode=Split(0.5, by="row"))
    asked = [text for request in server.requests for text in request.body["input"]]
    assert asked == SENTENCES[mixed.routes == "azure"].tolist()
    server.requests.clear()
    server.refusals = [refusal(503, "not now")]
    assert model.infer(SENTENCES, mode="azure_first").route == "local"
    server.requests.clear()
    assert model.predict(SENTENCES[:0], use_azure=True).shape == (0, 8)
    assert server.requests == []


def test_many_texts_go_in_several_requests(server: EmbeddingServer, make: Make) -> None:
    """So many texts as the endpoint says at a time, and the vectors in the order of the texts."""
    many = np.array([f"text number {at}" for at in range(50)], object)
    model = make(max_batch_size=16)
    answer = model.infer(many, use_azure=True)
    np.testing.assert_array_equal(answer.outputs["vector"], model.predict(many))
    assert sorted(len(request.body["input"]) for request in server.requests) == [2, 16, 16, 16]
    assert answer.attempts == 4


def test_a_server_that_takes_fewer_texts_gets_fewer(server: EmbeddingServer, make: Make) -> None:
    """A 413 halves the requests until one is taken, and the next call begins there."""
    server.most_texts = 4
    many = np.array([f"text {at:02}" for at in range(12)], object)
    model = make()
    model.infer(many, use_azure=True)
    assert len(server.requests[0].body["input"]) == 12
    server.requests.clear()
    model.infer(many, use_azure=True)
    assert {len(request.body["input"]) for request in server.requests} == {3}


def test_tokens_are_counted(make: Make) -> None:
    """`stats` adds up what the server says each request has cost."""
    model = make(max_batch_size=2)
    model.predict(SENTENCES, use_azure=True)
    stats = model.stats()
    assert stats["azure.prompt_tokens"] == stats["azure.total_tokens"] == 9
    assert stats["azure.requests"] == 2


def test_wanted_dimensions_are_asked_for(server: EmbeddingServer, make: Make) -> None:
    """`dimensions` goes to the server, and stands in for a width that the graph does not say."""
    model = make(model=texts.text_model(fixed=False), dimensions=8)
    assert model.predict(SENTENCES, use_azure=True).shape == (4, 8)
    assert server.requests[0].body["dimensions"] == 8


def test_another_width_is_a_mismatch(make: Make) -> None:
    """An endpoint whose vectors are narrower or wider gives none of them out."""
    model = make(model=texts.text_model(16))
    with pytest.raises(SpecMismatch, match=r"'vector': vectors of 8 numbers came, 16 were exp"):
        model.predict(SENTENCES, use_azure=True)
    with pytest.raises(SpecMismatch, match=r"\[\?, 16\] locally, \[\?, 8\] at the endpoint"):
        model.check_endpoint()


def test_the_endpoint_is_checked_with_a_short_text(server: EmbeddingServer, make: Make) -> None:
    """Such servers describe no model, so one text tells the width, and whether it answers."""
    model = make()
    assert model.check_endpoint().outputs[0].shape == (-1, 8)
    assert model.client.is_ready()
    server.refusals = [refusal(503, "loading"), refusal(401, "who are you")]
    assert not model.client.is_ready()
    with pytest.raises(AuthenticationFailed):
        model.client.is_ready()
    assert {len(request.body["input"]) for request in server.requests} == {1}


def test_vectors_are_put_in_the_order_of_the_texts(server: EmbeddingServer, make: Make) -> None:
    """A server may answer in any order, but for each text once."""
    server.spoil = lambda said: {**said, "data": said["data"][::-1]}
    model = make()
    np.testing.assert_array_equal(
        model.predict(SENTENCES, use_azure=True), model.predict(SENTENCES)
    )
    server.spoil = lambda said: {**said, "data": [*said["data"][:-1], said["data"][0]]}
    with pytest.raises(ProtocolError, match="text 0 has two vectors"):
        model.predict(SENTENCES, use_azure=True)


def test_an_empty_text_is_refused_before_anything_is_sent(
    server: EmbeddingServer, make: Make
) -> None:
    """Most servers refuse all texts of a request with an empty one, so none is sent."""
    texts_with = np.array(["a", "", "b", ""], object)
    with pytest.raises(InputMismatch, match=r"at position 1 of those.* is empty.*; 2 texts are"):
        make(max_batch_size=1).predict(texts_with, use_azure=True)
    assert server.requests == []


def test_a_position_is_one_among_the_texts_that_a_policy_chose(
    server: EmbeddingServer, make: Make
) -> None:
    """Nobody is sent to a row of the call where only some of its rows are for the endpoint."""
    server.longest_text = 20
    chosen = np.arange(10) >= 5
    for wrong, said in (("", "is empty"), ("long" * 9, "has 36 characters")):
        given = np.array([f"t{row}" for row in range(10)], object)
        given[7] = wrong
        with pytest.raises((InputMismatch, EndpointRefused)) as caught:
            make().predict(given, mode=lambda _: chosen)
        assert f"at position 2 of those for the endpoint {said}" in str(caught.value).replace(
            ",", ""
        )


def test_a_text_too_long_is_named(server: EmbeddingServer, make: Make) -> None:
    """The refusal says where the longest text is, in the whole call and not in its chunk."""
    server.longest_text = 20
    many = np.array(["short"] * 7 + ["long" * 20], object)
    with pytest.raises(EndpointRefused) as caught:
        make(max_batch_size=4).predict(many, use_azure=True)
    assert "a text has more tokens than the model takes" in str(caught.value)
    assert "at position 7 of those for the endpoint, has 80 characters" in str(caught.value)


def test_one_output_with_vectors_is_answered(make: Make) -> None:
    """An endpoint has one output, so a call for another one is refused with those that it has."""
    two = texts.text_model(second="length")
    model = make(model=two)
    with pytest.raises(ConfigurationError, match="pass output= with one of 'vector'; vector, len"):
        model.predict(SENTENCES, use_azure=True)
    vectors = model.predict(SENTENCES, use_azure=True, output="vector")
    np.testing.assert_array_equal(vectors, model.predict(SENTENCES, output="vector"))
    assert model.check_endpoint().output_names == ("vector",)


REFUSALS: dict[int, tuple[type[Exception], str]] = {
    400: (
        EndpointRefused,
        "the longest text, at position 1 of those for the endpoint, has 11 char",
    ),
    401: (AuthenticationFailed, "that of another resource.*scope https://ai.azure.com/.default"),
    403: (AuthenticationFailed, "may not ask this model"),
    404: (EndpointRefused, "no model 'm' there.*such as /v1 or /openai/v1"),
    413: (EndpointRefused, "the longest text"),
    422: (EndpointRefused, "encoding_format='base64' are not taken everywhere"),
    424: (EndpointUnavailable, "is starting, or it crashed"),
    429: (RateLimited, "too many requests"),
    500: (EndpointUnavailable, "request id"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_each_refusal_says_what_it_means_here(
    server: EmbeddingServer, make: Make, status: int
) -> None:
    """The server's own words come first, then what may help with an embeddings endpoint."""
    server.refusals = [refusal(status, "so it was said")] * 3
    kind, hint = REFUSALS[status]
    with pytest.raises(kind, match=f"answered {status}: so it was said.*{hint}"):
        make().predict(SENTENCES[:2], use_azure=True, timeout=5)


def test_a_wrong_key_never_shows(
    server: EmbeddingServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of another resource is sent, refused and hidden in what the server repeats."""
    monkeypatch.setenv("EMBEDDING_KEY", "k-of-another-resource")
    server.refusals = [refusal(401, "k-of-another-resource is not a key of this resource")]
    model = make(auth_key_env="EMBEDDING_KEY", api_version="2024-05-01-preview")
    with pytest.raises(AuthenticationFailed) as caught:
        model.predict(SENTENCES, use_azure=True)
    assert "k-of-another-resource" not in str(caught.value)
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer k-of-another-resource"
    assert request.headers["api-key"] == "k-of-another-resource"
    assert request.path == "/v1/embeddings?api-version=2024-05-01-preview"


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"retry_after_ms": "250", "Retry_After": "7"}, 0.25),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "1m30.5s"}, 90.5),
        ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "120ms"}, 0.12),
        ({"x_ratelimit_remaining_tokens": "9", "x_ratelimit_reset_tokens": "6m0s"}, None),
        ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "soon"}, None),
    ],
)
def test_a_429_is_waited_for_as_its_headers_say(
    server: EmbeddingServer, headers: dict[str, str], pause_s: float | None
) -> None:
    """The pause before the next attempt is at least what the server asks for."""
    pauses: list[float] = []
    spec = HybridOnnxModel(texts.text_model(), session_options=texts.SESSION).spec
    client = EmbeddingsClient(
        server.endpoint(max_attempts=2, timeout_s=600.0),
        spec,
        policy=RetryPolicy(2, random=lambda: 0.0),
        sleep=pauses.append,
    )
    server.refusals = [refusal(429, "slow down", **headers)]
    client.infer({"text": SENTENCES}, ["vector"], rows=4)
    client.close()
    assert pauses == [pause_s or 0.0]


def test_one_call_answered_by_two_models_is_logged(
    server: EmbeddingServer, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """Vectors of two models do not belong together, whatever their width."""
    names = iter(["m-1", "m-2"])
    server.spoil = lambda said: {**said, "model": next(names)}
    with caplog.at_level(logging.WARNING, "hybridmodel"):
        answer = make(max_batch_size=2).infer(SENTENCES, use_azure=True)
    assert answer.model_version == "m-1, m-2"
    assert "versions m-1 and m-2" in caplog.text


class Canned:
    """A connection whose answer is there already."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def send(self, _: HttpRequest) -> Reply:
        """Give the answer."""
        return Reply(200, {"content-type": "application/json"}, self.body, b"")

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("timeout_s", "is_read"), [(0.1, False), (60.0, True)])
def test_an_answer_that_takes_too_long_to_read_is_not_begun(
    server: EmbeddingServer, timeout_s: float, is_read: bool
) -> None:
    """JSON is read in one go that nothing can stop, so the time for it has to be there."""
    vectors = np.random.default_rng(0).normal(size=(1000, 256)).astype(np.float32)
    asked = wire.Asked(texts=["t"] * 1000, model="m", encoding_format="float")
    body = wire.encode_response(vectors, asked, tokens=1).header
    spec = HybridOnnxModel(texts.text_model(256), session_options=texts.SESSION).spec
    client = EmbeddingsClient(
        server.endpoint(), spec, make_transport=lambda _: Canned(body), clock=lambda: 0.0
    )
    feeds = {"text": np.array(asked.texts, object)}
    ask = partial(client.infer, feeds, ["vector"], rows=1000, timeout_s=timeout_s)
    if is_read:
        np.testing.assert_array_equal(ask().outputs["vector"], vectors)
        return
    with pytest.raises(EndpointTimeout, match="reading them takes longer than is left"):
        ask()


def test_tokens_of_entra_id_are_asked_for_with_the_right_scope(server: EmbeddingServer) -> None:
    """A credential of azure-identity is asked for the audience of these endpoints."""
    scopes: list[str] = []

    class Credential:
        def get_token(self, *asked: str) -> Any:
            scopes.extend(asked)
            return SimpleNamespace(token="a-token", expires_on=2**40)

    with HybridOnnxModel(
        texts.text_model(),
        endpoint=server.endpoint(),
        credential=Credential(),
        session_options=texts.SESSION,
    ) as model:
        model.predict(SENTENCES, use_azure=True)
    assert scopes == ["https://ai.azure.com/.default"]
    assert server.requests[0].headers["authorization"] == "Bearer a-token"


def test_several_endpoints_are_asked_in_order(server: EmbeddingServer) -> None:
    """A list of embeddings endpoints is tried as a list of any others."""
    away = server.endpoint(uri="http://127.0.0.1:9/v1")
    with HybridOnnxModel(
        texts.text_model(), endpoint=[away, server.endpoint()], session_options=texts.SESSION
    ) as model:
        answer = model.infer(SENTENCES, use_azure=True)
        assert answer.endpoint == server.endpoint().model_url
        np.testing.assert_array_equal(answer.outputs["vector"], model.predict(SENTENCES))
        assert model.stats()["azure.prompt_tokens"] == 9


def test_the_client_is_shared_and_copied_without_a_key(make: Make) -> None:
    """A copy of a model asks the same endpoint, as `dataclasses.replace` of one changes one."""
    import copy

    model = make()
    again = copy.copy(model)
    assert again.endpoint == model.endpoint
    assert replace(server_endpoint(model), dimensions=8).dimensions == 8
    np.testing.assert_array_equal(
        again.predict(SENTENCES, use_azure=True), model.predict(SENTENCES)
    )
    again.close()


def server_endpoint(model: HybridOnnxModel) -> Any:
    """Return the endpoint of a model that has one."""
    assert model.endpoint is not None
    return model.endpoint
