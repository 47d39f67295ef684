"""The promise: the same question gets the same kind of answer from either route."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridmodel import (
    EndpointRefused,
    EndpointTimeout,
    HybridOnnxModel,
    InputMismatch,
    SpecMismatch,
)
from hybridmodel.data.tensors import ELEMENT_TYPES
from hybridmodel.process import per_process
from hybridmodel.remote.http.transport import PooledTransport
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from tests.support import models
from tests.support.alike import COLUMNS, INDEX, assert_alike, chars

Server = EmbeddedServer | TritonServer

NUMBERS = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
FEATURES = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def identity_cases() -> Iterator[Any]:
    """Yield an array and a frame for each datatype."""
    for row in ELEMENT_TYPES:
        values = NUMBERS.astype(str).astype(object) if row.datatype == "BYTES" else NUMBERS
        array = values.astype(row.dtype)
        name = f"identity_{row.datatype}"
        yield pytest.param(name, array, id=f"{name} array")
        yield pytest.param(name, pd.DataFrame(array, index=INDEX), id=f"{name} frame")


CASES = [
    *identity_cases(),
    pytest.param("linear", FEATURES.astype(np.float64), id="float64 array"),
    pytest.param("linear", FEATURES.tolist(), id="list"),
    pytest.param("linear", np.asfortranarray(FEATURES), id="column-major array"),
    pytest.param("linear", FEATURES[::-1], id="strided array"),
    pytest.param("linear", {"x": FEATURES}, id="dict"),
    pytest.param("linear", pd.DataFrame(FEATURES, index=INDEX), id="frame"),
    pytest.param("linear", pd.DataFrame(FEATURES)[:0], id="empty frame"),
    pytest.param("linear", FEATURES[:0], id="no rows"),
    pytest.param("two_outputs", FEATURES[:, :3], id="several outputs, array"),
    pytest.param("two_outputs", pd.DataFrame(FEATURES[:, :3], index=INDEX), id="several, frame"),
    pytest.param("two_inputs", {"b": [[1], [2]], "a": [[1, 2], [3, 4]]}, id="dict of lists"),
    pytest.param("two_inputs", {"a": np.ones((3, 2)), "b": [[7]]}, id="one row for all"),
    pytest.param("strings", pd.Series(["a", "ü", ""], index=INDEX), id="series of strings"),
    pytest.param("strings", np.array(["a", "bc"]), id="array of strings"),
    pytest.param("classifier", pd.DataFrame(FEATURES, index=INDEX), id="label, probabilities"),
    pytest.param("zipmap", pd.DataFrame(FEATURES, index=INDEX), id="zipmap, frame"),
    pytest.param("zipmap", FEATURES, id="zipmap, array"),
    pytest.param("image", np.zeros((2, 3, 4, 5), np.uint8), id="images"),
    pytest.param("image", pd.Series(list(np.zeros((2, 3, 4, 5)))), id="cells with images"),
    pytest.param("columns", COLUMNS, id="named columns"),
    pytest.param("columns", COLUMNS[:0], id="named columns, no rows"),
    pytest.param("fixed", FEATURES[:2, :3], id="fixed batch"),
    pytest.param("many_weights", np.arange(3.0), id="over 100 initializers"),
    pytest.param("lookup", pd.Series([0, 2], index=[7, 8]), id="series of integers"),
]


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    """Serve the models of the tests in this process."""
    with serve(models.served()) as server:
        yield server


@pytest.fixture(params=["embedded", "triton"])
def server(request: pytest.FixtureRequest) -> Server:
    """Give one kind of server after the other."""
    chosen: Server = request.getfixturevalue(request.param)
    return chosen


def hybrid(server: Server, name: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint serves the very same file."""
    return HybridOnnxModel(models.served()[name], endpoint=server.endpoint(name), **options)


@pytest.mark.parametrize(("name", "data"), CASES)
def test_both_routes_answer_alike(server: Server, name: str, data: Any) -> None:
    """Container, names, dtypes, index, order and, for the same file, values are the same."""
    before = copy.deepcopy(data)
    with hybrid(server, name) as model:
        here = model.predict(data, use_azure=False)
        there = model.predict(data, use_azure=True)
        one = model.outputs[-1].name
        assert_alike(
            model.predict(data, output=one), model.predict(data, output=one, use_azure=True)
        )
    assert_alike(here, there)
    assert_unchanged(before, data)


@pytest.mark.parametrize("datatype", ["INT64", "UINT64"])
@pytest.mark.parametrize("use_azure", [False, True])
def test_integers_are_numpy_s_own(embedded: EmbeddedServer, datatype: str, use_azure: bool) -> None:
    """Wide integers are int64 and uint64 for whoever looks at their type, from either route."""
    scalar = np.int64 if datatype == "INT64" else np.uint64
    with hybrid(embedded, f"identity_{datatype}") as model:
        array = model.predict(NUMBERS, use_azure=use_azure)
        frame = model.predict(pd.DataFrame(NUMBERS), use_azure=use_azure)
        none = model.predict(pd.DataFrame(NUMBERS)[:0], use_azure=use_azure)
        nothing = model.predict(NUMBERS[:0], use_azure=use_azure)
    assert isinstance(array[0, 0], scalar)
    assert array.dtype.char == nothing.dtype.char == np.dtype(scalar).char
    assert list(frame.select_dtypes(datatype.lower())) == list(frame)
    assert {dtype.char for dtype in (*frame.dtypes, *none.dtypes)} == {np.dtype(scalar).char}


