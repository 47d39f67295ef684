"""The model as users hold it, on its local route: containers, arguments, sharing, copies."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import Answer, ConfigurationError, HybridOnnxModel, InputMismatch, TritonEndpoint
from hybridmodel.local.session import LocalSession
from tests.support import models
from tests.support.paths import ROOT

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
FRAME = pd.DataFrame(X, columns=list("abc"), index=["r1", "r2"])
ENDPOINT = TritonEndpoint(uri="http://127.0.0.1:9", model_name="m", auth_key_env=None)


@pytest.fixture(scope="module")
def two() -> HybridOnnxModel:
    """Give a model of two outputs, ``total`` [N, 1] and ``double`` [N, 3]."""
    return HybridOnnxModel(models.two_outputs(), feature_names=list("abc"))


@pytest.mark.parametrize("data", [X, X.tolist(), {"x": X}, {"x": X.tolist()}])
def test_arrays_in_arrays_out(two: HybridOnnxModel, data: Any) -> None:
    """Arrays, lists and dicts get arrays: a dict of all outputs, or the one that was asked."""
    answer = two.predict(data)
    assert list(answer) == ["total", "double"]
    np.testing.assert_array_equal(answer["double"], 2 * X)
    np.testing.assert_array_equal(two.predict(data, output="total"), [[6.0], [15.0]])


def test_pandas_in_pandas_out(two: HybridOnnxModel) -> None:
    """A frame gets a frame of all outputs, or a Series or frame of one, with its own index."""
    total = pd.Series(np.array([6, 15], np.float32), index=FRAME.index, name="total")
    double = pd.DataFrame(
        np.float32(2 * X), index=FRAME.index, columns=["double_0", "double_1", "double_2"]
    )
    pd.testing.assert_series_equal(two.predict(FRAME, output="total"), total)
    pd.testing.assert_frame_equal(two.predict(FRAME, output="double"), double)
    pd.testing.assert_frame_equal(
        two.predict(FRAME), double.assign(total=total)[["total", *double.columns]]
    )
    pd.testing.assert_frame_equal(two.predict(FRAME[list("cab")]), two.predict(FRAME))


def test_infer_tells_what_happened(two: HybridOnnxModel) -> None:
    """An answer has named arrays and says that no request was sent."""
    answer = two.infer(FRAME, output="total")
    assert isinstance(answer, Answer)
    assert list(answer.outputs) == ["total"]
    assert (answer.route, answer.attempts) == ("local", 0)
    assert (answer.model_version, answer.request_id) == (None, None)
    assert answer.elapsed_s > 0


def test_a_selected_output_is_the_default() -> None:
    """The output chosen when the model is made counts until a call says another."""
    model = HybridOnnxModel(models.two_outputs(), output="total")
    assert model.predict(X).shape == (2, 1)
    assert model.predict(X, output="double").shape == (2, 3)
    assert model.output == "total"


@pytest.mark.parametrize("where", ["made", "called"])
def test_an_unknown_output(where: str) -> None:
    """An output that is not there is refused, with those that are."""
    made, called = ("sum", None) if where == "made" else (None, "sum")
    with pytest.raises(ConfigurationError, match="no output 'sum'; it has 'total', 'double'"):
        HybridOnnxModel(models.two_outputs(), output=made).predict(X, output=called)


def test_many_named_inputs() -> None:
    """A frame's columns feed inputs of any dtype by their names, and come back so."""
    model = HybridOnnxModel(
        models.passthrough(
            age=("INT64", ["N", 1]), name=("BYTES", ["N", 1]), ok=("BOOL", ["N"]), w=("FP16", ["N"])
        )
    )
    frame = pd.DataFrame(
        {"w": [0.5, 1.5], "ok": [True, False], "name": ["a", "ß"], "age": [1, 2]}, index=[7, 7]
    )
    answer = model.predict(frame)
    assert list(answer.columns) == ["age_out", "name_out", "ok_out", "w_out"]
    assert list(answer.index) == [7, 7]
    assert answer["name_out"].tolist() == ["a", "ß"]
    assert answer["age_out"].tolist() == [1, 2]
    assert answer["ok_out"].tolist() == [True, False]
    assert answer["w_out"].dtype == np.float16
    with pytest.raises(InputMismatch, match="missing 'ok'; unexpected 'OK'"):
        model.predict(frame.rename(columns={"ok": "OK"}))


