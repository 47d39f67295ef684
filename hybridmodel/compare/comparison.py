"""Both routes' answers to the same rows, compared call by call; memory stays bounded."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hybridmodel.cascade.judges import ByClass, Judge
from hybridmodel.checks import check_tolerance
from hybridmodel.compare.judge import find_judge
from hybridmodel.compare.latencies import Latencies, Latency
from hybridmodel.compare.values import (
    ATOL,
    RTOL,
    Difference,
    OutputDifference,
    OutputTotal,
    Values,
    compare_values,
    plain,
)
from hybridmodel.compare.vectors import COSINE, CosineTotal, compare_directions
from hybridmodel.data.tensors import Array, ModelSpec
from hybridmodel.looks import shown_by
from hybridmodel.process.per_process import reset_in_child
from hybridmodel.switch import AZURE, LOCAL

if TYPE_CHECKING:
    import pandas as pd

Outputs = Mapping[str, Array]
Pairs = Counter[tuple[Any, Any]]

SHOWN = 20  # How many of the first and of the last disagreements are kept, with both answers.
_MOST_PAIRS = 1000


@dataclass(frozen=True)
class Disagreement:
    """A row on which the routes disagree, in JSON's types.

    Attributes
    ----------
    position : int
        Counted from 0 over all rows compared.
    label : int, float, str or None
        Of the row in the caller's DataFrame; None for an array.
    local, azure : dict of str to Any
        Both answers by output; only the beginning of a long one.
    """

    position: int
    label: Any
    local: dict[str, Any]
    azure: dict[str, Any]


@dataclass(frozen=True)
class ComparisonSummary:
    """The result of a comparison.

    Attributes
    ----------
    agree_by : str
        What has to be the same.
    calls, rows, agreed : int
        Compared calls and rows, and the rows on which both routes agree.
    shed : int
        Calls that were not compared because too many were waiting.
    failures : dict of str to int
        Calls whose comparison failed, by the error's name.
    outputs : tuple of OutputDifference
    pairs : tuple of (Any, Any, int)
        Where classes decide: local class, remote class, rows; the most frequent pair first.
    latency : dict of str to Latency
        By route, where calls were timed.
    first, last : tuple of Disagreement
        The first and last rows on which the routes disagree, in order; at most `SHOWN` each. A row
        may be in both.
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
        """Share of the rows on which both routes agree; None before the first row."""
        return self.agreed / self.rows if self.rows else None

    def agreement_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of that share; (0, 1) before the first row."""
        from hybridmodel.cascade.bounds import interval

        return interval(self.agreed, self.rows, confidence) if self.rows else (0.0, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary in JSON's types."""
        return {**asdict(self), "agreement": self.agreement}

    _repr_html_ = shown_by("hybridmodel.compare.looks")


