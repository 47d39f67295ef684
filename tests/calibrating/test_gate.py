"""`train_gate`: a gate that sees the inputs, where it pays, and the model that carries it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hybridmodel import HybridOnnxModel, load_model, save_model
from hybridmodel.calibrating import Gated, train_gate
from hybridmodel.cascade.gate_graph import FEATURES, opsets, with_features, with_gate
from hybridmodel.cascade.gate_models import exported, trained
from hybridmodel.data.tensors import GATE
from hybridmodel.exceptions import ConfigurationError, MissingDependency
from hybridmodel.local.session import LocalSession
from hybridmodel.routing import Cascade
from hybridmodel.serving import EmbeddedServer, serve
from tests.support.auditing import small_and_big
from tests.support.gate_pair import ROWS, models, rows
from tests.support.models import strings

Make = Callable[..., HybridOnnxModel]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedServer]:
    """Serve the big model, under both ways to name its outputs."""
    bigs = {"plain": models()[1], "zipmap": models(zipmap=True)[1]}
    with serve(bigs) as running:
        yield running


@pytest.fixture(scope="module")
def gated(server: EmbeddedServer) -> Gated:
    """Train a gate once."""
    model = HybridOnnxModel(models()[0], endpoint=server.endpoint("plain"))
    return train_gate(model, *rows(), epsilon=0.02)


def test_a_gate_knows_where_the_small_model_errs(gated: Gated) -> None:
    """The plain score tells nothing about the corner, the gate finds it."""
    assert gated.pays
    assert gated.gate < 0.2 < 0.7 < gated.plain
    assert str(gated.calibration.score) == f"uncertainty:{GATE}"
    assert (gated.calibration.rows, gated.calibration.delta) == (ROWS // 2, 0.1)
    assert gated.calibration.escalation == gated.gate
    assert gated.calibration.small_sha256 == gated.model.onnx.sha256
    assert "the gate is kept" in str(gated)


def test_the_promise_holds_for_other_rows(gated: Gated) -> None:
    """Rows that nobody has seen are kept at a loss in a share near the sample's."""
    X, y = rows(20_000, seed=7)
    local = gated.model.predict(X, mode="local", output="label")
    scores = -gated.model.predict(X, mode="local", output=GATE)
    kept = scores >= gated.calibration.threshold
    assert ((local != y) & kept).mean() < 0.025
    assert 1 - kept.mean() == pytest.approx(gated.gate, abs=0.03)


def test_rows_that_the_plain_score_cannot_tell_count_for_the_gate() -> None:
    """They have no plain score and are lost: the gate, which may keep them, has to know."""
    random = np.random.default_rng(0)
    hard, truth = random.random(ROWS) < 0.2, np.arange(ROWS) % 3
    sure = np.where(hard & (random.random(ROWS) < 0.5), np.nan, random.random(ROWS))
    data = {
        "small_label": (truth + hard) % 3,
        "big_label": truth,
        "small_sure": sure.astype(np.float32),
        "big_sure": random.random(ROWS).astype(np.float32),
    }
    with small_and_big() as (model, _):
        found = train_gate(model, data, truth, epsilon=0.02, score="confidence:sure")
        assert found.pays
        scores = -found.model.predict(data, mode="local", output=GATE)
    kept = scores >= found.calibration.threshold
    assert (hard & kept).mean() < 0.02


def test_calls_do_not_see_the_gate(gated: Gated) -> None:
    """`predict` answers as before from both routes, and the endpoint needs no gate."""
    X, y = rows(600, seed=8)
    found = gated.model.infer(X)
    assert list(found.outputs) == ["label", "probabilities"]
    assert found.route == "mixed"
    assert (found.outputs["label"] == y).mean() > 0.95
    assert list(gated.model.infer(X, use_azure=True).outputs) == ["label", "probabilities"]
    assert GATE not in gated.model.check_endpoint().output_names
    assert gated.model.predict(X, mode="local", output=GATE).shape == (600,)
    assert isinstance(gated.model.routing, Cascade)


def test_other_outputs_stay_as_they_were(gated: Gated, server: EmbeddedServer) -> None:
    """The graph's own nodes are untouched: its outputs are the same to the last bit."""
    X, _ = rows(300, seed=9)
    before = HybridOnnxModel(models()[0]).infer(X).outputs
    after = gated.model.infer(X, mode="local").outputs
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])
    onnx.checker.check_model(onnx.load_from_string(gated.model.onnx.content()))


