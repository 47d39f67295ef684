"""What a run sends to the endpoint, takes from it, and refuses as onnxruntime does."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from hybridmodel import (
    AuthenticationFailed,
    ConfigurationError,
    EndpointRefused,
    EndpointTimeout,
    EndpointUnavailable,
    InputMismatch,
    RateLimited,
)
from hybridmodel.azure_ep import InferenceSession
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.azure_ep_cases import A_AND_B, answer, refused
from tests.support.azure_ep_driver import unpacked
from tests.support.azure_ep_sessions import ECHO, MODEL, X, assert_equal, run_options, session
from tests.support.faulty import FaultyEndpoint, Gateway, error, http
from tests.support.original_ep import recorded


def test_each_run_sends_its_own_key() -> None:
    """Threads that share a session and its connections never send each other's key."""
    with FaultyEndpoint(ECHO) as endpoint:
        shared = session(endpoint.uri)

        def work(number: int) -> None:
            for _ in range(25):
                shared.run(
                    None, {"x": np.full((2, 3), number, np.float32)}, run_options(f"key{number}")
                )

        in_threads(work, range(6))
        assert len(endpoint.requests) == 150
        for request in endpoint.requests:
            head, _, body = request.partition(b"\r\n\r\n")
            number = int(np.frombuffer(body[-4:], "<f4")[0])
            assert f"Authorization: Bearer key{number}\r\n".encode() in head + b"\r\n"
        assert len(endpoint._open) <= 6


def in_threads(work: Callable[[int], None], numbers: Any) -> None:
    """Call a function in a thread for each number, and wait for all."""
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as raised:
            failed.append(raised)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_every_part_of_a_run_has_its_key(embedded: EmbeddedServer) -> None:
    """Rows that the server takes a few at a time are sent in parts, each with the run's key."""
    rows = np.arange(30, dtype=np.float32).reshape(10, 3)

    def small(request: bytes) -> Any:
        return error(413, "too large") if len(recorded_tensor(request)) > 4 * 12 else None

    with Gateway(embedded.port, small) as gateway:
        shared = session(gateway.uri, model_name="identity_FP32")
        assert_equal(shared.run(None, {"x": rows}, run_options()), rows)
        assert len(gateway.requests) >= 4
        with pytest.raises(AuthenticationFailed):
            shared.run(None, {"x": rows}, run_options("another"))


def recorded_tensor(request: bytes) -> bytes:
    """Return what follows the JSON of a request."""
    (tensor,) = recorded(request)["tensors"].values()
    return unpacked(tensor).tobytes()  # type: ignore[no-any-return]


def test_an_empty_key_is_no_key() -> None:
    """A server without keys gets no header, and one with keys says so."""
    with FaultyEndpoint(ECHO) as endpoint:
        session(endpoint.uri).run(None, {"x": X}, run_options(""))
        assert b"authorization" not in endpoint.requests[0].lower()


@pytest.mark.parametrize(
    ("reply", "kind", "wait_s"),
    [
        (refused(401), AuthenticationFailed, None),
        (refused(403), AuthenticationFailed, None),
        (refused(429, Retry_After="7"), RateLimited, 7),
        (refused(503, Retry_After="7"), EndpointUnavailable, 7),
    ],
)
def test_failures_are_raised_at_once(
    reply: Any, kind: type[Exception], wait_s: float | None
) -> None:
    """Typed, with status and waiting time, after one request as ever, and each time again."""
    with FaultyEndpoint(reply) as endpoint:
        shared = session(endpoint.uri)
        for number in range(1, 8):
            with pytest.raises(kind) as caught:
                shared.run(None, {"x": X}, run_options())
            assert len(endpoint.requests) == number
    assert getattr(caught.value, "retry_after_s", None) == wait_s


def test_more_attempts_can_be_asked_for() -> None:
    """The entry ``azure.max_attempts`` allows for a second request."""
    with FaultyEndpoint(http(503, Retry_After="0"), ECHO) as endpoint:
        made = session(endpoint.uri, max_attempts="2")
        assert_equal(made.run(None, {"x": X}, run_options()), X)
        assert len(endpoint.requests) == 2


def test_the_deadline_can_be_set() -> None:
    """A server that is silent for longer than ``azure.timeout_s`` costs no more than that."""
    with (
        FaultyEndpoint(lambda connection: endpoint.wait(30)) as endpoint,
        pytest.raises(EndpointTimeout, match=r"deadline of 0\.2 s"),
    ):
        session(endpoint.uri, timeout_s="0.2").run(None, {"x": X}, run_options())


