"""Calibrating against a served model: what is found, what is promised, what is kept, what is drawn.

The models hand through what both are to answer, so that every row is known beforehand.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from hybridmodel import HybridOnnxModel
from hybridmodel.calibrating import calibrate
from hybridmodel.cascade import Accuracy, Calibration, Curve, Score, escalated
from hybridmodel.cascade.fingerprint import fingerprint
from hybridmodel.exceptions import ConfigurationError, EndpointError, InputMismatch
from hybridmodel.serving import EmbeddedServer, serve
from tests.support.models import build, classifier, mean, tensor
from tests.support.strategies import Array, arrays, law

Make = Callable[..., HybridOnnxModel]
Data = dict[str, Array]

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)

calibrate_at_noon = partial(calibrate, now=lambda: NOON)


def answering(who: str, **answers: tuple[str, tuple[Any, ...]]) -> bytes:
    """Make a model with the inputs ``small_<name>`` and ``big_<name>`` that answers `who`'s.

    Each of `answers` is a datatype and a shape.
    """
    inputs = [
        tensor(f"{size}_{name}", *declared)
        for name, declared in answers.items()
        for size in ("small", "big")
    ]
    nodes = [helper.make_node("Identity", [f"{who}_{name}"], [name]) for name in answers]
    return build(nodes, inputs, [tensor(name, *declared) for name, declared in answers.items()])


PAIRS: dict[str, dict[str, tuple[str, tuple[Any, ...]]]] = {
    "classes": {"label": ("INT64", ("N",)), "sure": ("FP32", ("N",))},
    "texts": {"label": ("BYTES", ("N", 1)), "sure": ("FP32", ("N",))},
    "tables": {"p": ("FP32", ("N", 3))},
    "open_tables": {"p": ("FP32", ("N", "k"))},
    "binary": {"p": ("FP32", ("N", 1))},
    "numbers": {"value": ("FP32", ("N", 1)), "std": ("FP32", ("N",))},
    "two_numbers": {"one": ("FP32", ("N",)), "two": ("FP32", ("N",)), "std": ("FP32", ("N",))},
    "two_labels": {"one": ("INT64", ("N",)), "two": ("INT64", ("N",)), "p": ("FP32", ("N", 2))},
}


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the big half of every pair."""
    bigs = {name: answering("big", **answers) for name, answers in PAIRS.items()}
    with serve({**bigs, "zipmap": classifier(zipmap=True), "mean": mean()}) as running:
        yield running


@pytest.fixture
def make(server: EmbeddedServer) -> Make:
    """Return what makes the small half of a pair, with the endpoint of the big one."""

    def make(name: str, **more: Any) -> HybridOnnxModel:
        small = answering("small", **PAIRS[name])
        return HybridOnnxModel(small, endpoint=server.endpoint(name), **more)

    return make


def classes(rows: int = 1000, *, harmful: int = 20, seed: int = 0) -> tuple[Data, Array]:
    """Make answers and labels: the surer, the less often small is wrong; big is always right.

    Rows are sure from 0 to 1 in even steps, and the small model is wrong on the `harmful` least.
    """
    order = np.random.default_rng(seed).permutation(rows)
    sure = np.linspace(0, 1, rows, dtype=np.float32)
    truth = np.arange(rows) % 3
    small = np.where(np.arange(rows) < harmful, truth + 1, truth) % 3
    data = {"small_label": small, "big_label": truth, "small_sure": sure, "big_sure": 0 * sure}
    return {name: values[order] for name, values in data.items()}, truth[order]


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


def tables(rows: int = 1000, *, harmful: int = 20) -> tuple[Data, Array]:
    """Make probabilities of three classes; the margin of the `harmful` first rows is smallest."""
    top = np.linspace(0.5, 1, rows, dtype=np.float32)
    truth = np.arange(rows) % 3
    wrong = np.arange(rows) < harmful
    small = np.zeros((rows, 3), np.float32)
    small[np.arange(rows), (truth + wrong) % 3] = top
    small[np.arange(rows), (truth + 1 + wrong) % 3] = 1 - top
    return {"small_p": small, "big_p": np.eye(3, dtype=np.float32)[truth]}, truth


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
    with pytest.raises(InputMismatch, match=r"'maybe'.* does not know; its classes are 'no'"):
        find(["maybe"] * 40)


