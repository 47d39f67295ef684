"""Cascades: which rows are escalated, in which order, and what an audit finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import (
    EndpointUnavailable,
    HybridOnnxModel,
)
from hybridmodel.routing import (
    Cascade,
)
from hybridmodel.routing.choosing import SPARE_ROWS, RowChooser
from hybridmodel.serving import EmbeddedServer
from tests.support import models
from tests.support.strategies import law
from tests.support.two_routes import DEAD, X, assert_same, local_outputs, remote_outputs


@settings(deadline=None, max_examples=60)
@given(
    threshold=st.floats(0, 1),
    most=st.none() | st.floats(0, 1),
    rows=st.integers(1, 40),
)
def test_a_cascade_answers_each_row_by_whom_it_says(
    server: EmbeddedServer, threshold: float, most: float | None, rows: int
) -> None:
    """The endpoint answers the rows under the threshold, and no more than allowed."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote"))
    policy = Cascade(threshold=threshold, max_escalation=most)
    answer = model.infer(X[:rows], mode=policy)
    top = np.sort(local_outputs(X[:rows])["probabilities"].astype(float))
    margins = top[:, -1] - top[:, -2]
    np.testing.assert_allclose(answer.scores, margins, rtol=1e-6)
    gone = answer.routes == "azure"
    doubtful = answer.scores < threshold
    allowed = rows if most is None else int(most * rows)
    assert gone.sum() == min(doubtful.sum(), allowed)
    if gone.any() and not gone.all():
        assert answer.scores[gone].max() <= answer.scores[doubtful | gone][
            ~gone[doubtful | gone]
        ].min(initial=np.inf)
    for name, array in local_outputs(X[:rows]).items():
        expected = np.where(
            gone.reshape(-1, *[1] * (array.ndim - 1)), remote_outputs(X[:rows])[name], array
        )
        np.testing.assert_array_equal(answer.outputs[name], expected)
    assert set(answer.reasons[gone]) <= {"unsure"}
    assert set(answer.reasons[~gone & doubtful]) <= {"over the limit"}
    assert set(answer.reasons[~gone & ~doubtful]) <= {"sure"}


def test_a_cascade_sends_the_doubtful_rows_in_one_request(server: EmbeddedServer) -> None:
    """One request for any number of rows, none for no rows."""
    endpoint = server.endpoint("remote", binary=True)
    model = HybridOnnxModel(models.graded(), endpoint=endpoint)
    mixed = model.infer(X, mode=Cascade(threshold=0.4))
    assert (mixed.route, mixed.attempts) == ("mixed", 1)
    kept = model.infer(X, mode=Cascade(threshold=0.0))
    assert (kept.route, kept.attempts) == ("local", 0)
    stats = model.stats()
    assert stats["azure.requests"] == 1
    assert stats["cascade.rows"] == 80
    assert stats["cascade.escalated"] == stats["azure.rows"] == (mixed.routes == "azure").sum()


def test_rows_without_a_score_are_escalated(model: HybridOnnxModel) -> None:
    """A NaN is not sure, whatever the threshold."""
    rows = X[:3].copy()
    rows[1] = np.nan
    answer = model.infer(rows, mode=Cascade(threshold=0.0))
    assert answer.routes.tolist() == ["local", "azure", "local"]
    assert np.isnan(answer.scores).tolist() == [False, True, False]


def test_what_is_left_of_a_limit_is_kept_for_the_next_calls(model: HybridOnnxModel) -> None:
    """A fifth of single rows is one row in five, not none."""
    policy = Cascade(threshold=1.0, max_escalation=0.2)
    routes = [model.infer(X[:1], mode=policy).route for _ in range(20)]
    assert routes.count("azure") == 4


def escalated_in_calls(cap: float, calls: list[list[float]]) -> list[int]:
    """Return how many rows of each call go, where rows with a score of less than 0.5 are doubtful.

    The rows that stay in a call are surer than those that go.
    """
    chooser = RowChooser(np.random.default_rng(0).random)
    policy = Cascade(threshold=0.5, max_escalation=cap)
    counts = []
    for scores in map(np.array, calls):
        doubtful, gone, _ = chooser.of_cascade(policy, scores, audits=False)
        assert not (gone & ~doubtful).any()
        if gone.any() and (doubtful & ~gone).any():
            assert scores[gone].max() <= scores[doubtful & ~gone].min()
        counts.append(int(gone.sum()))
    return counts


