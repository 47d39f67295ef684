"""The gate before a promotion: two deployments answer the same rows, and bounds decide."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from hybridmodel.cascade.bounds import required_rows, upper_bound
from hybridmodel.checks import check_count, check_rate, check_share, check_tolerance
from hybridmodel.compare.comparison import Comparison, ComparisonSummary
from hybridmodel.compare.latencies import Latency
from hybridmodel.data.answer import Answer
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.exceptions import AuthenticationFailed, EndpointError, SpecMismatch
from hybridmodel.model import HybridOnnxModel
from hybridmodel.switch import AZURE, LOCAL

_MOST_ERRORS = 1_000_000

LEAST_CALLS = 20
"""Fewer show little of the slowest 5 %."""

T = TypeVar("T")
Clock = Callable[[], float]

_Timed = tuple[Answer, float]
"""An answer, and the seconds until it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a new deployment may do otherwise than the old one.

    Parameters
    ----------
    differing : float, default=0.02
        Share of the rows that it may answer otherwise. Not what was seen counts, but the share that
        is not exceeded with `confidence`: few rows show little.
    confidence : float, default=0.95
    difference : float, optional
        Largest difference of any two floats.
    errors : int, default=0
        Calls that may fail, of either deployment.
    slower : float, optional
        How many times the time of the old one's calls its own may take, at the 95 % percentile.

    Raises
    ------
    ConfigurationError
        If a bound cannot be one.
    """

    differing: float = 0.02
    confidence: float = 0.95
    difference: float | None = None
    errors: int = 0
    slower: float | None = None

    def __post_init__(self) -> None:
        # No sample shows a share of 0.
        check_rate("differing", self.differing, zero=False)
        check_share("confidence", self.confidence)
        check_count("errors", self.errors, 0, _MOST_ERRORS)
        for name in ("difference", "slower"):
            if getattr(self, name) is not None:
                check_tolerance(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Calls to one deployment that failed: by the error's name, and what the first one said."""

    calls: Mapping[str, int] = field(default_factory=dict)
    first: str = ""

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.calls.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of two deployments that were asked the same rows.

    Attributes
    ----------
    old, new : str
        Their names.
    comparison : ComparisonSummary
        Of their answers; ``local`` stands for the old one and ``azure`` for the new one.
    largest : mapping of str to float
        By output of floats, the largest difference; infinite where only one of them gave a finite
        number, or their shapes differ.
    versions : mapping of str to tuple of str
        By deployment, the versions of the model that answered.
    failures : mapping of str to Failures
        By deployment.
    """

    old: str
    new: str
    comparison: ComparisonSummary
    largest: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failures: Mapping[str, Failures] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows that both have answered."""
        return self.comparison.rows

    @property
    def differing(self) -> int:
        """Rows that they have answered differently."""
        return self.comparison.rows - self.comparison.agreed

    def at_most(self, confidence: float) -> float:
        """Return the share of differing rows that is not exceeded, with a confidence."""
        return float(upper_bound(self.differing, self.rows, 1 - confidence)) if self.rows else 1.0

    def latency(self) -> dict[str, Latency]:
        """Return how long the calls took, by deployment; empty before the first row."""
        names = {LOCAL: self.old, AZURE: self.new}
        return {names[route]: found for route, found in self.comparison.latency.items()}


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.3g} %"


def broken(measured: Measured, bounds: Bounds) -> tuple[str, ...]:
    """Return a sentence for each bound that is broken; none where all hold."""
    return tuple(
        said
        for check in (_differing, _difference, _errors, _slower)
        for said in check(measured, bounds)
    )


def measure(
    old: HybridOnnxModel,
    new: HybridOnnxModel,
    frames: Iterable[Any],
    *,
    names: tuple[str, str] = ("blue", "green"),
    answer: str | None = None,
    tolerance: float | None = None,
    most_errors: int = 0,
    timeout_s: float | None = None,
    clock: Clock = time.perf_counter,
) -> Measured:
    """Ask two deployments for the same rows, and compare their answers.

    Parameters
    ----------
    old, new : HybridOnnxModel
        The same model, at an endpoint where each has its own `deployment`.
    frames : iterable
        Rows as `HybridOnnxModel.infer` takes them, one call each.
    names : tuple of str
        What the deployments are called.
    answer, tolerance
        What has to be the same, as `hybridmodel.compare.comparison.Comparison` takes it.
    most_errors : int, default=0
        It ends early when more requests to one deployment have failed.
    timeout_s : float, optional
        Of each call; default is the endpoint's.

    Raises
    ------
    AuthenticationFailed
        If the key is not accepted.
    InputMismatch
        If rows do not fit the model.
    """
    asked = {
        name: _Asked(model, timeout_s, clock) for name, model in zip(names, (old, new), strict=True)
    }
    comparison = Comparison(old.spec, answer=answer, tolerance=tolerance)
    largest: dict[str, float] = {}
    for one in asked.values():
        one.meet()
    for rows, first, second in _pairs(asked, frames, most_errors):
        _compare(comparison, first, second, rows)
        _widen(largest, old.spec, first[0], second[0])
    return Measured(
        old=names[0],
        new=names[1],
        comparison=comparison.summary(),
        largest=largest,
        versions={name: tuple(sorted(one.versions)) for name, one in asked.items()},
        failures={name: one.failures() for name, one in asked.items()},
    )


