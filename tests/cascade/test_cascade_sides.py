"""A cascade joins rows of two models, so that both must mean the same by an output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from hybridmodel import HybridOnnxModel, SpecMismatch
from hybridmodel.calibrating import calibrate
from hybridmodel.cascade import Score
from hybridmodel.routing import Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support import models

X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def decisions(columns: int = 3) -> bytes:
    """Make ``label`` as `models.graded`, and decision values under the name ``probabilities``."""
    return models.build(
        [
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
            helper.make_node("Slice", ["x", "start", "end", "axes"], ["probabilities"]),
        ],
        [models.tensor("x", "FP32", ("N", 3))],
        [
            models.tensor("label", "INT64", ("N",)),
            models.tensor("probabilities", "FP32", ("N", columns)),
        ],
        {"start": np.array([0]), "end": np.array([columns]), "axes": np.array([1])},
    )


def with_confidence() -> bytes:
    """Make `models.graded` with one more output, its largest probability."""
    graph = onnx.load_from_string(models.graded())
    largest = helper.make_node("ReduceMax", ["probabilities", "last"], ["sure"], keepdims=0)
    graph.graph.node.append(largest)
    graph.graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
    graph.graph.output.append(models.tensor("sure", "FP32", ("N",)))
    return graph.SerializeToString()


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve a model with probabilities, and one whose are none."""
    with serve({"good": models.graded(3.0), "svc": decisions()}) as running:
        yield running


def hybrid(server: EmbeddedServer, name: str, score: Any = "margin", **more: Any) -> Any:
    """Make a cascade that escalates about half of the rows."""
    return HybridOnnxModel(
        models.graded(), endpoint=server.endpoint(name), routing=Cascade(0.4, score, **more)
    )


@pytest.mark.parametrize("audit_rate", [0.0, 0.5])
def test_decision_values_are_no_probabilities(server: EmbeddedServer, audit_rate: float) -> None:
    """Decision values of the endpoint never stand beside probabilities; the error says why."""
    with hybrid(server, "svc", audit_rate=audit_rate) as model:
        with pytest.raises(
            SpecMismatch, match=r"row 0 has \[.* with the sum .*Calibrated.*output="
        ):
            model.predict(X)
        with pytest.raises(SpecMismatch, match="the local model gives probabilities"):
            model.predict(X, output="probabilities")


@pytest.mark.parametrize("audit_rate", [0.0, 1.0])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_the_score_may_be_an_output_of_the_local_model_only(
    server: EmbeddedServer, threshold: float, audit_rate: float
) -> None:
    """The endpoint is asked for what the caller wants and the audit compares, not for the score."""
    routing = Cascade(threshold, "confidence:sure", audit_rate=audit_rate)
    with HybridOnnxModel(
        with_confidence(), endpoint=server.endpoint("good"), routing=routing
    ) as model:
        model.check_endpoint()
        for output in ("label", "probabilities"):
            answer = model.infer(X, output=output)
            assert answer.route == ("mixed" if threshold else "local")
        stats = model.stats()
    kept = 2 * len(X) - stats["cascade.escalated"]
    assert stats.get("cascade.audited", 0) == (kept if audit_rate else 0)


def test_other_outputs_have_to_be_at_the_endpoint(server: EmbeddedServer) -> None:
    """An output that no score is made from is missed, with the score's in its place as well."""
    endpoint = server.endpoint("good")
    with (
        HybridOnnxModel(
            with_confidence(), endpoint=endpoint, routing=Cascade(0.4, "margin")
        ) as model,
        pytest.raises(SpecMismatch, match="output 'sure': the endpoint does not have it"),
    ):
        model.check_endpoint()


def test_labels_need_no_probabilities(server: EmbeddedServer) -> None:
    """Where only labels are asked for, the endpoint's other outputs do not matter."""
    with hybrid(server, "svc") as model:
        answer = model.infer(X, output="label")
    assert set(answer.routes) == {"local", "azure"}


def test_good_probabilities_pass(server: EmbeddedServer) -> None:
    """Probabilities on both sides are joined row by row."""
    with hybrid(server, "good") as model:
        answer = model.infer(X)
    np.testing.assert_allclose(answer.outputs["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert set(answer.routes) == {"local", "azure"}


def test_logits_are_not_held_against_probabilities(server: EmbeddedServer) -> None:
    """A score that is made from logits expects none of either side."""
    score = Score("margin", "probabilities", logits=True)
    small = HybridOnnxModel(
        decisions(), endpoint=server.endpoint("svc"), routing=Cascade(0.4, score)
    )
    with small as model:
        assert set(model.infer(X).routes) == {"local", "azure"}


def test_one_column_of_decision_values() -> None:
    """In one column, what is outside of 0 to 1 is no probability of the second class."""
    sigmoid = models.build(
        [
            helper.make_node("Slice", ["x", "start", "end", "axes"], ["one"]),
            helper.make_node("Sigmoid", ["one"], ["probabilities"]),
            helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        ],
        [models.tensor("x", "FP32", ("N", 3))],
        [
            models.tensor("label", "INT64", ("N",)),
            models.tensor("probabilities", "FP32", ("N", 1)),
        ],
        {"start": np.array([0]), "end": np.array([1]), "axes": np.array([1])},
    )
    with serve({"svc": decisions(1), "good": sigmoid}) as running:
        for name, ends in (("svc", True), ("good", False)):
            routing = Cascade(0.9, "margin:probabilities")
            with HybridOnnxModel(
                sigmoid, endpoint=running.endpoint(name), routing=routing
            ) as model:
                if ends:
                    with pytest.raises(SpecMismatch, match="sum 1"):
                        model.predict(X)
                else:
                    assert model.predict(X)["probabilities"].shape == (50, 1)


def test_calibration_by_probabilities(server: EmbeddedServer) -> None:
    """A calibration that judges both models by their probabilities finds it out as well."""
    with hybrid(server, "svc") as model, pytest.raises(SpecMismatch, match="does not; row"):
        calibrate(model, X, epsilon=0.3, answer="probabilities")


def test_a_cascade_keeps_the_type_of_integers(server: EmbeddedServer) -> None:
    """Labels of both sides are numpy's own int64."""
    with hybrid(server, "good") as model:
        labels = model.infer(X, output="label")
    assert labels.route == "mixed"
    assert labels.outputs["label"].dtype.char == np.dtype(np.int64).char
