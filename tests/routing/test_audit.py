"""The audit of a cascade: what it sees, what it costs to be wrong, and when it gives an alarm."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hybridmodel import ConfigurationError, HybridOnnxModel
from hybridmodel.cascade.watch import Composition, Evidence, Watch
from hybridmodel.routing import Budget, Cascade
from hybridmodel.testing.fake import FakeEndpoint
from tests.support.auditing import SCORE, Clock, calibrated, model, pair, rows

__all__ = ["model", "pair"]  # Fixtures.

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(5)


def random_rows(count: int, sure: float = 0.02, doubtful: float = 0.4) -> dict[str, Any]:
    """Draw rows; those with a score below .3 differ as often as `doubtful` says."""
    scores = RANDOM.random(count)
    return rows(scores, RANDOM.random(count) < np.where(scores < 0.3, doubtful, sure))


def asked(model: HybridOnnxModel, data: dict[str, Any], policy: Any, size: int = 50) -> Array:
    """Send rows in calls, and return which of them were answered otherwise than the big model."""
    wrong = []
    for begin in range(0, len(data["big_label"]), size):
        part = {name: values[begin : begin + size] for name, values in data.items()}
        found = model.infer(part, mode=policy).outputs["label"]
        wrong.append(found != part["big_label"])
    return np.concatenate(wrong)


POLICY = Cascade(threshold=0.3, score=SCORE, audit_rate=0.3)


def test_rows_that_an_outage_leaves_here_count(
    pair: tuple[HybridOnnxModel, FakeEndpoint],
) -> None:
    """With half of the calls failing, the estimate is the share that was answered otherwise."""
    model, fake = pair
    wrong = 0.0
    for half in range(40):
        if half % 2:
            fake.fail(503)
        wrong += asked(model, random_rows(250), replace(POLICY, audit_rate=1.0)).mean() / 40
        fake.recover()
    stats = model.stats()
    assert stats["cascade.kept_unavailable"] > 1_000
    assert wrong > 0.06
    assert stats["cascade.live_risk"] == pytest.approx(wrong, abs=0.015)
    assert stats["cascade.live_risk_low"] < wrong < stats["cascade.live_risk_high"]


def test_rows_that_a_cap_leaves_here_count(model: HybridOnnxModel) -> None:
    """They are kept, and audited as the others are."""
    policy = replace(POLICY, max_escalation=0.0, audit_rate=1.0)
    wrong = asked(model, random_rows(2_000), policy)
    assert model.stats()["cascade.live_risk"] == pytest.approx(wrong.mean())
    assert wrong.mean() > 0.1


def test_while_nothing_answered_was_compared_what_an_outage_leaves_is_lost() -> None:
    """The worst is assumed for rows that nobody knows anything about."""
    composition = Composition(rows=100, kept=60, left=10, audited=20)
    watch = Watch.of(0.05).seen(Evidence(kept=np.zeros(20)), composition, 0.0)
    assert watch.risk(composition) == pytest.approx(0.1)
    low, high = watch.interval(composition)
    assert (low, high > 0.1) == (0, True)


def test_an_outage_gives_an_alarm_once_it_is_clear_what_it_costs() -> None:
    """Rows that were sent later stand in for those that could not be, each of them once."""
    composition, watch = Composition(rows=10_000, kept=5_000, audited=500), Watch.of(0.02)
    watch = watch.seen(Evidence(kept=np.zeros(500), zeros=500.0), composition, 0.0)
    composition = composition + Composition(rows=600, kept=300, left=300)
    out = watch.seen(Evidence(zeros=30.0, left=30.0), composition, 1.0)
    assert (out.owed, out.alarm) == (30.0, None)
    half = out.seen(Evidence(sent=np.ones(10)), composition, 2.0)
    assert half.owed == 20.0
    later = half.seen(Evidence(sent=np.ones(40)), composition, 3.0)
    assert later.alarm is not None
    assert (later.alarm.kind, later.alarm.time_s) == ("change", 3.0)


def outages(random: np.random.Generator) -> Watch:
    """Watch 200,000 rows, 3,000 at a time: three in five kept, a tenth left here by outages."""
    composition, watch = Composition(), Watch.of(0.02)
    for _ in range(66):
        away = 100 * int(random.binomial(30, 0.1))
        kept, sent = 1_800, 1_200 * (3_000 - away) // 3_000
        seen = 1.0 * (random.random(180 * (3_000 - away) // 3_000) < 0.005)
        composition += Composition(rows=3_000, kept=kept, left=1_200 - sent, audited=len(seen))
        new = Evidence(
            kept=seen,
            sent=1.0 * (random.random(sent // 10) < 0.3),
            zeros=0.1 * (sent + 0.6 * away),
            left=0.1 * (1_200 - sent),
        )
        watch = watch.seen(new, composition, 0.0)
    return watch


def test_rows_that_stand_in_for_others_are_no_change() -> None:
    """Short outages cost 1.5 % of all rows, where 2 % may be lost."""
    random = np.random.default_rng(0)
    assert [outages(random).alarm for _ in range(8)] == [None] * 8


def test_a_fair_sample_of_the_rows_sent_is_compared(model: HybridOnnxModel) -> None:
    """The same share as of the rows kept, also where calls have a row each."""
    asked(model, random_rows(600), replace(POLICY, audit_rate=0.1), size=1)
    state = model.audit.state
    sent = state.composition.rows - state.composition.kept
    assert state.differences.sent.count == int(0.1 * sent + 1e-6)


@pytest.fixture
def policy(model: HybridOnnxModel) -> Cascade:
    """Return a calibrated cascade that audits a fifth of what it keeps."""
    return Cascade(calibration=calibrated(model), audit_rate=0.2)


def test_the_promise_holds_until_it_does_not(
    model: HybridOnnxModel,
    policy: Cascade,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The alarm says since when, is logged once, and stays until the audit is begun anew."""
    clock = Clock()
    monkeypatch.setattr(model.audit, "_clock", clock)
    asked(model, rows(RANDOM.random(20_000), RANDOM.random(20_000) < 0.005), policy, 1_000)
    quiet = model.stats()
    assert quiet["cascade.promise_holds"] == 1
    assert "cascade.alarm_row" not in quiet
    assert quiet["cascade.suspicion"] < 0.1
    clock.now_s += 60
    with caplog.at_level(logging.WARNING, logger="hybridmodel"):
        asked(model, rows(RANDOM.random(10_000), RANDOM.random(10_000) < 0.08), policy, 1_000)
    alarmed = model.stats()
    assert alarmed["cascade.promise_holds"] == 0
    after = alarmed["cascade.alarm_row"] - quiet["cascade.audited"]
    assert 0 < after < 1_000
    assert alarmed["cascade.alarm_time_s"] == clock.now_s
    (said,) = [item.getMessage() for item in caplog.records]
    assert "a share above 0.02 of all rows is kept at a loss of late" in said
    assert "2023-11-14T22:14:20+00:00" in said
    asked(model, rows(RANDOM.random(5_000), np.zeros(5_000)), policy, 1_000)
    assert model.stats()["cascade.promise_holds"] == 0
    model.audit.restart()
    asked(model, rows(RANDOM.random(100), np.zeros(100)), policy)
    assert model.stats()["cascade.promise_holds"] == 1