@pytest.mark.parametrize("data", [FEATURES, FEATURES[0], pd.DataFrame(FEATURES), 2.5])
def test_any_rank_is_alike(data: Any) -> None:
    """What has no shape in the file goes both ways as it comes."""
    same = onnx.load_from_string(models.identity("FP32", ("N", 4)))
    for value in (*same.graph.input, *same.graph.output):
        value.type.tensor_type.ClearField("shape")
    with (
        serve({"any": same}) as server,
        HybridOnnxModel(same, endpoint=server.endpoint("any")) as model,
    ):
        assert_alike(model.predict(data), model.predict(data, use_azure=True))
        model.check_endpoint()


TEXTS = pd.DataFrame({"one": ["a", "b"], "two": ["c", "d"], "three": ["e", "f"]})


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("strings", TEXTS["one"]),
        ("strings", TEXTS["one"].to_numpy(object)),
        ("identity_BYTES", TEXTS),
        ("identity_BYTES", TEXTS.to_numpy(object)),
        ("columns", COLUMNS),
        ("classifier", FEATURES),
        ("classifier", pd.DataFrame(FEATURES)),
        ("zipmap", pd.DataFrame(FEATURES)),
    ],
)
@pytest.mark.parametrize("use_azure", [False, True])
def test_no_texts_are_texts(
    embedded: EmbeddedServer, name: str, data: Any, use_azure: bool
) -> None:
    """The answer to zero rows has the dtypes of other answers, for texts as for numbers."""
    with hybrid(embedded, name) as model:
        some = model.predict(data, use_azure=use_azure)
        none = model.predict(data[:0], use_azure=use_azure)
        only = model.predict(data[:0], use_azure=use_azure, output=model.outputs[0].name)
    assert type(none) is type(some)
    assert chars(none) == chars(some)
    assert len(only) == 0


@pytest.mark.parametrize("data", [FEATURES[:, :2], pd.DataFrame(FEATURES[:, :2], index=INDEX)])
def test_a_scalar_output_is_alike(data: Any) -> None:
    """A model that boils rows down to one number gives it from either route (not from Triton)."""
    with (
        serve({"mean": models.mean()}) as server,
        HybridOnnxModel(models.mean(), endpoint=server.endpoint("mean")) as model,
    ):
        assert_alike(model.predict(data), model.predict(data, use_azure=True))


def assert_unchanged(before: Any, after: Any) -> None:
    """Compare what was handed in with a copy made before."""
    if isinstance(before, (pd.DataFrame, pd.Series)):
        assert before.equals(after) or before.map(repr).equals(after.map(repr))
    else:
        assert repr(before) == repr(after)


@pytest.mark.parametrize("name", [name for name in models.served() if name != "versions"])
def test_the_endpoint_describes_the_model_that_it_serves(server: Server, name: str) -> None:
    """`check_endpoint` finds no difference where the file is the same."""
    with hybrid(server, name) as model:
        assert model.check_endpoint().output_names == model.spec.output_names


def test_every_difference_to_the_endpoint_is_listed(server: Server) -> None:
    """Another model behind the name is found out by its metadata, in all it differs."""
    wrong = models.passthrough(x=("FP64", ("N", 5)), z=("FP32", ("N",)))
    with (
        HybridOnnxModel(wrong, endpoint=server.endpoint("linear")) as model,
        pytest.raises(SpecMismatch) as caught,
    ):
        model.check_endpoint()
    assert len(caught.value.differences) == 6
    for said in (
        "input 'x': FP64 locally, FP32 at the endpoint",
        "input 'x': shape [?, 5] locally, [?, 4] at the endpoint",
        "input 'z': the endpoint does not have it, it has 'x'",
        "output 'y': the endpoint has it, the local model does not",
    ):
        assert said in str(caught.value)


@pytest.mark.parametrize(("version", "seed"), [("1", 1), ("3", 3), (None, 3)])
def test_a_version_can_be_asked_for(server: Server, version: str | None, seed: int) -> None:
    """The asked version answers, and says so; None is the server's choice, its latest."""
    endpoint = server.endpoint("versions", model_version=version)
    with HybridOnnxModel(models.linear(seed=seed), endpoint=endpoint) as model:
        answer = model.infer(FEATURES, use_azure=True)
        np.testing.assert_allclose(
            answer.outputs["y"], model.infer(FEATURES).outputs["y"], rtol=1e-6
        )
    assert (answer.route, answer.attempts) == ("azure", 1)
    assert answer.model_version == version or (version is None and answer.model_version == "3")


