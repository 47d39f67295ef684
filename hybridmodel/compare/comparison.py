"""Two sides' answers to the same rows, compared as they come; memory stays bounded."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.compare.agreement import Agreement, Compared, Distance
from hybridmodel.compare.latencies import Latencies, Latency
from hybridmodel.data.tensors import ModelSpec
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.switch import AZURE, LOCAL

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
Outputs = Mapping[str, Array]

SHOWN = 20
"""Rows that disagree, of which both answers are kept: so many of the first, and of the last."""

_MOST_PAIRS = 1000
_MOST_VALUES = 16
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class OutputDifference:
    """How far apart both sides are on one output.

    Attributes
    ----------
    name : str
    rows, differing_rows : int
        Rows compared, and those with a value that is not the same; for floats as
        `hybridmodel.compare.agreement` says it. Calls, where the output does not count rows.
    max_abs_diff, mean_abs_diff : float or None
        Of all values that are finite numbers; None where there are none.
    """

    name: str
    rows: int
    differing_rows: int
    max_abs_diff: float | None
    mean_abs_diff: float | None


@dataclass(frozen=True)
class Disagreement:
    """A row on which the sides disagree, in JSON's types.

    Attributes
    ----------
    position : int
        Counted from 0 over all rows compared.
    label : int, float, str or None
        Of the row in the caller's DataFrame; None where an array came.
    local, azure : dict of str to Any
        Both answers by output; of long ones the beginning.
    """

    position: int
    label: Any
    local: dict[str, Any]
    azure: dict[str, Any]


@dataclass(frozen=True)
class ComparisonSummary:
    """What a comparison has found.

    Attributes
    ----------
    agree_by : str
        What has to be the same.
    calls, rows, agreed : int
        Compared, and the rows on which both sides agree.
    shed : int
        Calls that were not compared, since too much waited already.
    failures : dict of str to int
        Calls that could not be compared, by the error's name.
    outputs : tuple of OutputDifference
    pairs : tuple of (Any, Any, int)
        Where sides agree by class: local class, endpoint's class, rows; most rows first.
    latency : dict of str to Latency
        By side, where calls were timed.
    first, last : tuple of Disagreement
        Rows that disagree, in order; at most `SHOWN` each, some of which may be in both.
    """

    agree_by: str
    calls: int
    rows: int
    agreed: int
    shed: int
    failures: dict[str, int]
    outputs: tuple[OutputDifference, ...]
    pairs: tuple[tuple[Any, Any, int], ...]
    latency: dict[str, Latency]
    first: tuple[Disagreement, ...]
    last: tuple[Disagreement, ...]

    @property
    def agreement(self) -> float | None:
        """Share of the rows on which both sides agree; None before the first row."""
        return self.agreed / self.rows if self.rows else None

    def agreement_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return where that share lies for rows like these; (0, 1) before the first row."""
        from hybridmodel.cascade.bounds import interval

        return interval(self.agreed, self.rows, confidence) if self.rows else (0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Describe it in JSON's types."""
        return {**asdict(self), "agreement": self.agreement}


class Comparison:
    """Takes in both sides' answers, call by call; safe to share between threads.

    A forked child begins anew.

    Parameters
    ----------
    spec : ModelSpec
        Outputs of the model.
    answer : str, optional
        The output by which sides agree or not. By default the only one that names a class, else
        the only table with a column for each class; where there is none, all values have to be
        the same.
    tolerance : float, optional
        For numbers: sides agree when they are no further apart.

    Raises
    ------
    ConfigurationError
        If the model has no such output, or several that may be meant.
    """

    def __init__(
        self, spec: ModelSpec, *, answer: str | None = None, tolerance: float | None = None
    ) -> None:
        self._spec = spec
        self.agreement = Agreement(spec, answer, tolerance)
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Begin anew."""
        self._lock = threading.Lock()
        self._calls = self._rows = self._disagreed = self._shed = 0
        self._failures: Counter[str] = Counter()
        self._totals: dict[str, _Total] = {}
        self._pairs: Counter[tuple[Any, Any]] = Counter()
        self._latencies = {LOCAL: Latencies(), AZURE: Latencies()}
        self._first: list[Disagreement] = []
        self._last: deque[Disagreement] = deque(maxlen=SHOWN)

    def add(
        self,
        local: Outputs,
        azure: Outputs,
        *,
        rows: int | None = None,
        index: pd.Index[Any] | None = None,
        local_s: float | None = None,
        azure_s: float | None = None,
    ) -> Array:
        """Take in both answers to one call.

        Parameters
        ----------
        local, azure : mapping of str to ndarray
            The same outputs.
        rows : int, optional
            Of the call; None where nothing counts them, and all is one row.
        index : pandas.Index, optional
            Labels of the rows.
        local_s, azure_s : float, optional
            How long the sides took, in seconds.

        Returns
        -------
        ndarray of bool, shape (n,)
            Which rows disagree.
        """
        found = self.agreement.compare(local, azure, rows)
        places = np.flatnonzero(found.disagree)
        shown = sorted({*places[:SHOWN].tolist(), *places[-SHOWN:].tolist()})
        label = (lambda _: None) if index is None else (lambda place: plain(index[place]))
        new = [
            Disagreement(
                place, label(place), self._row(local, place, rows), self._row(azure, place, rows)
            )
            for place in shown
        ]
        with self._lock:
            self._add(found, new, len(places))
            for side, elapsed_s in ((LOCAL, local_s), (AZURE, azure_s)):
                if elapsed_s is not None:
                    self._latencies[side].add(elapsed_s)
        return found.disagree

    def add_shed(self) -> None:
        """Count a call that is not compared."""
        with self._lock:
            self._shed += 1

    def add_failure(self, error: str) -> None:
        """Count a call that cannot be compared, by the name of the error."""
        with self._lock:
            self._failures[error] += 1

    def counts(self) -> dict[str, float]:
        """Return the counts by name; what never happened is not there."""
        with self._lock:
            failed = {f"failed.{name}": count for name, count in self._failures.items()}
            found = {"shed": self._shed, "failed": self._failures.total(), **failed}
            seen = {
                "calls": self._calls,
                "rows": self._rows,
                "agreed": self._rows - self._disagreed,
            }
        return {
            **(seen if seen["calls"] else {}),
            **{name: count for name, count in found.items() if count},
        }

    def summary(self) -> ComparisonSummary:
        """Return what was found so far."""
        with self._lock:
            latency = {side: item.summary() for side, item in self._latencies.items()}
            return ComparisonSummary(
                agree_by=str(self.agreement),
                calls=self._calls,
                rows=self._rows,
                agreed=self._rows - self._disagreed,
                shed=self._shed,
                failures=dict(self._failures),
                outputs=tuple(total.difference(name) for name, total in self._totals.items()),
                pairs=tuple((*pair, count) for pair, count in self._pairs.most_common()),
                latency={side: item for side, item in latency.items() if item is not None},
                first=tuple(self._first),
                last=tuple(self._last),
            )

    def latencies(self) -> dict[str, tuple[float, ...]]:
        """Return a sample of how long the calls of each side took, in seconds."""
        with self._lock:
            return {side: item.sample() for side, item in self._latencies.items()}

    def _add(self, found: Compared, new: list[Disagreement], disagreed: int) -> None:
        new = [replace(item, position=self._rows + item.position) for item in new]
        self._first += new[: SHOWN - len(self._first)]
        self._last.extend(new)
        self._calls += 1
        self._rows += len(found.disagree)
        self._disagreed += disagreed
        for name, distance in found.distances.items():
            self._totals.setdefault(name, _Total()).add(distance)
        for (here, there), count in found.pairs.items():
            pair = plain(here), plain(there)
            if pair in self._pairs or len(self._pairs) < _MOST_PAIRS:
                self._pairs[pair] += count

    def _row(self, outputs: Outputs, place: int, rows: int | None) -> dict[str, Any]:
        return {
            name: plain(
                array if rows is None or not self._spec.output(name).batched else array[place]
            )
            for name, array in outputs.items()
        }


class _Total:
    """Sums of one output's distances."""

    def __init__(self) -> None:
        self._rows = self._differing = self._numbers = 0
        self._largest = self._sum = 0.0

    def add(self, distance: Distance) -> None:
        self._rows += len(distance.differing)
        self._differing += int(distance.differing.sum())
        self._numbers += distance.numbers
        self._largest = max(self._largest, distance.largest)
        self._sum += distance.total

    def difference(self, name: str) -> OutputDifference:
        known = self._numbers > 0
        return OutputDifference(
            name,
            self._rows,
            self._differing,
            self._largest if known else None,
            self._sum / self._numbers if known else None,
        )


def plain(value: Any) -> Any:
    """Return a value in JSON's types: the beginning of a long one, text for what JSON lacks."""
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, np.floating) and np.isfinite(value):
        # The shortest text that names this float, of its own precision.
        return float(str(value))
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _plain_array(array: Array) -> Any:
    shown = [plain(item) for item in array.reshape(-1)[:_MOST_VALUES]]
    if array.ndim == 0:
        return shown[0]
    return [*shown, "…"] if array.size > _MOST_VALUES else shown
