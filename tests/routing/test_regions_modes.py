"""Every way to ask works with several endpoints, of which the first is down."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel
from hybridmodel.batch import predict_files
from hybridmodel.deploy import export
from hybridmodel.deploy.azure.bundle import place_model
from hybridmodel.deploy.pinning import pinned
from hybridmodel.flavor import save_model
from hybridmodel.routing import AzureFirst, Budget, Cascade, Hedge, Shadow, Split
from hybridmodel.serving import EmbeddedServer
from hybridmodel.testing import fake_endpoint
from tests.support import models
from tests.support.regions import place
from tests.support.two_routes import DEAD, X, assert_same, local_outputs, remote_outputs


@pytest.fixture
def model(server: EmbeddedServer) -> HybridOnnxModel:
    """Return a model with two endpoints, of which the first is not there."""
    return HybridOnnxModel(models.graded(), endpoint=[DEAD, server.endpoint("remote")])


@pytest.mark.parametrize("mode", ["azure", AzureFirst(), Hedge(delay_s=10.0), lambda _: True])
def test_the_second_endpoint_answers(model: HybridOnnxModel, mode: Any) -> None:
    """The answer is the remote one, whole, and says at which endpoint it was made."""
    answer = model.infer(X, mode=mode)
    assert_same(answer.outputs, remote_outputs())
    assert (answer.route, answer.endpoint) == ("azure", model.endpoints[1].model_url)
    assert answer.attempts >= 2


@pytest.mark.parametrize("mode", [Cascade(threshold=0.6), Budget(share=0.3), Split(0.5, by="row")])
def test_the_second_endpoint_answers_some_rows(model: HybridOnnxModel, mode: Any) -> None:
    """Where each route answers some rows, those of the endpoint are the second one's."""
    answer = model.infer(X, mode=mode)
    assert (answer.route, answer.endpoint) == ("mixed", model.endpoints[1].model_url)
    asked, local, remote = answer.routes == "azure", local_outputs(), remote_outputs()
    for name, array in answer.outputs.items():
        np.testing.assert_array_equal(array[asked], remote[name][asked])
        np.testing.assert_array_equal(array[~asked], local[name][~asked])


def test_the_local_answer_has_no_endpoint(model: HybridOnnxModel) -> None:
    """Nobody was asked, so nobody is named."""
    assert model.infer(X).endpoint is None


def test_both_endpoints_are_down() -> None:
    """The local model stands in once all of the list are unavailable."""
    gone = DEAD.with_overrides(model_name="other")
    model = HybridOnnxModel(models.graded(), endpoint=[DEAD, gone], routing="azure_first")
    answer = model.infer(X)
    assert (answer.route, answer.endpoint) == ("local", None)
    assert answer.reasons[0] == "EndpointUnavailable"
    assert model.stats()["fallback.calls"] == 1


def test_the_shadow_compares_with_the_second(model: HybridOnnxModel) -> None:
    """Shadow mode sees the endpoint that answers."""
    model.infer(X, mode=Shadow(answer="azure"))
    assert model.stats()["azure.2.calls"] == 1


def test_copies_have_the_list(model: HybridOnnxModel) -> None:
    """A pickle and a model with another session ask the same endpoints."""
    copied = pickle.loads(pickle.dumps(model))
    assert copied.endpoints == model.endpoints
    assert_same(copied.infer(X, use_azure=True).outputs, remote_outputs())
    other = model.with_session_options({"intra_op_num_threads": 1})
    assert other.client is model.client
    assert repr(model).endswith(f"endpoint=[{model.endpoints[0]!r}, {model.endpoints[1]!r}])")


def test_numbers_have_the_place_in_the_list(model: HybridOnnxModel) -> None:
    """`stats` counts for the route, and for each endpoint by its number."""
    model.infer(X, use_azure=True)
    stats = model.stats()
    assert (stats["azure.calls"], stats["azure.2.calls"], stats["azure.passed_over"]) == (1, 1, 1)
    assert stats["azure.1.requests"] == 1
    assert stats["azure.requests"] == stats["azure.2.requests"] + 1


@pytest.mark.parametrize("mode", ["azure", Budget(rows=5)])
def test_files_are_predicted(model: HybridOnnxModel, mode: Any, tmp_path: Path) -> None:
    """A job over files goes on with the second endpoint."""
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.to_parquet(tmp_path / "in.parquet")
    summary = predict_files(
        model, tmp_path / "in.parquet", tmp_path / "out.parquet", mode=mode, output_name="label"
    )
    assert summary.rows == len(X)
    assert summary.remote == (len(X) if mode == "azure" else 5)


def test_a_fake_stands_for_all_endpoints() -> None:
    """Tests of users see the fake pass from one endpoint to the next."""
    model = HybridOnnxModel(models.graded(), endpoint=[place("west"), place("north")])
    with fake_endpoint(model) as fake:
        fake.fail(503, times=1)
        answer = model.infer(X, use_azure=True)
        assert answer.endpoint == model.endpoints[1].model_url
        assert [item.url.split("/")[2] for item in fake.requests] == [
            "west.example",
            "north.example",
        ]


def test_the_page_of_a_deployment_wants_one(tmp_path: Path) -> None:
    """Files for Azure and a promotion want one endpoint; a repository is named by the first."""
    model = HybridOnnxModel(models.linear(), endpoint=[place("west"), place("north")])
    save_model(model, tmp_path / "saved")
    export(tmp_path / "saved", tmp_path / "repository")
    assert [path.parent.name for path in tmp_path.glob("repository/**/config.pbtxt")] == ["m"]
    with pytest.raises(ConfigurationError, match=r"asks 2 endpoints, .* model_config="):
        place_model(str(tmp_path / "saved"), tmp_path / "placed")
    with pytest.raises(ConfigurationError, match=r"set uri to one of https://west\.example"):
        pinned(tmp_path, tmp_path / "saved", deployment="blue")