def _pairs(
    asked: Mapping[str, _Asked], frames: Iterable[Any], most_errors: int
) -> Iterator[tuple[int, _Timed, _Timed]]:
    """Yield the rows of each frame to which both have an answer, and both answers."""
    both = tuple(asked)
    for turn, frame in enumerate(frame for frame in frames if len(frame)):
        if any(one.failed > most_errors for one in asked.values()):
            return
        # In turns, since the second one to be asked finds the data and the machine warm.
        answers = {name: asked[name].ask(frame) for name in (both if turn % 2 else both[::-1])}
        first, second = (answers[name] for name in both)
        if first is not None and second is not None:
            yield len(frame), first, second


def shadowed(model: HybridOnnxModel) -> Measured:
    """Return what a model has measured in shadow mode: its local model is old, its endpoint new.

    Differences are those of finite numbers; failures are comparisons that failed.
    """
    found = model.comparison.summary()
    floats = {item.name for item in model.outputs if item.dtype.kind == "f"}
    return Measured(
        old=LOCAL,
        new=AZURE,
        comparison=found,
        largest={
            item.name: item.max_abs_diff
            for item in found.outputs
            if item.name in floats and item.max_abs_diff is not None
        },
        failures={AZURE: Failures(calls=found.failures)},
    )


class _Asked:
    """One deployment, and how it answered."""

    def __init__(self, model: HybridOnnxModel, timeout_s: float | None, clock: Clock) -> None:
        self._model, self._timeout_s, self._clock = model, timeout_s, clock
        self._errors: Counter[str] = Counter()
        self._first = ""
        self.versions: set[str] = set()

    @property
    def failed(self) -> int:
        return self._errors.total()

    def meet(self) -> None:
        """Compare its description of the model; connecting does not count as a call's time."""
        self._counted(lambda: self._model.check_endpoint(self._timeout_s))

    def ask(self, frame: Any) -> _Timed | None:
        """Return the answer and its seconds, None after an error, which is counted."""
        return self._counted(lambda: self._timed(frame))

    def _timed(self, frame: Any) -> _Timed:
        started = self._clock()
        answer = self._model.infer(frame, use_azure=True, timeout=self._timeout_s)
        self.versions.add(answer.model_version or "unnamed")
        return answer, self._clock() - started

    def _counted(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except AuthenticationFailed:
            raise
        except (EndpointError, SpecMismatch) as error:
            self._errors[type(error).__name__] += 1
            self._first = self._first or str(error)
            return None

    def failures(self) -> Failures:
        return Failures(calls=dict(self._errors), first=self._first)


def _compare(comparison: Comparison, old: _Timed, new: _Timed, rows: int) -> None:
    (first, first_s), (second, second_s) = old, new
    comparison.add(first.outputs, second.outputs, rows=rows, local_s=first_s, azure_s=second_s)


def _widen(largest: dict[str, float], spec: ModelSpec, old: Answer, new: Answer) -> None:
    for name in (item.name for item in spec.outputs if item.dtype.kind == "f"):
        found = _distance(old.outputs[name], new.outputs[name])
        largest[name] = max(largest.get(name, 0.0), found)


def _distance(one: Array, other: Array) -> float:
    """Return the largest difference; infinite where only one has a finite number."""
    if one.shape != other.shape:
        return math.inf
    finite = np.isfinite(one)
    if (finite != np.isfinite(other)).any():
        return math.inf
    found = np.abs(one[finite].astype(np.float64) - other[finite].astype(np.float64))
    return float(found.max(initial=0.0))


def _differing(measured: Measured, bounds: Bounds) -> Iterator[str]:
    rows, most = measured.rows, measured.at_most(bounds.confidence)
    if most <= bounds.differing:
        return
    said = (
        f"{measured.new} answered {measured.differing} of {rows} rows otherwise than "
        f"{measured.old}: at most {percent(most)} of all rows with {percent(bounds.confidence)} "
        f"confidence, and the bound is {percent(bounds.differing)}"
    )
    needed = required_rows(bounds.differing, 1 - bounds.confidence)
    yield f"{said}; it takes {needed} rows without a difference" if rows < needed else said


def _difference(measured: Measured, bounds: Bounds) -> Iterator[str]:
    for name, largest in measured.largest.items():
        if bounds.difference is not None and largest > bounds.difference:
            yield f"{name!r} differs by up to {largest:.4g}, and the bound is {bounds.difference:g}"


def _errors(measured: Measured, bounds: Bounds) -> Iterator[str]:
    for name, failures in measured.failures.items():
        if failures.count > bounds.errors:
            kinds = ", ".join(f"{count} x {kind}" for kind, count in failures.calls.items())
            yield (
                f"{name} failed {failures.count} calls ({kinds}), and the bound is "
                f"{bounds.errors}{failures.first and f': {failures.first}'}"
            )


def _slower(measured: Measured, bounds: Bounds) -> Iterator[str]:
    times = measured.latency()
    if bounds.slower is None or not times:
        return
    calls, old_s = times[measured.old].calls, times[measured.old].p95_s
    new_s = times[measured.new].p95_s
    if calls < LEAST_CALLS:
        yield (
            f"{calls} calls were timed, and {LEAST_CALLS} are needed for a bound; send more rows, "
            "or fewer in each call"
        )
    elif new_s > bounds.slower * old_s:
        yield (
            f"95 % of {measured.new}'s calls took up to {1000 * new_s:.1f} ms, "
            f"{new_s / old_s:.2f} times {measured.old}'s {1000 * old_s:.1f} ms, and the bound is "
            f"{bounds.slower:g} times"
        )
