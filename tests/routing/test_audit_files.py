"""An audit that survives a restart, in a file that somebody named; and several that add up."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridmodel import ConfigurationError, HybridOnnxModel
from hybridmodel.cascade import stored_audit
from hybridmodel.cascade.audit_state import AuditState
from hybridmodel.cascade.sequential import ChangeDetector
from hybridmodel.cascade.stored_audit import MOST_BYTES, StoredAudit, read_audit, write_audit
from hybridmodel.cascade.watch import Alarm, Composition, Sum, Watch
from hybridmodel.routing import Cascade
from tests.support.auditing import SCORE, Clock, calibrated, rows, small_and_big
from tests.support.strategies import law

RANDOM = np.random.default_rng(7)
POLICY = Cascade(threshold=0.3, score=SCORE, audit_rate=1.0)
Make = Callable[[], HybridOnnxModel]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return what makes a model as another process would: it knows nothing of the others."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(small_and_big())[0]


def ask(model: HybridOnnxModel, count: int = 100, differ: float = 0.1, **more: Any) -> None:
    """Send rows that are kept, all of them audited."""
    policy = replace(POLICY, **more)
    model.infer(rows(np.ones(count), RANDOM.random(count) < differ), mode=policy)


floats = st.floats(0, 1e6)
bets = st.tuples(floats, floats, floats)
detectors = st.builds(
    ChangeDetector, bound=st.floats(0.001, 0.999), first=st.tuples(*[st.floats(-1e6, 1e3)] * 3),
    later=bets,
)  # fmt: skip
sums = st.integers(0, 1 << 40).flatmap(
    lambda count: st.builds(Sum, count=st.just(count), total=st.floats(0, count))
)
alarms = st.builds(
    Alarm, kind=st.sampled_from(["level", "change"]), row=st.integers(0, 1 << 40), time_s=floats
)
watches = st.builds(
    Watch, kept=sums, sent=sums, owed=floats, detector=st.none() | detectors,
    alarm=st.none() | alarms,
)  # fmt: skip
states = st.builds(
    AuditState,
    cascade=st.text(max_size=70),
    composition=st.builds(
        Composition, rows=st.just(1 << 50), kept=st.integers(0, 1 << 40), left=st.integers(0, 9)
    ),
    differences=watches,
    losses=watches,
)


@law
@given(state=states)
def test_a_state_is_read_back_to_the_last_bit(
    state: AuditState, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever it holds, in a file of a few kilobytes."""
    path = tmp_path_factory.getbasetemp() / "audit.json"
    stored = StoredAudit(writer="w", state=state)
    write_audit(path, stored)
    assert read_audit(path) == stored
    assert path.stat().st_size < 5_000


