"""How many rows an endpoint is asked for to calibrate, on populations of which every row is known.

Each draw is a calibration that asks for what can move the threshold, and nothing else, beside one
that asks for every row. Both have to find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _measure import Aim
from _populations import POPULATIONS, Rows, populations

from hybridmodel.calibrating.gathering import Gathering
from hybridmodel.cascade.judges import ByClass
from hybridmodel.cascade.promises import Promise
from hybridmodel.data.tensors import TensorSpec

Array = np.ndarray[Any, Any]

DELTA, EPSILON = 0.1, 0.01
ROWS, SIZES, DRAWS = 60_000, (2_000, 10_000), 40
MOST = 500
"""Rows to ask for with labels, of 10,000."""

_JUDGE = ByClass(TensorSpec("label", "INT64", (-1,)))


@dataclass(frozen=True)
class Asked:
    """Rows that the endpoint was asked for in many calibrations of one kind.

    Attributes
    ----------
    population : str
        From which the samples are drawn.
    labelled : bool
        Whether there are labels.
    rows, draws, same : int
        Of each sample, and of all calibrations; those that found what asking for every row finds.
    least, median, most : float
        Rows asked for.
    requests : float
        Median number of requests, one after the other.
    """

    population: str
    labelled: bool
    rows: int
    draws: int
    same: int
    least: float
    median: float
    most: float
    requests: float


class Answers:
    """Stands for an endpoint, and counts what it is asked for."""

    by_row = may_ask = True

    def __init__(self, values: Array) -> None:
        self._values = values
        self.known = np.zeros(len(values), bool)
        self.asked = self.requests = 0

    def ask(self, rows: Array) -> None:
        """Answer rows, by their positions."""
        self.requests += 1
        self.asked += int((~self.known[rows]).sum())
        self.known[rows] = True

    def outputs(self, rows: Array) -> dict[str, Array]:
        """Return the answers to rows."""
        return {"label": self._values[rows]}


def study(names: Iterable[str] = tuple(POPULATIONS), draws: int = DRAWS) -> Iterator[Asked]:
    """Calibrate on samples of each population, with labels and without."""
    for name, rows in populations(ROWS, names):
        random = np.random.default_rng(len(name))
        for size in SIZES:
            samples = [random.integers(len(rows), size=size) for _ in range(draws)]
            for labelled in (True, False):
                yield _asked(name, [rows[places] for places in samples], labelled)


def aims(found: Iterable[Asked]) -> Iterator[Aim]:
    """Say what was to be reached, and what was."""
    found = list(found)
    if not found:
        return
    paid = {item.population: item.median for item in found if item.labelled and item.rows == 10_000}
    worst = max(paid, key=lambda name: paid[name])
    yield Aim(
        f"endpoint rows to calibrate with labels on 10,000, epsilon {EPSILON}: at most {MOST}",
        f"median {paid[worst]:,.0f} ({worst})",
        paid[worst] <= MOST,
    )
    same, draws = sum(item.same for item in found), sum(item.draws for item in found)
    what = "threshold, risk and bound are those of asking for every row, in all draws"
    yield Aim(what, f"{same:,} of {draws:,}", same == draws)


def table(found: Iterable[Asked]) -> tuple[list[str], list[list[str]]]:
    """Lay out the study."""
    head = ["population", "labels", "n", "least", "median", "most", "requests", "same"]
    rows = [
        [
            item.population,
            "yes" if item.labelled else "no",
            f"{item.rows:,}",
            *(f"{rows:,.0f}" for rows in (item.least, item.median, item.most)),
            f"{item.requests:.0f}",
            f"{item.same} of {item.draws}",
        ]
        for item in found
    ]
    return head, rows


def _asked(name: str, samples: list[Rows], labelled: bool) -> Asked:
    counts, requests, same = [], [], 0
    promise = Promise(epsilon=EPSILON, delta=DELTA)
    for sample in samples:
        part, whole = _gathered(sample, labelled, 0), _gathered(sample, labelled, None)
        same += _found(part[0], promise) == _found(whole[0], promise)
        counts.append(part[1].asked)
        requests.append(part[1].requests)
    low, middle, high = np.quantile(counts, [0, 0.5, 1])
    return Asked(
        population=name,
        labelled=labelled,
        rows=len(samples[0]),
        draws=len(samples),
        same=same,
        least=float(low),
        median=float(middle),
        most=float(high),
        requests=float(np.median(requests)),
    )


def _gathered(sample: Rows, labelled: bool, size: int | None) -> tuple[Any, Answers]:
    # Where both are wrong, they are so in different ways: the most that differs without labels.
    small, big = np.where(sample.small, 0, 1), np.where(sample.big, 0, 2)
    labels = np.zeros(len(sample), np.int64) if labelled else None
    remote: Any = Answers(big)
    gathering = Gathering(_JUDGE, labels, small, sample.scores, remote)
    promise = Promise(epsilon=EPSILON, delta=DELTA)
    return gathering.enough_for(promise, size, 0), remote


def _found(known: Any, promise: Promise) -> tuple[float, float, float]:
    threshold = promise.threshold(known.scores, known.losses)
    gone = ~(known.scores >= threshold)
    return threshold, promise.risk(known.losses, gone), promise.bound(known.losses, gone)
