"""The law of gathering: each caller gets exactly what it would have got alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import EndpointError, ModelSpec, SpecMismatch, TensorSpec
from hybridmodel.data.answer import Answer
from hybridmodel.remote.http.connection import Reply
from hybridmodel.remote.wire.protocol import InferRequest, encode_response
from tests.support.callers import Callers, Held, client, refusal

SPEC = ModelSpec(
    (TensorSpec("number", "FP32", (-1, -1), True), TensorSpec("text", "BYTES", (-1,), True)),
    (
        TensorSpec("sum", "FP64", (-1,), True),
        TensorSpec("loud", "BYTES", (-1, 1), True),
        TensorSpec("signs", "BOOL", (-1, 2), True),
    ),
)
REFUSED, FAILED, DROPPED = -1.0, -2.0, -3.0
"""First numbers of rows that a server does not like."""

NUMBERS = st.one_of(
    *[st.integers(0, 1000).map(float)] * 15, st.sampled_from([REFUSED, FAILED, DROPPED])
)
TEXTS = st.sampled_from(["", "a", "ä€", "x" * 50])


@st.composite
def feeds(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the feeds of one call: a few rows of some width."""
    rows, width = draw(st.integers(1, 4)), draw(st.sampled_from([2] * 9 + [3]))
    number = np.array([[draw(NUMBERS)] * width for _ in range(rows)], np.float32)
    text = np.array([draw(TEXTS) for _ in range(rows)], object)
    return {"number": number, "text": text}


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    """Draw calls, whose outputs are not all the same."""
    outputs = st.sampled_from([("loud", "sum", "signs")] * 4 + [("sum",)])
    return draw(st.lists(st.tuples(feeds(), outputs), min_size=4, max_size=10))


def answered(request: InferRequest) -> Reply:
    """Answer each row by itself, or refuse all for one of them, as servers do."""
    number, text = request.inputs["number"], request.inputs["text"]
    if REFUSED in number:
        return refusal(400, "a row is bad")
    if FAILED in number:
        return refusal(500, "the model failed")
    kept = number[:, 0] != DROPPED
    outputs = {
        "sum": number.sum(axis=1, dtype=np.float64)[kept],
        "loud": np.array([[item.upper()] for item in text], object).reshape(-1, 1)[kept],
        "signs": (number[:, :2] > 0)[kept],
    }
    message = encode_response(
        {name: outputs[name] for name in request.outputs},
        dict.fromkeys(request.outputs, True),
        model_name="m",
        model_version="3",
        request_id=request.request_id,
    )
    return Reply(200, {}, bytearray(message.header), bytearray(b"".join(message.tensors)))


def told(outcome: Answer | BaseException) -> Any:
    """Return all of an outcome but what names the request and counts attempts."""
    if isinstance(outcome, EndpointError):
        return type(outcome), outcome.args, outcome.status, outcome.endpoint
    if isinstance(outcome, SpecMismatch):
        return type(outcome), outcome.args, outcome.differences
    assert isinstance(outcome, Answer)
    arrays = {
        name: (array.dtype, array.shape, array.tolist(), array.flags.writeable)
        for name, array in outcome.outputs.items()
    }
    return list(arrays), arrays, outcome.route, outcome.model_version, outcome.routes.tolist()


def alone(feeds: dict[str, Any], outputs: tuple[str, ...]) -> Any:
    """Return what a call gets that shares nothing."""
    held = Held(answered)
    held.go()
    asking = client(held, SPEC, coalesce_rows=0)
    try:
        return told(asking.infer(feeds, outputs, rows=len(feeds["text"])))
    except (EndpointError, SpecMismatch) as error:
        return told(error)


@settings(max_examples=60, deadline=None)
@given(calls=calls(), most=st.sampled_from([2, 5, 256]))
def test_each_caller_gets_what_it_would_have_got_alone(calls: Any, most: int) -> None:
    """Whatever is gathered with whatever: values, shapes, dtypes and errors are the same."""
    held = Held(answered)
    callers = Callers(client(held, SPEC, coalesce_rows=most))
    for feeds, outputs in calls:
        rows = len(feeds["text"])
        callers.call(0, feeds=feeds, outputs=outputs, rows=rows, goes_alone=rows >= most)
    held.go()
    found = [told(outcome) for outcome in callers.ended()]
    assert found == [alone(feeds, outputs) for feeds, outputs in calls]
