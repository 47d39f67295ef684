"""Labels that come late: which rows they are for, what they show, and what waits for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from hybridmodel import HybridOnnxModel, InputMismatch
from hybridmodel.routing import Cascade
from hybridmodel.routing.late_labels import LateLabels, Waiting
from hybridmodel.testing.fake import FakeEndpoint
from tests.support.auditing import SCORE, calibrated, model, pair, rows, small_and_big
from tests.support.calibration_pairs import calibrate_at_noon, numbers

__all__ = ["model", "pair"]  # Fixtures.

RANDOM = np.random.default_rng(6)

ALL = Cascade(threshold=0.3, score=SCORE, audit_rate=1.0)


def test_labels_show_what_differences_only_bound(model: HybridOnnxModel) -> None:
    """Of rows that differ those are lost where the big model is right."""
    data = rows(np.ones(100), np.arange(100) < 40)
    answer = model.infer(data, mode=ALL)
    assert answer.request_id is not None
    truth = np.where(np.arange(100) < 10, 1, 0)
    assert model.audit.label(answer.request_id, truth) == 100
    stats = model.stats()
    assert (stats["cascade.live_risk"], stats["cascade.live_loss"]) == (0.4, 0.1)
    assert stats["cascade.live_loss_low"] < 0.1 < stats["cascade.live_loss_high"]
    assert stats["cascade.labelled"] == 100


@pytest.mark.parametrize("kind", [list, np.array, pd.Series], ids=["list", "array", "series"])
def test_labels_may_come_in_parts(model: HybridOnnxModel, kind: Any) -> None:
    """By position in the call; each row once, and a single one without a list."""
    answer = model.infer(rows(np.ones(10), np.ones(10)), mode=ALL)
    label, name = model.audit.label, str(answer.request_id)
    assert label(name, kind([1, 1, 0]), rows=kind([7, 2, 4])) == 3
    assert label(name, 1, rows=0) == 1
    assert label(name, kind([1] * 10)) == 6
    assert label(name, kind([1] * 10)) == 0
    assert model.stats()["cascade.live_loss"] == pytest.approx(0.9)


def test_rows_that_were_sent_get_labels_too(
    pair: tuple[HybridOnnxModel, FakeEndpoint],
) -> None:
    """They tell what an outage loses, and count for nothing without one."""
    model, fake = pair
    data = rows(np.repeat([0.1, 0.9], 50), np.repeat([True, False], 50))
    answer = model.infer(data, mode=ALL)
    model.audit.label(str(answer.request_id), data["big_label"])
    assert model.stats()["cascade.live_loss"] == 0
    fake.fail(503)
    model.infer(data, mode=ALL)
    assert model.stats()["cascade.live_loss"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("y", "named", "said"),
    [
        ([1] * 3, None, "3 labels came for 10 rows of request"),
        ([1], [1, 2], "1 labels came for 2 rows of request"),
        (["one"] * 10, None, "labels do not fit the model"),
        ([1] * 10, [True, False] * 5, "rows= holds True; request .* has the positions 0 to 9"),
        ([1], [-1], "rows= holds -1"),
        ([1], [10], "rows= holds 10"),
    ],
    ids=["few", "positions", "texts", "mask", "negative", "beyond"],
)
def test_labels_that_do_not_fit_are_refused(
    model: HybridOnnxModel, y: Any, named: Any, said: str
) -> None:
    """And nothing is counted."""
    answer = model.infer(rows(np.ones(10), np.ones(10)), mode=ALL)
    with pytest.raises(InputMismatch, match=said):
        model.audit.label(str(answer.request_id), y, rows=named)
    assert "cascade.labelled" not in model.stats()


def against_labels(y: Any, local: Any, remote: Any) -> Any:
    """Return 1 where the big model is right and the small one is not."""
    truth = np.asarray(y)
    return ((remote["label"] == truth) & (local["label"] != truth)).astype(int)


@pytest.mark.parametrize("loss", [None, against_labels], ids=["classes", "function"])
def test_a_promise_about_labels_is_tested_with_labels(model: HybridOnnxModel, loss: Any) -> None:
    """Losses above epsilon give the alarm; a promise that nobody looked at does not hold."""
    found = calibrated(model, labels=True, **({"loss": loss} if loss else {}))
    if loss:
        model.audit.judge_by(loss)
    policy, labelled = Cascade(calibration=found, audit_rate=1.0), False
    for lost in (0.0, 0.2):
        for _ in range(8):
            differ = RANDOM.random(100) < lost
            answer = model.infer(rows(np.ones(100), differ), mode=policy)
            assert ("cascade.promise_holds" in model.stats()) is (loss is None or labelled)
            labelled = True
            model.audit.label(str(answer.request_id), differ.astype(int))
    stats, state = model.stats(), model.audit.state
    assert stats["cascade.promise_holds"] == 0
    assert state.losses.alarm is not None
    assert stats["cascade.live_loss"] == pytest.approx(0.1, abs=0.03)
    assert ("cascade.live_risk" in stats) is (loss is None)


@pytest.mark.parametrize("labels", [True, False], ids=["with", "without"])
def test_within_a_tolerance_labels_are_tested_only_after_labels(labels: bool) -> None:
    """What was calibrated without labels promises nothing about losses with labels."""
    data, truth = numbers()
    given = {"epsilon": 0.05, "score": "uncertainty:std", "tolerance": 1.0}
    with small_and_big("numbers") as (model, _):
        found = calibrate_at_noon(model, data, truth if labels else None, **given)
        answer = model.infer(data, mode=Cascade(calibration=found, audit_rate=1.0))
        assert model.audit.label(str(answer.request_id), truth) > 900
        state = model.audit.state
    assert state.differences.detector is not None
    assert (state.losses.detector is not None) is labels
    assert state.alarm is None


def waiting(count: int, **more: Any) -> Waiting:
    """Make a call of so many rows, all of them audited."""
    answers = {"local": np.zeros(count), "remote": np.ones(count), **more}
    here = np.arange(count), np.ones(count, bool)
    return Waiting(rows=here[0], audited=here[1], call_rows=count, zeros=1.0, left=0.5, **answers)


def test_what_waits_is_bounded_by_calls() -> None:
    """The longest waiting call leaves first."""
    kept = LateLabels(most_calls=3)
    for number in range(5):
        kept.add(f"{number}", waiting(2))
    taken = [kept.take(f"{number}", [1, 1], None, list) is not None for number in range(5)]
    assert taken == [False, False, True, True, True]
    assert len(kept) == 0


@pytest.mark.parametrize(
    "values",
    [np.zeros(1_000), np.array(["x" * 8] * 1_000, object), {"one": np.zeros(1_000)}],
    ids=["numbers", "texts", "outputs"],
)
def test_what_waits_is_bounded_by_bytes(values: Any) -> None:
    """Texts count with their letters; a call larger than all does not wait at all."""
    kept = LateLabels(most_bytes=200_000)
    for number in range(100):
        kept.add(f"{number}", waiting(1_000, local=values, remote=values))
    assert 1 < len(kept) < 20
    kept.add("large", waiting(100_000))
    assert len(kept) == 0


def test_a_part_takes_its_share_of_what_was_not_looked_at() -> None:
    """So that labels for a half of the rows weigh a half."""
    kept = LateLabels()
    kept.add("call", waiting(4, local={"one": np.arange(4)}))
    part, labels = kept.take("call", [7], [3], list) or (None, None)
    assert part is not None
    assert (part.zeros, part.left, labels) == (0.25, 0.125, [7])
    assert part.local["one"].tolist() == [3]
    rest, labels = kept.take("call", [4, 5, 6, 7], None, list) or (None, None)
    assert rest is not None
    assert (rest.zeros, rest.left, labels) == (0.75, 0.375, [4, 5, 6])