@pytest.mark.parametrize(
    "feed",
    [
        X.tolist(),
        onnxruntime.OrtValue.ortvalue_from_numpy(X),
        X.astype(">f4"),
        X.astype(">f4").T.copy().T,
        np.repeat(X, 2, axis=1)[:, ::2],
    ],
    ids=["list", "OrtValue", "big-endian", "big-endian columns", "strided"],
)
def test_feeds_of_other_kinds(embedded: EmbeddedServer, feed: Any) -> None:
    """What onnxruntime takes besides arrays goes to the endpoint, as the values it holds."""
    made = session(embedded.uri, model_name="identity_FP32")
    assert_equal(made.run(None, {"x": feed}, run_options()), X)


@pytest.mark.parametrize(
    ("feed", "names"),
    [
        ({"x": X.astype(np.float64)}, None),
        ({"x": X.astype(np.float64).tolist(), "z": 1}, None),
        ({"x": X[0]}, None),
        ({"x": X[:, :2]}, None),
        ({}, None),
        ({"x": X, "z": X}, None),
        ({"x": "text"}, None),
        ({"x": X}, ["z"]),
        ({"x": X}, "y"),
        ({"x": X}, 3),
    ],
    ids=str,
)
def test_what_onnxruntime_refuses_is_refused_as_there(feed: Any, names: Any) -> None:
    """The same exception with the same message as from a local run, and nothing is sent."""
    with pytest.raises(Exception) as theirs:
        onnxruntime.InferenceSession(MODEL).run(names, feed)
    with FaultyEndpoint(ECHO) as endpoint:
        with pytest.raises(type(theirs.value)) as ours:
            session(endpoint.uri).run(names, feed, run_options())
        assert endpoint.requests == []
    first_line = str(theirs.value).partition("\n\nInvoked")[0]
    assert str(ours.value).startswith(first_line)


def test_every_input_is_judged() -> None:
    """One wrong input of two is refused, and which one is wrong does not matter."""
    right = {"a": np.ones((2, 2), np.float32), "b": np.ones((2, 1), np.int64)}
    made = session(model=models.two_inputs())
    for name, dtype in (("a", np.float64), ("b", np.int32)):
        with pytest.raises(InvalidArgument, match="Unexpected input data type"):
            made.run(None, {**right, name: right[name].astype(dtype)}, run_options())


def test_judging_computes_nothing(embedded: EmbeddedServer) -> None:
    """A feed that onnxruntime has to judge is not run here: the endpoint is the one that fails."""
    made = session(embedded.uri, models.lookup(), model_name="lookup")
    assert_equal(made.run(None, {"x": [0, 2]}, run_options()), np.array([10, 30], np.float32))
    with pytest.raises(EndpointRefused):
        made.run(None, {"x": [99]}, run_options())


def test_what_only_onnxruntime_takes_is_an_input_mismatch() -> None:
    """An overridden initializer, nothing, or numbers for strings: no request can hold them."""
    with_default = overridable()
    made = session(model=with_default)
    feed = {"x": np.ones(2, np.float32), "w": np.array([5], np.float32)}
    assert_equal(made.run(None, feed), np.array([5, 5], np.float32))
    with pytest.raises(InputMismatch, match="unexpected 'w'"):
        made.run(None, feed, run_options())
    with pytest.raises(InputMismatch, match=r"input 'x'.*NoneType"):
        session().run(None, {"x": None}, run_options())
    with pytest.raises(InputMismatch, match="input 'text'"):
        session(model=models.strings()).run(
            None, {"text": np.array([1, 2], dtype=object)}, run_options()
        )


def overridable() -> bytes:
    """Make ``y`` [N] = ``x`` [N] times the initializer ``w`` [1], which a feed may replace."""
    ends = [models.tensor(name, "FP32", shape) for name, shape in (("x", ("N",)), ("w", (1,)))]
    return models.build(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        ends,
        [models.tensor("y", "FP32", ("N",))],
        {"w": np.array([2], np.float32)},
    )


@pytest.mark.parametrize("names", [["B_out"], ("B_out", "A_out"), ["A_out", "A_out"], [], None])
def test_outputs_as_asked(names: Any) -> None:
    """The asked outputs in the asked order, as a local run gives them, and no others requested."""
    feeds = {"A": np.array([1], np.float32), "B": np.array([2], np.float32)}
    reply = answer({"A_out": feeds["A"], "B_out": feeds["B"]})
    with FaultyEndpoint(reply) as endpoint:
        made = session(endpoint.uri, A_AND_B)
        assert made.run(names, feeds, run_options()) == made.run(names, feeds)
        (request,) = endpoint.requests
    asked = json.loads(re.search(rb'\{"id".*\]\}', request)[0])["outputs"]  # type: ignore[index]
    assert [item["name"] for item in asked] == list(dict.fromkeys(names or ["A_out", "B_out"]))