def numbers(rows: int = 1000) -> tuple[Data, Array]:
    """Make numbers with an uncertainty; the 20 most uncertain are off by 5."""
    std = np.linspace(0, 1, rows, dtype=np.float32)
    truth = np.arange(rows, dtype=np.float32)
    small = truth + np.where(np.arange(rows) >= rows - 20, 5, 0.4)
    columns = {"small_value": small[:, np.newaxis], "big_value": truth[:, np.newaxis]}
    return {**columns, "small_std": std, "big_std": 0 * std}, truth


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
    with pytest.warns(UserWarning, match=r"can be 0.0% or 20.0% or 40.0% and nothing between"):
        found = find(data)
    assert found.escalation == 0.2
    data["small_sure"] = np.ones(1000, np.float32)
    with pytest.warns(UserWarning, match="same score|even the surest") as caught:
        assert find(data).threshold == math.inf
    texts = [str(item.message) for item in caught]
    assert any("even the surest rows are kept at a loss too often" in text for text in texts)
    assert any("can be 0.0% or 100.0%" in text for text in texts)
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
        (lambda y: y + 17, "no label is ever answered by either model: the labels are 17, 18, 19"),
        (lambda y: pd.Series(y).astype("category"), "got a category"),
        (lambda y: 3, "labels are one for each row, not a int"),
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
    [(lambda y: y + 1, r"hold 3, which output 'p' does not know; its classes are 0, 1, 2")],
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


