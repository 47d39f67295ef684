"""Many callers of a real Triton, by threads, and through the policies of a model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.flavor.artifact import read, write
from hybridmodel.routing import Cascade, Hedge, Policy, Shadow
from hybridmodel.serving import TritonServer
from tests.support import models

ROWS = np.random.default_rng(0).normal(size=(640, 4)).astype(np.float32)


def model_of(triton: TritonServer, name: str, **options: Any) -> HybridOnnxModel:
    """Make a model whose calls go together."""
    endpoint = triton.endpoint(name, coalesce_rows=256, **options)
    return HybridOnnxModel(models.served()[name], endpoint=endpoint)


def test_sixty_four_threads_get_their_own_rows_in_few_requests(triton: TritonServer) -> None:
    """640 calls of one row are right, two outputs each, and far fewer requests than calls."""
    with model_of(triton, "classifier") as model, ThreadPoolExecutor(64) as threads:
        local = model.predict(ROWS)
        model.predict(ROWS[:1], use_azure=True)
        found = list(threads.map(lambda row: model.predict(row[None], use_azure=True), ROWS))
        stats = model.stats()
    together = {name: np.concatenate([answer[name] for answer in found]) for name in local}
    assert together["label"].tolist() == local["label"].tolist()
    np.testing.assert_allclose(together["probabilities"], local["probabilities"], rtol=1e-5)
    assert stats["azure.calls"] == stats["azure.gathered.calls"] == 641
    # Besides, the server was asked once what it speaks.
    assert stats["azure.gathered.requests"] <= stats["azure.requests"] <= 641 / 3
    assert stats["azure.gathered.calls_per_request"] > 3


@pytest.mark.parametrize("name", ["image", "strings", "two_inputs"])
def test_models_of_every_kind_are_answered(name: str, triton: TritonServer) -> None:
    """Texts, two inputs, and a model whose inner dimensions are open, whose calls go alone."""
    with model_of(triton, name) as model, ThreadPoolExecutor(16) as threads:
        data = [row_of(model, number) for number in range(1, 17)]
        answers = threads.map(lambda given: model.predict(given, use_azure=True), data)
        for given, found in zip(data, answers, strict=True):
            assert_same(found, model.predict(given))


def row_of(model: HybridOnnxModel, number: int) -> dict[str, Any]:
    """Return one row of equal values for each input; open dimensions grow with the number."""
    shapes = {
        item.name: [1, *(number if n < 0 else n for n in item.shape[1:])] for item in model.inputs
    }
    return {
        item.name: np.full(
            shapes[item.name], "ä" * number if item.dtype == object else number, item.dtype
        )
        for item in model.inputs
    }


def assert_same(found: Any, expected: Any) -> None:
    """Compare arrays, or dicts of them."""
    if not isinstance(expected, dict):
        found, expected = {"": found}, {"": expected}
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "policy",
    [
        Cascade(threshold=0.7, score="margin:probabilities"),
        Hedge(delay_s=20.0),
        Shadow(answer="azure"),
        "azure_first",
    ],
    ids=["cascade", "hedge", "shadow", "azure_first"],
)
def test_policies_go_through_it(policy: Policy | str, triton: TritonServer) -> None:
    """Who calls under any policy gets the same answers, and the calls are gathered."""
    with model_of(triton, "classifier") as model, ThreadPoolExecutor(16) as threads:
        expected = model.predict(ROWS[:160])["label"]
        found = list(
            threads.map(lambda row: model.predict(row[None], mode=policy)["label"], ROWS[:160])
        )
        assert model.stats()["azure.gathered.calls"] > 0
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_it_is_saved_with_the_model(tmp_path: Path, triton: TritonServer) -> None:
    """And a load may say otherwise."""
    write(model_of(triton, "linear"), tmp_path)
    assert read(tmp_path).endpoint.coalesce_rows == 256
    assert read(tmp_path, config={"coalesce_rows": 0}).endpoint.coalesce_rows == 0
