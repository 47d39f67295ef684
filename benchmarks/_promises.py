"""Whether promises of every kind are kept, on populations of which every row is known.

Each draw is a calibration with the package's own search, on rows drawn with replacement. A promise
is broken when what it is about is above epsilon in the whole population.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from _measure import Aim
from _populations import POPULATIONS, Rows, populations

from hybridmodel.cascade.bounds import tail
from hybridmodel.cascade.promises import Promise, cheapest
from hybridmodel.cascade.promises_groups import common
from hybridmodel.cascade.promises_mean import BETTING, HOEFFDING_BENTKUS
from hybridmodel.cascade.promises_words import ACCURACY, ESCALATION, LOSS, MEAN_LOSS

Array = np.ndarray[Any, Any]

DELTA = 0.1
ROWS = 100_000
CORE_DRAWS, OTHER_DRAWS = 3_000, 300
CORE = (LOSS, ACCURACY)
SIZES = (500, 2_000, 10_000)
EPSILONS = (0.01, 0.02)
SIGNIFICANT = 0.001
MORE = 0.03
"""Most that may be escalated beyond the oracle, at epsilon 0.01 and 10,000 rows."""

_HARD = {"1:200": (0.002, 0.004)}
"""A rare class is all lost at an epsilon of 0.005."""


@dataclass(frozen=True)
class Kept:
    """What became of many calibrations.

    Attributes
    ----------
    population, what : str
        On which rows, and the promise in words. The oracle knows of no groups.
    epsilon : float
        Of the promise.
    rows, draws, broken : int
        Of each sample, and of all calibrations; those that broke the promise.
    escalation, oracle : float
        Share of the population escalated, as a mean, and by who knows the population.
    """

    population: str
    what: str
    epsilon: float
    rows: int
    draws: int
    broken: int
    escalation: float
    oracle: float | None

    @property
    def p_value(self) -> float:
        """The chance that as many promises are broken if delta is the chance of each."""
        return 1 - tail(self.broken - 1, self.draws, DELTA)


class Whole:
    """A population ordered from the surest row, with the value of every threshold."""

    def __init__(self, rows: Rows, harm: Array, *, goes: bool = False) -> None:
        self.order = np.argsort(-rows.scores, kind="stable")
        self.rows, self.harm = rows[self.order], harm[self.order]
        self._rising = np.sort(rows.scores)
        kept = np.append(0.0, np.cumsum(self.harm)) / len(rows)
        shares = 1 - np.arange(len(rows) + 1) / len(rows)
        self.risks, self.shares = (shares if goes else kept), shares
        self._goes = goes

    def kept(self, threshold: float) -> int:
        """Return how many rows a threshold keeps."""
        return len(self._rising) - int(np.searchsorted(self._rising, threshold))

    def oracle(self, epsilon: float) -> float:
        """Return the share escalated by who knows all rows: the least, or the most that may go."""
        fits = self.shares[self.risks <= epsilon + 1e-12]
        return float(fits.max() if self._goes else fits.min())


def harm_of(kind: str, rows: Rows) -> Array:
    """Return what it costs to keep each row."""
    if kind == ACCURACY:
        return rows.big.astype(float) - rows.small
    if kind == MEAN_LOSS:
        return rows.cost
    return (rows.big & ~rows.small).astype(float)


Found = Callable[[Promise, Rows, Array], float]


def plain(promise: Promise, sample: Rows, harm: Array) -> float:
    """Find the threshold of a promise."""
    return promise.threshold(sample.scores, harm)


def chosen(promise: Promise, sample: Rows, harm: Array, cost: float) -> float:
    """Find the one that costs least of those that keep it."""
    least = promise.threshold(sample.scores, harm)
    return cheapest(sample.scores, harm, least, cost)


def kept_by(
    name: str,
    what: str,
    promise: Promise,
    whole: Whole,
    sizes: Sequence[int],
    draws: int,
    find: Found = plain,
) -> Iterator[Kept]:
    """Calibrate many times for each size."""
    for size in sizes:
        random = seeded(name, what, promise.epsilon, size)
        broken, share = 0, 0.0
        for _ in range(draws):
            picked = np.sort(random.integers(len(whole.rows), size=size))
            threshold = find(promise, whole.rows[picked], whole.harm[picked])
            kept = whole.kept(threshold)
            broken += bool(whole.risks[kept] > promise.epsilon + 1e-12)
            share += float(whole.shares[kept]) / draws
        oracle = whole.oracle(promise.epsilon)
        yield Kept(name, what, promise.epsilon, size, draws, broken, share, oracle)


def kept_in_groups(
    name: str, kind: str, epsilon: float, rows: Rows, sizes: Sequence[int], draws: int
) -> Iterator[Kept]:
    """Promise for each group; one broken promise of a group is a broken one."""
    harm, names = harm_of(kind, rows), rows.groups
    groups = np.unique(names)
    parts = [Whole(rows[names == group], harm[names == group]) for group in groups]
    all_rows = Whole(rows, harm)
    part = Promise(kind=kind, epsilon=epsilon, delta=DELTA / len(groups))
    for size in sizes:
        random = seeded(name, kind, "by group", size)
        # As many of each group as there are in the mean: the promise holds for any numbers.
        counts = [round(size * len(item.rows) / len(rows)) for item in parts]
        broken, share = 0, 0.0
        for _ in range(draws):
            pairs = [
                _own(part, item, random.integers(len(item.rows), size=count))
                for item, count in zip(parts, counts, strict=True)
            ]
            threshold = common(part, *zip(*pairs, strict=True))
            values = [item.risks[item.kept(threshold)] for item in parts]
            broken += bool(max(values) > epsilon + 1e-12)
            share += float(all_rows.shares[all_rows.kept(threshold)]) / draws
        yield Kept(name, f"{kind}, by group", epsilon, size, draws, broken, share, None)


def _own(promise: Promise, whole: Whole, picked: Array) -> tuple[float, float]:
    """Return a group's own threshold, and its lowest score."""
    scores = whole.rows.scores[np.sort(picked)]
    return promise.threshold(scores, whole.harm[np.sort(picked)]), float(scores.min())


