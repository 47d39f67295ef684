"""Asks an embeddings endpoint for the vectors of texts, and holds it to the local model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import WILDCARD, Array, ModelSpec, TensorSpec
from hybridmodel.exceptions import (
    ConfigurationError,
    EndpointError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InputMismatch,
    ProtocolError,
)
from hybridmodel.remote.client import EndpointClient
from hybridmodel.remote.embeddings import wire
from hybridmodel.remote.embeddings.endpoint import EmbeddingsEndpoint
from hybridmodel.remote.embeddings.fitting import texts_of, widths_of
from hybridmodel.remote.exchange import Call, new_request_id
from hybridmodel.remote.wire.tensor_data import Buffer
from hybridmodel.switch import AZURE

_TRIED = "hybridmodel"
"""The text that is sent to find out whether an endpoint answers, and how wide its vectors are."""

_UNKNOWN_WIDTH = 1 << 16
"""No vector is wider, as far as reading an answer goes whose width is to be found out."""

_ABOUT_TEXTS = (400, 413, 422)
"""Statuses of servers to which a text is too long, or that take fewer texts at a time."""


class EmbeddingsClient(EndpointClient):
    """Talks to one model at one embeddings endpoint; safe to share between threads.

    Takes what `EndpointClient` does. Raises `ConfigurationError` for a local model that does not
    make vectors of a known width from texts.
    """

    endpoint: EmbeddingsEndpoint

    def __init__(
        self, endpoint: EmbeddingsEndpoint, spec: ModelSpec, credential: Any = None, **options: Any
    ) -> None:
        self._input = texts_of(spec)
        self._widths = widths_of(spec, endpoint.dimensions)
        super().__init__(endpoint, spec, credential, **options)
        self.vectors = tuple(self._widths)
        self.unanswered = tuple(name for name in spec.output_names if name not in self._widths)

    def infer(self, feeds: Mapping[str, Array], outputs: Sequence[str], **options: Any) -> Answer:
        """Ask for the vectors of texts, in several requests where one would be too large.

        Takes and raises what `EndpointClient.infer` does; `ConfigurationError` where another output
        is asked for than one with vectors, and `InputMismatch` for an empty text.
        """
        if len(outputs) != 1 or outputs[0] not in self._widths:
            raise ConfigurationError(
                f"an embeddings endpoint answers one output, a vector for each text: pass output= "
                f"with one of {', '.join(map(repr, self._widths))}; {', '.join(outputs)} "
                "were asked for"
            )
        _check_texts(feeds[self._input.name])
        return super().infer(feeds, outputs, **options)

    def metadata(self, timeout_s: float | None = None) -> ModelSpec:
        """Ask for the vector of a short text, and describe the model by it.

        These servers do not describe their models.
        """
        call = self._exchanger.begin(timeout_s, new_request_id())
        vectors = self._tried(call)
        described = (
            TensorSpec(name, "FP32", (WILDCARD, vectors.width), True) for name in self._widths
        )
        return ModelSpec((self._input,), tuple(described))

    def is_ready(self, timeout_s: float | None = None) -> bool:
        """Tell whether the endpoint answers for this model now; it is asked for a short text.

        Raises `EndpointError` where it could not be asked, or not with this key.
        """
        try:
            self._tried(self._exchanger.begin(timeout_s, new_request_id()))
        except (EndpointRefused, EndpointUnavailable) as error:
            if error.status is None:
                raise
            return False
        return True

    def _tried(self, call: Call) -> wire.Vectors:
        try:
            return self._exchange(call, [_TRIED], _UNKNOWN_WIDTH)[0]
        except EndpointError as error:
            self._explain(error, None)
            raise

    def _speaks_binary(self, call: Call) -> bool:  # noqa: ARG002 - is asked of the other protocol
        return True

    def _ask(self, call: Call) -> Answer:
        """Ask for all texts in one request."""
        name = call.outputs[0]
        width = self._widths[name]
        texts = call.feeds[self._input.name].ravel().tolist()
        send = partial(self._exchange, texts=texts, width=width)
        try:
            vectors, attempts = self._retrier.run(call, send)
        except EndpointError as error:
            self._explain(error, texts, call.first_row)
            raise
        if vectors.values is None:
            where = f"output {name!r}: vectors of {vectors.width} numbers came"
            raise self._mismatch(call, (f"{where}, {width} were expected",))
        return Answer(
            {name: vectors.values},
            AZURE,
            attempts,
            model_version=self._exchanger.version(call, vectors.model),
            request_id=call.request_id,
            endpoint=self._model_url,
            row_count=len(texts),
        )

    def _exchange(self, call: Call, texts: list[str], width: int) -> tuple[wire.Vectors, int]:
        """Send one request; the number that is returned beside the vectors is that of requests."""
        endpoint = self.endpoint
        message = wire.encode_request(
            texts,
            endpoint.model,
            encoding_format=endpoint.encoding_format,
            dimensions=endpoint.dimensions,
        )
        limit = wire.response_limit(len(texts), width)
        reply = self._exchanger.exchange(call, endpoint.embeddings_url, message, limit.size_bytes)
        try:
            self._check_time(call, reply.header, len(texts))
            alive = partial(call.deadline.check, "reading the answer")
            vectors = wire.decode_response(reply.header, len(texts), width, limit, alive)
        except (ProtocolError, EndpointTimeout) as error:
            raise self._exchanger.with_context(call, error, reply) from None
        for counted, tokens in vectors.usage.items():
            self._counters.add(counted, tokens)
        return vectors, reply.attempts

    def _check_time(self, call: Call, body: Buffer, texts: int) -> None:
        """Refuse an answer that takes longer to read than the call has time."""
        deadline = call.deadline
        if wire.seconds_to_read(body, texts) > deadline.remaining_s():
            raise EndpointTimeout(
                f"{len(body)} bytes of JSON came, and reading them takes longer than is left of "
                f"the deadline of {deadline.timeout_s:g} s; base64 takes less than numbers"
            )

    def _explain(self, error: EndpointError, texts: list[str] | None, first_row: int = 0) -> None:
        """Say what a refusal means here, where it may mean something else elsewhere."""
        endpoint = self.endpoint
        if error.status == 401:
            error.hint = (
                "the key or token is wrong, expired, or that of another resource; Entra ID tokens "
                f"need the scope {endpoint.token_scope}"
            )
        elif error.status == 403:
            error.hint = "the caller may not ask this model: a role, a private network"
        elif error.status == 404:
            error.hint = (
                f"no model {endpoint.model!r} there (on Azure, the name of a deployment is meant), "
                "or the uri lacks its end, such as /v1 or /openai/v1"
            )
        elif error.status in _ABOUT_TEXTS and texts:
            longest = max(range(len(texts)), key=lambda at: len(texts[at]))
            error.hint = (
                f"the longest text, at position {first_row + longest} of those for the endpoint, "
                f"has {len(texts[longest])} characters; dimensions and encoding_format='base64' "
                "are not taken everywhere"
            )


def _check_texts(texts: Array) -> None:
    """Refuse empty texts here, since most servers refuse all texts of a request with one."""
    empty = [row for row, text in enumerate(texts.ravel().tolist()) if not text]
    if empty:
        raise InputMismatch(
            f"the text at position {empty[0]} of those for the endpoint is empty, and such "
            "endpoints have no vector for it"
            + (f"; {len(empty)} texts are" if len(empty) > 1 else "")
        )
