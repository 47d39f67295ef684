"""Samples, labels and arguments that a calibration warns of or refuses."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.calibrating import calibrate
from hybridmodel.cascade import Calibration, escalated
from hybridmodel.exceptions import ConfigurationError, EndpointError, InputMismatch
from hybridmodel.serving import EmbeddedServer
from tests.support.calibration_pairs import (
    PAIRS,
    Make,
    answering,
    classes,
    numbers,
    tables,
)
from tests.support.models import classifier, mean


def test_too_few_rows_escalate_everything_and_say_how_many_are_needed(make: Make) -> None:
    """229 rows cannot promise 1 %, 230 can."""
    find = partial(calibrate, make("classes"), epsilon=0.01, score="confidence:sure")
    with pytest.warns(UserWarning, match="229 rows are too few .* at least 230 are needed"):
        found = find(*classes(229, harmful=1))
    assert found.threshold == math.inf
    assert found.escalates_everything
    assert (found.escalation, found.risk, found.risk_bound) == (1, 0, 0)
    assert found.escalation_interval == (1, 1)
    assert found.accuracy is not None
    assert found.accuracy.cascade == found.accuracy.big
    assert len(found.warnings) == 1
    enough = find(*classes(230, harmful=1))
    assert enough.escalation == pytest.approx(1 / 230)
    assert enough.required_rows == found.required_rows == 230


def test_a_promise_that_is_likely_broken_is_still_a_record(make: Make) -> None:
    """With delta over one half the bound lies under the share seen, which is what was asked for."""
    data, y = classes()
    find = partial(calibrate, make("classes"), data, y, epsilon=0.01, score="confidence:sure")
    assert find(delta=0.9).escalation < find(delta=0.1).escalation
    assert find(delta=0.9).risk > find(delta=0.9).risk_bound


def test_one_row(make: Make) -> None:
    """A sample of one is too small for any useful promise, and enough for a useless one."""
    data, y = classes(1, harmful=1)
    find = partial(calibrate, make("classes"), data, y, score="confidence:sure")
    with pytest.warns(UserWarning, match="at least 230 are needed"):
        assert find(epsilon=0.01).threshold == math.inf
    with pytest.warns(UserWarning, match="even the surest"):
        assert find(epsilon=0.9).threshold == math.inf


def test_coarse_ties_are_warned_of(make: Make) -> None:
    """When one step moves more than 10 points of the rows, the warning says between which."""
    data, y = classes()
    data["small_sure"] = np.floor(data["small_sure"] * 5).astype(np.float32)
    find = partial(calibrate, make("classes"), y=y, epsilon=0.01, score="confidence:sure")
    with pytest.warns(UserWarning, match=r"can only be 0.0% or 20.0% or 40.0%"):
        found = find(data)
    assert found.escalation == 0.2
    data["small_sure"] = np.ones(1000, np.float32)
    with pytest.warns(UserWarning, match="same score|even the surest") as caught:
        assert find(data).threshold == math.inf
    texts = [str(item.message) for item in caught]
    assert any("even the surest rows are kept at a loss too often" in text for text in texts)
    assert any("can only be 0.0% or 100.0%" in text for text in texts)
    assert all(item.filename == __file__ for item in caught), "they point at the caller"


def test_rows_without_a_score_are_escalated_and_counted(make: Make) -> None:
    """NaN scores go to the endpoint, count as escalated, and are warned of."""
    data, y = classes()
    data["small_sure"][:30] = np.nan
    with pytest.warns(UserWarning, match="30 of 1000 rows have no score"):
        found = calibrate(make("classes"), data, y, epsilon=0.01, score="confidence:sure")
    assert found.missing_scores == 30
    assert 0.03 <= found.escalation <= 0.045
    assert min(found.curve.escalation) == 0.03


def test_labels_that_nobody_answers_are_warned_of(make: Make) -> None:
    """A class that neither model knows cannot be told from a rare one, and may be a mistake."""
    data, y = classes()
    y[3:8] = 9
    with pytest.warns(UserWarning, match="the labels hold 9, which neither model answers"):
        calibrate(make("classes"), data, y, epsilon=0.02, score="confidence:sure")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: y[:-1], "999 labels came for 1000 rows"),
        (lambda y: y[:, np.newaxis], r"expected shape \[\?\], got \[1000, 1\]"),
        (lambda y: y.astype(str), "labels do not fit the model, whose answers are INT64"),
        (lambda y: y + 0.5, "which is not whole"),
        (lambda y: np.where(y == 0, np.nan, y), "missing or infinite"),
        (
            lambda y: y + 17,
            "neither model ever answers any of the labels: the labels are 17, 18, 19",
        ),
        (lambda y: y > 0, "are True and False, but the classes are 0, 1, 2; pass the class"),
        (lambda y: list(map(bool, y)), "the labels are True and False"),
        (lambda y: pd.Series(y > 0, dtype="boolean"), "the labels are True and False"),
        (lambda y: pd.Series(y).where(y > 0).astype("category"), "missing or infinite"),
        (lambda y: 3, "labels have to be one for each row, not a int"),
        (lambda y: iter(y), "not a "),
    ],
)
def test_labels_that_do_not_fit_are_refused(make: Make, y: Any, message: str) -> None:
    """Length, shape, type and values of the labels are checked."""
    data, truth = classes()
    with pytest.raises(InputMismatch, match=message):
        calibrate(make("classes"), data, y(truth), epsilon=0.01, score="confidence:sure")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: y + 1, r"hold 3, but output 'p' has no such class; available: 0, 1, 2"),
        (lambda y: y > 0, "the labels are True and False, but the classes are 0, 1, 2"),
    ],
)
def test_labels_beyond_the_columns_are_refused(make: Make, y: Any, message: str) -> None:
    """Where the number of classes is declared, no label lies beyond."""
    data, truth = tables()
    with pytest.raises(InputMismatch, match=message):
        calibrate(make("tables"), data, y(truth), epsilon=0.01)


def test_missing_numbers_among_the_labels_are_refused(make: Make) -> None:
    """NaN is no label to be near to."""
    data, truth = numbers()
    truth[5] = np.nan
    with pytest.raises(InputMismatch, match=r"1 of the labels are missing"):
        calibrate(make("numbers"), data, truth, epsilon=0.01, score="uncertainty:std", tolerance=1)


def test_an_infinite_number_is_close_to_nothing(make: Make) -> None:
    """Not to another one either; the row is a loss without labels, and no reason to warn."""
    data, _ = numbers()
    for name in ("small_value", "big_value"):
        data[name][:30] = np.inf
    found = calibrate(make("numbers"), data, epsilon=0.02, score="uncertainty:std", tolerance=1)
    assert found.threshold > -30 / 1000


@pytest.mark.parametrize(
    ("pair", "arguments", "message"),
    [
        ("classes", {"epsilon": 0}, "epsilon is a number between 0 and 1"),
        ("classes", {"delta": 1}, "delta is a number between 0 and 1"),
        ("classes", {"epsilon": "0.01"}, "epsilon is a number between 0 and 1"),
        ("classes", {"timeout": -1}, "timeout"),
        ("classes", {"score": "margin"}, "floats of shape .*name one.*label: INT64"),
        ("classes", {"answer": "lable"}, "no output 'lable'; it has 'label', 'sure'"),
        ("classes", {"answer": "sure"}, "names no class; for numbers pass tolerance="),
        ("classes", {"loss": "zero_one"}, "loss has to be a function"),
        ("classes", {"loss": max, "tolerance": 1}, "cannot be passed together with tolerance"),
        ("numbers", {}, "0 outputs name a class: pass answer='NAME', or tolerance="),
        ("numbers", {"answer": "value"}, "names no class; for numbers pass tolerance="),
        ("numbers", {"tolerance": -1}, "tolerance is a number from 0 up, not -1"),
        ("numbers", {"tolerance": math.inf}, "tolerance is a number from 0 up"),
        ("numbers", {"tolerance": True}, "tolerance is a number from 0 up"),
        ("two_numbers", {"tolerance": 1}, "2 outputs may be the number that tolerance is for"),
        ("two_labels", {"tolerance": 1, "answer": "p"}, "is not one number for each row"),
        ("two_labels", {"score": "margin"}, "2 outputs name a class: pass answer='NAME'"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anybody_is_asked(
    pair: str, arguments: dict[str, Any], message: str
) -> None:
    """What is wrong, and what there is, is said without a call; the endpoint here is none."""
    from hybridmodel import TritonEndpoint

    nobody = TritonEndpoint(uri="http://127.0.0.1:9", model_name="m", auth_key_env=None)
    model = HybridOnnxModel(answering("small", **PAIRS[pair]), endpoint=nobody)
    score = "margin:p" if pair == "two_labels" else f"uncertainty:{list(PAIRS[pair])[-1]}"
    with pytest.raises(ConfigurationError, match=message):
        calibrate(model, None, **{"epsilon": 0.01, "score": score, **arguments})


def test_the_selected_output_is_what_is_acted_upon(make: Make) -> None:
    """Of several outputs that name a class, the model's own choice counts, then the call's."""
    rows = np.arange(400)
    p = np.stack([np.linspace(0.5, 1, 400), np.linspace(0.5, 0, 400)], axis=1)
    data = {"small_one": rows % 2, "big_one": (rows + (rows < 8)) % 2}
    data |= {"small_two": rows % 2, "big_two": (rows + (rows < 40)) % 2, "small_p": p, "big_p": p}
    one = calibrate(make("two_labels", output="one"), data, epsilon=0.02)
    two = calibrate(make("two_labels", output="one"), data, epsilon=0.02, answer="two")
    assert one.escalation < 0.02 < 0.08 < two.escalation < 0.1


def test_samples_without_rows_are_refused(make: Make, server: EmbeddedServer) -> None:
    """Zero rows, and models that do not count rows, have nothing to calibrate on."""
    data, y = classes()
    none = {name: values[:0] for name, values in data.items()}
    find = partial(calibrate, epsilon=0.01, score="confidence:sure")
    with pytest.raises(InputMismatch, match="at least one row; the sample has none"):
        find(make("classes"), none, y[:0])
    with pytest.raises(InputMismatch, match="no input counts rows"):
        find(make("classes"), {**data, "big_sure": data["big_sure"][:1]}, y)
    with pytest.raises(InputMismatch, match="missing 'big_label'"):
        find(make("classes"), {"small_label": y})
    model = HybridOnnxModel(mean(), endpoint=server.endpoint("mean"))
    with pytest.raises(ConfigurationError, match="y: FP32"):
        calibrate(model, np.zeros((3, 2)), epsilon=0.01)


def test_a_model_without_an_endpoint_is_refused() -> None:
    """There is nobody to compare with."""
    with pytest.raises(ConfigurationError, match="the model has no endpoint"):
        calibrate(HybridOnnxModel(classifier()), np.zeros((3, 4)), epsilon=0.01)


def test_an_endpoint_that_fails_is_an_error(server: EmbeddedServer) -> None:
    """A calibration needs every answer; nothing is made of some."""
    endpoint = server.endpoint("classes").with_overrides(model_name="absent")
    model = HybridOnnxModel(answering("small", **PAIRS["classes"]), endpoint=endpoint)
    with pytest.raises(EndpointError):
        calibrate(model, *classes(), epsilon=0.01, score="confidence:sure")


def test_the_threshold_does_to_new_rows_what_it_did_to_the_sample(make: Make) -> None:
    """The stored score and threshold escalate the same rows again."""
    data, y = classes()
    model = make("classes")
    found = calibrate(model, data, y, epsilon=0.01, score="confidence:sure")
    read = Calibration.from_json(found.to_json())
    outputs = model.local.run(data, read.score.needs(model.spec))
    assert escalated(read.score.of(outputs), read.threshold).mean() == found.escalation