def seeded(*setting: Any) -> np.random.Generator:
    """Return random numbers of their own for each setting."""
    return np.random.default_rng(zlib.crc32(repr(setting).encode()))


def study(quick: bool, names: Sequence[str] = tuple(POPULATIONS)) -> Iterator[Kept]:
    """Try every kind of promise on every population."""
    core, other = (CORE_DRAWS // 10, OTHER_DRAWS // 10) if quick else (CORE_DRAWS, OTHER_DRAWS)
    for name, rows in populations(ROWS, names):
        for epsilon in _HARD.get(name, EPSILONS):
            yield from _of_population(name, rows, epsilon, core, other)


def _of_population(name: str, rows: Rows, epsilon: float, core: int, other: int) -> Iterator[Kept]:
    promise = partial(Promise, epsilon=epsilon, delta=DELTA)
    for kind in CORE:
        whole = Whole(rows, harm_of(kind, rows))
        yield from kept_by(name, kind, promise(kind=kind), whole, SIZES, core)
    differ = Whole(rows, (rows.big != rows.small).astype(float))
    yield from kept_by(name, "loss, by difference", promise(), differ, SIZES[1:], other)
    graded = Whole(rows, harm_of(MEAN_LOSS, rows))
    for method in (HOEFFDING_BENTKUS, BETTING):
        made = promise(kind=MEAN_LOSS, method=method)
        yield from kept_by(name, f"mean loss, {method}", made, graded, SIZES[1:], other)
    costly = partial(chosen, cost=0.02)
    lossy = Whole(rows, harm_of(LOSS, rows))
    yield from kept_by(name, "loss, by cost", promise(), lossy, SIZES[1:], other, costly)
    going = Whole(rows, np.zeros(len(rows)), goes=True)
    some = promise(kind=ESCALATION, epsilon=20 * epsilon)
    yield from kept_by(name, "escalation", some, going, SIZES, other)
    for kind in CORE:
        yield from kept_in_groups(name, kind, 2 * epsilon, rows, SIZES[1:], other)


def promises_table(outcomes: Sequence[Kept]) -> tuple[list[str], list[list[str]]]:
    """Lay out the study."""
    head = ["population", "promise", "epsilon", "n", "draws", "broken", "p", "escalated", "oracle"]
    rows = [
        [
            item.population,
            item.what,
            f"{item.epsilon:g}",
            f"{item.rows}",
            f"{item.draws}",
            f"{item.broken / item.draws:.3f}",
            f"{item.p_value:.3f}",
            f"{item.escalation:.3f}",
            "" if item.oracle is None else f"{item.oracle:.3f}",
        ]
        for item in outcomes
    ]
    return head, rows


def promises_aims(outcomes: Sequence[Kept]) -> Iterator[Aim]:
    """Hold broken promises against delta, and what is escalated against the oracle."""
    for what in dict.fromkeys(item.what for item in outcomes):
        made = [item for item in outcomes if item.what == what]
        worst = max(made, key=lambda item: item.broken / item.draws)
        yield Aim(
            f"{what}: broken in {DELTA:.0%} of calibrations at most, {len(made)} settings of "
            f"{worst.draws} draws",
            f"at most {worst.broken / worst.draws:.1%}, least p {min(x.p_value for x in made):.3f}",
            all(item.p_value >= SIGNIFICANT for item in made),
        )
    for kind in CORE:
        beyond = [
            item.escalation - (item.oracle or 0.0)
            for item in outcomes
            if (item.what, item.epsilon, item.rows) == (kind, EPSILONS[0], SIZES[-1])
        ]
        if beyond:
            yield Aim(
                f"{kind}, epsilon {EPSILONS[0]}, n {SIZES[-1]:,}: at most {MORE * 100:g} points "
                "more than the oracle, in the mean of the populations",
                f"{np.mean(beyond) * 100:.1f} points, at most {max(beyond) * 100:.1f}",
                bool(np.mean(beyond) <= MORE),
            )