@pytest.mark.parametrize("options", [{"model_version": "9"}, {"model_name": "nobody"}])
def test_what_is_not_served_is_refused(server: Server, options: dict[str, str]) -> None:
    """A wrong version or name is the endpoint's refusal, with its own words."""
    endpoint = server.endpoint("linear").with_overrides(**options)
    with (
        HybridOnnxModel(models.linear(), endpoint=endpoint) as model,
        pytest.raises(EndpointRefused, match=r"answered 40[04]") as caught,
    ):
        model.predict(FEATURES, use_azure=True)
    assert caught.value.status in (400, 404)


def test_json_tensors_do_as_well(server: Server) -> None:
    """Without the binary extension the answer is the same."""
    endpoint = server.endpoint("columns", binary=False)
    with HybridOnnxModel(models.served()["columns"], endpoint=endpoint) as model:
        rows = COLUMNS.assign(age=[1.5, 2.0, -3.0])
        assert_alike(model.predict(rows), model.predict(rows, use_azure=True))


def test_a_model_that_fails_on_the_input_fails_on_both_routes(server: Server) -> None:
    """An index out of the table is the caller's mistake here, a refusal there."""
    with hybrid(server, "lookup") as model:
        with pytest.raises(InputMismatch):
            model.predict(np.array([99]))
        with pytest.raises(EndpointRefused):
            model.predict(np.array([99]), use_azure=True)


def test_a_slow_model_ends_with_the_deadline(server: Server) -> None:
    """A model that computes for seconds does not hold the call."""
    with hybrid(server, "loop") as model:
        data = {"x": np.ones(1000, np.float32), "turns": np.array([20_000_000])}
        with pytest.raises(EndpointTimeout, match=r"0\.3 s"):
            model.predict(data, use_azure=True, timeout=0.3)


def test_threads_get_their_own_answers(server: Server) -> None:
    """Eight threads on one model, both routes mixed, never see each other's rows."""
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            row = np.full((1, 3), number * 100 + turn, np.float32)
            if not np.array_equal(model.predict(row, use_azure=turn % 2), row):
                wrong.append(number)

    with hybrid(server, "identity_FP32") as model:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_used_model_can_be_pickled_and_copied(server: Server) -> None:
    """What comes out of a pickle answers on both routes, over its own connections."""
    with hybrid(server, "linear") as model:
        expected = model.predict(FEATURES, use_azure=True)
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            with twin:
                assert_alike(expected, twin.predict(FEATURES, use_azure=True))
                assert_alike(expected, twin.predict(FEATURES))


def _answer_both(
    model: HybridOnnxModel, results: multiprocessing.Queue[tuple[Any, Any, int]]
) -> None:
    both = model.predict(FEATURES), model.predict(FEATURES, use_azure=True)
    left = [item for item in per_process._of_the_parent if isinstance(item, PooledTransport)]
    results.put((*both, len(left)))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_uses_nothing_of_its_parent(embedded: EmbeddedServer) -> None:
    """A child of a process that has used both routes answers on both, over its own socket."""
    context = multiprocessing.get_context("fork")
    with hybrid(embedded, "linear") as model:
        expected = model.predict(FEATURES, use_azure=True)
        assert_alike(expected, model.predict(FEATURES))
        results = context.Queue()
        children = [context.Process(target=_answer_both, args=(model, results)) for _ in range(2)]
        for child in children:
            child.start()
        for _ in children:
            here, there, left_behind = results.get(timeout=60)
            assert_alike(expected, here)
            assert_alike(expected, there)
            assert left_behind >= 1
        for child in children:
            child.join(30)
        assert [child.exitcode for child in children] == [0, 0]
        assert_alike(expected, model.predict(FEATURES, use_azure=True))


def test_zero_rows_call_nobody() -> None:
    """An empty frame is answered although the endpoint is dead."""
    with serve({"linear": models.linear()}) as server:
        endpoint = server.endpoint("linear")
    with HybridOnnxModel(models.linear(), endpoint=endpoint) as model:
        answer = model.infer(FEATURES[:0], use_azure=True)
    assert answer.outputs["y"].shape == (0, 2)
    assert (answer.route, answer.attempts) == ("azure", 0)


@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3),
        min_size=1,
        max_size=20,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_numbers_survive_the_way_there_and_back(
    embedded: EmbeddedServer, rows: list[list[float]]
) -> None:
    """A model that changes nothing gives back to the bit what was sent."""
    sent = np.array(rows, np.float32)
    with hybrid(embedded, "identity_FP32") as model:
        came = model.predict(sent, use_azure=True)
    assert came.tobytes() == sent.tobytes()


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_survives_the_way_there_and_back(
    embedded: EmbeddedServer, texts: list[str]
) -> None:
    """Strings of every script, empty ones and NULs included, come back as they were."""
    sent = np.array([[text] * 3 for text in texts], dtype=object)
    with hybrid(embedded, "identity_BYTES") as model:
        came = model.predict(sent, use_azure=True)
    assert came.tolist() == sent.tolist()
