"""Every mode: which route answers, and what `infer` and `provenance` say of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from hybridmodel import (
    ConfigurationError,
    HybridOnnxModel,
    save_model,
)
from hybridmodel.routing import (
    Budget,
    Cascade,
    Hedge,
    Shadow,
    Split,
)
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.two_routes import X, assert_same, local_outputs, remote_outputs


@pytest.mark.parametrize(
    ("mode", "route", "answers"),
    [
        ("local", "local", local_outputs),
        ("azure", "azure", remote_outputs),
        ("azure_first", "azure", remote_outputs),
        ("local_first", "local", local_outputs),
        ("shadow", "local", local_outputs),
        (Shadow(answer="azure"), "azure", remote_outputs),
        (Hedge(delay_s=20), "azure", remote_outputs),
        (Split(0.0), "local", local_outputs),
        (Split(1.0), "azure", remote_outputs),
        (Cascade(threshold=0.0), "local", local_outputs),
        (Cascade(threshold=float("inf")), "azure", remote_outputs),
        (Budget(share=0.0), "local", local_outputs),
        (Budget(rows=1000), "azure", remote_outputs),
        (lambda feeds: True, "azure", remote_outputs),
        (lambda feeds: np.zeros(len(feeds["x"]), bool), "local", local_outputs),
    ],
    # Not str: the address of a function is another in each process.
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_each_mode_answers_when_both_routes_do(
    model: HybridOnnxModel, mode: Any, route: str, answers: Callable[[], Any]
) -> None:
    """The container is the same on both routes, and each row has its route."""
    answer = model.infer(X, mode=mode)
    assert answer.route == route
    assert_same(answer.outputs, answers())
    assert answer.routes.tolist() == [route] * len(X)
    assert len(answer.reasons) == len(X)
    assert (answer.attempts > 0) is (route == "azure")


@pytest.mark.parametrize("by", ["call", "row", "index"])
def test_a_split_is_always_the_same(model: HybridOnnxModel, by: str) -> None:
    """The same data goes the same way, in another process too; another salt picks others."""
    frame = pd.DataFrame(X, index=[f"customer {i}" for i in range(len(X))])
    policy = Split(0.5, by)
    first, again = (model.infer(frame, mode=policy) for _ in range(2))
    assert first.routes.tolist() == again.routes.tolist()
    if by != "call":
        assert 8 <= (first.routes == "azure").sum() <= 32
        other = model.infer(frame, mode=Split(0.5, by, salt="b"))
        assert other.routes.tolist() != first.routes.tolist()
        turned = model.infer(frame[::-1], mode=policy)
        assert turned.routes.tolist() == first.routes.tolist()[::-1]
    gone = first.routes == "azure"
    expected = np.where(gone, remote_outputs()["label"], local_outputs()["label"])
    assert first.outputs["label"].tolist() == expected.tolist()


def test_a_split_takes_its_share_of_many_calls(model: HybridOnnxModel) -> None:
    """A tenth of 2,000 calls, within what chance allows."""
    from hybridmodel.data.binding import Binding
    from hybridmodel.routing.splitting import chosen

    bind = Binding(model.spec).bind
    rows = np.random.default_rng(1).normal(size=(2000, 3)).astype(np.float32)
    taken = sum(chosen(Split(0.1), bind(rows[i : i + 1])) is True for i in range(2000))
    assert 140 <= taken <= 260


def test_a_function_can_pick_rows(model: HybridOnnxModel) -> None:
    """It sees the feeds by name, and gives a yes or no for each row."""
    answer = model.infer(X, mode=lambda feeds: feeds["x"][:, 0] > 0)
    assert ((answer.routes == "azure") == (X[:, 0] > 0)).all()
    assert answer.route == "mixed"
    assert set(answer.reasons) == {"policy"}


@pytest.mark.parametrize("returned", [1, "yes", np.ones(3, bool), None, np.ones(len(X))])
def test_a_function_that_says_nothing_clear_is_an_error(
    model: HybridOnnxModel, returned: Any
) -> None:
    """True, False, or one of them for each row."""
    with pytest.raises(ConfigurationError, match=r"an array of bool of shape \[40\]"):
        model.predict(X, mode=lambda feeds: returned)


def test_provenance_stands_beside_the_answer(model: HybridOnnxModel) -> None:
    """Three columns for a frame, three arrays for arrays; without it nothing changes."""
    frame = pd.DataFrame(X, index=range(100, 140))
    policy = Cascade(threshold=0.4)
    plain = model.predict(frame, mode=policy)
    told = model.predict(frame, mode=policy, provenance=True)
    answer = model.infer(X, mode=policy)
    assert list(told.columns) == [*plain.columns, "route", "score", "reason"]
    pd.testing.assert_frame_equal(told[plain.columns], plain)
    assert told["route"].tolist() == answer.routes.tolist()
    assert told["score"].tolist() == answer.scores.tolist()
    arrays = model.predict(X, mode=policy, provenance=True)
    assert list(arrays) == ["label", "probabilities", "route", "score", "reason"]
    one = model.predict(frame, output="label", provenance=True)
    assert list(one.columns) == ["label", "route", "score", "reason"]
    assert one["score"].isna().all()
    assert len(model.predict(frame[:0], provenance=True)) == 0


def test_an_output_of_the_same_name_is_not_overwritten() -> None:
    """A model that has an output `score` cannot be asked for provenance in `predict`."""
    made = models.build(
        [models.helper.make_node("Identity", ["x"], ["score"])],
        [models.tensor("x", "FP32", ("N", 1))],
        [models.tensor("score", "FP32", ("N", 1))],
    )
    with pytest.raises(ConfigurationError, match="the model has outputs named 'score'"):
        HybridOnnxModel(made).predict(X[:, :1], provenance=True)


def test_modes_go_through_mlflow(server: EmbeddedServer, tmp_path: Path) -> None:
    """As a param, as configuration, and with provenance, on a model that MLflow has loaded."""
    endpoint = server.endpoint("remote")
    policy = Cascade(threshold=0.4)
    model = HybridOnnxModel(models.graded(), endpoint=endpoint, routing=policy)
    save_model(model, tmp_path / "saved")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "saved"))
    frame = pd.DataFrame(X)
    told = loaded.predict(frame, params={"provenance": True})
    assert set(told["route"]) == {"local", "azure"}
    assert set(loaded.predict(frame, params={"mode": "local", "provenance": True})["route"]) == {
        "local"
    }
    again = loaded.predict(frame, params={"mode": "cascade"})
    pd.testing.assert_frame_equal(again, told[again.columns])
    remote = mlflow.pyfunc.load_model(str(tmp_path / "saved"), model_config={"mode": "azure"})
    assert remote.predict(frame)["label"].tolist() == remote_outputs()["label"].tolist()
