"""Texts and vectors as JSON: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hybridmodel.exceptions import EndpointTimeout, InputMismatch, ProtocolError
from hybridmodel.remote.embeddings import wire

BASE64 = {"width": 2, "vectors": ["AACAPwAAAEA=", "AABAQAAAgEA="]}
"""(1, 2) and (3, 4)."""

Items = list[dict[str, Any]]


def items(*vectors: Any) -> Items:
    """Make what an answer says of each text."""
    return [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]


def read(data: Any, texts: int = 2, width: int = 2, **said: Any) -> wire.Vectors:
    """Read an answer with this data."""
    body = json.dumps({"data": data, **said}).encode()
    limit = wire.response_limit(texts, width)
    return wire.decode_response(body, texts, width, limit, lambda: None)


@given(
    vectors=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 9)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    form=st.sampled_from(["base64", "float"]),
    random=st.randoms(use_true_random=False),
)
def test_vectors_come_back_to_the_bit_in_any_order(vectors: Any, form: str, random: Any) -> None:
    """Either form holds every float32 but NaN and infinity, and the index says whose it is."""
    texts, width = vectors.shape
    asked = wire.Asked(texts=["t"] * texts, model="m", encoding_format=form)
    said = json.loads(wire.encode_response(vectors, asked, tokens=3).header)
    random.shuffle(said["data"])
    found = read(said.pop("data"), texts, width, **said)
    assert found.values is not None
    assert found.values.tobytes() == vectors.tobytes()
    assert (found.model, found.usage) == ("m", {"prompt_tokens": 3, "total_tokens": 3})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_texts_arrive_as_they_are(texts: list[str]) -> None:
    """A server reads every text as it was given, whatever letters it has."""
    message = wire.encode_request(texts, "m", encoding_format="base64", dimensions=5)
    assert wire.decode_request(message.header).texts == texts
    assert json.loads(message.header)["dimensions"] == 5
    assert message.headers == {"Content-Type": "application/json"}


def test_dimensions_are_not_mentioned_unless_wanted() -> None:
    """Servers of models with one width refuse the word."""
    assert b"dimensions" not in wire.encode_request(["a"], "m", encoding_format="float").header


def test_half_a_letter_is_refused_here() -> None:
    """UTF-8 has no form for half of a surrogate pair."""
    with pytest.raises(InputMismatch, match="half of a surrogate pair"):
        wire.encode_request(["\ud800"], "m", encoding_format="base64")


WRONG: dict[str, tuple[Any, str]] = {
    "no data": (None, "no list 'data'; it has"),
    "too few": (items([1, 2]), "1 vectors came for 2 texts"),
    "too many": (items(*[[1, 2]] * 3), "3 vectors came for 2 texts"),
    "no index": ([{"embedding": [1, 2]}] * 2, r"data\[0\] has the index None"),
    "no object": ([[1, 2], [3, 4]], r"data\[0\] has the index None"),
    "index beyond": ([{"index": 2, "embedding": [1, 2]}] * 2, "not one from 0 to 1"),
    "index true": ([{"index": True, "embedding": [1, 2]}] * 2, "the index True"),
    "twice": ([{"index": 0, "embedding": [1, 2]}] * 2, "text 0 has two vectors"),
    "null": (items(None, [1, 2]), "the vector of text 0 is None"),
    "nulls": (items([None, 1], [1, 2]), "not numbers or base64"),
    "texts": (items(["1", "2"], [1, 2]), "not numbers or base64"),
    "flags": (items([True, False], [1, 2]), "not numbers or base64"),
    "lists": (items([[1], [2]], [1, 2]), "not numbers or base64"),
    "empty list": (items([], []), "not numbers or base64"),
    "several widths": (items([1, 2], [1, 2, 3]), "several widths: 2 for text 0, 3 for text 1"),
    "too large": (items([1e39, 1], [1, 2]), "a number beyond float32"),
    "far too large": (items([10**400, 1], [1, 2]), "a number beyond float32"),
    "endless": (items([1, 2], [float("inf"), 1]), "text 1 holds NaN or infinity"),
    "beyond float64": (items([1, 2], [1, 7e999]), "text 1 holds NaN or infinity"),
    "not a number": (items([1, 2], [1, float("nan")]), "text 1 holds NaN or infinity"),
    "not a number in base64": (items("AADAfwAAgD8=", "AACAPwAAAEA="), "text 0 holds NaN or inf"),
    "endless in base64": (items("AACAPwAAAEA=", "AACAfwAAgD8="), "text 1 holds NaN or inf"),
    "bad base64": (items("AACA*wAAAEA=", "AA=="), "text 0 is no base64"),
    "cut base64": (items("AACAPwAA", "AA=="), "has 6 bytes, which is no float32"),
    "empty base64": (items("", ""), "has 0 bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_answer_is_refused(case: str) -> None:
    """Each way in which an answer can be wrong is said, and no vector of it is given out."""
    data, said = WRONG[case]
    with pytest.raises(ProtocolError, match=said):
        read(data)


@pytest.mark.parametrize(
    ("data", "width"), [(items([1, 2, 3], [4, 5, 6]), 3), (items(*BASE64["vectors"]), 2)]
)
def test_another_width_is_told_and_not_read(data: Items, width: int) -> None:
    """The width of all vectors is found even where another one was expected."""
    found = read(data, width=7)
    assert (found.width, found.values) == (width, None)


@pytest.mark.parametrize(
    "usage", [None, 3, {}, {"prompt_tokens": -1}, {"total_tokens": True}, {"total_tokens": 2**60}]
)
def test_usage_that_is_no_count_is_left_out(usage: Any) -> None:
    """A server may say anything of its tokens; only counts are added up."""
    assert read(items([1, 2], [3, 4]), usage=usage, model=7).usage == {}
    assert read(items([1, 2], [3, 4]), model=7).model is None


@pytest.mark.parametrize("body", [b"[" * 5000, b'{"data":[' + b"1," * 5000 + b"1]}"])
def test_an_answer_larger_than_its_texts_warrant_is_not_read(body: bytes) -> None:
    """Lists and values are counted before anything is read."""
    with pytest.raises(ProtocolError, match=r"at most .* were expected"):
        wire.decode_response(body, 1, 2, wire.response_limit(1, 2), lambda: None)


@pytest.mark.parametrize(
    ("plain", "escaped"), [(b"+", b"\\u002b"), (b"=", b"\\u003d"), (b"/", b"\\/")]
)
def test_letters_of_base64_may_be_escaped(plain: bytes, escaped: bytes) -> None:
    """Writers of JSON in other languages escape some of them, also in long answers."""
    vectors = np.random.default_rng(0).normal(size=(100, 256)).astype(np.float32)
    asked = wire.Asked(texts=["t"] * 100, model="m", encoding_format="base64")
    body = wire.encode_response(vectors, asked, tokens=1).header
    assert body.count(plain) > 50
    limit = wire.response_limit(100, 256)
    found = wire.decode_response(body.replace(plain, escaped), 100, 256, limit, lambda: None)
    np.testing.assert_array_equal(found.values, vectors)


def test_reading_ends_with_the_deadline() -> None:
    """Nobody waits for vectors whose caller has gone."""

    def over() -> None:
        raise EndpointTimeout("over")

    body = json.dumps({"data": items([1, 2])}).encode()
    with pytest.raises(EndpointTimeout):
        wire.decode_response(body, 1, 2, wire.response_limit(1, 2), over)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"input":[1]}', "'input' is .*, not a list of texts"),
        (b"{}", "'input' is None"),
        (b'{"input":["a"],"encoding_format":"x"}', "not base64 or float"),
    ],
)
def test_a_server_says_what_is_wrong_with_a_request(body: bytes, said: str) -> None:
    """The fake endpoint refuses what a real one would."""
    with pytest.raises(ProtocolError, match=said):
        wire.decode_request(body)
    assert wire.decode_request(b'{"input":"a"}').texts == ["a"]


@pytest.mark.parametrize(("form", "at_least_s"), [("base64", 0.02), ("float", 0.5)])
def test_reading_takes_as_long_as_its_form(form: str, at_least_s: float) -> None:
    """Numbers are far slower to read than base64, and short answers take no time."""
    vectors = np.random.default_rng(0).normal(size=(1000, 512)).astype(np.float32)
    for texts, fewest, most in ((1000, at_least_s, 2 * at_least_s), (10, 0.0, 0.0)):
        asked = wire.Asked(texts=["t"] * texts, model="m", encoding_format=form)
        body = wire.encode_response(vectors[:texts], asked, tokens=1).header
        assert fewest <= wire.seconds_to_read(body, texts) <= most
