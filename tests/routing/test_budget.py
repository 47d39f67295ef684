"""Budgets: exactly so many rows go to the endpoint, the least sure ones, in few requests."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridmodel import EndpointRefused, EndpointUnavailable, HybridOnnxModel, save_model
from hybridmodel.cascade.least_sure import least_sure, order_keys
from hybridmodel.routing import Budget, Cascade
from hybridmodel.serving import EmbeddedServer
from hybridmodel.testing import fake_endpoint
from tests.support import models
from tests.support.two_routes import DEAD, X, assert_same, local_outputs, remote_outputs

SCORES = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([0.0, -0.0, 0.5, math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300]),
)


@given(scores=st.lists(SCORES, max_size=60), count=st.integers(-1, 61))
def test_the_least_sure_rows_are_those_of_a_stable_sort(scores: list[float], count: int) -> None:
    """Exactly so many, rows without a score first, and of equal scores the earlier rows."""
    array = np.array(scores, np.float64)
    with np.errstate(over="ignore"):
        stored = array.astype(np.float32)
    order = np.lexsort((np.arange(len(array)), stored, ~np.isnan(stored)))
    wanted = np.zeros(len(array), bool)
    wanted[order[: max(count, 0)]] = True
    np.testing.assert_array_equal(least_sure(array, count), wanted)


def test_keys_order_rows_as_their_scores_do() -> None:
    """NaN, minus infinity, numbers, infinity; the two zeros are one."""
    scores = np.array([math.nan, -math.inf, -2.5, -0.0, 0.0, 1e-45, 1.0, math.inf])
    keys = order_keys(scores).tolist()
    assert keys[0] == 0
    assert keys[3] == keys[4]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys) - 1


@settings(deadline=None, max_examples=40)
@given(share=st.floats(0, 1), rows=st.integers(1, 40))
def test_a_budget_is_met_to_the_row(server: EmbeddedServer, share: float, rows: int) -> None:
    """The least sure rows are the endpoint's, all others are the local model's."""
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote", binary=True))
    answer = model.infer(X[:rows], mode=Budget(share))
    allowed = int(Fraction(str(share)) * rows)
    gone = answer.routes == "azure"
    assert gone.sum() == allowed
    np.testing.assert_array_equal(gone, least_sure(answer.scores, allowed))
    assert answer.attempts == (allowed > 0)
    for name, array in local_outputs(X[:rows]).items():
        theirs = remote_outputs(X[:rows])[name]
        expected = np.where(gone.reshape(-1, *[1] * (array.ndim - 1)), theirs, array)
        np.testing.assert_array_equal(answer.outputs[name], expected)
    assert set(answer.reasons[gone]) <= {"least sure"}
    assert set(answer.reasons[~gone]) <= {"surer"}


def test_a_budget_sends_the_rows_that_the_right_threshold_would(model: HybridOnnxModel) -> None:
    """For the same number of rows it differs from a cascade only in that nobody has to find it."""
    by_budget = model.infer(X, mode=Budget(rows=9))
    threshold = float(np.sort(by_budget.scores)[9])
    by_threshold = model.infer(X, mode=Cascade(threshold=threshold))
    assert by_budget.routes.tolist() == by_threshold.routes.tolist()
    assert_same(by_budget.outputs, by_threshold.outputs)


def test_a_row_without_a_score_goes_first(model: HybridOnnxModel) -> None:
    """A NaN is less sure than any number."""
    rows = X[:5].copy()
    rows[3] = np.nan
    answer = model.infer(rows, mode=Budget(rows=1))
    assert (answer.routes == "azure").tolist() == [False, False, False, True, False]


def test_a_share_counts_as_it_is_written() -> None:
    """As floats 0.29 of 100 rows are 28.999999999999996."""
    assert Budget(0.29).most_rows(100)[0] == 29
    assert Budget(1.0).most_rows(10**18)[0] == 10**18


def test_what_is_left_of_a_share_is_kept_for_the_next_calls(model: HybridOnnxModel) -> None:
    """A fifth of single rows is one row in five; another budget begins anew."""
    policy = Budget(0.2)
    routes = [model.infer(X[:1], mode=policy).route for _ in range(19)]
    assert routes.count("azure") == 3
    assert model.infer(X[:1], mode=Budget(0.3)).route == "local"
    assert model.infer(X[:1], mode=policy).route == "local"


@given(
    cost=st.integers(0, 300),
    call=st.integers(0, 9),
    row=st.integers(0, 9),
    size=st.integers(1, 12),
    rows=st.integers(0, 40),
)
def test_a_cost_is_used_up_and_never_exceeded(
    cost: int, call: int, row: int, size: int, rows: int
) -> None:
    """One row more would cost more, with the requests that the rows are packed into."""
    if not call + row:
        return
    policy = Budget(cost=cost / 10, cost_per_call=call / 10, cost_per_row=row / 10)

    def price(count: int) -> int:
        return -(-count // size) * call + count * row

    allowed, _ = policy.most_rows(rows, size)
    assert price(allowed) <= cost
    assert allowed == rows or price(allowed + 1) > cost


def test_a_cost_counts_the_requests_that_are_sent() -> None:
    """Rows are packed as the endpoint takes them, and no request is begun that is not paid for."""
    with fake_endpoint() as fake:
        model = HybridOnnxModel(models.graded(), endpoint=replace(DEAD, max_batch_size=4))
        answer = model.infer(X, mode=Budget(cost=5, cost_per_call=1, cost_per_row=0.25))
    # Two full requests cost 4, a third with no row that could be paid is not begun.
    assert [len(request.inputs["x"]) for request in fake.requests] == [4, 4]
    assert (answer.routes == "azure").sum() == 8


def test_a_cost_is_kept_where_a_server_takes_less_than_was_counted_on() -> None:
    """The refusal is raised instead of sending more requests than were paid for."""
    with fake_endpoint() as fake:
        model = HybridOnnxModel(models.graded(), endpoint=DEAD)
        fake.fail(413, times=1)
        with pytest.raises(EndpointRefused):
            model.infer(X, mode=Budget(cost=1, cost_per_call=1))
        assert model.infer(X, mode=Budget(cost=1, cost_per_call=1)).attempts == 1
        assert [len(request.inputs["x"]) for request in fake.requests] == [40, 20]


@pytest.mark.parametrize("keep", [True, False])
def test_a_budget_keeps_or_raises_when_the_endpoint_is_down(keep: bool) -> None:
    """The local answers are kept with the reason, or the call fails as a whole."""
    policy = Budget(rows=5, on_unavailable="keep" if keep else "raise")
    model = HybridOnnxModel(models.graded(), endpoint=DEAD, routing=policy)
    if not keep:
        with pytest.raises(EndpointUnavailable):
            model.predict(X, timeout=3)
        return
    answer = model.infer(X, timeout=3)
    assert_same(answer.outputs, local_outputs())
    assert sorted(set(answer.reasons)) == ["EndpointUnavailable", "surer"]
    assert (answer.reasons == "surer").sum() == len(X) - 5
    assert model.stats()["cascade.kept_unavailable"] == 5


def test_an_audit_is_paid_from_the_budget(model: HybridOnnxModel) -> None:
    """Of ten rows half are audited: these keep their answer, and no eleventh is sent."""
    answer = model.infer(X, mode=Budget(rows=10, audit_rate=0.5))
    stats = model.stats()
    assert (answer.routes == "azure").sum() == 5
    assert stats["cascade.audited"] == 5
    assert stats["azure.rows"] == 10
    assert stats["cascade.rows"] == len(X)
    assert stats["cascade.escalated"] == 5
    assert 0 <= stats["cascade.live_risk_low"] <= stats["cascade.live_risk_high"] <= 1


def test_a_budget_goes_through_mlflow(server: EmbeddedServer, tmp_path: Path) -> None:
    """Saved with the model, as a param, as configuration, and with provenance."""
    policy = Budget(0.25)
    model = HybridOnnxModel(models.graded(), endpoint=server.endpoint("remote"), routing=policy)
    save_model(model, tmp_path / "saved")
    frame = pd.DataFrame(X)

    def told(params: dict[str, Any], config: dict[str, Any] | None = None) -> pd.DataFrame:
        loaded = mlflow.pyfunc.load_model(str(tmp_path / "saved"), model_config=config)
        answer: pd.DataFrame = loaded.predict(frame, params={"provenance": True, **params})
        return answer

    saved = told({})
    assert (saved["route"] == "azure").sum() == 10
    for again in (told({"mode": "budget"}), told({}, {"mode": "budget"})):
        pd.testing.assert_frame_equal(again, saved)
    assert set(told({}, {"mode": "local"})["route"]) == {"local"}
