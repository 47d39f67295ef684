"""All that can be handed in wrongly, on both routes: one clear error, and nothing is sent."""

from __future__ import annotations

import copy
import re
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    ConfigurationError,
    EndpointUnavailable,
    HybridModelError,
    HybridOnnxModel,
    InputMismatch,
    TritonEndpoint,
)
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

KEY = "HYBRIDMODEL_TEST_KEY"
ROW = [[1.0, 2.0, 3.0]]
NONE_INSIDE: Any = [[1.0, None, 2.0]]
FRAME = pd.DataFrame(ROW * 2, columns=list("abc"))
PAIR = pd.DataFrame({"n": [1, 2], "s": ["a", "b"]})
Make = Callable[..., HybridOnnxModel]


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """Hold a port on which nobody listens: every connection is refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def make(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a model whose endpoint would fail the moment anything is sent to it."""
    monkeypatch.setenv(KEY, "secret-key")
    endpoint = TritonEndpoint(
        uri=f"http://127.0.0.1:{closed_port}",
        model_name="m",
        auth_key_env=KEY,
        binary=True,
        timeout_s=5,
    )
    return lambda model, **settings: HybridOnnxModel(model, **{"endpoint": endpoint, **settings})


def matrix(make: Make) -> HybridOnnxModel:
    """Make a model of one input ``x`` [N, 3] with feature names."""
    return make(models.identity(), feature_names=list("abc"))


def pair(make: Make) -> HybridOnnxModel:
    """Make a model of the inputs ``n`` [N, 1] INT64 and ``s`` [N] BYTES."""
    return make(models.passthrough(n=("INT64", ["N", 1]), s=("BYTES", ["N"])))


def images(make: Make) -> HybridOnnxModel:
    """Make a model of one input ``x`` [N, 3, 2, 2]."""
    return make(models.identity("FP32", ("N", 3, 2, 2)))


def spark_frame() -> Any:
    """Make what looks like a Spark frame to anyone who does not import Spark."""
    return type("DataFrame", (), {"__module__": "pyspark.sql.classic.dataframe"})()


@pytest.mark.parametrize("use_azure", [False, True], ids=["local", "azure"])
@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (matrix, FRAME[["a", "b"]], "missing 'c'; the model takes 'a', 'b', 'c'"),
        (matrix, FRAME.assign(d=1), "unexpected 'd'; the model takes 'a', 'b', 'c'"),
        (matrix, FRAME.rename(columns={"b": "B"}), "missing 'b'; unexpected 'B'"),
        (matrix, FRAME.set_axis(["a", "b", "b"], axis=1), "missing 'c'; repeated 'b'"),
        (matrix, np.ones((2, 4)), r"'x': expected shape \[\?, 3\], got \[2, 4\]"),
        (matrix, np.ones(3), r"got \[3\]; use reshape\(1, -1\) for one row"),
        (matrix, np.ones((2, 3, 1)), r"expected shape \[\?, 3\], got \[2, 3, 1\]"),
        (matrix, np.array([["a"] * 3]), "'x': expected float32, got strings; convert them"),
        (matrix, NONE_INSIDE, "'x': expected float32, got Python objects"),
        (matrix, [[1.0, 2.0], [3.0]], "'x': numpy cannot make an array of it"),
        (matrix, np.array([[1e39, 0, 0]]), "too large for float32, whose largest is 3.4"),
        (matrix, np.ma.array(ROW, mask=True), "got a masked array; fill its masked values"),
        (matrix, FRAME.astype({"b": "category"}), "column 'b': expected float32, got a category"),
        (matrix, FRAME.astype({"b": object}), "column 'b': expected float32, got Python objects"),
        (matrix, FRAME.astype({"b": str}), "column 'b': expected float32, got str"),
        (matrix, {"y": ROW}, "missing 'x'; unexpected 'y'; the model takes 'x'"),
        (matrix, {"x": ROW, "y": ROW}, "unexpected 'y'"),
        (matrix, pd.Series([1.0]), "a Series is one column"),
        (matrix, None, r"expected FP32\[\?, 3\] as an array or list .*NoneType"),
        (matrix, spark_frame(), r"got a Spark DataFrame; pass its toPandas\(\), or .*spark_udf"),
        (pair, spark_frame(), "got a Spark DataFrame"),
        (images, np.ones((1, 4, 2, 2)), r"expected shape \[\?, 3, 2, 2\], got \[1, 4, 2, 2\]"),
        (images, np.ones((1, 3, 2)), r"got \[1, 3, 2\]"),
        (pair, PAIR.assign(n=[1.0, np.nan]), "column 'n': expected int64, got nan, which is miss"),
        (pair, PAIR.assign(n=[1.5, 2]), "column 'n': expected int64, got 1.5, which is not whole"),
        (
            pair,
            PAIR.assign(n=pd.Series([1, None], dtype="Int64")),
            "1 missing values, first at position 1",
        ),
        (
            pair,
            PAIR.assign(s=pd.Series(["a", None], dtype="str")),
            "column 's': 1 missing values, first at position 1",
        ),
        (
            pair,
            PAIR.assign(s=pd.Series(["a", np.nan], dtype=object)),
            "column 's': expected strings, got a missing value at position 1",
        ),
        (pair, PAIR.assign(s=[1, 2]), "column 's': expected strings, got int64"),
        (pair, PAIR.assign(n=["1", "2"]), "column 'n': expected int64, got str"),
        (pair, PAIR[["n"]], "column names: missing 's'; the model takes 'n', 's'"),
        (pair, {"n": [[1]]}, "input names: missing 's'"),
        (pair, {"n": [[1]], "s": ["\ud800"]}, "half of a surrogate pair"),
        (pair, np.ones((1, 2)), "has the inputs 'n', 's': pass a dict of arrays or a DataFrame"),
    ],
)
def test_wrong_data(
    make: Make, model: Callable[[Make], HybridOnnxModel], data: Any, message: str, use_azure: bool
) -> None:
    """Data that does not fit is an InputMismatch on both routes, before anything is sent."""
    made = model(make)
    before = copy.deepcopy(data)
    with pytest.raises(InputMismatch, match=message):
        made.predict(data, use_azure=use_azure)
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(data, before)
    elif isinstance(data, np.ndarray):
        np.testing.assert_array_equal(data, before)
    elif isinstance(data, (dict, list)):
        assert data == before


