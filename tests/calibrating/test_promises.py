"""`calibrate` with each kind of promise, against a served model and alone."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, TritonEndpoint
from hybridmodel.calibrating import calibrate
from hybridmodel.cascade import Calibration, CostMatrix
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from tests.support.calibration_pairs import PAIRS, Data, Make, answering, classes
from tests.support.strategies import Array

SURE = "confidence:sure"


def mixed(rows: int = 2000) -> tuple[Data, Array]:
    """Make rows of which the small model gets some right that the big one gets wrong."""
    data, y = classes(rows, harmful=60)
    sure = data["small_sure"]
    errs = (sure > 0.03) & (sure < 0.06)
    data["big_label"] = np.where(errs, (y + 1) % 3, y)
    return data, y


def test_net_accuracy_sets_gains_against_losses(make: Make) -> None:
    """60 rows are lost and 60 won: as many right with either, so nothing has to be escalated."""
    data, y = mixed()
    find = partial(calibrate, make("classes"), data, y, epsilon=0.01, score=SURE)
    loss, accuracy = find(), find(promise="accuracy")
    assert accuracy.escalation == 0 < loss.escalation
    assert accuracy.promise == "accuracy"
    assert (accuracy.risk, accuracy.asked_rows) == (0.0, 2000)
    assert 0 < accuracy.risk_bound <= 0.01
    assert "the big model is right for at most 1.00% more of all rows than both are" in str(
        accuracy
    )
    assert min(accuracy.curve.risk) < 0, "where only gains are kept"


def test_cost_matrices_weigh_mistakes(make: Make) -> None:
    """A mistake that costs a tenth may be kept ten times as often, or nearly."""
    data, y = classes(4000, harmful=300)
    even = CostMatrix(1 - np.eye(3), classes=[0, 1, 2], output="label")
    table = 1 - np.eye(3)
    table[1:] /= 10
    graded = CostMatrix(table, classes=[0, 1, 2], output="label")
    find = partial(
        calibrate, make("classes"), data, y, epsilon=0.03, score=SURE, promise="mean_loss"
    )
    found, cheap = find(loss=even), find(loss=graded)
    assert found.method == cheap.method == "betting"
    assert cheap.escalation < found.escalation
    assert found.loss_function == "hybridmodel.cascade.loss_functions:CostMatrix(label)"
    assert "at most 0.03 is lost in the mean over all rows" in str(found)
    assert 0 < cheap.risk <= cheap.risk_bound <= 0.03


def test_a_cost_matrix_counts_what_the_big_model_would_save() -> None:
    """The difference of both costs, in units of the largest, and never below 0."""
    costs = CostMatrix([[0, 2], [8, 0]], classes=["well", "ill"], output="label")
    small = {"label": np.array([["ill"], ["well"], ["well"], ["ill"]], dtype=object)}
    big = {"label": np.array([["well"], ["ill"], ["well"], ["well"]], dtype=object)}
    y = np.array(["well", "ill", "ill", "ill"], dtype=object)
    assert costs(y, small, big).tolist() == [0.25, 1.0, 0.0, 0.0]
    assert costs.unit == 8


@pytest.mark.parametrize(
    ("costs", "of", "message"),
    [
        ([[0, 1]], ["a", "b"], "with a row and a column for each of 2 classes"),
        ([[0, -1], [1, 0]], ["a", "b"], "numbers from 0 up"),
        ([[0, 0], [0, 0]], ["a", "b"], "above 0 somewhere"),
        ([[0, 1], [1, 0]], ["a", "a"], "classes be different"),
    ],
)
def test_cost_matrices_that_are_none_are_refused(costs: Any, of: list[str], message: str) -> None:
    """A table of costs is square, of its classes, and says something."""
    with pytest.raises(ConfigurationError, match=message):
        CostMatrix(costs, classes=of, output="label")


@pytest.mark.parametrize(
    ("y", "message"),
    [(None, "pass labels"), (np.array([0, 7]), "the labels hold 7, which have no costs")],
)
def test_costs_need_labels_that_they_know(y: Any, message: str) -> None:
    """Costs are those of true classes."""
    answers = {"label": np.array([0, 1])}
    costs = CostMatrix(1 - np.eye(2), classes=[0, 1], output="label")
    with pytest.raises(InputMismatch, match=message):
        costs(y, answers, answers)


def test_a_share_escalated_asks_nobody() -> None:
    """Nothing listens at the endpoint; the threshold is one of scores alone."""
    endpoint = TritonEndpoint(uri="http://127.0.0.1:9", model_name="classes")
    model = HybridOnnxModel(answering("small", **PAIRS["classes"]), endpoint=endpoint)
    data, _ = classes(1000)
    found = calibrate(model, data, epsilon=0.2, promise="escalation", score=SURE)
    assert (found.asked_rows, found.accuracy, found.model_version) == (0, None, None)
    assert 0.17 < found.escalation < 0.2
    assert found.escalation == found.risk < found.risk_bound <= 0.2
    assert "promise: at most 20.00% of all rows go to the endpoint" in str(found)
    assert Calibration.from_json(found.to_json()) == found
    with pytest.warns(UserWarning, match="too few to keep this promise without escalating nothing"):
        assert (
            calibrate(model, data, epsilon=0.001, promise="escalation", score=SURE).threshold
            == -math.inf
        )


def test_the_promise_is_kept_in_every_group(make: Make) -> None:
    """All losses are in one region: its threshold serves both, and what that costs is told."""
    data, y = classes(4000, harmful=100)
    region = pd.Series(np.where(data["small_label"] != y, "north", "south"))
    region[::2] = "north"
    find = partial(calibrate, make("classes"), data, y, epsilon=0.02, score=SURE, subsample=500)
    plain, found = find(), find(by=region)
    north, south = found.groups
    assert found.threshold == north.threshold > plain.threshold
    assert south.escalation == 0
    assert north.rows + south.rows == 4000
    assert found.asked_rows is not None
    assert found.asked_rows < 1000
    assert find(by=region, subsample=None).threshold == found.threshold
    assert "of the rows of each of 2 groups" in str(found)
    assert "groups: one threshold for each would escalate" in str(found)
    assert Calibration.from_json(found.to_json()) == found


def test_labels_are_groups_too(make: Make) -> None:
    """A class that loses more than its share makes all classes safer."""
    data, y = classes(3000, harmful=60)
    data["small_label"][y == 2] = np.where(data["small_sure"][y == 2] < 0.06, 0, 2)
    find = partial(calibrate, make("classes"), data, y, epsilon=0.02, score=SURE)
    plain, found = find(), find(by=y)
    assert [item.name for item in found.groups] == ["0", "1", "2"]
    assert found.threshold == max(item.threshold for item in found.groups) > plain.threshold
    assert all(item.risk_bound <= 0.02 for item in found.groups)


def test_a_cost_chooses_among_the_thresholds_that_keep_the_promise(make: Make) -> None:
    """Cheap requests escalate what is lost; dear ones leave the threshold where the promise is."""
    data, y = classes(2000, harmful=40)
    find = partial(calibrate, make("classes"), data, y, epsilon=0.02, score=SURE)
    plain, dear, cheap = find(), find(cost_remote=5.0), find(cost_remote=0.2)
    assert dear.threshold == plain.threshold
    assert cheap.escalation == 0.02 > plain.escalation
    assert (cheap.risk, cheap.cost_remote) == (0.0, 0.2)
    assert find(cost_remote=0.0).risk == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"promise": "recall"}, "promise is one of 'loss', 'accuracy'"),
        ({"promise": "accuracy", "y": None}, "pass labels"),
        ({"promise": "accuracy", "loss": lambda *_: np.zeros(1000)}, "no loss function"),
        ({"promise": "mean_loss"}, "pass the function that returns them"),
        ({"promise": "escalation"}, "leave out y"),
        ({"promise": "escalation", "y": None, "tolerance": 1.0}, "leave out loss, tolerance"),
        ({"promise": "escalation", "y": None, "cost_remote": 1.0}, "knows of no losses"),
        ({"sample_weight": np.ones(1000)}, "the tests count independent rows"),
        ({"cost_remote": -1.0}, "cost_remote is a number from 0 up"),
        ({"loss": lambda *_: np.full(1000, 0.5)}, "pass promise='mean_loss'"),
        ({"promise": "mean_loss", "loss": lambda *_: np.full(1000, 1.5)}, "with 1.5"),
    ],
)
def test_what_does_not_go_together_is_refused(
    make: Make, given: dict[str, Any], message: str
) -> None:
    """The message says what to pass instead."""
    data, y = classes()
    with pytest.raises(ConfigurationError, match=message):
        calibrate(make("classes"), data, **{"y": y, "epsilon": 0.1, "score": SURE, **given})


def test_groups_of_another_index_are_refused(make: Make) -> None:
    """As labels are: a Series in another order would mix up the groups."""
    data, y = classes()
    frame = pd.DataFrame(data)
    by = pd.Series(y, index=frame.index[::-1])
    with pytest.raises(InputMismatch, match="the groups have another index than the rows"):
        calibrate(make("classes"), frame, y, epsilon=0.1, score=SURE, by=by)


def test_older_calibrations_promise_losses(make: Make) -> None:
    """A record without the new fields reads as before, and a plain one is written without them."""
    data, y = classes()
    found = calibrate(make("classes"), data, y, epsilon=0.01, score=SURE)
    stored = json.loads(found.to_json())
    assert not {"promise", "method", "groups", "cost_remote"} & stored.keys()
    assert Calibration.from_dict(stored).promise == "loss"
    with pytest.raises(ConfigurationError, match="promise is one of"):
        Calibration.from_dict({**stored, "promise": "luck"})


@pytest.mark.parametrize(
    ("promise", "label"),
    [("accuracy", "right less often"), ("mean_loss", "mean loss"), ("escalation", "escalated")],
)
def test_pictures_are_of_what_is_promised(make: Make, promise: str, label: str) -> None:
    """The panel of the promise has its name."""
    data, y = mixed()
    more: dict[str, Any] = {"y": y}
    if promise == "mean_loss":
        more["loss"] = CostMatrix(1 - np.eye(3), classes=[0, 1, 2], output="label")
    if promise == "escalation":
        more = {}
    found = calibrate(make("classes"), data, epsilon=0.05, score=SURE, promise=promise, **more)
    labels = [axes.get_ylabel() for axes in found.plot().axes]
    assert label in labels
