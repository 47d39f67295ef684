"""Texts and vectors in the JSON of OpenAI's embeddings API; nothing here does I/O.

A request is ``{"model", "input": [text, …], "encoding_format"}``. The answer has
``{"data": [{"index", "embedding"}, …], "model", "usage"}`` in any order; a vector is a list of
numbers, or the base64 of little-endian float32, which is a quarter as long and needs no parsing.

Source: OpenAI's description of its API (github.com/openai/openai-openapi).
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybridmodel.data.tensors import Array
from hybridmodel.exceptions import InputMismatch, ProtocolError
from hybridmodel.remote.wire.json_text import JSON_BYTES, JsonLimit, decode_object, shown
from hybridmodel.remote.wire.protocol import MAX_BODY_BYTES, Message
from hybridmodel.remote.wire.tensor_data import Buffer

_VALUES_PER_TEXT, _LISTS_PER_TEXT = 16, 4
_VALUES = 1000

_NUMBER_BYTES = 64
"""The most for a number with its comma, on a line of its own."""

_FLOAT_BYTES = 4
_NUMBERS_BYTES_PER_S, _BASE64_BYTES_PER_S = 20e6, 100e6
_MOST_TOKENS = 2**53
_AT_ONCE = 256
"""So many vectors are read in a few milliseconds; then the time is checked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """What an answer says.

    `values` has shape (n, width), in the order of the texts. `width` is that of all vectors, which
    `values` lacks where another one was expected. `usage` has the tokens that were counted, by
    name.
    """

    values: Array | None
    width: int
    model: str | None
    usage: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client asked a server for."""

    texts: list[str]
    model: str
    encoding_format: str


def encode_request(
    texts: Sequence[str], model: str, *, encoding_format: str, dimensions: int | None = None
) -> Message:
    """Write a request for the vectors of texts.

    Raises `InputMismatch` for half of a surrogate pair, which UTF-8 cannot write, and for a request
    that is larger than any server takes.
    """
    asked: dict[str, Any] = {"model": model, "input": list(texts)}
    asked["encoding_format"] = encoding_format
    if dimensions is not None:
        asked["dimensions"] = dimensions
    try:
        body = json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InputMismatch("a text holds half of a surrogate pair, which is no letter") from None
    if len(body) > MAX_BODY_BYTES:
        raise InputMismatch(f"the request would have {len(body)} bytes; send fewer texts")
    return Message(body)


def decode_request(body: Buffer) -> Asked:
    """Read a request, as a server does; raises `ProtocolError` for what is none."""
    head = decode_object(body)
    texts, encoding = head.get("input"), head.get("encoding_format", "float")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ProtocolError(f"'input' is {shown(texts)}, not a list of texts")
    if encoding not in ("base64", "float"):
        raise ProtocolError(f"'encoding_format' is {shown(encoding)}, not base64 or float")
    return Asked(texts=texts, model=str(head.get("model")), encoding_format=encoding)


def encode_response(vectors: Array, asked: Asked, tokens: int) -> Message:
    """Write the answer to a request: `vectors` has shape (n, width)."""
    if asked.encoding_format == "base64":
        rows = (row.astype("<f4").tobytes() for row in vectors)
        written: list[Any] = [b2a_base64(row, newline=False).decode() for row in rows]
    else:
        written = vectors.tolist()
    data = [
        {"object": "embedding", "index": at, "embedding": vector}
        for at, vector in enumerate(written)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    said = {"object": "list", "data": data, "model": asked.model, "usage": usage}
    return Message(json.dumps(said, separators=(",", ":")).encode())


def response_limit(texts: int, width: int) -> JsonLimit:
    """Return what the answer to so many texts may hold, in either form.

    Some servers escape letters of base64 that need no escape.
    """
    numbers = texts * width
    size = JSON_BYTES + _NUMBER_BYTES * (numbers + texts * _VALUES_PER_TEXT)
    values = _VALUES + numbers + texts * _VALUES_PER_TEXT
    lists = _VALUES + texts * _LISTS_PER_TEXT
    return JsonLimit(min(size, MAX_BODY_BYTES), values, lists, plain=False)


def seconds_to_read(body: Buffer, texts: int) -> float:
    """Return about how long a slow machine reads an answer to so many texts; 0.0 for a short one.

    Nothing can stop it meanwhile. Numbers take much longer than base64.
    """
    size = len(body)
    if size <= JSON_BYTES:
        return 0.0
    text = bytes(body) if isinstance(body, memoryview) else body
    has_numbers = text.count(b",") > _VALUES + texts * _VALUES_PER_TEXT
    return size / (_NUMBERS_BYTES_PER_S if has_numbers else _BASE64_BYTES_PER_S)


def decode_response(
    body: Buffer, texts: int, width: int, limit: JsonLimit, alive: Callable[[], object]
) -> Vectors:
    """Read the vectors of so many texts, whatever their order.

    `alive` is called again and again, and raises once nobody waits any longer. Raises
    `ProtocolError` for what is no such answer: a text without a vector or with two, vectors of
    several widths, values that are no numbers, NaN and infinity.
    """
    head = decode_object(body, limit)
    items = _items(head, texts)
    first = _vector(items[0], 0)
    found = len(first)
    said = head.get("model")
    model = said if isinstance(said, str) else None
    usage = _usage(head.get("usage"))
    if found != width:
        return Vectors(values=None, width=found, model=model, usage=usage)
    values = np.empty((texts, width), np.float32)
    for at, item in enumerate(items):
        if not at % _AT_ONCE:
            alive()
        vector = _vector(item, at)
        if len(vector) != width:
            raise ProtocolError(
                f"the vectors of one answer have several widths: {width} for text 0, "
                f"{len(vector)} for text {at}"
            )
        values[at] = vector
    _check_finite(values)
    return Vectors(values=values, width=width, model=model, usage=usage)


def _items(head: Mapping[str, Any], texts: int) -> list[Any]:
    """Return what is said of each text, in the order of the texts."""
    data = head.get("data")
    if not isinstance(data, list):
        raise ProtocolError(f"the answer has no list 'data'; it has {shown(sorted(head))}")
    if len(data) != texts:
        raise ProtocolError(f"{len(data)} vectors came for {texts} texts")
    ordered: list[Any] = [None] * texts
    for place, item in enumerate(data):
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < texts:
            raise ProtocolError(
                f"data[{place}] has the index {shown(index)}, not one from 0 to {texts - 1}"
            )
        if ordered[index] is not None:
            raise ProtocolError(f"text {index} has two vectors")
        ordered[index] = item.get("embedding")
    return ordered


def _vector(value: Any, text: int) -> Array:
    """Return one vector, whose width nobody has compared yet."""
    if isinstance(value, str):
        return _from_base64(value, text)
    if not isinstance(value, list) or not value or set(map(type, value)) - {int, float}:
        raise ProtocolError(f"the vector of text {text} is {shown(value)}, not numbers or base64")
    try:
        with np.errstate(over="raise"):
            vector = np.array(value, np.float64).astype(np.float32)
    except (OverflowError, FloatingPointError):
        raise ProtocolError(f"the vector of text {text} has a number beyond float32") from None
    return vector


def _from_base64(value: str, text: int) -> Array:
    try:
        raw = a2b_base64(value, strict_mode=True)
    except ValueError as error:
        raise ProtocolError(f"the vector of text {text} is no base64: {error}") from None
    if not raw or len(raw) % _FLOAT_BYTES:
        raise ProtocolError(f"the vector of text {text} has {len(raw)} bytes, which is no float32")
    return np.frombuffer(raw, "<f4")


def _check_finite(values: Array) -> None:
    """Refuse what servers answer whose arithmetic overflowed: such a vector is like none."""
    if not np.isfinite(values).all():
        text = int(np.isfinite(values).all(axis=1).argmin())
        raise ProtocolError(f"the vector of text {text} holds NaN or infinity")


def _usage(said: Any) -> dict[str, int]:
    """Return the tokens that a server counted; what is no count is left out."""
    if not isinstance(said, dict):
        return {}
    names = ("prompt_tokens", "total_tokens")
    counts = {name: said.get(name) for name in names}
    return {
        name: count
        for name, count in counts.items()
        if type(count) is int and 0 <= count <= _MOST_TOKENS
    }