@pytest.mark.parametrize(
    ("model", "data"),
    [(matrix, FRAME[list("cab")]), (matrix, np.array(ROW)), (pair, PAIR[["s", "n"]])],
)
def test_good_data_is_answered_or_sent(
    make: Make, model: Callable[[Make], HybridOnnxModel], data: Any
) -> None:
    """Data that fits is answered here, and does reach for the endpoint when that is asked."""
    made = model(make)
    assert len(made.predict(data)) == len(data)
    with pytest.raises(EndpointUnavailable):
        made.predict(data, use_azure=True)


def test_a_fixed_batch(make: Make) -> None:
    """A fixed dimension is checked on both routes."""
    fixed = make(models.identity("FP32", (1, 3)))
    for use_azure in (False, True):
        with pytest.raises(InputMismatch, match=r"expected shape \[1, 3\], got \[2, 3\]"):
            fixed.predict(np.ones((2, 3)), use_azure=use_azure)


def test_no_endpoint() -> None:
    """Who asks for the endpoint of a model without one is told how to give it one."""
    model = HybridOnnxModel(models.identity())
    with pytest.raises(
        ConfigurationError, match=r"no endpoint: make the model with endpoint=Triton"
    ):
        model.predict(ROW, use_azure=True)
    with pytest.raises(ConfigurationError, match="no endpoint"):
        model.check_endpoint()
    assert model.predict(ROW).shape == (1, 3)


def test_no_key(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is not there is named by its variable, and needed only for the endpoint."""
    monkeypatch.delenv(KEY)
    made = matrix(make)
    with pytest.raises(ConfigurationError, match=f"variable {KEY}, which is not set"):
        made.predict(ROW, use_azure=True)
    assert made.predict(ROW).shape == (1, 3)


@pytest.mark.parametrize("key", ["top\nsecret", "topsecret\r\n", "top secret", "topsecrét", ""])
def test_a_key_that_cannot_be_sent(make: Make, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A key with a line break or the like is refused without being shown."""
    monkeypatch.setenv(KEY, key)
    with pytest.raises(ConfigurationError, match=KEY) as caught:
        matrix(make).predict(ROW, use_azure=True)
    assert "secr" not in str(caught.value)


@pytest.mark.parametrize("value", ["maybe", "yes", "True ", "", 2, -1, 1.0, [True]])
@pytest.mark.parametrize("where", ["call", "model", "environment"])
def test_use_azure_that_nobody_understands(
    make: Make, monkeypatch: pytest.MonkeyPatch, where: str, value: Any
) -> None:
    """A switch that is neither on nor off is refused, wherever it was set, with what there is."""
    settings: dict[str, Any] = {}
    said, shown = None, value
    if where == "call":
        said = value
    elif where == "model":
        settings = {"use_azure": value}
    else:
        shown = str(value)
        monkeypatch.setenv("HYBRIDMODEL_USE_AZURE", shown)
    message = f"(?i)use_azure .*True, False, 0, 1, .* not {re.escape(repr(shown))}"
    with pytest.raises(ConfigurationError, match=message):
        make(models.identity(), **settings).predict(ROW, use_azure=said)


@pytest.mark.parametrize("content", [b"", b"no model", models.linear()[:-5], b"PK\x03\x04"])
def test_a_damaged_file(content: bytes, tmp_path: Path, make: Make) -> None:
    """A file that is no ONNX model is named when the model is made."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"broken\.onnx: .*not an ONNX model"):
        make(path)


def test_lost_external_data(tmp_path: Path, make: Make) -> None:
    """External data that is missing is named when the model is made."""
    models.save_external(models.scaled(np.ones(3)), tmp_path / "m.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ConfigurationError, match=r"'weights.bin' is missing; it belongs in"):
        make(tmp_path / "m.onnx")


def test_every_error_is_ours() -> None:
    """Whoever catches the base class, or ValueError, catches all of these."""
    for kind in (InputMismatch, ConfigurationError):
        assert issubclass(kind, HybridModelError)
        assert issubclass(kind, ValueError)