def test_one_differing_row_is_no_alarm(model: HybridOnnxModel, policy: Cascade) -> None:
    """Not even if it is the first that is audited."""
    asked(model, rows([1.0], [True]), replace(policy, audit_rate=1.0))
    stats = model.stats()
    assert (stats["cascade.live_risk"], stats["cascade.promise_holds"]) == (1, 1)


def test_a_call_whose_rows_are_sorted_is_no_change(model: HybridOnnxModel, policy: Cascade) -> None:
    """All that differs may stand at its end: a hundredth of the rows, where a fiftieth may."""
    data = rows(np.ones(5_000), np.arange(5_000) >= 4_950)
    asked(model, data, replace(policy, audit_rate=1.0), 5_000)
    assert model.stats()["cascade.promise_holds"] == 1


@pytest.mark.parametrize(("rows_of_a_call", "kept"), [(100, 0.4), (20_000, 0.4), (20_000, 0.1)])
def test_a_large_call_is_no_change(rows_of_a_call: int, kept: float) -> None:
    """Few rows are kept, and lost more often than the bound is: it is about all rows."""
    random, bound, rate = np.random.default_rng(3), 0.05, 0.1
    composition, watch = Composition(), Watch.of(bound)
    while composition.audited < 4_000:
        here = int(random.binomial(rows_of_a_call, kept))
        seen = 1.0 * (random.random(random.binomial(here, rate)) < 0.8 * bound / kept)
        composition += Composition(rows=rows_of_a_call, kept=here, audited=len(seen))
        new = Evidence(kept=seen, zeros=rate * (rows_of_a_call - here))
        watch = watch.seen(new, composition, 0.0)
    assert watch.alarm is None


def test_what_is_wrong_from_the_beginning_is_found_at_once(
    model: HybridOnnxModel, policy: Cascade
) -> None:
    """Ten times as many losses as promised show within a hundred rows."""
    differ = np.arange(500) % 5 == 4
    asked(model, rows(np.ones(500), differ), replace(policy, audit_rate=1.0), 50)
    assert model.stats()["cascade.alarm_row"] < 100


def test_a_slow_excess_shows_in_the_level() -> None:
    """What is too small for the detector shows in the interval, with patience."""
    composition, watch = Composition(), Watch.of(0.1)
    for _ in range(60):
        composition = composition + Composition(rows=1_000, kept=1_000, audited=1_000)
        seen = np.arange(1_000) % 8 == 0  # An eighth, as even as can be.
        watch = watch.seen(Evidence(kept=seen.astype(float)), composition, 0.0)
    assert watch.alarm is not None
    assert watch.alarm.kind == "level"
    assert watch.interval(composition)[0] > 0.1


