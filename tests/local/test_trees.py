"""Boosted trees, whose converters declare other shapes than their models give, on both routes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, load_model, save_model
from hybridmodel.routing import AzureFirst, Cascade
from hybridmodel.serving import EmbeddedServer, TritonServer, serve
from hybridmodel.serving.triton_files import unsupported
from tests.support import trees
from tests.support.alike import assert_alike
from tests.support.trees import X

Server = EmbeddedServer | TritonServer

FRAME = pd.DataFrame(X[:5], index=list("edcba"))
PLAIN = tuple(name for name in trees.NAMES if name in ("lightgbm", "xgboost", "catboost_numbers"))
"""Those that Triton's onnxruntime backend serves, one of each library."""


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedServer]:
    """Serve them all in this process."""
    with serve({name: trees.made(name) for name in trees.NAMES}) as server:
        yield server


@pytest.fixture(scope="module")
def real() -> Iterator[TritonServer]:
    """Serve some with a Triton."""
    reason = unsupported()
    if reason:
        pytest.skip(reason)
    with TritonServer({name: trees.made(name) for name in PLAIN}) as server:
        yield server


def hybrid(server: Server, name: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose endpoint serves the very same file."""
    return HybridOnnxModel(trees.made(name), endpoint=server.endpoint(name), **options)


def check_alike(model: HybridOnnxModel) -> None:
    """Ask both sides for one row, several, none, and in chunks, in arrays and frames."""
    for data in (X[:1], X[:5], FRAME, X[:0], FRAME[:0]):
        assert_alike(model.predict(data), model.predict(data, use_azure=True))
    answer = model.infer(X[:5], use_azure=True)
    for spec in model.outputs:
        assert answer.outputs[spec.name].dtype.char == spec.dtype.char
        assert answer.outputs[spec.name].shape == model.infer(X[:5]).outputs[spec.name].shape
    model.check_endpoint()


@pytest.mark.parametrize("name", trees.NAMES)
def test_trees_on_both_routes(embedded: EmbeddedServer, name: str) -> None:
    """Whatever a converter declares, both routes answer alike, and no difference is found."""
    with hybrid(embedded, name) as model:
        check_alike(model)


@pytest.mark.parametrize("name", PLAIN)
def test_trees_at_a_real_triton(real: TritonServer, name: str) -> None:
    """A Triton serves the same file as well, and is understood."""
    with hybrid(real, name) as model:
        check_alike(model)


@pytest.mark.parametrize("name", ["lightgbm", "catboost_numbers"])
def test_rows_in_several_requests(embedded: EmbeddedServer, name: str) -> None:
    """Rows that do not fit into one request come back in their order."""
    endpoint = embedded.endpoint(name, max_batch_size=2)
    with HybridOnnxModel(trees.made(name), endpoint=endpoint) as model:
        answer = model.infer(X[:5], use_azure=True)
        here = model.infer(X[:5]).outputs
    assert answer.attempts == 3
    for output, values in answer.outputs.items():
        np.testing.assert_allclose(values, here[output], rtol=1e-6)


@pytest.mark.parametrize("name", ["lightgbm", "lightgbm_zipmap", "catboost", "catboost_texts"])
def test_a_cascade_of_trees(embedded: EmbeddedServer, name: str) -> None:
    """Rows that the local model is not sure of are answered by the endpoint, row by row."""
    routing = Cascade(0.5, "max_probability:probabilities")
    with hybrid(embedded, name, routing=routing) as model:
        answer = model.infer(X)
        here = model.infer(X, use_azure=False).outputs
    assert set(answer.routes) == {"local", "azure"}
    for output, values in answer.outputs.items():
        assert_alike(values, here[output])
        assert values.dtype.char == here[output].dtype.char


def test_the_local_model_stands_in() -> None:
    """Where the endpoint does not answer, the local model's labels do."""
    with serve({"lightgbm": trees.made("lightgbm")}) as server:
        endpoint = server.endpoint("lightgbm", max_attempts=1)
    with HybridOnnxModel(trees.made("lightgbm"), endpoint=endpoint, routing=AzureFirst()) as model:
        assert model.predict(X[:5])["label"].shape == (5,)


@pytest.mark.parametrize("name", ["lightgbm", "catboost_numbers"])
def test_a_saved_model_knows_its_shapes(name: str, tmp_path: Any) -> None:
    """What was seen of a model is saved with it, and nothing is run to load it."""
    model = HybridOnnxModel(trees.made(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_model(model, tmp_path / "saved")
    assert load_model(tmp_path / "saved").spec == model.spec