def test_images() -> None:
    """Images go in as an array or as cells of a frame, and come out likewise."""
    model = HybridOnnxModel(models.identity("UINT8", ("N", 3, 4, 4)))
    pictures = np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4)
    np.testing.assert_array_equal(model.predict(pictures), pictures)
    answer = model.predict(pd.DataFrame({"picture": list(pictures)}))
    np.testing.assert_array_equal(np.stack(list(answer)), pictures)


@pytest.mark.parametrize("labels", [("no", "perhaps", "yes"), (3, 5, 8)])
def test_label_and_probabilities(labels: tuple[Any, ...]) -> None:
    """A classifier of maps gives its label, and a probability column for each class."""
    model = HybridOnnxModel(models.classifier(zipmap=True, labels=labels))
    label, probability = model.spec.output_names
    answer = model.predict(pd.DataFrame(np.eye(3, 4)))
    assert list(answer.columns) == [label, *(f"{probability}_{name}" for name in labels)]
    np.testing.assert_allclose(answer.drop(columns=label).sum(axis=1), 1, rtol=1e-5)
    assert set(answer[label]) <= set(labels)


def test_scalars_and_fixed_batches() -> None:
    """A scalar takes a number, and a fixed batch takes as many rows as it declares."""
    assert HybridOnnxModel(models.identity("FP64", ())).predict(2.5) == 2.5
    fixed = HybridOnnxModel(models.identity("FP32", (2, 3)))
    np.testing.assert_array_equal(fixed.predict(X), X)
    pd.testing.assert_index_equal(fixed.predict(FRAME).index, FRAME.index)
    with pytest.raises(InputMismatch, match=r"expected shape \[2, 3\], got \[1, 3\]"):
        fixed.predict(X[:1])
    with pytest.raises(InputMismatch, match="got a frame of 0 rows and 3 columns"):
        fixed.predict(FRAME.iloc[:0])


@pytest.mark.parametrize("use_azure", [False, True])
@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (FRAME.iloc[:0], pd.DataFrame),
        (pd.DataFrame(columns=list("abc")), pd.DataFrame),
        (X[:0], dict),
        ({"x": X[:0].astype(int)}, dict),
    ],
)
def test_zero_rows(data: Any, kind: type, use_azure: bool) -> None:
    """No rows get an empty answer of the right names and dtypes, and no call on either route."""
    model = HybridOnnxModel(models.two_outputs(), endpoint=ENDPOINT, feature_names=list("abc"))
    answer = model.predict(data, use_azure=use_azure)
    assert type(answer) is kind
    assert model.predict(data, use_azure=use_azure, output="double").shape == (0, 3)
    arrays = model.infer(data, use_azure=use_azure)
    assert arrays.attempts == 0
    assert arrays.route == ("azure" if use_azure else "local")
    assert {name: (a.shape, a.dtype.name) for name, a in arrays.outputs.items()} == {
        "total": ((0, 1), "float32"),
        "double": ((0, 3), "float32"),
    }