def test_threads_lose_no_row(model: HybridOnnxModel) -> None:
    """Each row counts once, whoever asks at the same time."""
    data = rows(np.ones(10), np.arange(10) == 3)
    policy = replace(POLICY, audit_rate=1.0)

    def work() -> None:
        for _ in range(25):
            model.infer(data, mode=policy)
            model.stats()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = model.audit.state
    assert (state.composition.rows, state.composition.audited) == (1_000, 1_000)
    assert state.differences.kept.total == 100


def test_an_audit_begins_anew_with_another_cascade(model: HybridOnnxModel, policy: Cascade) -> None:
    """And goes on with an equal one."""
    asked(model, random_rows(100), policy)
    asked(model, random_rows(100), replace(policy))
    assert model.audit.state.composition.rows == 200
    asked(model, random_rows(100), replace(policy, max_escalation=0.5))
    assert model.audit.state.composition.rows == 100


@pytest.mark.parametrize(
    "policy", [POLICY, Budget(0.2, score=SCORE, audit_rate=0.5)], ids=["cascade", "budget"]
)
def test_without_a_calibration_there_is_an_interval_and_no_verdict(
    model: HybridOnnxModel, policy: Any
) -> None:
    """Nothing was promised."""
    asked(model, random_rows(2_000), policy)
    stats = model.stats()
    low, high = stats["cascade.live_risk_low"], stats["cascade.live_risk_high"]
    assert 0 < low < stats["cascade.live_risk"] < high < 0.5
    assert "cascade.promise_holds" not in stats


def test_the_audit_of_a_model_that_was_not_used_is_empty(model: HybridOnnxModel) -> None:
    """It can be asked at any time."""
    assert model.audit.stats() == {}
    assert model.audit.label("nobody", [1]) == 0


def whole(y: Any, local: Any, remote: Any) -> Any:
    """Return 1 where the models differ."""
    return np.asarray(local["label"] != remote["label"], int)


def against_labels(y: Any, local: Any, remote: Any) -> Any:
    """Return 1 where the big model is right and the small one is not."""
    truth = np.asarray(y)
    return ((remote["label"] == truth) & (local["label"] != truth)).astype(int)


def test_a_loss_function_is_audited_once_it_is_given(model: HybridOnnxModel) -> None:
    """It is not stored with the calibration: the first call says how to give it."""
    policy = Cascade(calibration=calibrated(model, loss=whole), audit_rate=1.0)
    with pytest.raises(ConfigurationError, match=r"model\.audit\.judge_by\(function\)"):
        model.infer(random_rows(10), mode=policy)
    model.audit.judge_by(against_labels)
    with pytest.raises(ConfigurationError, match=r"was given .*against_labels"):
        model.infer(random_rows(10), mode=policy)
    model.audit.judge_by(whole)
    asked(model, rows(np.ones(400), np.arange(400) % 4 == 0), policy)
    stats = model.stats()
    assert (stats["cascade.live_risk"], stats["cascade.promise_holds"]) == (0.25, 0)


def test_graded_losses_are_audited_as_they_are(model: HybridOnnxModel) -> None:
    """A loss of a half for a tenth of the rows is a risk of a twentieth."""

    def half(y: Any, local: Any, remote: Any) -> Any:
        return 0.5 * whole(y, local, remote)

    found = replace(calibrated(model, loss=whole), loss_function=f"{__name__}:{half.__qualname__}")
    model.audit.judge_by(half)
    asked(
        model,
        rows(np.ones(400), np.arange(400) % 10 == 0),
        Cascade(calibration=found, audit_rate=1.0),
    )
    assert model.stats()["cascade.live_risk"] == pytest.approx(0.05)


@pytest.mark.parametrize("returned", [None, [2.0] * 10, [0.0]], ids=["error", "two", "short"])
def test_a_loss_function_that_fails_harms_nobody(
    model: HybridOnnxModel, caplog: pytest.LogCaptureFixture, returned: Any
) -> None:
    """The caller gets the answer, and the first failure is a warning in the log."""
    policy = Cascade(calibration=calibrated(model, loss=whole), audit_rate=1.0)

    def broken(*_: Any) -> Any:
        if returned is None:
            raise ZeroDivisionError("in the function")
        return returned

    broken.__qualname__, broken.__module__ = whole.__qualname__, whole.__module__
    model.audit.judge_by(broken)
    with caplog.at_level(logging.WARNING, logger="hybridmodel"):
        for _ in range(3):
            assert model.infer(rows(np.ones(10), np.ones(10)), mode=policy).route == "local"
    assert [item.getMessage() for item in caplog.records] == [caplog.messages[0]]
    assert "a call cannot be audited" in caplog.messages[0]
    assert model.audit.stats() == {}


def test_only_a_function_judges(model: HybridOnnxModel) -> None:
    """Its name, for example, is refused."""
    with pytest.raises(ConfigurationError, match="a loss function is a function"):
        model.audit.judge_by("whole")  # type: ignore[arg-type]