def test_a_gate_is_saved_with_the_model(gated: Gated, tmp_path: Path) -> None:
    """Saved and loaded, the model escalates the same rows by its own policy."""
    save_model(gated.model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", allow=["127.0.0.1"])
    X, _ = rows(400, seed=10)
    policy = loaded.routing
    assert isinstance(policy, Cascade)
    assert policy.calibration == gated.calibration
    np.testing.assert_array_equal(loaded.infer(X, mode=policy).scores, gated.model.infer(X).scores)


def test_zipmaps_are_seen_through(server: EmbeddedServer) -> None:
    """Probabilities that come out as a map go into the gate as the table that they were."""
    model = HybridOnnxModel(models(zipmap=True)[0], endpoint=server.endpoint("zipmap"))
    found = train_gate(model, *rows(), epsilon=0.02, kind="logistic")
    assert found.pays
    assert list(found.model.infer(rows(5)[0]).outputs) == ["output_label", "output_probability"]


def test_a_gate_that_does_not_pay_is_not_kept(server: EmbeddedServer) -> None:
    """Where nothing is lost there is nothing to learn: the model comes back as it was."""
    model = HybridOnnxModel(models()[1], endpoint=server.endpoint("plain"))
    with pytest.warns(UserWarning, match="both models give the same class|same score"):
        found = train_gate(model, *rows(), epsilon=0.02)
    assert found.model is model
    assert (found.pays, found.gate) == (False, 1.0)
    assert found.calibration.score.kind == "margin"
    assert found.calibration.rows == ROWS
    assert "the gate does not pay" in str(found)


def test_answers_are_paid_once(server: EmbeddedServer, tmp_path: Path) -> None:
    """A second gate learns from the file of answers, without labels and without asking anybody."""
    model = HybridOnnxModel(models()[0], endpoint=server.endpoint("plain"))
    X, y = rows()
    file = tmp_path / "answers.arrow"
    first = train_gate(model, X, y, epsilon=0.02, kind="logistic", answers=file)
    again = train_gate(model, X, epsilon=0.02, kind="logistic", answers=file, promise="loss")
    assert first.calibration.asked_rows == ROWS
    assert again.calibration.asked_rows == 0
    assert again.pays


@pytest.mark.parametrize("kind", ["boosting", "logistic"])
def test_the_graph_says_what_the_classifier_says(kind: str) -> None:
    """The output of the graph is the classifier's probability of a loss."""
    small = models()[0]
    spec = LocalSession(small).spec
    graph = with_features(small, spec)
    X, y = rows(1_000, seed=3)
    seen = LocalSession(graph.SerializeToString()).run({"X": X}, (FEATURES, "label"))
    assert seen[FEATURES].shape == (1_000, 4 + 2 + 2)
    lost = seen["label"] != y
    gate = trained(kind, seen[FEATURES], lost, 0)
    made = with_gate(graph, exported(gate, seen[FEATURES].shape[1], opsets(graph)))
    scores = LocalSession(made).run({"X": X}, (GATE,))[GATE]
    expected = gate.predict_proba(seen[FEATURES])[:, 1]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": 4_999}, "a gate needs at least 5,000 rows, and the sample has 4,999"),
        ({"kind": "luck"}, "kind of a gate is one of 'boosting', 'logistic', not 'luck'"),
        ({"promise": "escalation"}, "promise of a gate is one of 'loss', 'accuracy'"),
        ({"epsilon": 2}, "epsilon is a number between 0 and 1"),
    ],
)
def test_what_cannot_work_is_refused_before_anybody_is_asked(
    given: dict[str, Any], message: str
) -> None:
    """The message says what a gate needs."""
    from hybridmodel import TritonEndpoint

    endpoint = TritonEndpoint(uri="http://127.0.0.1:9", model_name="big")
    model = HybridOnnxModel(models()[0], endpoint=endpoint)
    X, y = rows(given.pop("rows", ROWS))
    with pytest.raises(ConfigurationError, match=message):
        train_gate(model, X, y, **{"epsilon": 0.02, **given})


def test_models_that_cannot_carry_a_gate_are_refused(gated: Gated) -> None:
    """Texts give nothing to learn from, old operators no graph, and one gate is enough."""
    with pytest.raises(ConfigurationError, match="no input is a number for each row"):
        with_features(strings(), LocalSession(strings()).spec)
    old = onnx.load_from_string(models()[0])
    for item in old.opset_import:
        item.version = 9
    with pytest.raises(ConfigurationError, match="opset 11 or later, and this one has 9"):
        with_features(old.SerializeToString(), LocalSession(models()[0]).spec)
    with pytest.raises(ConfigurationError, match=f"has a gate already, its output '{GATE}'"):
        with_features(gated.model.onnx.content(), gated.model.spec)


def test_missing_values_need_boosting() -> None:
    """A logistic regression cannot do without a value; trees can."""
    features = np.array([[1.0, np.nan]] * 40 + [[0.0, 1.0]] * 40, np.float32)
    lost = np.arange(80) < 40
    with pytest.raises(ConfigurationError, match="pass kind='boosting'"):
        trained("logistic", features, lost, 0)
    assert trained("boosting", features, lost, 0).predict(features)[0] in (0, 1)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra that brings them."""
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingDependency, match=r"pip install hybridmodel\[gate\]"):
        trained("boosting", np.zeros((2, 1), np.float32), np.array([True, False]), 0)