class Comparison:
    """Compares both routes' answers call by call; threads may share it.

    A forked child starts with an empty one.

    Parameters
    ----------
    spec : ModelSpec
        Outputs of the model.
    answer : str, optional
        The output that decides whether the routes agree on a row. By default the only one that
        names a class, else the only table with a column for each class; without one of these, all
        values have to be equal.
    tolerance : float, optional
        For numbers: the routes agree when the difference is not larger.
    rtol, atol : float, optional
        Floats of all outputs are equal when ``|remote - local| <= atol + rtol * |local|``.
    vectors : collection of str, optional
        Outputs whose rows are vectors, such as embeddings: they are compared by their direction,
        and no output decides instead of them.
    cosine : float, default=0.01
        The routes agree on a vector when the cosine distance is not larger.

    Attributes
    ----------
    on_answer : callable or None
        Told of each call in shadow mode: the inputs by name, the endpoint's outputs by name, and
        the version that answered. It is called in the background, by one thread.

    Raises
    ------
    ConfigurationError
        If the model has no such output, or more than one that fits.
    """

    on_answer: Callable[[Outputs, Outputs, str | None], object] | None

    def __init__(
        self,
        spec: ModelSpec,
        *,
        answer: str | None = None,
        tolerance: float | None = None,
        rtol: float = RTOL,
        atol: float = ATOL,
        vectors: Collection[str] = (),
        cosine: float = COSINE,
    ) -> None:
        self._spec, self._rtol, self._atol = spec, rtol, atol
        self._vectors, self._cosine = tuple(vectors), check_tolerance("cosine", cosine)
        self._judge = None if vectors else find_judge(spec, answer, tolerance)
        self.reset()
        reset_in_child(self)

    def reset(self) -> None:
        """Forget everything."""
        self.on_answer = None
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._totals: dict[str, OutputTotal] = {}
        self._cosines: dict[str, CosineTotal] = {name: CosineTotal() for name in self._vectors}
        self._pairs = Pairs()
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
        """Compare both answers to one call.

        Parameters
        ----------
        local, azure : mapping of str to ndarray
            The same outputs.
        rows : int, optional
            Of the call; without it the whole call counts as one row.
        index : pandas.Index, optional
            Labels of the rows.
        local_s, azure_s : float, optional
            How long both calls took, in seconds.

        Returns
        -------
        ndarray of bool, shape (n,)
            The rows on which the routes disagree.
        """
        values = {name: self._values(name, local[name], azure[name], rows) for name in local}
        disagree, pairs = self._disagreement(local, azure, rows, values)
        places = np.flatnonzero(disagree)
        shown = sorted({*places[:SHOWN].tolist(), *places[-SHOWN:].tolist()})
        new = [
            Disagreement(
                position=place,
                label=None if index is None else plain(index[place]),
                local=self._row(local, place, rows),
                azure=self._row(azure, place, rows),
            )
            for place in shown
        ]
        with self._lock:
            self._add(disagree, new, values, pairs)
            for route, elapsed_s in ((LOCAL, local_s), (AZURE, azure_s)):
                if elapsed_s is not None:
                    self._latencies[route].add(elapsed_s)
        return disagree

    def add_shed(self) -> None:
        """Count a call that was not compared because too many were waiting."""
        with self._lock:
            self._counts["shed"] += 1

    def add_failure(self, error: str) -> None:
        """Count a call whose comparison failed, by the name of the error."""
        with self._lock:
            self._counts["failed"] += 1
            self._failures[error] += 1

    def __repr__(self) -> str:
        from hybridmodel.compare.looks import text_of

        return text_of(self.summary())

    _repr_html_ = shown_by("hybridmodel.compare.looks")

    def counts(self) -> dict[str, float]:
        """Return the counts by name; what has not happened is left out."""
        with self._lock:
            failed = {f"failed.{name}": count for name, count in self._failures.items()}
            return {**self._counts, **failed}

    def summary(self) -> ComparisonSummary:
        """Return the result so far."""
        with self._lock:
            latency = {route: item.summary() for route, item in self._latencies.items()}
            return ComparisonSummary(
                agree_by=self._agree_by(),
                calls=self._counts["calls"],
                rows=self._counts["rows"],
                agreed=self._counts["agreed"],
                shed=self._counts["shed"],
                failures=dict(self._failures),
                outputs=tuple(self._difference(name) for name in self._totals),
                pairs=tuple((*pair, count) for pair, count in self._pairs.most_common()),
                latency={route: item for route, item in latency.items() if item is not None},
                first=tuple(self._first),
                last=tuple(self._last),
            )

    def differences(self) -> dict[str, tuple[Difference, ...]]:
        """Return by output the first differing value of each of the first differing rows."""
        with self._lock:
            return {name: tuple(total.first) for name, total in self._totals.items()}

    def _difference(self, name: str) -> OutputDifference:
        found = self._totals[name].difference(name)
        return self._cosines[name].complete(found) if name in self._cosines else found

    def _agree_by(self) -> str:
        judge = self._judge
        if self._vectors:
            named = " and ".join(map(repr, self._vectors))
            return f"{named} within a cosine distance of {self._cosine:g}"
        if judge is None:
            return f"every value, floats within {self._atol:g} + {self._rtol:g} of the local one"
        if isinstance(judge, ByClass):
            kind = "the most probable class of" if judge.output.dtype.kind == "f" else "class"
            return f"{kind} {judge.output.name!r}"
        return f"{judge.output.name!r} within {judge.tolerance:g}"

    def _values(self, name: str, local: Array, remote: Array, rows: int | None) -> Values:
        if rows is None or not self._spec.output(name).batched:
            local, remote = local[np.newaxis], remote[np.newaxis]
        values = compare_values(local, remote, self._rtol, self._atol)
        return compare_directions(values, self._cosine) if name in self._vectors else values

    def _disagreement(
        self, local: Outputs, remote: Outputs, rows: int | None, values: dict[str, Values]
    ) -> tuple[Array, Pairs]:
        """Return which rows disagree, and the rows of each pair of classes.

        Where the output that the judge reads is not among them, all values have to be equal.
        """
        disagree, pairs, judge = np.zeros(1 if rows is None else rows, bool), Pairs(), self._judge
        if judge is None or rows is None or not _can_judge(judge, local, remote):
            for found in (item.differing for item in values.values()):
                disagree |= found if len(found) == len(disagree) else found.any()
            return disagree, pairs
        answers = judge.read(local), judge.read(remote)
        if isinstance(judge, ByClass):
            pairs.update(zip(*(item.tolist() for item in answers), strict=True))
        return disagree | judge.compare(None, *answers).differ, pairs

    def _add(
        self, disagree: Array, new: list[Disagreement], values: dict[str, Values], pairs: Pairs
    ) -> None:
        new = [replace(item, position=self._counts["rows"] + item.position) for item in new]
        self._first += new[: SHOWN - len(self._first)]
        self._last.extend(new)
        self._counts["calls"] += 1
        self._counts["rows"] += len(disagree)
        self._counts["agreed"] += int((~disagree).sum())
        for name, found in values.items():
            self._totals.setdefault(name, OutputTotal()).add(found)
            if name in self._cosines:
                self._cosines[name].add(found.cosine_distances)
        for (local, remote), count in pairs.items():
            pair = plain(local), plain(remote)
            if pair in self._pairs or len(self._pairs) < _MOST_PAIRS:
                self._pairs[pair] += count

    def _row(self, outputs: Outputs, place: int, rows: int | None) -> dict[str, Any]:
        return {
            name: plain(array[place] if rows and self._spec.output(name).batched else array)
            for name, array in outputs.items()
        }


def _can_judge(judge: Judge, local: Outputs, remote: Outputs) -> bool:
    name = judge.output.name
    same_shape = name in local and local[name].shape == remote[name].shape
    return same_shape and judge.output.batched