def test_zero_rows_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is not even asked."""
    model = HybridOnnxModel(models.two_outputs())
    monkeypatch.setattr(LocalSession, "run", None)
    assert len(model.predict(X[:0])["total"]) == 0


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BYTES", "BOOL"])
def test_answers_belong_to_the_caller(datatype: str) -> None:
    """What comes out of an identity can be written to without a trace in what went in."""
    model = HybridOnnxModel(models.identity(datatype))
    value = "a" if datatype == "BYTES" else 1
    given = np.full((2, 3), value, model.inputs[0].dtype)
    before = given.copy()
    answer = model.predict(given)
    answer[0, 0] = "b" if datatype == "BYTES" else 0
    np.testing.assert_array_equal(given, before)
    frame = pd.DataFrame(before.copy())
    restored = model.predict(frame)
    restored.iloc[0, 0] = answer[0, 0]
    pd.testing.assert_frame_equal(frame, pd.DataFrame(before))


def test_a_model_reads_well(two: HybridOnnxModel) -> None:
    """The repr tells what goes in and out, and where; the parts can be asked for."""
    assert repr(two) == (
        "HybridOnnxModel(x: FP32[?, 3] -> total: FP32[?, 1], double: FP32[?, 3], endpoint=None)"
    )
    assert two.feature_names == ["a", "b", "c"]
    assert [spec.name for spec in two.inputs + two.outputs] == ["x", "total", "double"]
    assert two.onnx.data == models.two_outputs()
    assert two.session is two.local.session


def test_a_model_closes(two: HybridOnnxModel) -> None:
    """A model is a context; closing it, with or without an endpoint, does not end it."""
    with two as same:
        assert same is two
    with HybridOnnxModel(models.two_outputs(), endpoint=ENDPOINT) as model:
        model.close()
    assert model.predict(X, output="total").shape == (2, 1)


def test_a_session_may_be_handed_in() -> None:
    """A `LocalSession` that is there already is used as it is."""
    session = LocalSession(models.two_outputs(), session_options={"intra_op_num_threads": 1})
    assert HybridOnnxModel(session).local is session


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_wrong_timeout(two: HybridOnnxModel, timeout: Any) -> None:
    """A timeout that is no positive number of seconds is refused on the local route, too."""
    with pytest.raises(ConfigurationError, match="timeout is a positive number of seconds"):
        two.predict(X, timeout=timeout)


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_copies_work(way: str) -> None:
    """A copy has the model, the endpoint and every setting, and answers the same."""
    model = HybridOnnxModel(
        models.two_outputs(),
        endpoint=ENDPOINT,
        feature_names=list("abc"),
        output="total",
        use_azure=False,
    )
    before = model.predict(FRAME)
    made = pickle.loads(pickle.dumps(model)) if way == "pickle" else copy.deepcopy(model)
    pd.testing.assert_series_equal(made.predict(FRAME[list("bca")]), before)
    assert made.endpoint == ENDPOINT
    assert made.client.endpoint == ENDPOINT
    assert (made.output, made.use_azure, made.feature_names) == ("total", False, list("abc"))


def test_threads_share_a_model() -> None:
    """Calls of many threads at once, with arrays and frames, do not mix their answers."""
    model = HybridOnnxModel(models.two_outputs(), feature_names=list("abc"))
    start = threading.Barrier(8)

    def ask(number: int) -> bool:
        start.wait(30)
        right = True
        for turn in range(20):
            data: Any = np.full((turn + 1, 3), float(number))
            if turn % 2:
                data = pd.DataFrame(data, columns=list("cab"))
            right &= bool((np.asarray(model.predict(data, output="total")) == 3 * number).all())
        return right

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


SPAWNED = """
import numpy as np, pickle, sys
model = pickle.load(sys.stdin.buffer)
print(model.predict(np.ones((1, 3)), output="total").tolist(), "pandas" in sys.modules)
"""


def test_a_pickle_works_elsewhere_and_without_pandas() -> None:
    """Another process can use a pickled model, and arrays never load pandas there."""
    model = HybridOnnxModel(models.two_outputs(), feature_names=list("abc"))
    model.predict(X)
    done = subprocess.run(
        [sys.executable, "-c", SPAWNED],
        input=pickle.dumps(model),
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stdout.decode().strip() == "[[3.0]] False", done.stderr.decode()