@law
@given(
    st.floats(0, 1),
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=60), min_size=1, max_size=40),
)
def test_no_window_of_calls_exceeds_the_cap(cap: float, calls: list[list[float]]) -> None:
    """All calls together stay within the cap, and those since any moment within 16 rows of it."""
    rows, gone = map(np.cumsum, ([*map(len, calls)], escalated_in_calls(cap, calls)))
    assert (gone <= cap * rows + 1e-6).all()
    over = np.append(0, gone - cap * rows)
    assert (over - np.minimum.accumulate(over)).max() <= SPARE_ROWS + 1e-6


@pytest.mark.parametrize("rows", [1, 10, 1000])
@pytest.mark.parametrize(("doubtful", "low", "high"), [(0.15, 0.145, 0.155), (0.3, 0.199, 0.2)])
def test_a_cap_does_not_starve_small_calls(
    rows: int, doubtful: float, low: float, high: float
) -> None:
    """A cap of 20 % lets 15 % of doubtful rows through, whatever the calls; of 30 % no more."""
    scores = np.random.default_rng(0).random(40_000) / (2 * doubtful)
    gone = escalated_in_calls(0.2, np.split(scores, len(scores) // rows))
    assert low <= sum(gone) / len(scores) <= high


def test_what_a_cap_leaves_is_not_for_another_cap() -> None:
    """A policy that escalates nothing gets nothing of what another has left."""
    chooser = RowChooser(np.random.default_rng(0).random)
    chooser.of_cascade(Cascade(threshold=0.5, max_escalation=1.0), np.ones(50), audits=False)
    none = Cascade(threshold=0.5, max_escalation=0.0)
    assert not chooser.of_cascade(none, np.zeros(50), audits=False).gone.any()


@pytest.mark.parametrize("keep", [True, False])
def test_a_cascade_keeps_or_raises_when_the_endpoint_is_down(keep: bool) -> None:
    """The local answers are kept with the reason, or the call fails as a whole."""
    policy = Cascade(threshold=0.4, on_unavailable="keep" if keep else "raise")
    model = HybridOnnxModel(models.graded(), endpoint=DEAD, routing=policy)
    if not keep:
        with pytest.raises(EndpointUnavailable):
            model.predict(X, timeout=3)
        return
    answer = model.infer(X, timeout=3)
    assert_same(answer.outputs, local_outputs())
    assert answer.route == "local"
    unsure = answer.scores < 0.4
    assert set(answer.reasons[unsure]) == {"EndpointUnavailable"}
    assert set(answer.reasons[~unsure]) == {"sure"}
    assert model.stats()["cascade.kept_unavailable"] == unsure.sum()


def test_audited_rows_keep_their_answer_and_are_compared(model: HybridOnnxModel) -> None:
    """The estimate of how often the models differ comes with its interval."""
    policy = Cascade(threshold=0.0, audit_rate=1.0)
    answer = model.infer(X, mode=policy)
    assert_same(answer.outputs, local_outputs())
    assert (answer.route, answer.attempts) == ("local", 1)
    differ = float((local_outputs()["label"] != remote_outputs()["label"]).mean())
    stats = model.stats()
    assert stats["cascade.audited"] == len(X)
    assert stats["cascade.live_risk"] == pytest.approx(differ)
    assert stats["cascade.live_risk_low"] < differ <= stats["cascade.live_risk_high"]


def test_an_audit_weighs_by_the_rows_that_were_kept(model: HybridOnnxModel) -> None:
    """The risk is of all rows, of which those that were escalated have none."""
    policy = Cascade(threshold=0.4, audit_rate=1.0)
    answer = model.infer(X, mode=policy)
    kept = answer.routes == "local"
    lost = kept & (local_outputs()["label"] != remote_outputs()["label"])
    assert model.stats()["cascade.live_risk"] == pytest.approx(lost.mean())
    assert answer.attempts == 1