@pytest.mark.parametrize(
    ("pair", "arguments", "message"),
    [
        ("classes", {"epsilon": 0}, "epsilon lies between 0 and 1"),
        ("classes", {"delta": 1}, "delta lies between 0 and 1"),
        ("classes", {"epsilon": "0.01"}, "epsilon lies between 0 and 1"),
        ("classes", {"timeout": -1}, "timeout"),
        ("classes", {"score": "margin"}, "floats of shape .*name one.*label: INT64"),
        ("classes", {"answer": "lable"}, "no output 'lable'; it has 'label', 'sure'"),
        ("classes", {"answer": "sure"}, "names no class; for numbers give tolerance="),
        ("classes", {"loss": "zero_one"}, "loss is a function"),
        ("classes", {"loss": far_off, "tolerance": 1}, "tolerance is for when there is none"),
        ("numbers", {}, "0 outputs name a class: say answer='NAME', or give tolerance="),
        ("numbers", {"answer": "value"}, "names no class; for numbers give tolerance="),
        ("numbers", {"tolerance": -1}, "tolerance is a number from 0 up, not -1"),
        ("numbers", {"tolerance": math.inf}, "tolerance is a number from 0 up"),
        ("numbers", {"tolerance": True}, "tolerance is a number from 0 up"),
        ("two_numbers", {"tolerance": 1}, "2 outputs may be the number that tolerance is for"),
        ("two_labels", {"tolerance": 1, "answer": "p"}, "is not one number for each row"),
        ("two_labels", {"score": "margin"}, "2 outputs name a class: say answer='NAME'"),
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
    with pytest.raises(InputMismatch, match="at least one row, zero came"):
        find(make("classes"), none, y[:0])
    with pytest.raises(InputMismatch, match="no input of the model counts rows"):
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


# The record ----------------------------------------------------------------------------------

share = st.floats(0, 1)
text = st.text(max_size=5)
inside = st.floats(0.001, 0.999)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Draw any record that adds up."""
    low, middle, high = sorted(draw(st.lists(share, min_size=3, max_size=3)))
    risk, bound = sorted(draw(st.lists(share, min_size=2, max_size=2)))
    points = draw(st.integers(0, 3))
    column = st.lists(st.floats(allow_nan=False), min_size=points, max_size=points).map(tuple)
    rows = draw(st.integers(1, 10**9))
    return Calibration(
        threshold=draw(st.floats(0, 1) | st.sampled_from([math.inf, -math.inf])),
        score=Score("margin", draw(st.none() | text), draw(st.booleans())),
        loss=draw(text),
        answer=draw(st.none() | text),
        tolerance=draw(st.none() | st.floats(0, 1e9)),
        loss_function=draw(st.none() | text),
        epsilon=draw(inside),
        delta=draw(inside),
        rows=rows,
        required_rows=draw(st.integers(1, 10**9)),
        escalation=middle,
        escalation_interval=(low, high),
        risk=risk,
        risk_bound=bound,
        difference_bound=draw(share),
        missing_scores=draw(st.integers(0, rows)),
        accuracy=draw(st.none() | st.builds(Accuracy, small=share, big=share, cascade=share)),
        warnings=tuple(draw(st.lists(text, max_size=2))),
        small_sha256=draw(text),
        big_sha256=draw(st.none() | text),
        endpoint=draw(text),
        model_version=draw(st.none() | text),
        data_sha256=draw(text),
        date=draw(text),
        curve=draw(
            st.builds(
                Curve,
                escalation=column,
                threshold=column,
                risk=column,
                risk_bound=column,
                accuracy=st.none() | column,
            )
        ),
    )


@law
@given(calibrations())
def test_what_is_written_is_read_back_exactly(calibration: Calibration) -> None:
    """JSON holds every bit of every number, infinities too, and the copy hashes the same."""
    read = Calibration.from_json(calibration.to_json())
    assert read == calibration
    assert hash(read) == hash(calibration)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert str(read) == str(calibration)
    assert all(math.isfinite(value) for value in read.metrics().values())


@pytest.fixture
def found(make: Make) -> Calibration:
    """Return one calibration."""
    return calibrate_at_noon(
        make("classes"), *classes(), epsilon=0.01, score="confidence:sure", big_sha256="abc"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"schema_version": None},
        {"threshold": None},
        {"threshold": "high"},
        {"threshold": True},
        {"threshold": math.nan},
        {"epsilon": 0},
        {"delta": 1.5},
        {"rows": 0},
        {"rows": 2.5},
        {"missing_scores": -1},
        {"escalation": 2},
        {"escalation_interval": [0.9, 0.95]},
        {"escalation_interval": [0.1]},
        {"risk": -0.1},
        {"score": "margin"},
        {"score": {"kind": "certainty", "output": None, "logits": False}},
        {"accuracy": {"small": 1}},
        {"warnings": [1]},
        {"warnings": "none"},
        {"risk_bound": 10**400},
        {"tolerance": "0.5"},
        {"small_sha256": None},
        {"curve": None},
        {"curve": {"escalation": [0], "threshold": [], "risk": [], "risk_bound": []}},
    ],
)
def test_damaged_records_are_refused(found: Calibration, change: dict[str, Any]) -> None:
    """Whatever is missing, of another type or does not add up is one kind of error."""
    with pytest.raises(ConfigurationError):
        Calibration.from_dict({**found.to_dict(), **change})


@pytest.mark.parametrize("name", Calibration.__dataclass_fields__)
def test_every_field_is_needed(found: Calibration, name: str) -> None:
    """A record without one of its fields is refused, one with another is read."""
    stored = found.to_dict()
    assert Calibration.from_dict({**stored, "later": 1}) == found
    del stored[name]
    with pytest.raises(ConfigurationError, match=name):
        Calibration.from_dict(stored)


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", b"\xff"])
def test_what_is_no_record_is_refused(text: str | bytes) -> None:
    """Other JSON, and what is none."""
    with pytest.raises(ConfigurationError, match="not the description of a calibration"):
        Calibration.from_json(text)


def test_other_models_are_told(found: Calibration) -> None:
    """Each identity that is known on both sides and differs makes a sentence."""
    same = {"small_sha256": found.small_sha256, "big_sha256": "abc", "endpoint": found.endpoint}
    assert found.differences(**same, model_version="1") == ()
    assert found.differences() == ()
    (sentence,) = found.differences(**{**same, "small_sha256": "def"})
    assert "the local model's sha256 is def, the calibration was made with" in sentence
    assert len(found.differences(big_sha256="x", endpoint="y", model_version="2")) == 3
    assert replace(found, big_sha256=None).differences(big_sha256="x") == ()


def test_metrics_are_numbers_by_name(found: Calibration) -> None:
    """What an experiment tracker is to show; an infinite threshold is left out."""
    metrics = found.metrics()
    assert metrics["calibration_threshold"] == found.threshold
    assert metrics["calibration_accuracy_cascade"] == 0.995
    assert all(type(value) is float for value in metrics.values())
    without = replace(found, threshold=math.inf, accuracy=None).metrics()
    assert "calibration_threshold" not in without
    assert "calibration_accuracy_big" not in without


def test_the_record_reads_as_sentences(found: Calibration) -> None:
    """Printed, it says threshold, escalation, promise and warnings, and no curve."""
    shown = str(replace(found, warnings=("few rows",)))
    assert "threshold 0.0145145 on confidence:sure" in shown
    assert "escalates 1.5% of the rows (95%: 0.8% to 2.5%)" in shown
    assert (
        "at most 1.00% of all rows are kept at a loss (big right, small wrong), with 90%" in shown
    )
    assert "right: small 98.00%, big 100.00%, cascade 99.50%" in shown
    assert shown.endswith("warning: few rows")
    assert "curve" not in repr(found)


@pytest.mark.parametrize("ending", ["png", "svg"])
@pytest.mark.parametrize("labelled", [True, False])
def test_pictures(found: Calibration, tmp_path: Path, ending: str, labelled: bool) -> None:
    """Accuracy, risk and cost are drawn, and saved as the ending says."""
    if not labelled:
        curve = replace(found.curve, accuracy=None)
        found = replace(found, accuracy=None, curve=curve)
    path = tmp_path / f"calibration.{ending}"
    figure = found.plot(path, cost_local=0.1, cost_remote=2.0)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["answered rightly"] * labelled + ["kept at a loss", "cost of a row"]
    (cost,) = [text.get_text() for text in figure.axes[-1].texts if text.get_text()[0].isdigit()]
    assert float(cost) == pytest.approx(0.1 + found.escalation * 2)


def test_a_picture_of_escalating_everything(found: Calibration) -> None:
    """No threshold is a picture, too, and none is left open in matplotlib."""
    from matplotlib import pyplot as plt

    everything = replace(
        found,
        threshold=math.inf,
        escalation=1.0,
        escalation_interval=(1.0, 1.0),
        risk=0.0,
        risk_bound=0.0,
    )
    everything.plot()
    assert plt.get_fignums() == []


def test_without_matplotlib_the_error_says_what_to_install(
    found: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plots are the only thing that needs it."""
    from hybridmodel import MissingDependency

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependency, match=r"needs matplotlib, .*: pip install hybridmodel"):
        found.plot()


@law
@given(st.data())
def test_fingerprints_tell_data_apart(data: st.DataObject) -> None:
    """Equal tensors have equal hashes; other names, shapes, dtypes, values and orders do not."""
    array = data.draw(arrays())
    same = np.array(array.tolist(), array.dtype).reshape(array.shape) if array.size else array
    assert fingerprint({"a": array}) == fingerprint({"a": same.copy()})
    others = [{"b": array}, {"a": array, "b": None}, {}, {"a": array[np.newaxis]}, {"a": None}]
    others += [{"a": array.astype(object)}] * (array.dtype.kind != "O")
    hashes = [fingerprint(item) for item in [{"a": array}, *others]]
    assert len(set(hashes)) == len(hashes)


def test_fingerprints_of_texts_know_where_one_ends() -> None:
    """Texts that only together are equal have other hashes."""
    one, other = (np.array(item, object) for item in (["ab", "c"], ["a", "bc"]))
    assert fingerprint({"a": one}) != fingerprint({"a": other})


def test_importing_loads_nothing_heavy() -> None:
    """The package needs numpy alone until it is used."""
    code = (
        "import sys, hybridmodel.cascade; "
        "heavy = {'scipy', 'pandas', 'matplotlib', 'onnxruntime', 'mlflow', 'requests'}; "
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_served_pairs_are_as_declared(make: Make) -> None:
    """Both halves of every pair have the same inputs and outputs."""
    for name in PAIRS:
        make(name).check_endpoint()