def test_nothing_is_written_unless_a_file_is_named(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by predicting nor by closing."""
    monkeypatch.chdir(tmp_path)
    model = make()
    ask(model)
    model.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigurationError, match="name a file"):
        model.audit.save()


def test_an_audit_goes_on_after_a_restart(make: Make, tmp_path: Path) -> None:
    """With the same interval, the same suspicion and the same alarm."""
    path = tmp_path / "audit.json"
    first, second = make(), make()
    found = calibrated(first)
    first.audit.keep(path)
    ask(first, 400, 0.03, calibration=found, threshold=None)
    first.close()
    second.audit.keep(path)
    ask(second, 1, 0.0, calibration=found, threshold=None)
    assert second.audit.state.composition.audited == 401
    ask(first, 1, 0.0, calibration=found, threshold=None)
    for name in ("live_risk", "live_risk_low", "suspicion", "promise_holds"):
        ours, theirs = (model.stats()[f"cascade.{name}"] for model in (first, second))
        assert ours == pytest.approx(theirs)


def test_the_file_is_written_now_and_then(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an audited call, once in so many seconds."""
    clock, model, path = Clock(), make(), tmp_path / "audit.json"
    monkeypatch.setattr(model.audit, "_clock", clock)
    model.audit.keep(path, every_s=30)
    written = []
    for _ in range(4):
        ask(model)
        written.append(read_audit(path).state.composition.rows)
        clock.now_s += 20
    assert written == [100, 100, 300, 300]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no JSON"),
    "half": (lambda text: text[: len(text) // 2], "no JSON"),
    "a digit": (lambda text: text.replace(b'"rows": 100', b'"rows": 101'), "its checksum is not"),
    "another version": (
        lambda text: text.replace(b'"schema_version": 1', b'"schema_version": 2'),
        "it has schema_version 2; this hybridmodel reads 1",
    ),
    "something else": (lambda _: b'{"schema_version": 1, "epsilon": 0.1}', "writer: is missing"),
    "a list": (lambda _: b"[]", "expected an object"),
    "large": (lambda _: b" " * (MOST_BYTES + 1), "it has more than 65,536 bytes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused_with_what_to_do(make: Make, tmp_path: Path, name: str) -> None:
    """When it is named, before any request; and nobody overwrites it."""
    damage, said = DAMAGE[name]
    path, first = tmp_path / "audit.json", make()
    ask(first)
    first.audit.save(path)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=f"not the state of an audit: .*{said}") as raised:
        make().audit.keep(path)
    assert "delete this one, and the audit begins anew" in str(raised.value)
    with pytest.raises(ConfigurationError, match="not the state of an audit"):
        first.audit.save(path)
    assert path.read_bytes() == before


WRONG: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "negative": (("composition", "rows"), -1, "state.composition.rows: expected a whole number"),
    "more kept than rows": (("composition", "kept"), 900, "state.composition: there are more rows"),
    "more losses than rows": (("differences", "kept", "total"), 1e9, "there are more losses than"),
    "an infinite debt": (("differences", "owed"), "inf", "owed: expected a finite number"),
    "a bet below zero": (("losses", "detector", "later"), [0, -1, 0], "3 numbers from 0 up"),
    "too few bets": (("losses", "detector", "first"), [0], "expected 3 numbers"),
    "a certain bound": (("losses", "detector", "bound"), 1.0, "a number between 0 and 1"),
    "an unknown alarm": (
        ("losses", "alarm"), {"kind": "x", "row": 1, "time_s": 0}, "expected 'level' or 'change'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_values_that_cannot_be_are_refused_by_their_path(tmp_path: Path, name: str) -> None:
    """Also in a file whose checksum is right: anybody can compute one."""
    keys, value, said = WRONG[name]
    state = AuditState(
        cascade="c", composition=Composition(rows=10), losses=Watch.of(0.1)
    ).to_dict()
    part = state
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    content = {"writer": "w", "state": state}
    text = json.dumps({"schema_version": 1, "checksum": stored_audit._sum(content), **content})
    (tmp_path / "audit.json").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_audit(tmp_path / "audit.json")


def test_another_cascade_begins_anew_with_a_warning(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was seen of one threshold says nothing about another."""
    path, first, second = tmp_path / "audit.json", make(), make()
    ask(first)
    first.audit.save(path)
    second.audit.keep(path)
    with caplog.at_level(logging.WARNING, logger="hybridmodel"):
        ask(second, 7, threshold=0.5)
    assert "is the audit of another cascade, and will be replaced" in caplog.text
    assert read_audit(path).state.composition.rows == 7


def test_two_audits_do_not_share_a_file(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One would undo what the other wrote: the second one stops, and says so once."""
    path, first, second = tmp_path / "audit.json", make(), make()
    first.audit.keep(path, every_s=1e-6)
    second.audit.keep(path, every_s=1e-6)
    ask(first)
    first.close()
    with caplog.at_level(logging.WARNING, logger="hybridmodel"):
        ask(second, 7)
        ask(second, 7)
        second.close()
    assert caplog.text.count("another audit writes this file") == 1
    with pytest.raises(ConfigurationError, match="give each process a file of its own"):
        second.audit.save()
    assert read_audit(path).state.composition.rows == 100


def test_a_disk_that_fails_costs_no_answer(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The old file stays whole, nothing lies beside it, and the next attempt may succeed."""
    path, model = tmp_path / "audit.json", make()
    model.audit.keep(path, every_s=1e-6)
    ask(model)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, logger="hybridmodel"):
        patch.setattr(os, "fsync", full)
        ask(model)
        model.close()
    assert "No space left on device" in caplog.text
    assert (path.read_bytes(), [*tmp_path.iterdir()]) == (before, [path])
    ask(model)
    model.close()
    assert read_audit(path).state.composition.rows == 300


def test_a_state_can_be_saved_again_and_again(make: Make, tmp_path: Path) -> None:
    """By the audit that wrote it before, and by no other."""
    path, first, second = tmp_path / "audit.json", make(), make()
    for seen in (100, 200):
        ask(first)
        first.audit.save(path)
        assert read_audit(path).state.composition.rows == seen
    ask(second)
    with pytest.raises(ConfigurationError, match=r"go on from this one with audit\.keep"):
        second.audit.save(path)


def test_keep_comes_first(make: Make, tmp_path: Path) -> None:
    """Rows that were seen already would be lost, or counted twice."""
    model = make()
    with pytest.raises(ConfigurationError, match="nothing has been audited yet"):
        model.audit.save(tmp_path / "audit.json")
    ask(model)
    with pytest.raises(ConfigurationError, match="before the first audited row"):
        model.audit.keep(tmp_path / "audit.json")


def test_a_new_beginning_forgets_the_file(make: Make, tmp_path: Path) -> None:
    """And replaces it."""
    path, first, second = tmp_path / "audit.json", make(), make()
    ask(first)
    first.audit.save(path)
    second.audit.keep(path)
    second.audit.restart()
    ask(second, 3)
    assert read_audit(path).state.composition.rows == 3


def test_several_processes_add_up(make: Make, tmp_path: Path) -> None:
    """Rows add up, and an excess too small for each of them alone shows in all together."""
    models = [make() for _ in range(4)]
    policy = Cascade(calibration=calibrated(models[0]), audit_rate=1.0)
    paths = [tmp_path / f"{place}.json" for place in range(4)]
    for model, path in zip(models, paths, strict=True):
        model.infer(rows(np.ones(100), np.arange(100) % 20 == 10), mode=policy)
        model.audit.save(path)
    assert all(model.stats()["cascade.promise_holds"] == 1 for model in models)
    alone, together = models[0].audit.stats(), models[0].audit.stats(*paths[1:])
    assert together["cascade.audited"] == 400
    assert together["cascade.live_risk"] == pytest.approx(alone["cascade.live_risk"])
    assert together["cascade.live_risk_low"] > alone["cascade.live_risk_low"]
    assert together["cascade.suspicion"] > 3 * alone["cascade.suspicion"]
    assert models[0].audit.stats() == alone


def test_no_audit_counts_twice(make: Make, tmp_path: Path) -> None:
    """Its own file is left out, the same one again is refused, and so is another cascade."""
    first, other = make(), make()
    mine, theirs = tmp_path / "mine.json", tmp_path / "theirs.json"
    first.audit.keep(mine)
    ask(first)
    ask(other)
    other.audit.save(theirs)
    assert first.audit.stats(mine, theirs)["cascade.audited"] == 200
    with pytest.raises(ConfigurationError, match="this audit was counted from another file"):
        first.audit.stats(theirs, theirs)
    different = make()
    ask(different, threshold=0.5)
    different.audit.save(tmp_path / "different.json")
    with pytest.raises(ConfigurationError, match=r"different\.json: these audits are of different"):
        first.audit.stats(tmp_path / "different.json")
    with pytest.raises(FileNotFoundError):
        first.audit.stats(tmp_path / "missing.json")
