"""What a calibration finds against a served model, by every kind of judge."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel
from hybridmodel.calibrating import calibrate
from hybridmodel.cascade import Accuracy, Score
from hybridmodel.exceptions import ConfigurationError, InputMismatch
from hybridmodel.serving import EmbeddedServer
from tests.support.calibration_pairs import (
    Data,
    Make,
    calibrate_at_noon,
    classes,
    numbers,
    tables,
)
from tests.support.models import classifier
from tests.support.strategies import Array


def test_finds_the_cheapest_threshold_that_keeps_the_promise(make: Make) -> None:
    """20 of 1,000 rows are lost, and 5 of them may be for 1 %: the 15 least sure are escalated."""
    data, y = classes()
    found = calibrate_at_noon(
        make("classes"), data, y, epsilon=0.01, score="confidence:sure", big_sha256="abc"
    )
    assert found.threshold == pytest.approx(14.5 / 999)
    assert found.score == Score("confidence", "sure")
    assert (found.epsilon, found.delta, found.rows, found.required_rows) == (0.01, 0.1, 1000, 230)
    assert (found.escalation, found.risk) == (0.015, 0.005)
    assert 0.005 < found.risk_bound <= 0.01
    assert found.escalation_interval[0] < 0.015 < found.escalation_interval[1]
    assert found.accuracy == Accuracy(small=0.98, big=1.0, cascade=0.995)
    assert found.loss == "big right, small wrong"
    assert found.warnings == ()
    assert found.missing_scores == 0
    assert found.date == "2025-03-01T12:00:00+00:00"


def test_says_which_models_and_data_it_was_made_with(make: Make, server: EmbeddedServer) -> None:
    """The record names the local file, the endpoint, the version that answered, and the sample."""
    data, y = classes()
    model = make("classes")
    find = partial(calibrate_at_noon, model, epsilon=0.02, score="confidence:sure")
    found = find(data, y, big_sha256="abc")
    assert found.small_sha256 == model.onnx.sha256
    assert found.big_sha256 == "abc"
    assert found.endpoint == server.endpoint("classes").model_url
    assert found.model_version == "1"
    assert find(data, y, big_sha256="abc") == found
    assert find(data, list(y)).data_sha256 == found.data_sha256, "the same labels in a list"
    assert find(data).data_sha256 != found.data_sha256
    other = {**data, "big_sure": data["big_sure"] + 1}
    assert find(other, y).data_sha256 != found.data_sha256


def test_order_of_rows_changes_only_the_fingerprint(make: Make) -> None:
    """A permuted sample gives the same record, but for the hash of the data."""
    find = partial(calibrate_at_noon, make("classes"), epsilon=0.01, score="confidence:sure")
    one, other = find(*classes(seed=0)), find(*classes(seed=1))
    assert one != other
    assert one == replace(other, data_sha256=one.data_sha256)


def test_without_labels_every_difference_is_a_loss(make: Make) -> None:
    """Without labels the risk is how often the two differ, and nobody knows who is right."""
    data, _ = classes()
    found = calibrate_at_noon(make("classes"), data, epsilon=0.01, score="confidence:sure")
    assert found.loss == "small and big differ"
    assert found.escalation == 0.015
    assert found.accuracy is None
    assert found.curve.accuracy is None


def test_differences_are_bounded_beside_the_risk(make: Make) -> None:
    """What labels call no loss still tells later, without labels, whether the rows are others."""
    data, y = classes()
    find = partial(calibrate, make("classes"), data, epsilon=0.01, score="confidence:sure")
    found = find(y)
    assert (found.answer, found.tolerance, found.loss_function) == ("label", None, None)
    assert found.difference_bound == 0.01
    assert find().difference_bound == 0.01
    errs = y.copy()
    errs[100:150] = data["small_label"][100:150] = 2
    data["big_label"][100:150] = 1
    bound = find(errs).difference_bound
    assert 0.05 < bound < 0.07


def test_rows_that_both_get_wrong_are_no_loss(make: Make) -> None:
    """Asking the big model where it errs as well would save nothing."""
    data, y = classes()
    data["big_label"] = np.where(y == 0, 0, data["small_label"])
    found = calibrate(make("classes"), data, y, epsilon=0.01, score="confidence:sure")
    assert found.escalation < 0.015
    assert found.accuracy is not None
    assert found.accuracy.big < 1


def test_frames_and_texts(make: Make) -> None:
    """A frame with any index and a Series of texts go in as they do into predict."""
    data, y = classes()
    names = np.array(["no", "perhaps", "yes"], dtype=object)
    frame = pd.DataFrame({**data, "small_label": names[data["small_label"]]})
    frame["big_label"] = names[data["big_label"]]
    frame.index += 7
    found = calibrate(
        make("texts"),
        frame,
        pd.Series(names[y], index=frame.index),
        epsilon=0.01,
        score="confidence:sure",
    )
    assert found.escalation == 0.015
    with pytest.raises(InputMismatch, match=r"another index than the rows.*y.to_numpy\(\)"):
        calibrate(make("texts"), frame, pd.Series(names[y]), epsilon=0.01, score="confidence:sure")


@pytest.mark.parametrize("name", ["classes", "texts"])
def test_labels_may_be_a_category(make: Make, name: str) -> None:
    """A pandas category counts by its values, whatever the order of its categories."""
    data, y = classes()
    names = np.array(["no", "perhaps", "yes"], dtype=object)
    if name == "texts":
        data = {key: names[it] if it.dtype.kind == "i" else it for key, it in data.items()}
    truth = pd.Series(names[y] if name == "texts" else y)
    find = partial(
        calibrate_at_noon,
        make(name),
        pd.DataFrame(data),
        epsilon=0.01,
        score="confidence:sure",
    )
    order = truth.unique()[::-1].tolist()
    for labels in (truth.astype(pd.CategoricalDtype(order)), pd.Categorical(truth, order)):
        assert find(labels) == find(truth)


@pytest.mark.parametrize("kind", [bool, "boolean", list])
def test_labels_may_be_booleans_for_two_classes(make: Make, kind: Any) -> None:
    """True is class 1, where there are no others."""
    data, truth = classes()
    wrong = data["small_label"] != truth
    data["small_label"], data["big_label"] = ((truth > 0) ^ wrong) * 1, (truth > 0) * 1
    labels = (truth > 0).tolist() if kind is list else pd.Series(truth > 0, dtype=kind)
    find = partial(calibrate_at_noon, make("classes"), data, epsilon=0.01, score="confidence:sure")
    found, same = find(labels), find((truth > 0) * 1)
    assert (found.threshold, found.accuracy) == (same.threshold, same.accuracy)
    assert found.escalation > 0


@pytest.mark.parametrize("name", ["tables", "open_tables"])
@pytest.mark.parametrize("score", ["margin", "max_probability", "entropy"])
def test_the_class_is_the_most_probable_where_no_output_names_it(
    make: Make, name: str, score: str
) -> None:
    """With nothing but probabilities, labels are the numbers of the columns."""
    found = calibrate(make(name), *tables(), epsilon=0.01, score=score)
    assert found.score == Score(score, "p")
    assert found.escalation == 0.015
    assert found.accuracy == Accuracy(small=0.98, big=1.0, cascade=0.995)


def test_logits(make: Make) -> None:
    """Logits are declared, and have the same most probable class."""
    data, y = tables()
    with np.errstate(divide="ignore"):
        logits = {name: np.log(values) for name, values in data.items()}
    score = Score("margin", logits=True)
    assert calibrate(make("tables"), logits, y, epsilon=0.01, score=score).escalation == 0.015
    with pytest.raises(ConfigurationError, match=r"holds no probabilities.*logits=True"):
        calibrate(make("tables"), logits, y, epsilon=0.01)


@pytest.mark.parametrize("logits", [False, True])
def test_one_column_of_two_classes(make: Make, logits: bool) -> None:
    """The second class begins at one half, for logits at zero."""
    truth = np.arange(500) % 2
    distance = np.linspace(0.01, 0.49, 500)
    wrong = np.arange(500) < 10
    small = 0.5 + np.where((truth == 1) ^ wrong, distance, -distance)
    data = {"small_p": small[:, np.newaxis], "big_p": truth[:, np.newaxis].astype(float)}
    if logits:
        data["small_p"] = np.log(small / (1 - small))[:, np.newaxis]
        data["big_p"] = 20 * data["big_p"] - 10
    found = calibrate(
        make("binary"), data, truth, epsilon=0.02, score=Score("margin", logits=logits)
    )
    assert found.accuracy is not None
    assert (found.accuracy.small, found.accuracy.big) == (0.98, 1)
    assert 0 < found.escalation < 0.02


def test_classes_of_a_zipmap_are_known(server: EmbeddedServer) -> None:
    """Labels are the classes that the file names, and others are refused."""
    model = HybridOnnxModel(classifier(zipmap=True), endpoint=server.endpoint("zipmap"))
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    table = next(item.name for item in model.outputs if item.labels)
    find = partial(calibrate, model, rows, epsilon=0.1, answer=table)
    with pytest.warns(UserWarning, match="both models give the same class"):
        found = find(list(model.predict(rows, output="output_label")))
    assert found.accuracy == Accuracy(small=1, big=1, cascade=1)
    with pytest.raises(InputMismatch, match=r"'maybe'.* has no such class; available: 'no'"):
        find(["maybe"] * 40)


@pytest.mark.parametrize(
    ("labelled", "loss"),
    [(True, "big within 0.5 of the label, small not"), (False, "small and big differ by more")],
)
def test_numbers_with_a_tolerance(make: Make, labelled: bool, loss: str) -> None:
    """Regression: a named uncertainty, and a difference that does not matter."""
    data, truth = numbers()
    y = truth if labelled else None
    find = partial(calibrate, make("numbers"), data, y, epsilon=0.01, score="uncertainty:std")
    found = find(tolerance=0.5)
    assert found.escalation == 0.015
    assert found.loss.startswith(loss)
    assert found.threshold < 0
    assert (found.answer, found.tolerance) == ("value", 0.5)
    assert (found.accuracy is not None) == labelled
    assert find(tolerance=5).escalation == 0
    named = find(tolerance=0.5, answer="value")
    assert named.threshold == found.threshold


def test_numbers_that_both_get_wrong_are_no_loss(make: Make) -> None:
    """Only where the big model is near enough does the small one lose a row."""
    data, truth = numbers()
    data["big_value"] = data["small_value"] - 2 * (data["small_value"] - truth[:, np.newaxis] > 1)
    find = partial(calibrate, make("numbers"), data, epsilon=0.01, score="uncertainty:std")
    found = find(truth, tolerance=0.5)
    assert found.escalation == 0
    assert found.accuracy == Accuracy(small=0.98, big=0.98, cascade=0.98)
    assert found.difference_bound > 0.02


def far_off(y: Any, small: Data, big: Data) -> Array:
    """Call it a loss where the two are more than 1 apart."""
    assert list(small) == list(big) == ["value", "std"]
    assert y is None or len(y) == len(small["value"])
    return np.abs(small["value"] - big["value"])[:, 0] > 1


@pytest.mark.parametrize("labelled", [True, False])
def test_a_function_may_say_what_a_loss_is(make: Make, labelled: bool) -> None:
    """A loss function sees labels and all outputs of both, even where one is selected."""
    data, truth = numbers()
    for model in (make("numbers"), make("numbers", output="value")):
        found = calibrate(
            model,
            data,
            truth if labelled else None,
            epsilon=0.01,
            score=lambda outputs: -outputs["std"],
            loss=far_off,
        )
        assert found.escalation == 0.015
        assert found.loss.startswith("tests.calibrating.test_calibration:far_off, with")
        assert found.loss_function == "tests.calibrating.test_calibration:far_off"
        assert (found.answer, found.difference_bound) == (None, 0.01)
        assert found.accuracy is None
        assert found.score.kind == "function"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda n: np.full(n, 0.5), r"float64 of shape \[1000\], with 0.5"),
        (lambda n: np.full(n, np.nan), "with nan"),
        (lambda n: np.zeros((n, 1)), r"shape \[1000, 1\]"),
        (lambda n: ["no"] * n, "with 'no'"),
        (lambda n: np.zeros(n - 1), "for each of 1000 rows; it returned 999"),
    ],
)
def test_loss_functions_return_0_or_1(make: Make, returned: Any, message: str) -> None:
    """The guarantee is that of the binomial distribution, so a loss is one or none."""
    data, _ = numbers()
    with pytest.raises(ConfigurationError, match=message):
        calibrate(
            make("numbers"),
            data,
            epsilon=0.01,
            score="uncertainty:std",
            loss=lambda y, small, big: returned(len(small["std"])),
        )
