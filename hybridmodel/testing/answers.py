"""A fake endpoint's normal answers, in the bytes of the protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np

from hybridmodel.data.tensors import BY_DTYPE, Array, ModelSpec
from hybridmodel.exceptions import ConfigurationError
from hybridmodel.local.session import LocalSession
from hybridmodel.model import HybridOnnxModel
from hybridmodel.remote.embeddings import wire
from hybridmodel.remote.http.connection import HttpRequest, Reply
from hybridmodel.remote.wire.protocol import (
    HEADER_LENGTH,
    InferRequest,
    decode_request,
    encode_metadata,
    encode_response,
    split_body,
)


def as_answer(given: Any) -> Any:
    """Return the user's answer as a function, arrays, a session, or None."""
    if isinstance(given, (str, bytes, PathLike)) or hasattr(given, "SerializeToString"):
        return LocalSession(given)
    return given.local if isinstance(given, HybridOnnxModel) else given


def describe(answer: Any, model: HybridOnnxModel) -> Reply:
    """Return the metadata of a model, which accepts any number of rows."""
    spec = answer.spec if isinstance(answer, LocalSession) else model.spec
    endpoint = model.client.endpoint
    said = encode_metadata(endpoint.served_name, [endpoint.served_version or "1"], spec)
    return json_reply(200, {**said, "max_batch_size": 0})


def read(model: HybridOnnxModel, sent: HttpRequest) -> InferRequest:
    """Read a request for an answer, in the protocol of the model's endpoint."""
    body = bytearray(b"".join(sent.body))
    if not model.client.vectors:
        return decode_request(*split_body(body, sent.headers.get(HEADER_LENGTH)))
    texts = np.array(wire.decode_request(body).texts, object)
    name, output = model.spec.input_names[0], model.output or model.client.vectors[0]
    return InferRequest({name: texts}, {output: True}, True, None)


def respond(answer: Any, model: HybridOnnxModel, request: InferRequest, sent: HttpRequest) -> Reply:
    """Answer a request with what `as_answer` returned; None is the local model."""
    if answer is None:
        answer = model.local
    names = tuple(request.outputs)
    if isinstance(answer, LocalSession):
        try:
            outputs = answer.run(request.inputs, names)
        except ValueError as error:
            return json_reply(500, {"error": f"the model failed: {error}"})
    else:
        given = answer(request.inputs) if callable(answer) else answer
        outputs = _arrays(given, names, model.spec)
    if model.client.vectors:
        return _vectors_reply(outputs[names[0]], sent)
    endpoint = model.client.endpoint
    message = encode_response(
        outputs,
        {name: request.outputs.get(name, False) for name in outputs},
        model_name=endpoint.served_name,
        model_version=endpoint.served_version or "1",
        request_id=request.request_id,
    )
    headers = {name.lower(): value for name, value in message.headers.items()}
    return Reply(200, headers, message.header, bytearray(b"".join(message.tensors)))


def _vectors_reply(vectors: Array, sent: HttpRequest) -> Reply:
    """Return vectors as an embeddings endpoint does; each word counts as a token."""
    asked = wire.decode_request(b"".join(sent.body))
    tokens = sum(len(text.split()) for text in asked.texts)
    message = wire.encode_response(vectors, asked, tokens)
    return Reply(200, {"content-type": "application/json"}, message.header, b"")


def json_reply(status: int, said: Mapping[str, Any]) -> Reply:
    """Return a reply whose body is JSON."""
    return Reply(status, {"content-type": "application/json"}, json.dumps(said).encode(), b"")


def _arrays(given: Any, names: tuple[str, ...], spec: ModelSpec) -> dict[str, Array]:
    """Return the user's answer as tensors; the client finds out whether they fit."""
    if not isinstance(given, Mapping):
        if len(names) != 1:
            raise ConfigurationError(
                f"the fake endpoint was asked for the outputs {', '.join(names)}; answer with a "
                f"dict of arrays by name, not with one {type(given).__name__}"
            )
        given = {names[0]: given}
    # A server returns only the requested outputs; names unknown to the local model stay, as errors.
    left_out = set(spec.output_names) - set(names)
    return {name: _tensor(name, value) for name, value in given.items() if name not in left_out}


def _tensor(name: str, value: Any) -> Array:
    try:
        array: Array = np.asarray(value)
    except ValueError as error:
        raise ConfigurationError(
            f"the fake endpoint's output {name!r} is not an array: {error}"
        ) from error
    if array.dtype.kind == "U":
        array = array.astype(object)
    is_text = array.dtype.kind != "O" or all(isinstance(item, str) for item in array.flat)
    if array.dtype not in BY_DTYPE or not is_text:
        raise ConfigurationError(
            f"the fake endpoint's output {name!r} is {array.dtype}, which the protocol cannot carry"
        )
    return array