def test_zero_rows_are_answered_where_there_is_an_answer() -> None:
    """Every row-wise output is empty, without a call; a mean of nothing is an error."""
    made = session(model=models.two_outputs())
    total, double = made.run(None, {"x": X[:0]}, run_options())
    assert (total.shape, double.shape) == ((0, 1), (0, 3))
    with pytest.raises(InputMismatch, match="there is no answer"):
        session(model=models.mean()).run(None, {"x": X[:0, :2]}, run_options())


def test_strings_and_texts(embedded: EmbeddedServer) -> None:
    """Strings go there and come back, as object arrays or as numpy's own."""
    made = session(embedded.uri, models.strings(), model_name="strings")
    for feed in (np.array(["a", "zürich"], dtype=object), np.array(["a", "zürich"])):
        (there,), (here,) = (
            made.run(None, {"text": feed}, run_options()),
            made.run(None, {"text": feed}),
        )
        assert there.dtype == here.dtype == object
        assert there.tolist() == here.tolist() == ["a!", "zürich!"]


@pytest.mark.parametrize(
    ("feed", "texts"),
    [
        (np.array([b"abc", b"d"], "S4"), ["abc", "d"]),
        (np.array(["zürich".encode(), b""], "S8"), ["zürich", ""]),
        (np.array([b"abc", b"d"], "V3"), ["abc", "d\0\0"]),
        (np.array([b"abc", b"d", b"ef", b"g"], "V3")[::2], ["abc", "ef\0"]),
        (np.zeros(2, "V0"), ["", ""]),
        (np.array([], "S3"), []),
    ],
    ids=str,
)
def test_bytes_of_a_fixed_size_are_strings(
    embedded: EmbeddedServer, feed: Any, texts: list[str]
) -> None:
    """Arrays of S and V stand for strings at the endpoint as in a local run."""
    made = session(embedded.uri, models.strings(), model_name="strings")
    for options in (None, run_options()):
        (shouted,) = made.run(None, {"text": feed}, options)
        assert shouted.dtype == object
        assert shouted.tolist() == [f"{text}!" for text in texts]


def test_an_element_of_full_size_ends_where_it_ends(embedded: EmbeddedServer) -> None:
    """Where a local run reads on into the next element, the endpoint gets the element."""
    made = session(embedded.uri, models.strings(), model_name="strings")
    (shouted,) = made.run(None, {"text": np.array([b"abc", b"d"])}, run_options())
    assert shouted.tolist() == ["abc!", "d!"]


@pytest.mark.parametrize("kind", ["S2", "V2"])
def test_bytes_that_are_no_text_are_refused(kind: str) -> None:
    """What is not UTF-8 is an error of the input, and is not sent."""
    with FaultyEndpoint(ECHO) as endpoint:
        made = session(endpoint.uri, models.strings())
        with pytest.raises(InputMismatch, match=r"'text'.*UTF-8"):
            made.run(None, {"text": np.array([b"\xff\xfe"], kind)}, run_options())
        assert endpoint.requests == []


@pytest.mark.parametrize("kind", ["S4", "V4"])
def test_bytes_for_numbers_are_refused_as_there(embedded: EmbeddedServer, kind: str) -> None:
    """For an input of numbers such an array is refused by onnxruntime, on either route."""
    feed = {"x": np.array([[b"1", b"2", b"3"]], kind)}
    said = []
    for options in (None, run_options()):
        with pytest.raises(InvalidArgument) as caught:
            session(embedded.uri).run(None, feed, options)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: models.classifier(zipmap=True), r"seq\(map.*zipmap=False"),
        (lambda: bfloat16(), r"bfloat16.*neither route supports"),
    ],
)
def test_a_model_that_cannot_go_remote(model: Callable[[], bytes], said: str) -> None:
    """It is refused where an endpoint is named, and runs locally where none is."""
    with pytest.raises(ConfigurationError, match=said):
        session(model=model())
    assert InferenceSession(model()).get_outputs()


def bfloat16() -> bytes:
    """Make ``y`` = ``x``, a type that numpy does not know."""
    from onnx import TensorProto

    ends = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["N"]) for name in "xy"]
    return models.build([helper.make_node("Identity", ["x"], ["y"])], ends[:1], ends[1:])
